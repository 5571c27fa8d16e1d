"""Tables of trainings: what a definition may say, what broken files come to, and what a replay shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.bench.definition import read_definition
from nas.bench.replay import Replay
from nas.bench.table import Entry, Table, Training
from runners.execution import Execution
from runners.protocol import Cause, DataSpec, Job, Outcome, Score
from search_space.errors import DataError
from search_space.space import SearchSpace

DEFINITION = """\
space: {space}
data: digits
recipe: {{epochs: 4}}
search_seeds: [0, 1]
design_seeds: [3]
truth_seeds: [2]
draw_seed: 0
any_size: 5
bands:
  - {{name: small, macs: 50k, architectures: 8}}
  - {{name: aside, macs: 1M, architectures: 8, held_out: true}}
"""
CURVE = [0.9, 0.7, 0.6, 0.5]


@pytest.fixture
def define(tmp_path: Path, space_files: dict[str, Path]) -> Callable[..., Path]:
    """Writes a definition, with one text replaced by another, and returns its folder."""

    def make(old: str = "", new: str = "") -> Path:
        text = DEFINITION.format(space=space_files["tiny"])
        (tmp_path / "definition.yaml").write_text(text.replace(old, new) if old else text)
        return tmp_path

    return make


@pytest.fixture
def table(define: Callable[..., Path], tiny_space: SearchSpace) -> Table:
    """A table of two architectures, trained with the seeds 0 to 3: the NLL of seed s ends with s more."""
    table = Table(define())
    choices = tiny_space.encode(tiny_space.sample(random.Random(0)))
    found = [tiny_space.decode({**choices, "stage1.depth": depth}) for depth in (1, 2)]
    table.write_architectures([Entry(one, "small", tiny_space.encode(one), "drawn") for one in found])
    for architecture in found:
        for seed in range(4):
            nll = [*CURVE[:-1], CURVE[-1] + seed]
            table.add(Training(architecture.hash, seed, 8.0, CURVE, nll, [0.5] * 4, 0.1 + seed, 0.9))
    return Table(table.folder)


def replayed(job: Job, evaluate: Replay) -> tuple[list[tuple[int, float]], Outcome]:
    """The epochs that a job reports, with their NLL, and how it ends."""
    execution = Execution(job, evaluate)
    epochs, outcome = execution.advance()
    return [(epoch.epoch, epoch.nll) for epoch in epochs], outcome or execution.stop()


@pytest.fixture
def job(table: Table) -> Job:
    """A full training of the first architecture, with seed 0."""
    architecture = next(iter(table.entries.values())).architecture
    return Job("trial-0000", architecture, DataSpec("digits"), table.recipe, 0)


def test_a_definition_says_what_is_trained(define: Callable[..., Path]) -> None:
    definition = read_definition(define())
    assert [(band.name, band.macs, band.held_out) for band in definition.bands] == [
        ("small", 50_000, False),
        ("aside", 1_000_000, True),
        ("any", None, False),
    ]
    assert definition.full_recipe.epochs == 4
    assert [definition.seeds(name) for name in ("small", "aside", "any")] == [(0, 1, 3, 2), (0, 1, 2), (0, 1, 2)]


@pytest.mark.parametrize(("macs", "inside"), [(45_000, True), (55_000, True), (44_999, False), (55_001, False)])
def test_a_band_reaches_a_tenth_to_either_side(define: Callable[..., Path], macs: int, inside: bool) -> None:
    band, _, any_size = read_definition(define()).bands
    assert (band.holds(macs), any_size.holds(macs)) == (inside, True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("data: digits\n", "", "definition.yaml:1: lacks the key 'data'"),
        ("draw_seed: 0", "draw_sed: 0", "definition.yaml:7: draw_sed is an unknown key; "),
        ("[0, 1]", "[0, one]", "definition.yaml:4: search_seeds.1 is 'one'; allowed: a whole number"),
        ("[0, 1]", "[]", "definition.yaml:4: search_seeds is empty; allowed: a list of seeds"),
        ("[3]", "[1]", "definition.yaml:5: design_seeds has the seed 1, as search_seeds has; every seed has one role"),
        ("[2]", "[3]", "definition.yaml:6: truth_seeds has the seed 3, as design_seeds has; every seed has one role"),
        ("epochs: 4", "epoch: 4", "definition.yaml:3: recipe.epoch is an unknown key; "),
        ("50k", "many", "definition.yaml:10: bands.0.macs is not usable: "),
        (
            "held_out: true",
            "held_out: often",
            "definition.yaml:11: bands.1.held_out is 'often'; allowed: true or false",
        ),
    ],
)
def test_a_mistake_in_a_definition_is_placed(define: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        read_definition(define(old, new))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("trainings", '{"architecture": "ab', "line 9 is not JSON; an interrupted build may have left it"),
        ("trainings", '{"architecture": "ab", "sed": 0}', "line 9 is not a line of a table: "),
        ("architectures", "[1]", "line 3 is not a line of a table: "),
        ("architectures", '{"hash": "ab"}', "line 3 is not a line of a table: KeyError 'choices'"),
        (
            "scores",
            '{"hash": "ab", "values": {"l2": 1}, "seconds": {}}',
            "line 1 is not a line of a table: KeyError 'l2'",
        ),
    ],
)
def test_a_broken_line_is_placed(table: Table, name: str, line: str, message: str) -> None:
    with (table.folder / f"{name}.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError) as raised:
        getattr(Table(table.folder), {"architectures": "entries"}.get(name, name))
    assert str(table.folder / f"{name}.jsonl") in str(raised.value)
    assert message in str(raised.value)


def test_a_file_that_is_missing_is_named(table: Table) -> None:
    (table.folder / "trainings.jsonl").unlink()
    with pytest.raises(DataError, match=r"trainings\.jsonl cannot be read: No such file"):
        _ = Table(table.folder).trainings


def test_an_architecture_that_the_space_makes_differently_by_now_is_noticed(table: Table) -> None:
    path = table.folder / "architectures.jsonl"
    name = next(iter(table.entries))
    path.write_text(path.read_text().replace(name, name[::-1]))
    with pytest.raises(DataError, match="is another architecture in this version"):
        _ = Table(table.folder).entries


def test_what_was_written_is_read(table: Table) -> None:
    training = table.trainings[next(iter(table.entries)), 1]
    assert (training.nll, training.test_nll, training.cause) == ([0.9, 0.7, 0.6, 1.5], 1.1, None)
    assert [entry.architecture.depth for entry in table.band("small")] == [1, 2]
    assert table.scores == {}


def test_a_search_sees_neither_other_seeds_nor_any_test_figure(table: Table) -> None:
    seen = table.visible()
    assert {seed for _, seed in seen.trainings} == {0, 1}
    assert all(training.test_nll is None is training.test_accuracy for training in seen.trainings.values())
    assert table.trainings[next(iter(table.entries)), 2].test_nll == 2.1  # and the table itself keeps all
    for seeds in ((2,), (0, 3), ()):
        with pytest.raises(DataError, match=r"a search may see the seeds \(0, 1\), not"):
            Replay(seen, seeds)


def test_a_test_job_of_what_a_search_sees_shows_the_validation_split(table: Table, job: Job) -> None:
    epochs, outcome = replayed(replace(job, task="test"), Replay(table.visible(), (0,)))
    assert (epochs[-1], outcome.status) == ((4, 0.5), "complete")


def test_a_replay_shows_the_curve_and_takes_the_time_of_the_training(table: Table, job: Job) -> None:
    execution = Execution(job, Replay(table, (0,)))
    epochs, outcome = execution.advance()
    assert [epoch.nll for epoch in epochs] == CURVE
    assert [epoch.seconds for epoch in epochs] == [2.0] * 4
    assert outcome is not None
    assert outcome.status == "complete"


def test_a_replay_stops_at_rungs_and_resumes_after_known_epochs(table: Table, job: Job) -> None:
    replay = Replay(table, (0,))
    epochs, outcome = replayed(replace(job, rungs=(2,)), replay)
    assert (epochs, outcome.status) == ([(1, 0.9), (2, 0.7)], "stopped")
    epochs, outcome = replayed(replace(job, rungs=(2,), reported=2), replay)
    assert (epochs, outcome.status) == ([(3, 0.6), (4, 0.5)], "complete")


@pytest.mark.parametrize(("seed", "end"), [(7, 1.5), (8, 0.5), (9, 1.5)])
def test_seeds_of_a_search_go_round_those_of_the_table(table: Table, job: Job, seed: int, end: float) -> None:
    epochs, _ = replayed(replace(job, seed=seed), Replay(table, (1, 0), first=7))
    assert epochs[-1] == (4, end)


def test_a_training_that_failed_fails_again_where_it_did(table: Table, job: Job) -> None:
    table.add(Training(job.architecture.hash, 0, 3.0, CURVE[:1], CURVE[:1], [0.5], cause="diverged"))
    epochs, outcome = replayed(job, Replay(Table(table.folder), (0,)))
    assert epochs == [(1, 0.9)]
    assert (outcome.status, outcome.cause) == ("failed", Cause.DIVERGED)


def test_a_training_that_is_not_there_is_named(table: Table, job: Job) -> None:
    path = table.folder / "trainings.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=f"no training of {job.architecture.hash} with seed 0"):
        next(Replay(Table(table.folder), (0,))(job))


def test_a_score_job_gives_a_score_for_each_architecture_and_proxy(table: Table, job: Job) -> None:
    batch = tuple(entry.architecture for entry in table.entries.values())
    table.add_scores(batch[0].hash, {"l2": Score(1.5, 0.25), "zico": Score(None, 0.5)})
    scoring = replace(job, task="score", batch=batch[:1], proxies=("zico", "l2"))
    epochs, outcome = replayed(scoring, Replay(Table(table.folder), (0,)))
    assert (epochs, outcome.measured.scores) == ([], ({"zico": Score(None, 0.5), "l2": Score(1.5, 0.25)},))
    with pytest.raises(DataError, match=f"no score of {batch[1].hash} by zico, l2"):
        next(Replay(Table(table.folder), (0,))(replace(scoring, batch=batch)))
