"""Search strategies: which parts work together.

A strategy is a sampler, which proposes architectures; a ranker, which may choose among its proposals; a pruner, which
stops trainings early; and two switches. Each part has a flag that replaces it, so an ablation is a flag, and every
strategy that `nas bench` compares can be used in a real search under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runners.proxies import PROXIES
from search_space.errors import allowed

SURROGATE = "surrogate"
"""The sampler that chooses by a surrogate, which may see proxies and the neighbours of the best architectures."""


def ranker_names() -> tuple[str, ...]:
    """The rankers of a sampler's proposals: none, or any proxy."""
    return ("none", *PROXIES)


def ranker_problem(name: object) -> str | None:
    """What is wrong with the name of a ranker; None if nothing is."""
    if name == "model":
        return f"it is now the sampler {SURROGATE!r}: --sampler {SURROGATE}"
    names = ranker_names()
    return None if name in names else allowed(name, names)


@dataclass(frozen=True)
class Strategy:
    """The parts of a search.

    Attributes:
        summary: A description in one line.
        sampler: What proposes architectures; see `nas.strategy.samplers.registry`.
        ranker: What chooses among the proposals: "none" takes each as it is proposed, "params" or another proxy takes
            the one with the highest value.
        proxies: Proxies that the surrogate sees in addition to the architecture. They count as much as the study's own
            results support.
        pruner: What stops trainings early; see `nas.strategy.pruners`.
        families: Whether the hand-designed families are tried first.
        local: Whether neighbours of the best architectures are candidates of the surrogate.
    """

    summary: str
    sampler: str = "random"
    ranker: str = "none"
    proxies: tuple[str, ...] = ()
    pruner: str = "none"
    families: bool = False
    local: bool = False

    @property
    def has_surrogate(self) -> bool:
        """Whether a surrogate chooses the architectures."""
        return self.sampler == SURROGATE

    @property
    def drawn_by(self) -> str:
        """The sampler that draws candidates."""
        return "random" if self.has_surrogate else self.sampler

    def with_parts(self, given: Mapping[str, Any]) -> Strategy:
        """This strategy with some parts replaced.

        Proxies and neighbours are used by the surrogate alone, and are removed with it. A ranker chooses among the
        proposals of another sampler, so it replaces the surrogate by random search.

        Args:
            given: The new parts by the names of their fields.
        """
        parts = dict(given)
        if parts.get("ranker", "none") != "none" and self.has_surrogate:
            parts.setdefault("sampler", "random")
        if parts.get("sampler", self.sampler) != SURROGATE:
            parts = {"local": False, "proxies": (), **parts}
        else:
            parts.setdefault("ranker", "none")
        return replace(self, **parts)

    @property
    def scored_by(self) -> tuple[str, ...]:
        """The proxies that architectures are scored by."""
        return (self.ranker,) if self.ranker in PROXIES else self.proxies


STRATEGIES: dict[str, Strategy] = {
    "auto": Strategy(
        "families first, then what a surrogate fitted in the study ranks highest; the worst stopped early",
        sampler=SURROGATE,
        proxies=("zico",),
        pruner="two_rate",
        families=True,
        local=True,
    ),
    "random": Strategy("random architectures, trained in full"),
    "random+halving": Strategy("random architectures, the best quarter trained in full", pruner="halving"),
    "tpe": Strategy("multivariate TPE", sampler="tpe"),
    "tpe+halving": Strategy("multivariate TPE, the best quarter trained in full", sampler="tpe", pruner="halving"),
    "nsgaii": Strategy("NSGA-II", sampler="nsgaii"),
    "evolution": Strategy("regularised evolution", sampler="evolution"),
    "local": Strategy("local search from a random start", sampler="local"),
    "one_epoch": Strategy("random architectures, the best tenth after one epoch trained in full", pruner="one_epoch"),
    "largest": Strategy("the largest architectures", ranker="params"),
    "entropy": Strategy("those with the highest mean block entropy", ranker="entropy"),
}
