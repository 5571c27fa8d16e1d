"""What models of the search space read from a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from nas.strategy.problem import Goal
from search_space.architecture import Architecture


class Observed(Protocol):
    """A trial as `nas.strategy.curves` and `nas.strategy.ranking` see it; losses are turned so that less is better."""

    @property
    def key(self) -> str:
        """The key that identifies it."""

    @property
    def architecture(self) -> Architecture:
        """What is trained."""

    @property
    def family(self) -> str:
        """The token mixer of most of its blocks; see `nas.strategy.features.family_of`."""

    @property
    def losses(self) -> Mapping[int, float]:
        """The loss after every epoch, from 1."""

    @property
    def epoch(self) -> int:
        """The last epoch."""

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end."""

    @property
    def is_infeasible(self) -> bool:
        """Whether it can never be trained to its end."""

    @property
    def is_informative(self) -> bool:
        """Whether its curve is long enough to extrapolate."""

    @property
    def epoch_seconds(self) -> float:
        """Median seconds of an epoch; 0 if they are not known."""

    def train_loss(self, epoch: int) -> float:
        """The training loss of an epoch."""

    def costs(self, objectives: Sequence[Goal]) -> Sequence[float]:
        """Its losses by objectives other than the first."""
