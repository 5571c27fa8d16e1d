"""What a search does next while trials remain: resume one, start one, or wait.

Hand-designed families are started first (phase "families"), then what the strategy proposes. With the sampler
"surrogate", `nas.strategy.policy` chooses; other samplers propose in the phase "sampler", and a proxy may rank their
proposals. Trials wait at the pruner's rungs; those that it promotes are resumed before anything new is started.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from nas.strategy.candidates import CandidateGenerator, Known
from nas.strategy.policy import SurrogatePolicy
from nas.strategy.pool import Candidate, CandidatePool
from nas.strategy.problem import Problem
from nas.strategy.pruners import make_pruner
from nas.strategy.ranking import Ranking
from nas.strategy.samplers.registry import sampler_of
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from results.database.names import family_origin
from results.database.schema import State
from search_space.architecture import Architecture

FAMILIES_SHARE = 1 / 8
"""Families are trained in full, whatever the pruner says, if that takes at most this share of the compute. The share is
arbitrary; they are trained in full because the winner is compared with them."""
RESUMED_SHARE = 1 / 3
"""The share of trials that a pruner promotes, as a guess for that estimate. Arbitrary."""
SCORED_AT_ONCE = 32
"""Candidates that proxies score in one job. Arbitrary: a job takes seconds."""


@dataclass(frozen=True)
class Start:
    """Train a new architecture.

    Attributes:
        architecture: The architecture.
        phase: The phase of the search that it belongs to.
        origin: ``family:vit``, or the name of the sampler.
    """

    architecture: Architecture
    phase: str
    origin: str


@dataclass(frozen=True)
class Resume:
    """Resume a waiting trial."""

    trial: Trial


@dataclass(frozen=True)
class ScoreBatch:
    """Score architectures by proxies."""

    architectures: tuple[Architecture, ...]


Move = Start | Resume | ScoreBatch


class Planner:
    """Plans the trials of a search.

    Args:
        problem: What is searched for.
        trials: All trials, in order; grows during the search.
        scoring: Scores by proxies; grows during the search.

    Attributes:
        families: The number of hand-designed families that come first.
        candidates: Where new architectures come from.
        ranking: Ranks trials and candidates.
        exhausted: Whether the space has no more architectures to offer.
    """

    def __init__(self, problem: Problem, trials: Sequence[Trial], scoring: Scoring) -> None:
        parts = problem.strategy
        self._problem, self._trials, self._parts, self._scoring = problem, trials, parts, scoring
        self._pruner = make_pruner(parts.pruner, problem.epochs)
        resumed_seed = problem.seed_after(len(trials))
        self.candidates = CandidateGenerator(
            problem.space,
            problem.limits,
            sampler_of(parts.drawn_by, problem.space, problem.limits, seed=resumed_seed),
            [objective.direction for objective in problem.objectives],
            seed=problem.seed,
        )
        self.ranking = Ranking(problem, trials, scoring.values)
        self._pool = CandidatePool(self.candidates.draw)
        rng = random.Random(resumed_seed)
        self._policy = SurrogatePolicy(problem, self.candidates, self._pool, self.ranking, rng)
        self._families = deque(problem.families.items())
        self.families = len(self._families)
        self._families_in_full = len(self._families) <= FAMILIES_SHARE * self._expected_fte()
        self.exhausted = False
        self._rungs: list[tuple[int, ...]] = []  # by trial, computed on demand
        self._off_rung: list[Trial] = []  # waiting at an epoch that is not a rung of theirs
        self._scored = 0  # all trials before this one have scores

    # What happened.

    def entered(self, trial: Trial) -> None:
        """Record a trial, whether or not this planner has started it."""
        self._pool.drop(trial.architecture)
        if not self.candidates.knows(trial.architecture):
            self.candidates.enter(trial.architecture)

    def learn(self, trial: Trial, known: Known) -> None:
        """Record the result of a trial; a waiting one counts as pruned until it is resumed."""
        self.candidates.learn(trial.architecture, known)
        if self._waits_off_rung(trial):
            self._off_rung.append(trial)

    # What is next.

    def next(self, can_start: Callable[[], bool], can_resume: Callable[[Trial], bool]) -> Move | None:
        """Return the next move; None if there is none now.

        Args:
            can_start: Whether there is budget and compute left for a new trial.
            can_resume: Whether there is compute left for a waiting one.
        """
        for trial in self._promoted():
            if trial.state == State.PAUSED and can_resume(trial):
                return Resume(trial)
        if self.exhausted or not can_start():
            return None
        while self._families:
            name, architecture = self._families.popleft()
            if all(trial.architecture != architecture for trial in self._trials):
                self.candidates.enter(architecture)
                return Start(architecture, "families", family_origin(name))
        return self._proposal()

    def last_resort(self, can_resume: Callable[[Trial], bool]) -> Resume | None:
        """Resume the best waiting trial that there is compute for, regardless of the pruner, as a last resort."""
        for rung in reversed(self._pruner.all_rungs):
            waiting = [trial for trial in self._waiting_at(rung) if can_resume(trial)]
            if waiting:
                losses = self.ranking.at_rung(waiting, rung)
                return Resume(waiting[losses.index(min(losses))])
        return None

    def rungs(self, trial: Trial) -> tuple[int, ...]:
        """The epochs after which a trial waits."""
        if trial.phase == "families" and self._families_in_full:
            return ()
        return self._pruner.rungs(trial.number)

    def is_promoted(self, trial: Trial) -> bool:
        """Whether a trial that has just reached a rung continues without waiting."""
        return any(promoted is trial for promoted in self._promoted())

    def _promoted(self) -> Iterator[Trial]:
        """Trials at a rung that the pruner promotes now, the last rung and the best trials first."""
        self._off_rung = [trial for trial in self._off_rung if self._waits_off_rung(trial)]
        yield from self._off_rung
        self._rungs += [self.rungs(trial) for trial in self._trials[len(self._rungs) :]]
        for rung in reversed(self._pruner.all_rungs):
            pairs = zip(self._trials, self._rungs, strict=True)
            reached = [trial for trial, rungs in pairs if rung in trial.losses and rung in rungs]
            passed = [rung in trial.passed or trial.state == State.FAILED for trial in reached]
            if not self._pruner.has_quota(passed):
                continue
            waiting = [not gone and trial.state != State.PRUNED for gone, trial in zip(passed, reached, strict=True)]
            if not any(waiting):
                continue
            losses = self.ranking.at_rung(reached, rung)
            for index in self._pruner.promoted(losses, passed, waiting):
                yield reached[index]

    def _waits_off_rung(self, trial: Trial) -> bool:
        """Whether it waits at an epoch that is no longer one of its rungs, after a change of settings."""
        return trial.state == State.PAUSED and trial.epoch not in self.rungs(trial)

    def _waiting_at(self, rung: int) -> list[Trial]:
        return [trial for trial in self._trials if trial.state == State.PAUSED and trial.epoch == rung]

    def _fte_until_rung(self) -> float:
        """The FTE that a new trial needs until its first rung."""
        epochs = self._problem.epochs
        return min([*self._pruner.rungs(len(self._trials)), epochs]) / epochs

    def _expected_fte(self) -> float:
        """An estimate of the compute that the trials will take."""
        first, max_fte = self._fte_until_rung(), self._problem.max_fte
        by_budget = self._problem.budget * (first + (1 - first) * RESUMED_SHARE if first < 1 else 1.0)
        return by_budget if max_fte is None else min(by_budget, max_fte)

    # Proposals.

    def _proposal(self) -> Move | None:
        self.candidates.turn(len(self._trials))
        if self._parts.has_surrogate:
            return self._by_surrogate()
        if self._parts.ranker == "none":
            return self._start(self.candidates.propose())
        return self._by_proxy(self._parts.ranker)

    def _by_surrogate(self) -> Move | None:
        """Start the candidate that the policy chooses; the most promising ones are scored by proxies first."""
        candidate = self._policy.random(len(self._trials))
        if candidate is not None:
            return self._take(candidate)
        ranked = self._policy.ranked()
        if not ranked or not self._scoring.proxies:
            return self._take(ranked[0] if ranked else None)
        unscored = self._worth_scoring(ranked)
        if unscored:
            return ScoreBatch(tuple(unscored))
        scored = [candidate for candidate in ranked if self._has_scores(candidate.architecture)]
        return self._take(scored[0]) if scored else None

    def _by_proxy(self, name: str) -> Move | None:
        """Start the candidate with the highest value of a proxy; those without one are scored first."""
        self._pool.fill()
        candidates = self._pool.candidates()
        unscored = self._unscored(candidate.architecture for candidate in candidates)
        if unscored:
            return ScoreBatch(tuple(unscored[:SCORED_AT_ONCE]))
        if self._scoring.batches:
            return None

        def value(candidate: Candidate) -> float:
            found = self._scoring.values[candidate.architecture.hash][name]
            return float("-inf") if found is None else found

        return self._take(max(candidates, key=value, default=None))

    def _worth_scoring(self, ranked: Sequence[Candidate]) -> list[Architecture]:
        """The trials and the most promising candidates that lack scores, if there are enough for a batch."""
        while self._scored < len(self._trials) and self._has_scores(self._trials[self._scored].architecture):
            self._scored += 1
        wanted = [
            *(trial.architecture for trial in self._trials[self._scored :]),
            *(candidate.architecture for candidate in ranked[:SCORED_AT_ONCE]),
        ]
        unscored = self._unscored(wanted)
        if len(unscored) > SCORED_AT_ONCE // 4 or not any(self._has_scores(item.architecture) for item in ranked):
            return unscored[:SCORED_AT_ONCE]
        return []

    def _has_scores(self, architecture: Architecture) -> bool:
        return architecture.hash in self._scoring.values

    def _unscored(self, architectures: Iterable[Architecture]) -> list[Architecture]:
        """Those that have no scores and are not being scored."""
        return [architecture for architecture in architectures if self._scoring.is_open(architecture)]

    def _take(self, candidate: Candidate | None) -> Start | None:
        """Start a candidate of the pool; if there is none, the space is exhausted."""
        if candidate is None:
            return self._start(None)
        self._pool.drop(candidate.architecture)
        self.candidates.enter(candidate.architecture)
        return self._start(candidate.architecture, candidate.phase)

    def _start(self, architecture: Architecture | None, phase: str = "sampler") -> Start | None:
        if architecture is None:
            self.exhausted = True
            return None
        return Start(architecture, phase, self._parts.sampler)
