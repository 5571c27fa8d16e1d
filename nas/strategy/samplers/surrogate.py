"""The default search strategy as an Optuna sampler, for any Optuna study over the axes of a search space."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.strategy.axes import architecture_of, distributions_of
from nas.strategy.candidates import CandidateGenerator
from nas.strategy.curves import LearningCurves
from nas.strategy.features import family_of
from nas.strategy.policy import SurrogatePolicy
from nas.strategy.pool import Candidate, CandidatePool
from nas.strategy.presets import SURROGATE, Strategy
from nas.strategy.problem import Goal, Problem
from nas.strategy.ranking import Ranking
from nas.strategy.samplers.base import SpaceSampler
from results.database.objectives import OBJECTIVES, Figures
from search_space.architecture import Architecture
from search_space.errors import ConfigError, allowed
from search_space.space import Limits, SearchSpace

SCORED_AT_ONCE = 32
"""Number of candidates, the most promising ones, whose proxies are computed. Arbitrary: the others are rarely
chosen."""

Proxy = Callable[[Architecture], float | None]


class SurrogateSampler(SpaceSampler):
    """Chooses the architecture that a Gaussian process, fitted to the study's trials, ranks first.

    The first trials are hand-designed families, if any are given, and random architectures. After those, candidates
    (random draws and neighbours of the best architectures) are ranked by their predicted loss; see
    `nas.strategy.policy`. Stopped trials count: the values that they have reported are extrapolated to the end of the
    training by those of complete trials with the same token mixer. A trial with a violated constraint counts as one
    that cannot be trained. If trials have a user attribute ``epoch_seconds``, the quicker to train of two equally
    promising candidates comes first.

    No architecture is proposed twice until none is left. All state is derived from the study's trials, so a study can
    be resumed with a new sampler.

    Example:
        >>> space = load_space("mlp_family", image_size=32)
        >>> limits = Limits(max_params=500_000)
        >>> study = optuna.create_study(sampler=SurrogateSampler(space, limits, ideal=0.0, seed=0))
        >>> study.optimize(lambda trial: train(suggest(trial, space, limits)), n_trials=100)

    Args:
        space: Where architectures come from; `nas.strategy.axes.suggest` makes its axes parameters of a trial.
        limits: Limits on cost that architectures satisfy.
        epochs: How many values a full training reports; None for as many as the longest complete trial has reported.
        ideal: A value of the first objective that no trial can beat, such as 0 for a loss: values are then compared by
            the logarithm of their distance from it. None compares them as they are.
        costs: The objectives after the first, by their names in `nas search --objective`, such as ``("params",)``.
            Objectives that are not named are known for trials only, not for candidates.
        families: Architectures to try first, by name.
        proxies: Training-free proxies by name: functions of an architecture that return a number, or None.
        local: Whether neighbours of the best architectures are candidates.
        seed: Seed of all random choices; None for a random one.

    Raises:
        ConfigError: If there is no objective of a name in `costs`.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        *,
        epochs: int | None = None,
        ideal: float | None = None,
        costs: Sequence[str] = (),
        families: Mapping[str, Architecture] | None = None,
        proxies: Mapping[str, Proxy] | None = None,
        local: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, distributions_of(space), limits or Limits(), seed=seed)
        for name in costs:
            if name not in OBJECTIVES:
                raise ConfigError(f"`costs` names {name!r}; {allowed(name, OBJECTIVES)}")
        self._epochs, self._ideal = epochs, ideal
        self._costs = tuple(OBJECTIVES[name] for name in costs)
        self._families, self._proxies, self._local = dict(families or {}), dict(proxies or {}), local
        self._seed = random.randrange(2**32) if seed is None else seed
        self._run: _Run | None = None
        self._lock = threading.Lock()  # for `study.optimize(n_jobs=...)`

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_run", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _run=None, _lock=threading.Lock())

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value on every axis; nothing once no new architecture is left, so that Optuna draws at random."""
        with self._lock:
            trials = study.get_trials(deepcopy=False)
            architecture = self._run_of(study, trials, begun=trial.number).propose(trial.number)
        if architecture is None:
            return {}
        inactive = {axis.name: axis.values[0] for axis in self._space.axes}
        return inactive | self._space.encode(architecture)

    def _objectives(self, study: Study) -> tuple[Goal, ...]:
        """The study's objectives, the first one included."""
        directions = [direction.name.lower() for direction in study.directions]
        if [cost.direction for cost in self._costs] != directions[1 : 1 + len(self._costs)]:
            names = ", ".join(cost.name for cost in self._costs)
            raise ConfigError(
                f"`costs` names {names}, and the study's directions are {', '.join(directions)}; allowed: objectives "
                "with the directions that follow the study's first"
            )
        unnamed = directions[1 + len(self._costs) :]
        first = _Measured("minimize")  # read by `LearningCurves` alone
        return (first, *self._costs, *(_Measured("minimize" if one == "minimize" else "maximize") for one in unnamed))

    def _run_of(self, study: Study, trials: Sequence[FrozenTrial], begun: int) -> _Run:
        """The up-to-date state for a study; a new one is seeded by the number of trials that have begun."""
        sign = 1.0 if study.directions[0] == StudyDirection.MINIMIZE else -1.0
        lengths = [len(trial.intermediate_values) for trial in trials if trial.state == TrialState.COMPLETE]
        epochs = self._epochs or max([1, *lengths])
        run = self._run
        if run is None or run.study != study.study_name or run.epochs != epochs:
            strategy = Strategy("", sampler=SURROGATE, proxies=tuple(self._proxies), local=self._local)
            problem = Problem(
                self._space,
                self._limits,
                self._objectives(study),
                epochs,
                strategy,
                budget=begun,
                seed=self._seed,
                families=self._families,
            )
            ideal = None if self._ideal is None else sign * self._ideal
            run = self._run = _Run(study.study_name, problem, sign, ideal, self._proxies, begun)
        run.update(trials)
        return run


