"""The candidate generator: a sampler whose proposals are made feasible and new.

Optuna's samplers work on a study in memory, not on the one in the database. That study also holds running trials,
duplicates and infeasible architectures, at no cost. The database gets one row for each architecture that is evaluated,
with its active parameters only. Random search needs no study.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from nas.strategy.axes import distributions_of
from results.database.optuna_tables import Direction
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)

SAMPLER_TRIES = 20
"""Consecutive proposals that may be duplicates before one is drawn at random instead. Arbitrary: TPE proposes 8 to 55 %
duplicates on conditional discrete spaces."""
RANDOM_TRIES = 200
"""Consecutive random draws that may be duplicates before the space counts as exhausted. Arbitrary."""


@dataclass(frozen=True)
class Known:
    """What a sampler learns about an architecture that has been, or is being, evaluated.

    Attributes:
        values: Objective values, if it was trained in full.
        curve: Value of the first objective by epoch.
        infeasible: Whether training it again would fail again.
        running: Whether it is still running.
    """

    values: Sequence[float] | None = None
    curve: Mapping[int, float] | None = None
    infeasible: bool = False
    running: bool = False


class CandidateGenerator:
    """Proposes feasible architectures that have not been evaluated.

    Args:
        space: The space.
        limits: Limits on cost that every proposal satisfies.
        sampler: An Optuna sampler; None for random search, which needs no study.
        directions: The direction of every objective.
        seed: Seed of the random draws.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits,
        sampler: BaseSampler | None,
        directions: Sequence[Direction],
        seed: int,
    ) -> None:
        self._space, self._limits, self._seed = space, limits, seed
        self._turn, self._rng = -1, random.Random(seed)
        self._distributions = distributions_of(space)
        self._storage = optuna.storages.InMemoryStorage()
        self._study: optuna.Study | None = None
        if sampler is not None:
            self._study = optuna.create_study(storage=self._storage, directions=list(directions), sampler=sampler)
        self._numbers: dict[str, int] = {}  # architecture hash -> number of its unfinished trial in memory
        self._known: dict[str, Known] = {}

    def turn(self, number: int) -> None:
        """Set the trial that the next proposals are for.

        Random draws depend on the seed and on this number alone, so random search tries the same architectures no
        matter how often it is stopped and resumed.
        """
        if number != self._turn:
            self._turn, self._rng = number, random.Random(f"{self._seed}/{number}")

    def propose(self) -> Architecture | None:
        """Return the next architecture to evaluate, and record it; None if no other is within the limits."""
        if self._study is None:
            return self._entered(self._draw_at_random())
        for _ in range(SAMPLER_TRIES):
            number, architecture = self._ask(self._study)
            if architecture.hash not in self._known:
                self._numbers[architecture.hash] = number
                self._known[architecture.hash] = Known(running=True)
                return architecture
            self._tell(self._study, number, self._known[architecture.hash])
            if len(self._known) >= self._space.size:
                return None
        return self._entered(self._draw_at_random())

    def draw(self, skip: Container[str] = ()) -> Architecture | None:
        """Return an architecture without recording it; None if no other is within the limits.

        Args:
            skip: Hashes of architectures that are not wanted, because they were drawn before.
        """
        if self._study is not None:
            for _ in range(SAMPLER_TRIES):
                number, architecture = self._ask(self._study)
                self._tell(self._study, number, self._known.get(architecture.hash, Known(running=True)))
                if architecture.hash not in self._known and architecture.hash not in skip:
                    return architecture
        return self._draw_at_random(skip)

    def knows(self, architecture: Architecture) -> bool:
        """Whether an architecture has been proposed here or recorded."""
        return architecture.hash in self._known

    def enter(self, architecture: Architecture) -> None:
        """Record an architecture that is being evaluated but was not proposed here."""
        self._known[architecture.hash] = Known(running=True)
        if self._study is not None:
            self._numbers[architecture.hash] = self._add(self._study, architecture)

    def learn(self, architecture: Architecture, known: Known) -> None:
        """Record the latest result of an architecture that was proposed or recorded before."""
        self._known[architecture.hash] = known
        if self._study is not None:
            number = self._numbers.pop(architecture.hash, None)
            self._tell(self._study, self._add(self._study, architecture) if number is None else number, known)

    def _entered(self, architecture: Architecture | None) -> Architecture | None:
        if architecture is not None:
            self.enter(architecture)
        return architecture

    def _draw_at_random(self, skip: Container[str] = ()) -> Architecture | None:
        """Draw uniformly on every axis and make the result feasible; if that only repeats, uniformly over the space."""
        for attempt in range(SAMPLER_TRIES + RANDOM_TRIES):
            draw = self._space.draw if attempt < SAMPLER_TRIES else self._space.sample
            architecture = draw(self._rng, self._limits)
            if architecture.hash not in self._known and architecture.hash not in skip:
                return architecture
        return None

    def _ask(self, study: optuna.Study) -> tuple[int, Architecture]:
        """The sampler's proposal, made feasible."""
        with _quiet():
            trial = study.ask(self._distributions)
        wished = trial.params
        architecture = self._space.complete(wished, self._rng, self._limits)
        for name, value in self._space.encode(architecture).items():
            if wished[name] != value:  # the sampler learns what is evaluated, not what it proposed
                kind = self._distributions[name]
                self._storage.set_trial_param(trial._trial_id, name, kind.to_internal_repr(value), kind)
        return trial.number, architecture

    def _add(self, study: optuna.Study, architecture: Architecture) -> int:
        """A running trial in memory for an architecture; inactive axes get random values, as from a sampler."""
        params: dict[str, Any] = {axis.name: self._rng.choice(axis.values) for axis in self._space.axes}
        params |= self._space.encode(architecture)
        study.enqueue_trial(params)
        with _quiet():
            return study.ask(self._distributions).number

    def _tell(self, study: optuna.Study, number: int, known: Known) -> None:
        with _quiet():
            self._tell_loudly(study, number, known)

    def _tell_loudly(self, study: optuna.Study, number: int, known: Known) -> None:
        if known.running:  # a duplicate of a running trial, or one of many candidates: nothing to learn yet
            study.tell(number, state=TrialState.FAIL)
            return
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        # Failed trials are invisible to samplers; an infeasible one is reported through a constraint instead.
        self._storage.set_trial_system_attr(trial_id, "constraints:feasible", 1.0 if known.infeasible else -1.0)
        if known.values is not None:
            study.tell(number, list(known.values))
            return
        if len(study.directions) == 1:
            for epoch, value in (known.curve or {}).items():
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        study.tell(number, state=TrialState.PRUNED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings that a sampler gives at every step, such as that CMA-ES ignores constraints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
