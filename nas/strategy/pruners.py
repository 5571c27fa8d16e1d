"""When a training is stopped early, and which of the stopped trials are resumed.

A pruner names epochs ("rungs") at which a trial waits, with a checkpoint, until the pruner promotes it. A trial that is
never promoted counts as pruned. Unlike Optuna's pruners, which decide on a trial once, these come back to it: a trial
that waits now may be promoted when others have reached the rung.

Rungs lie at a quarter of the training or later. Token mixers learn at different speeds: linear ones start fast and
plateau, permuting ones the reverse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import median
from typing import ClassVar

from search_space.errors import allowed
from search_space.registry import Registered, Registry

FIRST_RUNG = 0.25
"""Share of the epochs before which no trial is stopped.

Kendall's tau between the validation loss after 1/16, 1/8, 1/4 and 1/2 of a training and the final one, among
architectures of equal size: -0.10, 0.07, 0.25 and 0.44 on digits; after 1/8, 1/4, 3/8 and 5/8 on Fashion-MNIST: 0.16,
0.33, 0.48 and 0.53. On digits, halving at 1/8 was 0.4 times as efficient as random search, at 1/4 3.1 times.
"""
RENAMED = {"gentle": "two_rate"}
"""Pruners by the names that they had in earlier versions, which are still understood."""


class Pruner(ABC):
    """Decides at rungs. State lies in the study, not in the pruner: the same arguments give the same answers.

    Args:
        epochs: Epochs of a full training.

    Attributes:
        shares: Where the rungs lie, as shares of a full training.
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
        """Whether any trial could be promoted now, however good; if not, the trials need not be compared.

        Args:
            passed: Which of the trials that have reached a rung have been promoted from it.
        """
        return True

    @abstractmethod
    def promoted(self, losses: Sequence[float], passed: Sequence[bool], waiting: Sequence[bool]) -> list[int]:
        """The trials at a rung that are promoted now.

        Args:
            losses: Of all trials that have reached the rung, less is better.
            passed: Which of them have been promoted already.
            waiting: Which of them wait; the rest were pruned by an earlier run of the study.

        Returns:
            Indices of waiting trials, the best first.
        """


PrunerFactory = Callable[[int], Pruner]
"""Makes a pruner from the epochs of a full training."""

PRUNERS: Registry[PrunerFactory] = Registry("pruner")


def register_pruner(name: str) -> Callable[[Registered], Registered]:
    """Decorator: this class or function, called with the epochs of a full training, makes the pruner `name`.

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

    Of n trials that reached a rung, `share` times n may pass it in all. The paper promotes every trial that is among
    the best at the moment; where later trials are better than earlier ones, as in a search that learns, that promotes
    more than the share.

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
    """Halving that stops few trials at first, and most of the later ones, which have good trials to beat.

    After a quarter of the training the best tenth can be told from the worst third, hardly more.

    Attributes:
        share: The share that is promoted of the first `first` trials. With 1/2 or 1/3 the regret is lower by 0.0022 +-
            0.0025 nats (docs/bench.md), at the price of stopping more of the best tenth.
        first: Where the first rate ends. Arbitrary.
        later_share: The share that is promoted of the trials after them. Arbitrary.
    """

    share = 2 / 3
    first: ClassVar[int] = 48
    later_share: ClassVar[float] = 1 / 8

    def quota(self, count: int) -> int:
        return int(self.share * min(count, self.first) + self.later_share * max(0, count - self.first) + 1e-9)


@register_pruner("halving")
class QuarterHalving(Halving):
    """Halving at a quarter of the training, by the reduction factor of the paper's experiments, 4."""

    share = 1 / 4


@register_pruner("hyperband")
class Hyperband(Halving):
    """Hyperband (https://arxiv.org/abs/1603.06560): trials take turns in starting to be halved at a later rung.

    The last of the brackets prunes nothing, which hedges against slow starters. The share is arbitrary: one third in
    the paper, whose rungs lie farther apart.
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
