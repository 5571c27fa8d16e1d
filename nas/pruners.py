"""When to stop a training early.

A pruner names the epochs ("rungs") at which a trial has to justify itself, and compares it there with all trials that
came as far. Comparing earlier than a quarter of the training misleads when token mixers differ: linear mixers look good
early and end behind, permuting ones the reverse. So no rung lies before `FIRST_RUNG`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from search_space.errors import ConfigError, allowed

FIRST_RUNG = 0.25
"""Share of the epochs before which no trial is stopped."""


class Pruner(Protocol):
    """Decides at rungs."""

    @property
    def all_rungs(self) -> tuple[int, ...]:
        """Every epoch at which any trial may be compared."""

    def rungs(self, number: int) -> tuple[int, ...]:
        """Epochs after which trial `number` is compared."""

    def keep(self, loss: float, others: Sequence[float]) -> bool:
        """Whether a trial goes on.

        Args:
            loss: Its loss at a rung (less is better).
            others: Losses of all other trials that reached this rung.
        """


@dataclass(frozen=True)
class NoPruner:
    """Every trial is trained in full."""

    all_rungs: tuple[int, ...] = ()

    def rungs(self, number: int) -> tuple[int, ...]:
        return ()

    def keep(self, loss: float, others: Sequence[float]) -> bool:
        return True


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving (https://arxiv.org/abs/1810.05934): the best 1 / reduction go on at each rung.

    Attributes:
        all_rungs: The rungs.
        reduction: One of how many goes on.
    """

    all_rungs: tuple[int, ...]
    reduction: int = 4

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs

    def keep(self, loss: float, others: Sequence[float]) -> bool:
        better = sum(other < loss for other in others)
        return better < max(1, (len(others) + 1) // self.reduction)


@dataclass(frozen=True)
class Hyperband:
    """Hyperband (https://arxiv.org/abs/1603.06560): trials take turns in starting to be halved at a later rung.

    The last of the brackets prunes nothing, which hedges against slow starters.
    """

    all_rungs: tuple[int, ...]
    reduction: int = 2

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs[number % (len(self.all_rungs) + 1) :]

    def keep(self, loss: float, others: Sequence[float]) -> bool:
        return Halving(self.all_rungs, self.reduction).keep(loss, others)


@dataclass(frozen=True)
class Median:
    """The median stopping rule: a trial worse than the median of the others at a rung is stopped.

    Attributes:
        all_rungs: The rungs.
        warmup: How many others have to have reached a rung before anyone is stopped there.
    """

    all_rungs: tuple[int, ...]
    warmup: int = 4

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs

    def keep(self, loss: float, others: Sequence[float]) -> bool:
        return len(others) < self.warmup or loss <= median(others)


PRUNERS = ("halving", "hyperband", "median", "none")


def make_pruner(name: str, epochs: int) -> Pruner:
    """The pruner of this name for trainings of `epochs` epochs.

    Raises:
        ConfigError: If there is none.
    """
    if name == "halving":
        return Halving(_rungs(epochs, (FIRST_RUNG,)))
    if name == "hyperband":
        return Hyperband(_rungs(epochs, (FIRST_RUNG, 2 * FIRST_RUNG)))
    if name == "median":
        return Median(_rungs(epochs, (FIRST_RUNG, 2 * FIRST_RUNG, 3 * FIRST_RUNG)))
    if name == "none":
        return NoPruner()
    raise ConfigError(f"the pruner is {name!r}; {allowed(name, PRUNERS)}")


def _rungs(epochs: int, shares: Sequence[float]) -> tuple[int, ...]:
    """The epochs at these shares of the training, rounded up, the last epoch left out."""
    rungs = {-int(-epochs * share // 1) for share in shares}
    return tuple(sorted(rung for rung in rungs if 1 <= rung < epochs))
