"""When to stop a training early, and which of the stopped ones go on.

A pruner names epochs ("rungs") at which a trial waits until the search knows enough to let it go on, from its
checkpoint. Whoever is never called was pruned. Comparing earlier than a quarter of the training misleads when token
mixers differ: linear mixers look good early and end behind, permuting ones the reverse. So no rung lies before
`FIRST_RUNG`, but for the pruner that exists to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from search_space.registry import Registered, Registry

FIRST_RUNG = 0.25
"""Share of the epochs before which no trial is stopped."""


class Pruner(Protocol):
    """Decides at rungs."""

    @property
    def all_rungs(self) -> tuple[int, ...]:
        """Every epoch at which any trial may have to wait."""

    def rungs(self, number: int) -> tuple[int, ...]:
        """Epochs after which trial `number` waits."""

    def has_quota(self, passed: Sequence[bool]) -> bool:
        """Whether anybody may go on now, however good; if not, nobody has to be judged.

        Args:
            passed: Who of all trials that have reached a rung has gone on already.
        """

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        """Who of those that wait at a rung goes on now.

        Args:
            losses: Of all trials that have reached the rung, less is better.
            passed: Which of them have gone on already.
            waiting: Which of them wait; the rest were pruned by an earlier run of the study.

        Returns:
            Indices of waiting trials, the best first.
        """


@dataclass(frozen=True)
class NoPruner:
    """Every trial is trained in full."""

    all_rungs: tuple[int, ...] = ()

    def rungs(self, number: int) -> tuple[int, ...]:
        return ()

    def has_quota(self, passed: Sequence[bool]) -> bool:
        return True

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        return _best_first(losses, waiting)


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving (https://arxiv.org/abs/1810.05834): the best `share` go on at each rung.

    Of n trials that reached a rung, `share` times n may pass it, whoever was let through before. The paper's rule, to
    pass whoever is among the best at the moment, lets more than that through when later trials are better than earlier
    ones, as they are in a search that learns.

    Attributes:
        all_rungs: The rungs.
        share: How many go on.
    """

    all_rungs: tuple[int, ...]
    share: float

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        return _best_first(losses, waiting)[: max(0, self._left(passed))]

    def has_quota(self, passed: Sequence[bool]) -> bool:
        return self._left(passed) > 0

    def _left(self, passed: Sequence[bool]) -> int:
        return self.places(len(passed)) - sum(passed)

    def places(self, count: int) -> int:
        """How many of so many trials that reached a rung may pass it."""
        return int(self.share * count + 1e-9)


@dataclass(frozen=True)
class TwoRateHalving(Halving):
    """Halving that stops few as long as there are few, and most of those that come later.

    After a quarter of the training the best tenth can be told from the worst third, hardly more. Once there are good
    trials, though, the next one is worth going on with only if it may beat them.

    Attributes:
        few: Of so many trials `share` may go on.
        later: Of those beyond, this share.
    """

    share: float = 2 / 3
    few: int = 48
    later: float = 1 / 8

    def places(self, count: int) -> int:
        return int(self.share * min(count, self.few) + self.later * max(0, count - self.few) + 1e-9)


@dataclass(frozen=True)
class Hyperband:
    """Hyperband (https://arxiv.org/abs/1603.06560): trials take turns in starting to be halved at a later rung.

    The last of the brackets prunes nothing, which hedges against slow starters.
    """

    all_rungs: tuple[int, ...]
    share: float = 1 / 2

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs[number % (len(self.all_rungs) + 1) :]

    def has_quota(self, passed: Sequence[bool]) -> bool:
        return Halving(self.all_rungs, self.share).has_quota(passed)

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        return Halving(self.all_rungs, self.share).promoted(losses, passed, waiting)


@dataclass(frozen=True)
class Median:
    """The median stopping rule: whoever is not worse than the median at a rung goes on.

    Attributes:
        all_rungs: The rungs.
        warmup: How many have to have reached a rung before anyone is kept waiting there.
    """

    all_rungs: tuple[int, ...]
    warmup: int = 5

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs

    def has_quota(self, passed: Sequence[bool]) -> bool:
        return True

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        best_first = _best_first(losses, waiting)
        return [n for n in best_first if len(losses) < self.warmup or losses[n] <= median(losses)]


PrunerFactory = Callable[[int], Pruner]
"""Makes a pruner for trainings of so many epochs."""

PRUNERS: Registry[PrunerFactory] = Registry("pruner")


def register_pruner(name: str) -> Callable[[Registered], Registered]:
    """Decorator: this class or function, called with the epochs of a full training, makes the pruner `name`.

    Example:
        >>> @register_pruner("last_epoch")
        ... def last_epoch(epochs: int) -> Pruner:
        ...     return Halving((epochs - 1,), share=1 / 2)

    Raises:
        ValueError: If the name is taken.
    """
    return PRUNERS.register(name)


def make_pruner(name: str, epochs: int) -> Pruner:
    """The pruner of this name for trainings of `epochs` epochs.

    Raises:
        ConfigError: If there is none.
    """
    return PRUNERS.find(name)(epochs)


@register_pruner("gentle")
def _two_rate_halving(epochs: int) -> Pruner:
    return TwoRateHalving(_rungs(epochs, (FIRST_RUNG,)))


@register_pruner("halving")
def _halving(epochs: int) -> Pruner:
    return Halving(_rungs(epochs, (FIRST_RUNG,)), share=1 / 4)  # one of four, as in the paper's experiments


@register_pruner("hyperband")
def _hyperband(epochs: int) -> Pruner:
    return Hyperband(_rungs(epochs, (FIRST_RUNG, 2 * FIRST_RUNG)))


@register_pruner("median")
def _median(epochs: int) -> Pruner:
    return Median(_rungs(epochs, (FIRST_RUNG, 2 * FIRST_RUNG, 3 * FIRST_RUNG)))


@register_pruner("one_epoch")
def _one_epoch(epochs: int) -> Pruner:
    """For comparison (https://arxiv.org/abs/2307.15422)."""
    return Halving((1,) if epochs > 1 else (), share=1 / 10)


@register_pruner("none")
def _none(epochs: int) -> Pruner:
    return NoPruner()


def _best_first(losses: Sequence[float], waiting: Sequence[bool]) -> list[int]:
    """Indices of those that wait, the best first."""
    return sorted((n for n in range(len(losses)) if waiting[n]), key=lambda n: losses[n])


def _rungs(epochs: int, shares: Sequence[float]) -> tuple[int, ...]:
    """The epochs at these shares of the training, rounded up, the last epoch left out."""
    rungs = {-int(-epochs * share // 1) for share in shares}
    return tuple(sorted(rung for rung in rungs if 1 <= rung < epochs))
