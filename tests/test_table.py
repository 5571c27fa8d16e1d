"""The builder of tabular benchmarks: what it draws, and a tiny table that is built for real, stopped and built on."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.table import Trainings, _sort, draw, missing, train_on_cpu_time
from nas.bench.definition import Band, Definition
from nas.bench.table import Table
from runners.inline import InlineRunner
from runners.protocol import EpochResult, Job, Measured
from search_space.zoo.scaled import family_points

DEFINITION = """\
space: {space}
data: digits
recipe: {{epochs: 2}}
search_seeds: [0]
design_seeds: [1]
truth_seeds: [2]
draw_seed: 7
any_size: 1
bands:
  - {{name: small, macs: 60k, architectures: 1}}
  - {{name: aside, macs: 120k, architectures: 1, held_out: true}}
"""


@pytest.fixture
def definition(space_files: dict[str, Path], tmp_path: Path) -> Definition:
    """One architecture in a band, one in a held-out band, and one of any size."""
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "definition.yaml").write_text(DEFINITION.format(space=space_files["small"]))
    return Table(tmp_path / "table").definition


@pytest.fixture
def make_source(definition: Definition, tmp_path: Path) -> Callable[[], Trainings]:
    """What the table of the definition lacks by now."""

    def make() -> Trainings:
        table = Table(tmp_path / "table")
        if not (table.folder / "architectures.jsonl").exists():
            table.write_architectures([entry for entry in draw(definition) if entry.origin == "drawn"])
            (table.folder / "trainings.jsonl").touch()
        return missing(table, (0, 1, 2), tmp_path)

    return make


def by_band(definition: Definition, **architectures: int) -> dict[str, list[str]]:
    """Hashes of what is drawn at random with so many architectures in each band, in order."""
    bands = tuple(replace(band, architectures=architectures[band.name]) for band in definition.bands)
    found: dict[str, list[str]] = {band.name: [] for band in bands}
    for entry in draw(replace(definition, bands=bands)):
        if entry.origin == "drawn":
            found[entry.band].append(entry.architecture.hash)
    return found


def test_a_band_that_grows_keeps_what_it_had(definition: Definition) -> None:
    few = by_band(definition, small=3, aside=2, any=2)
    many = by_band(definition, small=6, aside=2, any=2)
    assert [len(names) for names in few.values()] == [3, 2, 2]
    assert many["small"][:3] == few["small"]
    assert many["aside"] == few["aside"]


def test_families_that_fit_a_band_are_in_it(definition: Definition) -> None:
    space = definition.load_space()
    name, point = next(iter(family_points(space, space.limits).items()))
    middle = replace(definition, bands=(Band("middle", point.deployed.macs, 1),))  # so that the family has room in it
    families = [entry for entry in draw(middle) if entry.origin != "drawn"]
    assert f"family:{name}" in {entry.origin for entry in families}
    assert all(middle.bands[0].holds(entry.architecture.deployed.macs) for entry in families)


def test_bands_hold_what_their_size_says_and_nothing_twice(definition: Definition) -> None:
    entries = draw(definition)
    sizes = {band.name: band for band in definition.bands}
    assert all(sizes[entry.band].holds(entry.architecture.deployed.macs) for entry in entries)
    assert len({entry.architecture.hash for entry in entries}) == len(entries)


def test_a_table_is_built_and_continued_after_a_kill(make_source: Callable[[], Trainings], tmp_path: Path) -> None:
    """The killed training is done again from its start; the rest is as if nothing had happened."""
    trained: list[str] = []

    def killed_in_the_third(job: Job) -> Generator[EpochResult, None, Measured]:
        for epoch in (steps := train_on_cpu_time(job)):
            if job.task == "train" and len(trained) == 2:
                steps.close()
                raise KeyboardInterrupt
            yield epoch
        trained.append(job.key) if job.task == "train" else None
        return Measured()

    first = make_source()
    with pytest.raises(KeyboardInterrupt):
        InlineRunner().run(first, killed_in_the_third)
    path = tmp_path / "table" / "trainings.jsonl"
    assert (first.total, len(path.read_text().splitlines())) == (7, 2)

    second = make_source()
    assert second.total == 5
    InlineRunner().run(second, train_on_cpu_time)
    _sort(path.parent)
    table = Table(path.parent)
    bands = {name: table.band(name)[0].architecture.hash for name in ("small", "aside", "any")}
    # A held-out band, and that of any size, take no part in the design of anything.
    seeds = {name: [seed for key, seed in table.trainings if key == bands[name]] for name in bands}
    assert seeds == {"small": [0, 1, 2], "aside": [0, 2], "any": [0, 2]}
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 0, 0, 1, 2, 2, 2]
    for training in table.trainings.values():
        assert training.cause is None
        assert [len(curve) for curve in (training.train_loss, training.nll, training.accuracy)] == [2, 2, 2]
        assert training.test_nll is not None
        assert training.test_nll not in training.nll  # measured on other images
        assert training.seconds > 0
    assert list(tmp_path.glob("*.safetensors")) == []
    assert make_source().done


def test_a_table_says_what_a_training_came_to(make_source: Callable[[], Trainings], tmp_path: Path) -> None:
    source = make_source()
    (architecture, seed), *_ = source.todo
    InlineRunner().run(source, train_on_cpu_time)
    training = Table(tmp_path / "table").trainings[architecture.hash, seed]
    job = Job("alone", architecture, source.data, source.recipe, seed)
    assert training.nll == [round(epoch.nll, 4) for epoch in train_on_cpu_time(job)]
