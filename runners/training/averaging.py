"""An exponential moving average of weights: what is validated and kept in place of the weights that are trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from search_space.models.model import VisionModel

WARMUP_POWER = 2 / 3
"""The decay of step t is at most 1 - (1 + t)^-power, as in timm's `ModelEmaV3`; otherwise the average of a short
training would consist of its first weights."""


class WeightAverage:
    """The moving average of a model's weights and statistics, as in timm's `ModelEmaV3` with warm-up.

    Args:
        model: The model that is trained. Stochastic depth must not have a generator yet, as those cannot be copied.
        decay: Share of the average that stays at a step; 0 for no average.

    Attributes:
        model: The model to validate and to keep; without an average, the trained one itself.
    """

    def __init__(self, model: VisionModel, decay: float) -> None:
        self._trained, self._decay = model, decay
        self._before: dict[str, Any] | None = None
        self.model = copy.deepcopy(model).requires_grad_(False) if decay > 0 else model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights; `step` counts the steps of the training before this one."""
        if self.model is self._trained:
            return
        decay = min(self._decay, 1 - (1 + step) ** -WARMUP_POWER)
        means, weights, counters = self._tensors
        torch._foreach_lerp_(means, weights, 1 - decay)
        for counter, now in counters:
            counter.copy_(now)

    @cached_property
    def _tensors(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """The tensors of the average, those that it follows, and the pairs of counters (of batch norm).

        Found at the first step, since an optimizer may move the weights before; later changes are in place.
        """
        pairs = list(zip(self.model.state_dict().values(), self._trained.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        return [mean for mean, _ in floats], [now for _, now in floats], counters

    def state(self) -> Mapping[str, Any] | None:
        """What a checkpoint needs; None without an average."""
        return None if self.model is self._trained else self.model.state_dict()

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Restore the average from a checkpoint."""
        if state is not None:
            self.model.load_state_dict(state)

    def remember(self) -> None:
        """Remember the average, to return to it if memory runs out."""
        if self.model is not self._trained:
            self._before = {name: value.clone() for name, value in self.model.state_dict().items()}

    def rewind(self) -> None:
        """Return to what was remembered."""
        self.restore(self._before)