@dataclass(frozen=True)
class _Measured:
    """An objective that is unknown until a trial has ended."""

    direction: Literal["minimize", "maximize"]
    name: str = ""
    is_quality: bool = True
    ideal: float = 0.0

    def estimate(self, architecture: Architecture) -> float:
        raise NotImplementedError

    def loss(self, figures: Figures) -> float:
        raise NotImplementedError


class _Run:
    """What is derived from the trials of one study."""

    def __init__(
        self,
        study: str,
        problem: Problem,
        sign: float,
        ideal: float | None,
        proxies: Mapping[str, Proxy],
        begun: int,
    ) -> None:
        self.study, self.epochs = study, problem.epochs
        self._problem, self._sign, self._proxies = problem, sign, proxies
        self._observed: list[Observation] = []
        self._known: set[int] = set()  # trials whose architecture has been entered
        self._ended: set[int] = set()  # trials whose results have been read
        self._scores: dict[str, dict[str, float | None]] = {}
        self._generator = CandidateGenerator(problem.space, problem.limits, None, ["minimize"], seed=problem.seed)
        self._pool = CandidatePool(self._generator.draw)
        curves = LearningCurves(self._observed, problem.epochs, ideal)
        self._ranking = Ranking(problem, self._observed, self._scores, curves)
        rng = random.Random(problem.seed_after(begun))
        self._policy = SurrogatePolicy(problem, self._generator, self._pool, self._ranking, rng)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Read new trials, and the results of those that have ended."""
        problem = self._problem
        for trial in trials:
            ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.number not in self._ended
            # A running trial gets its parameters one by one.
            settled = bool(trial.params) if trial.state.is_finished() else len(trial.params) >= len(problem.space.axes)
            if not settled or not (ended or trial.number not in self._known):
                continue
            architecture = architecture_of(trial.params, trial.number, problem.space, problem.limits)
            if trial.number not in self._known:
                self._known.add(trial.number)
                self._pool.drop(architecture)
                self._generator.enter(architecture)
            if ended:
                self._ended.add(trial.number)
                self._observed.append(_observation(trial, architecture, self._sign, self.epochs))

    def propose(self, number: int) -> Architecture | None:
        """The architecture of trial `number`; None if no new one is left."""
        for architecture in self._problem.families.values():
            if not self._generator.knows(architecture):
                return self._take(architecture)
        self._generator.turn(number)
        chosen = self._policy.random(number) or self._chosen()
        return None if chosen is None else self._take(chosen.architecture)

    def _chosen(self) -> Candidate | None:
        """The candidate that the surrogate ranks first; with proxies, among the most promising ones."""
        ranked = self._policy.ranked()
        if ranked and self._proxies:
            ranked = ranked[:SCORED_AT_ONCE]
            self._score([trial.architecture for trial in self._observed])
            self._score([candidate.architecture for candidate in ranked])
            ranked = self._ranking.rank(ranked)
        return ranked[0] if ranked else None

    def _score(self, architectures: Sequence[Architecture]) -> None:
        for architecture in architectures:
            if architecture.hash not in self._scores:
                self._scores[architecture.hash] = {name: proxy(architecture) for name, proxy in self._proxies.items()}

    def _take(self, architecture: Architecture) -> Architecture:
        self._pool.drop(architecture)
        self._generator.enter(architecture)
        return architecture


@dataclass(frozen=True)
class Observation:
    """A trial of an Optuna study that has ended; see `nas.strategy.observed.Observed`."""

    key: str
    architecture: Architecture
    losses: Mapping[int, float]
    is_complete: bool
    is_infeasible: bool
    epoch_seconds: float
    values: tuple[float, ...]

    @cached_property
    def family(self) -> str:
        """The token mixer of most of its blocks."""
        return family_of(self.architecture)

    @property
    def epoch(self) -> int:
        """The last epoch."""
        return max(self.losses, default=0)

    @property
    def is_informative(self) -> bool:
        """Whether it has reported any value."""
        return bool(self.losses)

    def train_loss(self, epoch: int) -> float:
        """The loss itself: training losses are not known."""
        return self.losses[epoch]

    def costs(self, objectives: Sequence[Goal]) -> list[float]:
        """Its losses by the objectives after the first."""
        values = zip(objectives, self.values[1:], strict=True)
        return [value if objective.direction == "minimize" else -value for objective, value in values]


def _observation(trial: FrozenTrial, architecture: Architecture, sign: float, epochs: int) -> Observation:
    """What a trial has reported, the n-th value as that of epoch n, and its value as that of the last epoch.

    A complete trial whose value is not finite counts as one that cannot be trained.
    """
    reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    losses = {epoch: sign * value for epoch, value in enumerate(reported[: epochs - 1], start=1)}
    if trial.state == TrialState.COMPLETE:
        losses[epochs] = sign * trial.values[0]
    losses = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
    failed = trial.state == TrialState.COMPLETE and epochs not in losses
    violated = any(violation > 0 for violation in trial.constraints.values())
    return Observation(
        key=str(trial.number),
        architecture=architecture,
        losses=losses,
        is_complete=trial.state == TrialState.COMPLETE,
        is_infeasible=failed or violated,
        epoch_seconds=float(trial.user_attrs.get("epoch_seconds", 0.0)),
        values=tuple(trial.values or ()),
    )
