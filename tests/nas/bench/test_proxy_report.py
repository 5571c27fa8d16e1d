"""How the report on proxies ranks them: by trainings that are known."""

from __future__ import annotations

import json
import random

import pytest

from nas.bench.proxy_report import report
from nas.bench.table import Entry, Table, Training
from nas.strategy.features import family_of
from runners.protocol import Score
from search_space import Architecture, Attention, Branch, Dense, Stage

CHANNEL = Dense("channel", 16)


def make(*stages):
    return Architecture(image_size=8, patch=2, in_channels=1, classes=10, stages=stages)


@pytest.mark.parametrize(
    ("depths", "expected"), [((3, 1), "token mlp"), ((1, 3), "attention"), ((2, 2), "token mlp"), ((1, 1), "token mlp")]
)
def test_a_family_is_the_mixer_of_most_blocks(depths, expected):
    first = Stage(depths[0], 8, (Branch(Dense("token", 8)), Branch(CHANNEL)))
    second = Stage(depths[1], 8, (Branch(Attention(2)),), downsample="conv2")
    assert family_of(make(first, second)) == expected


def test_a_network_without_a_mixer_is_a_family_too():
    assert family_of(make(Stage(2, 8, (Branch(CHANNEL),)))) == "none"


DEFINITION = """\
space: {space}
data: digits
recipe: {{epochs: 2}}
search_seeds: [0, 1]
design_seeds: [3]
truth_seeds: [2]
draw_seed: 0
any_size: {size}
bands:
  - {{name: small, macs: 50k, architectures: {size}}}
  - {{name: large, macs: 90k, architectures: {size}, held_out: true}}
"""


@pytest.fixture
def make_table(space_files, space, tmp_path):
    """A table of 12 architectures in each of three bands, with trainings whose NLL is a function of their place."""

    def make(seeds=(0, 1, 2), nll=lambda place, seed: 1.0 + place, size=12):
        folder = tmp_path / "table"
        folder.mkdir()
        (folder / "trainings.jsonl").touch()
        (folder / "definition.yaml").write_text(DEFINITION.format(space=space_files["small"], size=size))
        rng, drawn = random.Random(0), {}
        while len(drawn) < 3 * size:
            wish = {axis.name: rng.choice(axis.values) for axis in space.axes}
            architecture = space.complete(wish, rng, space.limits)
            drawn[architecture.hash] = architecture
        table = Table(folder)
        bands = [name for name in ("small", "large", "any") for _ in range(size)]
        table.write_architectures(
            [Entry(one, band, space.encode(one), "drawn") for one, band in zip(drawn.values(), bands, strict=True)]
        )
        for place, name in enumerate(drawn):
            for seed in seeds:
                value = nll(place, seed)
                table.add(Training(name, seed, 10.0, [value], [value], [0.5], value, 0.5))
            table.add_scores(name, {"good": Score(-place, 0.1), "bad": Score(place, 0.2), "mute": Score(None, 0.3)})
        return Table(folder)

    return make


def test_scores_are_kept_and_tidied(make_table):
    table = make_table(size=2)
    first, second = list(table.entries)[:2]
    table.add_scores(first, {"late": Score(3.0, 0.5)})
    path = table.folder / "scores.jsonl"
    expected = Table(table.folder).scores
    assert expected[first] == {
        "good": Score(0, 0.1),
        "bad": Score(0, 0.2),
        "mute": Score(None, 0.3),
        "late": Score(3.0, 0.5),
    }
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    Table(table.folder).tidy_scores()
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()][:2] == [first, second]
    assert len(path.read_text().splitlines()) == 6
    assert Table(table.folder).scores == expected


def test_the_report_ranks_by_the_truth_with_a_good_proxy_positive(make_table):
    """The search seeds say the reverse of the truth, which must not be looked at in its stead."""
    record = report(make_table(nll=lambda place, seed: 1.0 + place if seed == 2 else 100.0 - place))
    assert (record["is_truth"], record["judged_by"], record["spared"]) == (True, "test NLL of the seed 2", [])
    names = [(group["kind"], group["name"]) for group in record["groups"]]
    assert names[:4] == [("all", "size-matched"), ("band", "small"), ("band", "large"), ("band", "any")]
    good, bad, mute = record["proxies"]
    assert [tau["tau"] for tau in good["taus"][:4]] == [1, 1, 1, 1]
    assert [tau["n"] for tau in good["taus"][:4]] == [24, 12, 12, 12]
    assert [tau["tau"] for tau in bad["taus"][:4]] == [-1, -1, -1, -1]
    assert (mute["taus"][0]["tau"], mute["without_a_value"]) == (None, 36)
    assert (good["fte"], bad["fte"]) == (pytest.approx(0.01), pytest.approx(0.02))
    assert record["groups"][0]["retest"]["tau"] == 1


