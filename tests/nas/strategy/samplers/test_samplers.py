"""Every sampler, behind the candidate generator, proposes feasible architectures that are new."""

from __future__ import annotations

import pytest
from optuna.samplers import BruteForceSampler, QMCSampler

from nas.config import MAX_SEED, SearchConfig
from nas.strategy.candidates import CandidateGenerator, Known
from nas.strategy.samplers.registry import SAMPLERS, make_sampler, sampler_of
from search_space.errors import ConfigError
from search_space.space import Limits

LIMITS = Limits(max_params=15_000)  # the space reaches from 2 to 39 thousand
PROPOSALS = 40
SEVERAL = [name for name, entry in SAMPLERS.items() if entry.several_objectives]


def proposals(space, sampler: str, objectives: int, count: int = PROPOSALS, seed: int = 0):
    """What a search would propose; all endings that a trial can come to take turns."""
    directions = ["minimize", "maximize"][:objectives]
    candidates = CandidateGenerator(space, LIMITS, sampler_of(sampler, space, LIMITS, seed=seed), directions, seed)
    for number in range(count):
        architecture = candidates.propose()
        assert architecture is not None
        yield architecture
        loss = architecture.params / 10_000
        endings = [
            Known(values=[loss, loss][:objectives], curve={2: loss + 1, 8: loss}),
            Known(curve={2: loss + 1}),
            Known(values=[loss, loss][:objectives], curve={2: loss + 1, 8: loss}),
            Known(infeasible=True),
            Known(),
            None,  # still running
        ]
        ending = endings[number % len(endings)]
        if ending is not None:
            candidates.learn(architecture, ending)


@pytest.mark.parametrize(("sampler", "objectives"), [(name, 1) for name in SAMPLERS] + [(name, 2) for name in SEVERAL])
def test_proposals_are_feasible_within_the_limit_and_distinct(space, sampler, objectives):
    found = list(proposals(space, sampler, objectives))
    assert len({architecture.hash for architecture in found}) == PROPOSALS
    assert all(architecture in space for architecture in found)
    assert all(architecture.params <= 15_000 for architecture in found)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_seeds_give_equal_proposals(space, sampler):
    first = list(proposals(space, sampler, 1, count=24))
    assert list(proposals(space, sampler, 1, count=24)) == first
    assert list(proposals(space, sampler, 1, count=24, seed=1)) != first


def test_cmaes_refuses_several_objectives():
    with pytest.raises(ConfigError, match=r"cmaes handles one objective only; allowed with several: .*tpe"):
        SearchConfig.make(sampler="cmaes", objective="nll,params")


def test_an_unknown_sampler(space):
    with pytest.raises(ConfigError, match=r"'tpes'; allowed: .*did you mean 'tpe'"):
        make_sampler("tpes", space, {}, LIMITS, seed=0)


def test_any_class_of_optunas_can_be_named(space):
    named = make_sampler("optuna.samplers:QMCSampler", space, {}, LIMITS, seed=3)
    assert isinstance(named, QMCSampler)
    assert named._seed == 3  # which its constructor takes
    without_seed = make_sampler("optuna.samplers:BruteForceSampler", space, {}, LIMITS, seed=3)
    assert isinstance(without_seed, BruteForceSampler)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("optuna.samplers:Nothing", "cannot be imported .*has no attribute 'Nothing'"),
        ("no_such_module:Sampler", "cannot be imported .*No module named 'no_such_module'"),
        ("optuna.study:Study", "a subclass of optuna.samplers.BaseSampler"),
        ("optuna.samplers:PartialFixedSampler", "cannot be made .*fixed_params"),
        ("optuna.samplers:", "allowed: surrogate.*as MODULE:CLASS"),
    ],
)
def test_a_class_that_is_not_a_sampler(space, name, said):
    with pytest.raises(ConfigError, match=said):
        make_sampler(name, space, {}, LIMITS, seed=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_seed_that_a_search_allows_is_one_for_a_sampler(space, sampler):
    """NumPy takes 32 bits; a search that is continued after a few thousand trials adds to its seed, too."""
    drawn_by = sampler_of(sampler, space, LIMITS, seed=MAX_SEED + 1_000_003 * 10_000)
    candidates = CandidateGenerator(space, LIMITS, drawn_by, ["minimize"], MAX_SEED)
    assert candidates.propose() is not None
