"""When a training is stopped early, and which of the stopped trials are resumed.

A pruner names epochs ("rungs") at which a trial waits, with a checkpoint, until the pruner promotes it. A trial that is
never promoted counts as pruned. Unlike Optuna's pruners, which decide once, these decide again: a trial that waits now
may be promoted when others have reached the rung.

Rungs are at a quarter of the training or later. Token mixers learn at different speeds: linear ones start fast and
plateau, permuting ones do the reverse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import median
from typing import ClassVar

from search_space.errors import allowed
from search_space.registry import Registered, Registry

FIRST_RUNG = 0.25
"""No trial is stopped before this share of the epochs.

Kendall's tau between the validation loss after 1/16, 1/8, 1/4 and 1/2 of a training and the final one, among
architectures of equal size: -0.10, 0.07, 0.25 and 0.44 on digits; after 1/8, 1/4, 3/8 and 5/8 on Fashion-MNIST: 0.16,
0.33, 0.48 and 0.53. On digits, halving at 1/8 was 0.4 times as efficient as random search, at 1/4 3.1 times.
"""
RENAMED = {"gentle": "two_rate"}
"""Pruners by their names in earlier versions, which are still accepted."""


class Pruner(ABC):
    """Decides at rungs. A pruner has no state: the same arguments give the same decisions.

    Args:
        epochs: Epochs of a full training.

    Attributes:
        shares: The positions of the rungs, as shares of a full training.
        all_rungs: Every epoch at which any trial may have to wait, in ascending order.
    """

    shares: ClassVar[tuple[float, ...]] = ()

    def __init__(self, epochs: int) -> None:
        rungs = {-int(-epochs * share // 1) for share in self.shares}  # rounded up
        self.all_rungs = tuple(sorted(rung for rung in rungs if 1 <= rung < epochs))

    def rungs(self, number: int) -> tuple[int, ...]:
        """The epochs after which trial `number` waits; by default all rungs."""
        return self.all_rungs

    def has_quota(self, passed: Sequence[bool]) -> bool:
        """Whether any trial could be promoted now, no matter how good; if not, the trials need not be compared.

        Args:
            passed: Which of the trials that have reached a rung have been promoted from it.
        """
        return True

    @abstractmethod
    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        """Return the trials at a rung that are promoted now.

        Args:
            losses: The losses of all trials that have reached the rung; less is better.
            passed: Which of them have been promoted already.
            waiting: Which of them wait; the rest were pruned by an earlier run of the study.

        Returns:
            Indices of waiting trials, the best first.
        """


PrunerFactory = Callable[[int], Pruner]
"""Makes a pruner from the epochs of a full training."""

PRUNERS: Registry[PrunerFactory] = Registry("pruner")


def register_pruner(name: str) -> Callable[[Registered], Registered]:
    """Decorate a class or function that makes the pruner `name` from the epochs of a full training.

    Example:
        >>> @register_pruner("half_way")
        ... class HalfWay(Halving):
        ...     shares = (1 / 2,)
        ...     share = 1 / 3

    Raises:
        ValueError: If the name is taken.
    """
    return PRUNERS.register(name)


def pruner_problem(name: object) -> str | None:
    """What is wrong with the name of a pruner; None if nothing is."""
    known = isinstance(name, str) and (name in PRUNERS or name in RENAMED)
    return None if known else allowed(name, PRUNERS)


def make_pruner(name: str, epochs: int) -> Pruner:
    """The pruner of this name for trainings of `epochs` epochs.

    Raises:
        ConfigError: If there is none.
    """
    return PRUNERS.find(RENAMED.get(name, name))(epochs)


class Halving(Pruner):
    """Asynchronous successive halving (https://arxiv.org/abs/1810.05834): the best `share` are promoted at each rung.

    Of n trials that reached a rung, at most `share` times n pass it. The paper promotes every trial that is currently
    among the best; if later trials are better than earlier ones, as in a search that learns, that promotes more than
    the share.

    Attributes:
        share: The share that is promoted.
    """

    shares: ClassVar[tuple[float, ...]] = (FIRST_RUNG,)
    share: ClassVar[float]

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        return _best_first(losses, waiting)[: max(0, self._left(passed))]

    def has_quota(self, passed: Sequence[bool]) -> bool:
        return self._left(passed) > 0

    def quota(self, count: int) -> int:
        """How many of `count` trials that reached a rung may pass it."""
        return int(self.share * count + 1e-9)

    def _left(self, passed: Sequence[bool]) -> int:
        return self.quota(len(passed)) - sum(passed)


@register_pruner("two_rate")
class TwoRateHalving(Halving):
    """Halving that stops few of the first trials, and most of the later ones, which have good trials to beat.

    A quarter of the training separates the best tenth from the worst third, and little more.

    Attributes:
        share: The share of the first `first` trials that is promoted. With 1/2 or 1/3 the regret is lower by 0.0022 +-
            0.0025 nats (docs/bench.md), but more of the best tenth are stopped.
        first: The number of trials that the first rate holds for. Arbitrary.
        later_share: The share of the later trials that is promoted. Arbitrary.
    """

    share = 2 / 3
    first: ClassVar[int] = 48
    later_share: ClassVar[float] = 1 / 8

    def quota(self, count: int) -> int:
        return int(self.share * min(count, self.first) + self.later_share * max(0, count - self.first) + 1e-9)


@register_pruner("halving")
class QuarterHalving(Halving):
    """Halving at a quarter of the training, with the reduction factor of the paper's experiments, 4."""

    share = 1 / 4


@register_pruner("hyperband")
class Hyperband(Halving):
    """Hyperband (https://arxiv.org/abs/1603.06560): brackets, taken in turn, differ in their first rung.

    The last bracket prunes nothing, which hedges against slow starters. The share is arbitrary: one third in the paper,
    whose rungs are farther apart.
    """

    shares = (FIRST_RUNG, 2 * FIRST_RUNG)
    share = 1 / 2

    def rungs(self, number: int) -> tuple[int, ...]:
        return self.all_rungs[number % (len(self.all_rungs) + 1) :]


@register_pruner("median")
class Median(Pruner):
    """The median stopping rule (https://doi.org/10.1145/3097983.3098043): a trial at or below the median is promoted.

    Attributes:
        warmup: Trials that must have reached a rung before one waits there; as Optuna's `MedianPruner`.
    """

    shares = (FIRST_RUNG, 2 * FIRST_RUNG, 3 * FIRST_RUNG)
    warmup: ClassVar[int] = 5

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        best_first = _best_first(losses, waiting)
        return [n for n in best_first if len(losses) < self.warmup or losses[n] <= median(losses)]


@register_pruner("one_epoch")
class OneEpoch(Halving):
    """The best tenth after one epoch (https://arxiv.org/abs/2307.15422), before any other rung: for comparison."""

    share = 1 / 10

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self.all_rungs = (1,) if epochs > 1 else ()


@register_pruner("none")
class NoPruner(Pruner):
    """Every trial is trained in full."""

    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        return _best_first(losses, waiting)


def _best_first(losses: Sequence[float], waiting: Sequence[bool]) -> list[int]:
    """Indices of the waiting trials, the best first."""
    return sorted((n for n in range(len(losses)) if waiting[n]), key=lambda n: losses[n])
