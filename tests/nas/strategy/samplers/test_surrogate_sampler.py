"""The default strategy on Optuna studies of its own: no planner, no database, plain objective functions."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from statistics import fmean

import optuna
import pytest
from optuna.trial import TrialState

from nas.strategy import policy
from nas.strategy.axes import distributions_of, suggest
from nas.strategy.features import family_of
from nas.strategy.planner import Planner, Start
from nas.strategy.presets import STRATEGIES
from nas.strategy.problem import Problem
from nas.strategy.samplers import surrogate
from nas.strategy.samplers.surrogate import SurrogateSampler
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from results.database.objectives import OBJECTIVES
from results.store.store import EpochRecord, NewEvaluation, Role, State
from search_space import Architecture
from search_space.errors import ConfigError
from search_space.space import Limits, SearchSpace

LIMITS = Limits(max_params=15_000)  # the space reaches from 2 to 39 thousand


def loss_of(architecture: Architecture) -> float:
    """Large networks are good, but for those that mix tokens by attention."""
    attention = family_of(architecture) == "attention"
    return 20_000 / architecture.params + 2.0 * attention


@pytest.fixture
def tried(space) -> Callable[..., list[Architecture]]:
    """What a sampler proposes, in order, for a study that is optimised for its number of trials."""

    def run(sampler: SurrogateSampler, trials: int, study: optuna.Study | None = None) -> list[Architecture]:
        study = study or optuna.create_study()
        study.sampler = sampler
        found = []

        def objective(trial: optuna.Trial) -> float:
            found.append(suggest(trial, space, LIMITS))
            return loss_of(found[-1])

        study.optimize(objective, n_trials=trials)
        return found

    return run


def sampler(space: SearchSpace, **settings) -> SurrogateSampler:
    return SurrogateSampler(space, LIMITS, **{"ideal": 0.0, "seed": 0, **settings})


def copied(sampler: SurrogateSampler) -> SurrogateSampler:
    """What arrives where a pickled sampler is read."""
    return pickle.loads(pickle.dumps(sampler))  # noqa: S301  # its own


def test_every_proposal_is_new_feasible_and_what_the_trial_records(space):
    study = optuna.create_study(sampler=sampler(space))
    found = []

    def objective(trial: optuna.Trial) -> float:
        architecture = suggest(trial, space, LIMITS)
        assert architecture == space.decode(trial.params)
        found.append(architecture)
        return loss_of(architecture)

    study.optimize(objective, n_trials=40)
    assert len(set(found)) == 40
    assert all(LIMITS.allow(architecture.cost) for architecture in found)


def test_it_finds_what_is_good(space, tried):
    """Of 40 trials at least 12 are among the best tenth of the space; of random ones it would be 4."""
    everything = {space.sample(rng, LIMITS) for rng in map(random.Random, range(3000))}
    best_tenth = sorted(map(loss_of, everything))[len(everything) // 10]
    found = tried(sampler(space), 40)
    assert sum(loss_of(architecture) <= best_tenth for architecture in found) >= 12


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_values_without_a_bound_are_compared_as_they_are(space, direction):
    """Losses from -20 to 0; without an ideal no logarithm is taken."""
    sign = 1 if direction == "minimize" else -1
    study = optuna.create_study(sampler=sampler(space, ideal=None), direction=direction)
    study.optimize(lambda trial: sign * (loss_of(suggest(trial, space, LIMITS)) - 20.0), n_trials=30)
    losses = [sign * trial.value for trial in study.trials]
    assert sum(losses[20:]) < sum(losses[:10])


def test_equal_seeds_give_equal_trials(space, tried):
    first = tried(sampler(space), 16)
    assert tried(sampler(space), 16) == first
    assert tried(sampler(space, seed=1), 16) != first


def test_families_come_first_then_random_ones(space, tried):
    families = {"small": space.sample(random.Random(5), LIMITS)}
    found = tried(sampler(space, families=families), policy.STARTUP + 1)
    assert found[0] == families["small"]
    assert len(set(found)) == len(found)


def test_a_study_is_resumed_with_a_new_sampler(space, tried):
    study = optuna.create_study()
    before = tried(sampler(space), 10, study)
    after = tried(copied(sampler(space)), 10, study)
    assert not set(before) & set(after)
    assert [trial.number for trial in study.trials] == list(range(20))


def test_a_sampler_can_be_pickled_in_the_middle_of_a_study(space, tried):
    study, one = optuna.create_study(), sampler(space)
    before = tried(one, 10, study)
    assert not set(before) & set(tried(copied(one), 3, study))


def test_a_sampler_serves_one_study_after_another(space, tried):
    one = sampler(space)
    assert tried(one, 8) == tried(one, 8)


def test_where_the_space_is_exhausted_trials_are_random(tiny_space):
    study = optuna.create_study(sampler=SurrogateSampler(tiny_space, seed=0))
    found = []

    def objective(trial: optuna.Trial) -> float:
        found.append(suggest(trial, tiny_space))
        return loss_of(found[-1])

    study.optimize(objective, n_trials=12)
    assert len(set(found[:8])) == 8
    assert len(found) == 12


def test_trials_that_others_have_added_are_known(space):
    """One of another sampler, one that is enqueued, and one that lacks the parameters of absent stages."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: loss_of(suggest(trial, space, LIMITS)), n_trials=3)
    architecture = space.sample(random.Random(1), LIMITS)
    params = space.encode(architecture)
    every = distributions_of(space)
    study.add_trial(optuna.create_trial(value=0.5, params=params, distributions={name: every[name] for name in params}))
    study.sampler = sampler(space)
    study.enqueue_trial({axis.name: axis.values[0] for axis in space.axes} | space.encode(architecture))
    found = []
    for _ in range(20):
        trial = study.ask()
        found.append(suggest(trial, space, LIMITS))
        study.tell(trial, loss_of(found[-1]))
    assert found[0] == architecture
    assert architecture not in found[1:]


