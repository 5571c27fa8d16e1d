"""Thousands of mutants of the texts that the project reads: a usable result, or one clear sentence."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import yaml

from nas.config import SearchConfig
from search_space import zoo
from search_space.architecture import Architecture
from search_space.errors import NasError
from search_space.space import Limits, SearchSpace
from search_space.space.definition import SPACES, load_definition

CONFIGS = (
    "space: mlp_family\ndata: digits\nbudget: 20\nmax_params: 50k\nobjective: [nll, params]\nseed: 3\n",
    "data: imagefolder:/data/pictures\nimage_size: 64\nmax_fte: 12.5\nstrategy: auto\nsampler: tpe\npruner: none\n"
    "max_macs: 1.2G\nmax_latency_ms: 3\nlr: 1e-3\nepochs: 5\nbatch_size: 64\nfinalists: 2\nseeds: 2\n",
    "strategy: tpe+halving\nfamilies: true\nlocal: false\nproxies: none\nrunner: ray\naddress: auto\n"
    "cpus_per_trial: 1.5\ngpus_per_trial: 0.25\ndevice: cuda\nstorage: sqlite:///nas.db\nstudy: mine\nout: runs\n",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mutant.yaml"


def test_the_seeds_are_valid(file):
    """Else the mutants would say little."""
    for text in CONFIGS:
        file.write_text(text)
        SearchConfig().with_file(file)


def tally(mutants: Iterable[bytes], file: Path, read: Callable[[], object]) -> Counter[bool]:
    """How many mutants could be read, and how many were refused in our words."""
    ends = Counter[bool]()
    for mutant in mutants:
        file.write_bytes(mutant)
        ends[read() is not None] += 1
    return ends


def test_architectures(mutants, outcome, fuzz, file):
    names = random.Random(0).sample(zoo.names(), 12)
    seeds = [zoo.get(name).to_yaml() for name in names]
    ends = tally(mutants("architecture", seeds, fuzz(1300)), file, lambda: outcome(lambda: used_architecture(file)))
    assert min(ends[True], ends[False]) > 150, ends


def used_architecture(file: Path) -> Architecture:
    """Read and used for all that needs no memory of its size."""
    found = Architecture.from_yaml_file(file)
    text = found.to_yaml()
    again = Architecture.from_yaml(text)
    assert again == found
    assert again.hash == found.hash
    assert again.to_yaml() == text
    assert Architecture.from_dict(found.to_dict()) == found
    for form in (found, found.deployed):  # a head has both
        assert min(form.params, form.macs) >= form.classes
    with suppress(NasError):
        assert found.at(2 * found.image_size).image_size == 2 * found.image_size
    return found


def test_spaces(mutants, outcome, fuzz, file, space_files):
    shipped = [path.read_text() for path in sorted(SPACES.glob("*.yaml"))]
    small = [path.read_text() for path in space_files.values()]
    ends = Counter()
    for number, mutant in enumerate(mutants("space", [*shipped, *small, *small], fuzz(500))):
        file.write_bytes(mutant)
        found = outcome(lambda: load_definition(file))
        if found is not None and (found.name != "mlp_family" or number % 10 == 0):
            outcome(partial(used_space, found, random.Random(number)))
        ends[found is not None] += 1
    assert min(ends[True], ends[False]) > 30, ends


def used_space(definition, rng: random.Random) -> None:
    """Bound, counted, drawn from, and walked in."""
    size = min(scale.image_size for scale in definition.scales)
    space = SearchSpace(definition, image_size=size, in_channels=1, classes=10)
    assert SearchSpace(definition, image_size=size, in_channels=1, classes=10).hash == space.hash
    assert space.size > 0
    least, most = space.cost_range()
    assert least.params <= most.params
    found = space.sample(rng)
    assert found in space
    assert Architecture.from_yaml(found.to_yaml()) == found
    assert space.draw(rng) in space
    space.check_limits(space.limits)
    assert space.limits.allow(space.sample(rng, space.limits).deployed.cost)
    assert space.mutate(found, rng, Limits()) in space


def test_search_configurations(mutants, outcome, fuzz, file):
    ends = tally(mutants("configuration", CONFIGS, fuzz(1500)), file, lambda: outcome(lambda: used_configuration(file)))
    assert min(ends[True], ends[False]) > 150, ends


def used_configuration(file: Path) -> SearchConfig:
    """Read, asked for all that follows from it, and read again from what it says."""
    found = SearchConfig().with_file(file)
    assert found.objectives
    assert found.parts
    assert "/" not in found.study_name
    assert found.limits(Limits(max_params=1000))
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(found).items()}
    plain["max_params"] = "none" if plain["max_params"] == 0 else plain["max_params"]
    file.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    assert SearchConfig().with_file(file) == found
    return found
