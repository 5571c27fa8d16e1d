"""Search strategies: which parts work together.

A strategy is a sampler, which proposes; a ranker, which chooses among proposals; a pruner, which stops trainings
early; and two switches. Every part can be set by a flag of its own, so an ablation is a flag, and every strategy that
`nas bench` compares can be used in a real search under the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

from runners.measuring.proxies import PROXIES


def ranker_names() -> tuple[str, ...]:
    """What may choose among proposals: nothing, the model, or any proxy."""
    return ("none", "model", *PROXIES)


@dataclass(frozen=True)
class Strategy:
    """The parts of a search.

    Attributes:
        summary: What it is, in a line.
        sampler: Who proposes architectures; see `nas.strategy.samplers.registry`.
        ranker: Who chooses among them: "none" takes them as they come, "model" by a model fitted in the study
            (`nas.strategy.surrogate`), "params" or another proxy by its value.
        proxies: What the model sees beside the architecture, for as much as the study's own results support it.
        pruner: Who stops trainings early; see `nas.strategy.pruners`.
        families: Whether the hand-designed families are tried first.
        local: Whether the neighbours of the best ones are candidates too; needs the ranker "model".
    """

    summary: str
    sampler: str = "random"
    ranker: str = "none"
    proxies: tuple[str, ...] = ()
    pruner: str = "none"
    families: bool = False
    local: bool = False

    @property
    def scored_by(self) -> tuple[str, ...]:
        """The proxies that architectures are scored by."""
        return (self.ranker,) if self.ranker in PROXIES else self.proxies


STRATEGIES: dict[str, Strategy] = {
    "auto": Strategy(
        "families first, then what a model fitted in the study ranks highest; local search; the worst stopped early",
        ranker="model",
        proxies=("zico",),
        pruner="gentle",
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