def test_parallel_trials_differ(space):
    study = optuna.create_study(sampler=sampler(space))
    asked = [suggest(study.ask(), space, LIMITS) for _ in range(12)]
    assert len(set(asked)) == 12


def test_stopped_trials_are_extrapolated(space):
    """All trials end a tenth of where they begin, so one that is stopped at 5 is as good as one that ends at 0.5."""
    study = optuna.create_study(sampler=sampler(space, epochs=4))
    every = []
    for number in range(12):
        trial = study.ask()
        architecture = suggest(trial, space, LIMITS)
        start = loss_of(architecture)
        trial.report(start, 1)
        if number % 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            for step in (2, 3):
                trial.report(start, step)
            study.tell(trial, start / 10)
        every.append(architecture)
    sampled = study.sampler
    run = sampled._run_of(study, study.get_trials(), 12)
    expected = [math.log(loss_of(architecture) / 10) for architecture in every]
    assert [trial.is_complete for trial in run._observed] == [number % 2 == 0 for number in range(12)]
    assert run._ranking._final_losses(run._observed) == pytest.approx(expected)


def test_a_violated_constraint_or_an_infinite_value_cannot_be_trained(space):
    study = optuna.create_study(sampler=sampler(space))
    for value, violation in ((1.0, -1.0), (1.0, 1.0), (math.inf, -1.0)):
        trial = study.ask()
        suggest(trial, space, LIMITS)
        trial.set_constraint("memory", violation)
        study.tell(trial, value)
    observed = study.sampler._run_of(study, study.get_trials(), 12)._observed
    assert [trial.is_infeasible for trial in observed] == [False, True, True]


def test_failed_trials_are_neither_labels_nor_proposed_again(space, tried):
    study = optuna.create_study(sampler=sampler(space))
    failed = []

    def objective(trial: optuna.Trial) -> float:
        failed.append(suggest(trial, space, LIMITS))
        raise ZeroDivisionError

    study.optimize(objective, n_trials=5, catch=ZeroDivisionError)
    assert not set(failed) & set(tried(study.sampler, 12, study))


