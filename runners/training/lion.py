"""Lion, the optimiser that steps by the sign of its momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.99)
"""Shares of the old momentum in a step, and in the new momentum: the defaults of the paper."""


class Lion(torch.optim.Optimizer):
    """Lion (https://arxiv.org/abs/2302.06675, program 1), with decoupled weight decay.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [each for each in group["params"] if each.grad is not None]
            if weights:
                self._step(weights, group["lr"], group["weight_decay"])
        return loss

    def _step(self, weights: list[Tensor], lr: float, weight_decay: float) -> None:
        gradients = [each.grad for each in weights if each.grad is not None]
        for each in weights:
            if not self.state[each]:
                self.state[each]["exp_avg"] = torch.zeros_like(each)
        momentum = [self.state[each]["exp_avg"] for each in weights]
        steps = torch._foreach_lerp(momentum, gradients, 1 - BETAS[0])
        torch._foreach_sign_(steps)
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        torch._foreach_add_(weights, steps, alpha=-lr)
        torch._foreach_lerp_(momentum, gradients, 1 - BETAS[1])