def test_search_seeds_stand_in_without_the_held_out_band(make_table):
    record = report(make_table(seeds=(0, 1)), (0, 1))
    assert (record["is_truth"], record["spared"]) == (False, ["large"])
    assert [group["name"] for group in record["groups"][:3]] == ["size-matched", "small", "any"]
    assert record["proxies"][0]["taus"][0]["n"] == 12


def test_design_seeds_stand_in_for_the_bands_that_have_them(make_table):
    """Search seeds and truth say the reverse; an untrained architecture is left out, a band without these seeds is."""
    table = make_table(nll=lambda place, seed: 1.0 + place if seed == 3 else 100.0 - place, seeds=(0, 1, 2, 3))
    lines = (table.folder / "trainings.jsonl").read_text().splitlines(keepends=True)
    design = [line for line in lines if json.loads(line)["seed"] == 3]
    (table.folder / "trainings.jsonl").write_text("".join(line for line in lines if line != design[0]))
    record = report(Table(table.folder), design=True)
    assert (record["is_truth"], record["judged_by"]) == (False, "test NLL of the seed 3")
    assert record["spared"] == ["any", "large"]
    assert [group["name"] for group in record["groups"][:2]] == ["size-matched", "small"]
    assert (record["architectures"], record["ranked"]) == (12, 11)
    assert record["proxies"][0]["taus"][0]["tau"] == 1


def test_a_table_may_have_no_design_seeds(nas, make_table):
    table = make_table()
    path = table.folder / "definition.yaml"
    path.write_text(path.read_text().replace("design_seeds: [3]", "design_seeds: []"))
    ran = nas("proxies", "--table", table.folder, "--design")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "has no design seeds; use search seeds: --seeds 0,1" in ran.err


def test_families_are_compared_within_their_bands(make_table):
    record = report(make_table())
    families = [n for n, group in enumerate(record["groups"]) if group["kind"] == "family"]
    assert {record["groups"][n]["name"] for n in families} <= {"attention", "token mlp", "token linear"}
    assert sum(record["proxies"][0]["taus"][n]["n"] for n in families) <= 24  # the band of any size is not in them


def test_failed_trainings_are_left_out(make_table):
    table = make_table()
    name = next(iter(table.entries))
    table.add(Training(name, 2, 1.0, cause="diverged"))
    record = report(Table(table.folder))
    assert (record["architectures"], record["ranked"]) == (36, 35)


@pytest.mark.parametrize(
    ("seeds", "arguments", "message"),
    [
        ((0, 1), (), "lacks 36 of the 36 trainings with the truth seeds 2;"),
        ((), ("--seeds", "0,1"), "has no training with the seeds 0, 1"),
        ((0, 1, 2), ("--seeds", "2"), "--seeds names 2; allowed: 0, 1"),
        ((0, 1), ("--design",), "has no training with the seeds 3"),
        ((0, 1, 2), ("--design", "--seeds", "0"), "--seeds and --design exclude each other"),
        ((0, 1, 2), ("--seeds", "one"), "--seeds is 'one'; allowed: search seeds such as 0,1"),
        ((0, 1, 2), ("--data", "mnist"), "no table is for the data set 'mnist'; allowed: digits"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_sentence(nas, make_table, seeds, arguments, message):
    ran = nas("proxies", "--table", make_table(seeds=seeds).folder, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_table_without_scores_says_how_to_make_them(nas, make_table):
    table = make_table()
    (table.folder / "scores.jsonl").unlink()
    ran = nas("proxies", "--table", table.folder)
    assert ran.code == 2
    assert "has no scores; make them with: python -m benchmarks.score_table table" in ran.err


def test_the_command_shows_a_line_a_proxy(nas, make_table, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ran = nas("proxies", "--table", make_table().folder)
    assert (ran.code, ran.err) == (0, "")
    assert "table: rank correlation with the test NLL of the seed 2" in ran.out
    assert "mute has no value for 36 of 36 architectures" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["n", "24", "12", "12", "12"] in rows
    good = next(row for row in rows if row[:1] == ["good"])
    assert good == ["good", *["1.00", "[1.00", "1.00]"] * 4]
    assert ["good", "1"] in rows  # a training took 10 seconds, and the proxy a tenth of one


def test_the_command_gives_everything_as_json(nas, make_table):
    table = make_table()
    ran = nas("proxies", "--table", table.folder, "--json")
    assert json.loads(ran.out) == [report(Table(table.folder))]
