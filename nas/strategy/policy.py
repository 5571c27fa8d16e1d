"""The default search strategy: a surrogate of the study's own trials decides which architecture is tried next.

A trial belongs to the phase of the search that proposed it:

    startup    random, until there are enough trials for a surrogate
    explore    random, for every `EXPLORE`-th trial: the surrogate may be wrong where the search has not looked
    sampler    a random candidate that the acquisition function ranks first
    local      a neighbour of one of the best architectures that the acquisition function ranks first

One pool holds all candidates: 256 random draws at first. Whenever the surrogate is asked, neighbours of the best
architectures and new draws join it. `nas.strategy.samplers.surrogate` wraps this class as an Optuna sampler;
`nas.strategy.planner` adds rungs, proxies that are computed elsewhere, and limits on compute.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Generic

from nas.strategy.candidates import CandidateGenerator
from nas.strategy.pool import Candidate, CandidatePool
from nas.strategy.problem import Problem
from nas.strategy.ranking import Ranking, T
from search_space.architecture import Architecture

STARTUP = 6
"""The number of trials, hand-designed families included, before the surrogate chooses. With 12 the regret is lower by
0.0020 +- 0.0015 nats (docs/bench.md), which may be the luck of the comparison."""
EXPLORE = 8
"""Every `EXPLORE`-th trial is random. Arbitrary: without it the regret changes by less than 0.002 nats, +- 0.002
(docs/bench.md)."""
CENTRES = 3
"""The number of best architectures whose neighbours become candidates. Arbitrary."""
STEPS = 4
"""The number of neighbours of each that become candidates at a time. Arbitrary."""


class SurrogatePolicy(Generic[T]):
    """Chooses among the candidates of a pool.

    Args:
        problem: What is searched for.
        generator: Draws candidates, and records which architectures have been tried.
        pool: The candidates, drawn by the generator.
        ranking: Ranks candidates.
        rng: Source of the random choices.
    """

    def __init__(
        self,
        problem: Problem,
        generator: CandidateGenerator,
        pool: CandidatePool,
        ranking: Ranking[T],
        rng: random.Random,
    ) -> None:
        self._problem, self._generator, self._pool = problem, generator, pool
        self._ranking, self._rng = ranking, rng

    def random(self, number: int) -> Candidate | None:
        """The random candidate that becomes trial `number`; None if the surrogate chooses or nothing is left."""
        self._pool.fill()
        if not len(self._pool):
            return None
        phase = "startup" if number < STARTUP else "explore"
        if number >= STARTUP and number % EXPLORE and self._ranking.can_rank:
            return None
        candidates = self._pool.candidates()
        drawn = [candidate for candidate in candidates if candidate.phase == "sampler"]
        return replace(self._rng.choice(drawn or candidates), phase=phase)

    def ranked(self) -> list[Candidate]:
        """All candidates, the best first, for a trial that the surrogate chooses; none if nothing is left."""
        self._pool.fill()
        if not len(self._pool):
            return []
        nearby = self._neighbours() if self._problem.strategy.local else ()
        self._pool.refresh(nearby, self._ranking.rank)
        return self._ranking.rank(self._pool.candidates())

    def _neighbours(self) -> Iterator[Architecture]:
        """Some neighbours of the best architectures that have not been trained."""
        space, limits = self._problem.space, self._problem.limits
        for centre in self._ranking.centres(CENTRES):
            for _ in range(STEPS):
                neighbour = space.mutate(centre.architecture, self._rng, limits)
                if not self._generator.knows(neighbour):
                    yield neighbour
