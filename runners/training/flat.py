"""An optimizer over flat buffers: all parameters of a model in one tensor, all gradients in another.

A small model has a hundred parameters of a few hundred numbers each, and an optimizer that visits them one by one takes
longer for the visits than for the numbers. Here, clipping is one call, and a step is one call for each group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many numbers: 64 bytes in float32, as for a tensor of its own."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A parameter and its place in the buffer of its group."""

    parameter: nn.Parameter
    start: int
    padding: Tensor | None

    def of(self, flat: Tensor) -> Tensor:
        """The part of a flat tensor of the group that belongs to the parameter, in its shape."""
        return flat[self.start : self.start + self.parameter.numel()].view_as(self.parameter)


class FlatOptimizer:
    """An optimizer whose groups are one flat parameter each; the model's parameters become views of them.

    The optimizer must treat all numbers of a group alike (AdamW, SGD and Lion do), and must not have made a step. The
    results are the same up to the rounding of the gradient's norm. A parameter without a gradient counts as one with a
    gradient of 0. State dicts have the form of the optimizer over single parameters, so checkpoints do not depend on
    the layout.

    Args:
        optimizer: Over the parameters of one model, all of one type and on one device.
        clip_norm: Largest norm of the gradient; 0 or None for no limit.

    Attributes:
        weights: All parameters, flat.
        gradient: Their gradient, as `step` has last seen it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, clip_norm: float | None = None) -> None:
        self._optimizer, self._clip_norm = optimizer, clip_norm
        single = [list[nn.Parameter](group["params"]) for group in optimizer.param_groups]
        first = single[0][0]
        sizes = [sum(_padded(parameter) for parameter in parameters) for parameters in single]
        self.weights = nn.Parameter(torch.zeros(sum(sizes), dtype=first.dtype, device=first.device))
        self.gradient = self.weights.grad = torch.zeros_like(self.weights, requires_grad=False)
        self._flat = [nn.Parameter(part) for part in self.weights.detach().split(sizes)]
        self._members = [_place(parameters, flat) for parameters, flat in zip(single, self._flat, strict=True)]
        self._places = [(member.parameter, member.padding) for members in self._members for member in members]
        for group, flat, gradient in zip(optimizer.param_groups, self._flat, self.gradient.split(sizes), strict=True):
            flat.grad = gradient
            group["params"] = [flat]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, each with one flat parameter."""
        return self._optimizer.param_groups

    def set_rate(self, rate: float | Tensor) -> None:
        """Set the learning rate of all groups."""
        for group in self.groups:
            group["lr"] = rate

    @torch.no_grad()
    def step(self) -> None:
        """Take over the gradients of the model's parameters, clip them, and make a step."""
        parts: list[Tensor] = []
        for parameter, padding in self._places:
            gradient = parameter.grad
            parts.append(torch.zeros_like(parameter).view(-1) if gradient is None else gradient.reshape(-1))
            if padding is not None:
                parts.append(padding)
        torch.cat(parts, out=self.gradient)
        self.zero_grad()
        if self._clip_norm:  # torch.nn.utils.clip_grad_norm_ computes this, too, in four times the time
            norm = torch.linalg.vector_norm(self.gradient)
            self.gradient.mul_((self._clip_norm / (norm + 1e-6)).clamp_(max=1.0))
        self._optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients of the model's parameters."""
        for parameter, _ in self._places:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of an optimizer over single parameters; tensors are views of the flat ones."""
        state: dict[int, dict[str, Any]] = {}
        groups: list[dict[str, Any]] = []
        for group, flat, members in zip(self.groups, self._flat, self._members, strict=True):
            first, own = sum(len(known["params"]) for known in groups), self._optimizer.state.get(flat, {})
            for index, member in enumerate(members, first):
                if own:
                    state[index] = {name: _part(value, flat, member) for name, value in own.items()}
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "lr": float(group["lr"]), "params": list(range(first, first + len(members)))})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, or an optimizer over single parameters; settings stay as they are."""
        state: dict[int, dict[str, Any]] = {}
        first = 0
        for index, (flat, members) in enumerate(zip(self._flat, self._members, strict=True)):
            entries = [saved["state"].get(each) for each in range(first, first + len(members))]
            first += len(members)
            known = [(member, entry) for member, entry in zip(members, entries, strict=True) if entry]
            if known:
                state[index] = {name: _joined(name, known, flat) for name in known[0][1]}
        self.load_flat_state({"state": state})

    def flat_state(self) -> dict[str, Any]:
        """The state as it is: a few large tensors."""
        return {"state": self._optimizer.state_dict()["state"]}

    def load_flat_state(self, saved: Mapping[str, Any]) -> None:
        """Restore what `flat_state` returned; settings stay as they are."""
        settings = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": saved["state"], "param_groups": settings})


def _padded(parameter: nn.Parameter) -> int:
    return -(-parameter.numel() // ALIGNMENT) * ALIGNMENT


@torch.no_grad()
def _place(parameters: Sequence[nn.Parameter], flat: Tensor) -> list[_Member]:
    """Move parameters into a flat tensor, one after another."""
    members: list[_Member] = []
    start = 0
    for parameter in parameters:
        gap = _padded(parameter) - parameter.numel()
        members.append(_Member(parameter, start, flat.new_zeros(gap) if gap else None))
        parameter.data = members[-1].of(flat.detach()).copy_(parameter)
        start += _padded(parameter)
    return members


def _part(value: Any, flat: Tensor, member: _Member) -> Any:
    """What a value of a flat parameter's state is for one member: its part of a flat tensor, or the value itself."""
    if not isinstance(value, Tensor):
        return value
    return member.of(value) if value.shape == flat.shape else value.clone()


def _joined(name: str, known: Sequence[tuple[_Member, Mapping[str, Any]]], flat: Tensor) -> Any:
    """A value of a flat parameter's state from those of its members."""
    value = known[0][1][name]
    if not isinstance(value, Tensor) or value.shape != known[0][0].parameter.shape:
        return value
    joined = torch.zeros_like(flat, requires_grad=False)
    for member, entry in known:
        member.of(joined).copy_(entry[name])
    return joined