def test_proxies_are_computed_for_trials_and_the_best_candidates(space, tried, monkeypatch):
    monkeypatch.setattr(surrogate, "SCORED_AT_ONCE", 4)
    asked = []

    def proxy(architecture: Architecture) -> float | None:
        asked.append(architecture)
        return None if len(asked) % 7 == 0 else -loss_of(architecture)

    found = tried(sampler(space, proxies={"oracle": proxy}), policy.STARTUP + 1)
    assert len(asked) == len(set(asked)) == policy.STARTUP + 4
    assert set(found[: policy.STARTUP]) <= set(asked)
    assert found[-1] in asked[policy.STARTUP :]


def test_of_equally_good_candidates_the_faster_comes_first(space):
    """Losses do not differ; an epoch takes longer for larger networks, or for smaller ones."""
    sizes = []
    for sign in (1.0, -1.0):
        study = optuna.create_study(sampler=sampler(space))
        for _ in range(24):
            trial = study.ask()
            architecture = suggest(trial, space, LIMITS)
            trial.set_user_attr("epoch_seconds", architecture.params**sign)
            study.tell(trial, 1.0)
        sizes.append(fmean(space.decode(trial.params).params for trial in study.trials[policy.STARTUP :]))
    assert sizes[0] < sizes[1] / 1.5


def test_several_objectives(space):
    """NLL and parameters: the front of 40 trials reaches from small networks to good ones."""
    study = optuna.create_study(sampler=sampler(space, costs=("params",)), directions=["minimize", "minimize"])

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        architecture = suggest(trial, space, LIMITS)
        return loss_of(architecture), float(architecture.params)

    study.optimize(objective, n_trials=40)
    sizes = [trial.values[1] for trial in study.best_trials]
    assert min(sizes) < 5_000
    assert max(sizes) > 12_000


def test_objectives_that_are_not_named(space):
    study = optuna.create_study(sampler=sampler(space), directions=["minimize", "maximize"])
    study.optimize(lambda trial: (loss_of(suggest(trial, space, LIMITS)), 1.0), n_trials=12)
    assert len(study.best_trials) >= 1


def test_costs_must_be_objectives_of_the_study(space):
    with pytest.raises(ConfigError, match=r"`costs` names 'parms'; allowed: .*did you mean 'params'"):
        SurrogateSampler(space, costs=("parms",))
    study = optuna.create_study(sampler=sampler(space, costs=("params",)), directions=["minimize", "maximize"])
    with pytest.raises(ConfigError, match="`costs` names params, and the study's directions are minimize, maximize"):
        study.ask(distributions_of(space))
    single = optuna.create_study(sampler=sampler(space, costs=("params",)))
    with pytest.raises(ConfigError, match="the study's directions are minimize; allowed"):
        single.ask(distributions_of(space))


def test_a_search_tries_the_same_architectures(space, tried):
    """One policy: without proxies, rungs and image noise the planner starts what the sampler proposes."""
    parts = STRATEGIES["auto"].with_parts({"proxies": (), "pruner": "none"})
    problem = Problem(space, LIMITS, (OBJECTIVES["nll"],), epochs=1, strategy=parts, budget=100, seed=0)
    trials: list[Trial] = []
    planner = Planner(problem, trials, Scoring((), "", NoScores()))
    for number in range(30):
        move = planner.next(lambda: True, lambda trial: True)
        assert isinstance(move, Start)
        row = NewEvaluation(f"trial-{number}", Role.TRIAL, number, move.architecture, move.origin, {}, 0, 1)
        trial = Trial(row, move.architecture)
        loss = loss_of(move.architecture)
        trial.epochs.append(EpochRecord(1, loss, loss, 0.5, 0.0))
        trial.losses[1], trial.state = loss, State.COMPLETE
        trials.append(trial)
    assert [trial.architecture for trial in trials] == tried(sampler(space), 30)


class NoScores:
    """A store of scores that is never asked."""

    def scores(self, context, hashes):
        raise NotImplementedError

    def put_scores(self, context, scores):
        raise NotImplementedError
