"""Everything that a strategy may know about the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nas.strategy.presets import Strategy
from nas.strategy.tuning import Tuning
from results.database.objectives import Figures
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace


class Goal(Protocol):
    """What a strategy needs from an objective; `results.database.objectives.Objective` implements it."""

    @property
    def name(self) -> str:
        """As in ``--objective``."""

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Which way is better."""

    @property
    def is_quality(self) -> bool:
        """Whether it is a result of training, and unknown before."""

    @property
    def ideal(self) -> float:
        """The value that no architecture is better than."""

    def estimate(self, architecture: Architecture) -> float:
        """A positive number that orders architectures by this objective before they are evaluated."""

    def loss(self, figures: Figures) -> float:
        """Its value for an evaluated architecture, turned so that less is better."""


_SEEDS_APART = 1_000_003
"""Distance between the seeds of a search resumed one trial later. Arbitrary, a prime."""


@dataclass(frozen=True)
class Problem:
    """What to search, by which strategy, and for how long.

    Attributes:
        space: Where architectures come from.
        limits: Limits on cost that every architecture satisfies.
        objectives: What is optimised, the quality first.
        epochs: Epochs of a full training.
        strategy: The parts that work together.
        budget: Number of distinct architectures to try.
        max_fte: Limit on compute, in full-training equivalents; None for no limit.
        seed: Seed of all random choices.
        validation_images: Size of the validation split; None if it is not known.
        families: Hand-designed architectures to try first, by name.
        tuning: Settings of the training that are searched, too.
    """

    space: SearchSpace
    limits: Limits
    objectives: tuple[Goal, ...]
    epochs: int
    strategy: Strategy
    budget: int
    max_fte: float | None = None
    seed: int = 0
    validation_images: int | None = None
    families: Mapping[str, Architecture] = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)

    def seed_after(self, begun: int) -> int:
        """The seed of a search that has `begun` trials already: it must not repeat the draws of an earlier run."""
        return self.seed + _SEEDS_APART * begun
