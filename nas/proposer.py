"""Where the next architecture comes from: a sampler with a memory, whose proposals are made feasible and new.

The sampler works on an Optuna study in memory, not on the one in the database. There it sees everything at no cost:
finished trials, running ones, answers to duplicates, and architectures that turned out infeasible. The database gets
one row for each architecture that is really evaluated, with its active parameters only.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from nas.samplers import make_sampler
from results.optuna_tables import Direction, distribution
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)

SAMPLER_TRIES = 20
"""Proposals in a row that may be duplicates before one is drawn at random instead."""
RANDOM_TRIES = 200
"""Random draws in a row that may be duplicates before the space counts as exhausted."""


@dataclass(frozen=True)
class Known:
    """What the sampler is told of an architecture that has been evaluated, or is being.

    Attributes:
        values: Objective values, if it was trained in full.
        curve: Value of the first objective by epoch.
        infeasible: Whether training it again would fail again.
        running: Whether it is not finished yet.
    """

    values: Sequence[float] | None = None
    curve: Mapping[int, float] | None = None
    infeasible: bool = False
    running: bool = False


class Proposer:
    """Proposes feasible architectures that have not been evaluated.

    Args:
        space: The space.
        limits: Limits on cost that every proposal keeps.
        sampler: Name of a sampler.
        directions: Direction of every objective.
        seed: Of all random choices.
    """

    def __init__(
        self, space: SearchSpace, limits: Limits, sampler: str, directions: Sequence[Direction], seed: int
    ) -> None:
        self._space, self._limits = space, limits
        self._rng = random.Random(seed)
        self._distributions = {axis.name: distribution(axis) for axis in space.axes}
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            directions=list(directions),
            sampler=make_sampler(sampler, space, self._distributions, limits, seed=seed),
        )
        self._numbers: dict[str, int] = {}  # architecture hash -> number of its trial in memory
        self._known: dict[str, Known] = {}

    def propose(self) -> Architecture | None:
        """The next architecture to evaluate; None if the space holds no other within the limits."""
        for _ in range(SAMPLER_TRIES):
            trial = self._ask()
            architecture = self._space.complete(trial.params, self._rng, self._limits)
            for name, value in self._space.encode(architecture).items():
                if trial.params[name] != value:  # the sampler shall learn what was evaluated, not what it wished for
                    kind = self._distributions[name]
                    self._storage.set_trial_param(trial._trial_id, name, kind.to_internal_repr(value), kind)
            if architecture.hash not in self._known:
                return self._accept(architecture, trial.number)
            self._tell(trial.number, self._known[architecture.hash])
        for _ in range(RANDOM_TRIES):
            architecture = self._space.sample(self._rng, self._limits)
            if architecture.hash not in self._known:
                return self._accept(architecture, self._add(architecture))
        return None

    def enter(self, architecture: Architecture) -> None:
        """Take note of an architecture that is being evaluated though it was not proposed here."""
        self._accept(architecture, self._add(architecture))

    def learn(self, architecture: Architecture, known: Known) -> None:
        """Take in what became of an architecture that was proposed or entered."""
        self._known[architecture.hash] = known
        self._tell(self._numbers[architecture.hash], known)

    def _ask(self) -> optuna.Trial:
        with _quiet():
            return self._study.ask(self._distributions)

    def _accept(self, architecture: Architecture, number: int) -> Architecture:
        self._numbers[architecture.hash] = number
        self._known[architecture.hash] = Known(running=True)
        return architecture

    def _add(self, architecture: Architecture) -> int:
        """A running trial in memory for an architecture; inactive axes get random values, as a sampler's would."""
        params: dict[str, Any] = {axis.name: self._rng.choice(axis.values) for axis in self._space.axes}
        params |= self._space.encode(architecture)
        self._study.enqueue_trial(params)
        return self._ask().number

    def _tell(self, number: int, known: Known) -> None:
        with _quiet():
            self._tell_loudly(number, known)

    def _tell_loudly(self, number: int, known: Known) -> None:
        if known.running:  # a duplicate of a trial under way: nothing to learn yet
            self._study.tell(number, state=TrialState.FAIL)
            return
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        # Failed trials are invisible to samplers; an infeasible one is told through a constraint instead.
        self._storage.set_trial_system_attr(trial_id, "constraints:feasible", 1.0 if known.infeasible else -1.0)
        if known.values is not None:
            self._study.tell(number, list(known.values))
            return
        if len(self._study.directions) == 1:
            for epoch, value in (known.curve or {}).items():
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        self._study.tell(number, state=TrialState.PRUNED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what a sampler says at every single step, such as that CMA-ES has no use for constraints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
