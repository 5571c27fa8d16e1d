"""What a search does next, while it has trials left: start one, let one go on, or wait.

    families    hand-designed architectures first
    startup     random ones, until there are enough for a model
    explore     random ones now and then, even though there is a model
    sampler     what the sampler proposed and the ranker put first
    local       neighbours of the best ones, put first by the ranker

Trials wait at the pruner's rungs; whoever it lets through goes on before anything new is started.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from nas.strategy.candidates import CandidateGenerator, Known
from nas.strategy.pool import Candidate, CandidatePool
from nas.strategy.problem import Problem
from nas.strategy.pruners import make_pruner
from nas.strategy.ranking import Ranking
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from results.database.names import family_origin
from results.database.schema import State
from search_space.architecture import Architecture

STARTUP = 6
"""Random starts before a model chooses, those of the hand-designed families included."""
EXPLORE = 8
"""Every so manieth start is random all the same: the model may be wrong where it has not looked."""
CENTRES = 3
"""How many of the best architectures local search starts from."""
STEPS = 4
"""Neighbours of each of them that become candidates at a time."""
FAMILIES_SHARE = 1 / 8
"""Families are trained in full, whatever a rung says, where that takes no larger share of the compute."""
FIRST_GUESS = 1 / 3
"""Share of the trials that a pruner lets go on, about."""
SCORED_AT_ONCE = 32
"""Candidates scored by proxies in one job."""


@dataclass(frozen=True)
class Start:
    """Train a new architecture.

    Attributes:
        architecture: It.
        stage: Which part of the strategy it comes from.
        origin: ``family:vit``, or the name of the sampler.
    """

    architecture: Architecture
    stage: str
    origin: str


@dataclass(frozen=True)
class Resume:
    """Let a waiting trial go on."""

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
        trials: All trials, in order; grows while the search goes on.
        scoring: Scores by proxies; grows too.

    Attributes:
        families: How many hand-designed families come first.
        proposer: Where new architectures come from.
        exhausted: Whether the space has no more architectures to offer.
    """

    def __init__(self, problem: Problem, trials: Sequence[Trial], scoring: Scoring) -> None:
        parts = problem.strategy
        self._problem, self._trials, self._parts, self._scoring = problem, trials, parts, scoring
        self._pruner = make_pruner(parts.pruner, problem.epochs)
        self._rng = random.Random(
            problem.seed + 1_000_003 * len(trials)
        )  # a continued search must not repeat its draws
        self.candidates = CandidateGenerator(
            problem.space,
            problem.limits,
            parts.sampler,
            [objective.direction for objective in problem.objectives],
            seed=problem.seed,
            begun=len(trials),
        )
        self.ranking = Ranking(problem, trials, scoring.values)
        self._pool = CandidatePool(self.candidates.draw)
        self._families = deque(problem.families.items())
        self.families = len(self._families)
        self._families_in_full = len(self._families) <= FAMILIES_SHARE * self._expected_fte()
        self.exhausted = False
        self._rungs: list[tuple[int, ...]] = []  # of every trial, as far as they were asked for
        self._unheld: list[Trial] = []  # wait where none of their rungs is
        self._scored = 0  # all trials before this one have scores

    # What happened.

    def entered(self, trial: Trial) -> None:
        """Take note of a trial, which this planner may or may not have started."""
        self._pool.drop(trial.architecture)
        if not self.candidates.knows(trial.architecture):
            self.candidates.enter(trial.architecture)

    def learn(self, trial: Trial, known: Known) -> None:
        """Take in what became of a trial; a waiting one counts as pruned until it goes on."""
        self.candidates.learn(trial.architecture, known)
        if self._is_unheld(trial):
            self._unheld.append(trial)

    # What is next.

    def next(self, can_start: Callable[[], bool], can_resume: Callable[[Trial], bool]) -> Move | None:
        """The next move, None if there is none now.

        Args:
            can_start: Whether there is budget and compute left for a new trial.
            can_resume: Whether there is compute left for a waiting one.
        """
        for trial in self._ready():
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

    def last_chance(self, can_resume: Callable[[Trial], bool]) -> Resume | None:
        """The best waiting trial that there is compute for, whatever the pruner says; for when nothing else is left."""
        for rung in reversed(self._pruner.all_rungs):
            waiting = [trial for trial in self._waiting_at(rung) if can_resume(trial)]
            if waiting:
                merits = self.ranking.at_rung(waiting, rung)
                return Resume(waiting[merits.index(min(merits))])
        return None

    def rungs(self, trial: Trial) -> tuple[int, ...]:
        """Where a trial has to wait."""
        if trial.stage == "families" and self._families_in_full:
            return ()
        return self._pruner.rungs(trial.number)

    def is_promoted(self, trial: Trial) -> bool:
        """Whether a trial that has just reached a rung goes on at once."""
        return any(ready is trial for ready in self._ready())

    def _ready(self) -> Iterator[Trial]:
        """Trials at a rung that the pruner lets through now, the furthest and best first."""
        self._unheld = [trial for trial in self._unheld if self._is_unheld(trial)]
        yield from self._unheld
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
            merits = self.ranking.at_rung(reached, rung)
            for index in self._pruner.promoted(merits, passed, waiting):
                yield reached[index]

    def _is_unheld(self, trial: Trial) -> bool:
        """Whether it waits where it need not: with the settings of an earlier run it had to."""
        return trial.state == State.PAUSED and trial.epoch not in self.rungs(trial)

    def _waiting_at(self, rung: int) -> list[Trial]:
        return [trial for trial in self._trials if trial.state == State.PAUSED and trial.epoch == rung]

    def _share_until_decided(self) -> float:
        """FTE that a new trial needs until its first rung."""
        epochs = self._problem.epochs
        return min([*self._pruner.rungs(len(self._trials)), epochs]) / epochs

    def _expected_fte(self) -> float:
        """About as much compute as the trials may take."""
        first, max_fte = self._share_until_decided(), self._problem.max_fte
        by_budget = self._problem.budget * (first + (1 - first) * FIRST_GUESS if first < 1 else 1.0)
        return by_budget if max_fte is None else min(by_budget, max_fte)

    # Proposals.

    def _proposal(self) -> Move | None:
        parts = self._parts
        self.candidates.turn(len(self._trials))
        if parts.ranker == "none":
            return self._start(self.candidates.propose(), "sampler")
        self._pool.fill()
        if not len(self._pool):
            return self._take([])
        if parts.ranker == "model":
            number = len(self._trials)
            if number < STARTUP or number % EXPLORE == 0 or not self.ranking.knows:
                return self._at_random("startup" if number < STARTUP else "explore")
            self._pool.refresh(self._nearby() if parts.local else (), self.ranking.rank)
            ranked = self.ranking.rank(self._pool.candidates())
            if self._scoring.proxies:
                unscored = self._worth_scoring(ranked)
                if unscored:
                    return ScoreBatch(tuple(unscored))
                ranked = [candidate for candidate in ranked if self._has_scores(candidate.architecture)]
            return self._take(ranked) if ranked else None  # until their scores are there
        return self._by_proxy(parts.ranker)

    def _worth_scoring(self, ranked: Sequence[Candidate]) -> list[Architecture]:
        """The trials and the most promising candidates, as far as they lack scores and are enough for a batch."""
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

    def _at_random(self, stage: str) -> Start | None:
        candidates = [item for item in self._pool.candidates() if item.stage == "sampler"]
        if not candidates:
            candidates = self._pool.candidates()
        return self._take([self._rng.choice(candidates)] if candidates else [], stage)

    def _nearby(self) -> Iterator[Architecture]:
        """Some neighbours of the best architectures that have not been trained."""
        space, limits = self._problem.space, self._problem.limits
        telling = [trial for trial in self.ranking.watched() if trial.is_telling]
        for centre in self.ranking.centres(telling, CENTRES):
            for _ in range(STEPS):
                neighbour = space.mutate(centre.architecture, self._rng, limits)
                if not self.candidates.knows(neighbour):
                    yield neighbour

    def _take(self, ranked: Sequence[Candidate], stage: str | None = None) -> Start | None:
        if not ranked:
            self.exhausted = True
            return None
        self._pool.drop(ranked[0].architecture)
        self.candidates.enter(ranked[0].architecture)
        return Start(ranked[0].architecture, stage or ranked[0].stage, self._parts.sampler)

    def _start(self, architecture: Architecture | None, stage: str) -> Start | None:
        if architecture is None:
            self.exhausted = True
            return None
        return Start(architecture, stage, self._parts.sampler)

    def _by_proxy(self, name: str) -> Move | None:
        """The candidate with the highest value of a proxy; those without one are scored first."""
        candidates = self._pool.candidates()
        unscored = self._unscored(candidate.architecture for candidate in candidates)
        if unscored:
            return ScoreBatch(tuple(unscored[:SCORED_AT_ONCE]))
        if self._scoring.batches:
            return None

        def value(candidate: Candidate) -> float:
            found = self._scoring.values[candidate.architecture.hash][name]
            return float("-inf") if found is None else found

        return self._take(sorted(candidates, key=value, reverse=True))
