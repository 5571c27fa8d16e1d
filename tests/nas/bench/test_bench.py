"""Every strategy over tables: pools, simulations, contests and intervals, with figures worked by hand."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.bench.arms import arms
from nas.bench.comparison import Share, compare, wrongly_stopped
from nas.bench.contest import RUNS_PER_TASK, Contest, Scale
from nas.bench.estimates import area, error_covariance, estimate, first_reached, reached
from nas.bench.parallel import simulate
from nas.bench.picture import check, draw
from nas.bench.pool import NEIGHBOURS, Members, Pool
from nas.bench.replay import Replay
from nas.bench.simulation import NOTHING, Arm, Records, Simulator
from nas.bench.table import Entry, Table, Training
from nas.commands.bench_text import render
from runners.execution import Execution
from runners.protocol import DataSpec, Job, Score
from search_space.errors import ConfigError, DataError, SpaceError
from search_space.space import SearchSpace

VALIDATION = (0.35, 0.40, 0.45, 0.30, 0.50, 0.33, 0.55, 0.60)
TRUTH = (0.46, 0.47, 0.48, 0.50, 0.52, 0.42, 0.54, 0.56)
"""Architecture 3 looks best after its training, 5 is best: training everything has a regret of 0.50 - 0.42 = 0.08."""
EPOCHS = 4
SECONDS = 10.0
RANDOM = Arm("random", {"strategy": "random", "finalists": 0})

MakeTable = Callable[..., Table]


@pytest.fixture
def make_table(tmp_path: Path, space_files: dict[str, Path], tiny_space: SearchSpace) -> MakeTable:
    """A table of the 8 architectures of the space "tiny", in one band; figures by place, the same for all seeds."""

    def make(
        validation: Sequence[float] = VALIDATION,
        truth: Sequence[float] = TRUTH,
        seeds: Sequence[int] = (0, 1, 2),
        second: Sequence[float] | None = None,
        name: str = "invented",
        held_out: str = "",
        design_seeds: Sequence[int] = (3,),
    ) -> Table:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "definition.yaml").write_text(
            f"{{space: {space_files['tiny']}, data: digits, recipe: {{epochs: {EPOCHS}}}, search_seeds: [0, 1], "
            f"design_seeds: {list(design_seeds)}, truth_seeds: [2], draw_seed: 0, any_size: 0, "
            f"bands: [{{name: all, macs: 50k, architectures: 8{held_out}}}]}}"
        )
        table = Table(folder)
        table.write_architectures(_entries(tiny_space))
        (folder / "trainings.jsonl").touch()
        for place, entry in enumerate(_entries(tiny_space)):
            for seed in seeds:
                final = second[place] if second is not None and seed == 1 else validation[place]
                curve = [final + EPOCHS - epoch for epoch in range(1, EPOCHS + 1)]
                table.add(
                    Training(entry.architecture.hash, seed, SECONDS, curve, curve, [0.5] * EPOCHS, truth[place], 0.9)
                )
        return Table(folder)

    return make


def _entries(space: SearchSpace) -> list[Entry]:
    wishes = [(depth, ratio) for ratio in (2, 4) for depth in (1, 2, 3, 4)]
    base = space.encode(space.sample(random.Random(0)))
    found = [
        space.decode({**base, "stage1.depth": depth, "stage1.channel_ratio": ratio, "stage1.order": "token_first"})
        for depth, ratio in wishes
    ]
    return [Entry(architecture, "all", space.encode(architecture), "drawn") for architecture in found]


def _contest(table: Table, *, design: bool = False) -> Contest:
    return Contest(table, table.definition.bands[0], design=design)


class TestPool:
    @pytest.fixture
    def pool(self, tiny_space: SearchSpace) -> Pool:
        return Pool(Members(tiny_space, _entries(tiny_space)))

    def test_what_was_taken_is_not_drawn_until_nothing_is_left(self, pool: Pool) -> None:
        for architecture in pool.members[1:]:
            pool.take(architecture)
        rng = random.Random(0)
        assert {pool.sample(rng) for _ in range(20)} == {pool.members[0]}
        pool.take(pool.members[0])
        assert len({pool.sample(rng) for _ in range(200)}) == len(pool.members)

    def test_a_proposal_becomes_the_nearest_member_that_is_left(self, pool: Pool) -> None:
        rng = random.Random(0)
        wish = pool.encode(pool.members[2])  # depth 3, channel ratio 2
        assert pool.complete(wish, rng) == pool.members[2]
        pool.take(pool.members[2])
        one_step = {pool.complete(wish, rng) for _ in range(50)}  # a third of the depth axis against all of the ratio's
        assert one_step == {pool.members[1], pool.members[3]}

    def test_neighbours_come_from_near_to_far(self, pool: Pool) -> None:
        near = list(pool.neighbours(pool.members[0]))  # depth 1; the ratio's whole axis weighs as much as the depth's
        assert near[:2] == [pool.members[1], pool.members[2]]
        assert set(near) == set(pool.members[1:])
        assert len(near) <= NEIGHBOURS
        assert pool.mutate(pool.members[0], random.Random(0)) in near

    def test_is_a_space_of_its_own(self, pool: Pool, tiny_space: SearchSpace) -> None:
        assert pool.size == 8
        assert all(pool.decode(pool.encode(member)) == member for member in pool.members)
        half = Pool(Members(tiny_space, _entries(tiny_space)[:4]))
        with pytest.raises(SpaceError, match="no such architecture"):
            half.decode(pool.encode(pool.members[7]))
        assert pool.members[7] not in half

    def test_pools_of_the_same_members_are_taken_from_independently(self, tiny_space: SearchSpace) -> None:
        members = Members(tiny_space, _entries(tiny_space))
        one, other = Pool(members), Pool(members)
        one.take(one.members[0])
        assert {other.sample(random.Random(seed)) for seed in range(200)} == set(members.architectures)

    def test_needs_a_member(self, tiny_space: SearchSpace) -> None:
        with pytest.raises(SpaceError, match="at least one"):
            Members(tiny_space, [])


class TestSimulation:
    def test_random_search_over_everything_delivers_what_looked_best(self, make_table: MakeTable) -> None:
        result = compare([_contest(make_table())], [RANDOM], Scale(4)).bands[0]
        end = result.strategies["random"].regret[128.0]
        assert end.mean == pytest.approx(0.08)
        assert result.random_200 == pytest.approx(0.50)
        assert result.best == pytest.approx(0.42)

    def test_compute_is_counted_in_full_trainings(self, make_table: MakeTable) -> None:
        random_search = compare([_contest(make_table())], [RANDOM], Scale(4)).bands[0].strategies["random"]
        assert [random_search.fte[budget] for budget in (1.0, 2.0, 4.0, 8.0, 128.0)] == [1, 2, 4, 8, 8]  # 8 there are
        assert random_search.cost_ratio[8.0] == pytest.approx(1.0)

    def test_the_result_at_a_budget_needs_no_more_compute(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())
        (records,) = (
            Simulator({"invented": contest.table.visible()}).run(simulation)
            for simulation in list(contest.simulations(RANDOM, Scale(RUNS_PER_TASK), (0.5, 1.0, 2.0)))[:1]
        )
        assert (records.chosen[:, 0] == NOTHING).all()
        assert (records.fte <= [0.5, 1.0, 2.0]).all()
        assert (records.started.sum(axis=2)[:, 1:] == [1, 2]).all()
        for run in range(RUNS_PER_TASK):
            first, both = np.flatnonzero(records.started[run, 1]), np.flatnonzero(records.started[run, 2])
            assert records.chosen[run, 1] == first[0]
            assert records.chosen[run, 2] == min(both, key=lambda place: VALIDATION[place])

    @pytest.mark.parametrize("name", ["random", "random+halving", "one_epoch", "evolution", "tpe+halving"])
    def test_a_run_shows_at_a_smaller_budget_what_a_search_with_that_budget_would(
        self, make_table: MakeTable, name: str
    ) -> None:
        contest = _contest(make_table())
        simulator = Simulator({"invented": contest.table.visible()})
        (arm,) = (arm for arm in arms([name]) if arm.name == name)
        assert not arm.plans
        shared, apart = (
            simulator.run(next(contest.simulations(it, Scale(4), (1.0, 1.5, 2.0, 4.0, 8.0, 16.0))))
            for it in (arm, replace(arm, plans=True))
        )
        for field in ("chosen", "fte", "started", "stopped"):
            assert np.array_equal(getattr(shared, field), getattr(apart, field)), field
        assert (np.diff(shared.fte[:, [0, 2, 3]], axis=1) > 0).all()

    def test_random_search_draws_uniformly(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())
        simulator = Simulator({"invented": contest.table.visible()})
        parts = [
            simulator.run(it) for it in list(contest.simulations(RANDOM, Scale(400), (1.0,)))[: 400 // RUNS_PER_TASK]
        ]
        counts = np.bincount(Records.join(parts).chosen[:, 0], minlength=8)
        assert ((counts - 50) ** 2 / 50).sum() < 24.3  # chi-squared with 7 degrees of freedom: 0.1 %

    def test_the_truth_reaches_no_search(self, make_table: MakeTable) -> None:
        table = make_table()
        seen = table.visible()
        assert {seed for _, seed in seen.trainings} == {0, 1}
        assert {training.test_nll for training in seen.trainings.values()} == {None}
        assert table.trainings[table.band("all")[0].architecture.hash, 2].test_nll == TRUTH[0]
        with pytest.raises(DataError, match="may see"):
            Replay(seen, (2,))

    def test_proxies_are_read_from_the_table_too(self, make_table: MakeTable) -> None:
        table = make_table()
        architectures = tuple(entry.architecture for entry in table.band("all")[:2])
        for place, architecture in enumerate(architectures):
            table.add_scores(architecture.hash, {"l2": Score(float(place), 0.5), "zico": Score(None, 0.1)})
        replay = Replay(Table(table.folder).visible(), (0,))
        job = Job("proxies-0000", architectures[0], DataSpec("digits"), table.recipe, 0, task="score", proxies=("l2",))
        _, outcome = Execution(replace(job, batch=architectures), replay).advance()
        assert outcome is not None
        assert outcome.measured.scores == ({"l2": Score(0.0, 0.5)}, {"l2": Score(1.0, 0.5)})
        with pytest.raises(DataError, match=r"no score .* by snip"):
            next(replay(replace(job, batch=architectures, proxies=("l2", "snip"))))

    def test_runs_take_turns_in_the_seed_they_see_first(self, make_table: MakeTable) -> None:
        simulation = next(_contest(make_table()).simulations(RANDOM, Scale(4), (1.0,)))
        assert [simulation.seeds(run, (0, 1)) for run in range(2)] == [(0, 1), (1, 0)]

    def test_processes_make_no_difference(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())
        simulations = list(contest.simulations(RANDOM, Scale(4), (1.0, 4.0)))
        tables = {"invented": contest.table.visible()}
        for here, there in zip(simulate(simulations, tables), simulate(simulations, tables, jobs=2), strict=True):
            assert all(np.array_equal(getattr(here, name), getattr(there, name)) for name in vars(here))

    def test_nothing_is_simulated_twice(self, make_table: MakeTable, tmp_path: Path) -> None:
        contest = _contest(make_table())
        simulations = list(contest.simulations(RANDOM, Scale(4), (1.0, 4.0)))
        tables, missing = {"invented": contest.table.visible()}, list[int]()

        def run() -> list[Records]:
            totals: list[int] = []
            found = simulate(
                simulations, tables, cache_folder=tmp_path / "cache", on_progress=lambda _, all_: totals.append(all_)
            )
            missing.append(totals[0])
            return found

        first, second = run(), run()
        next((tmp_path / "cache").iterdir()).write_bytes(b"cut off")
        run()
        assert missing == [len(simulations), 0, 1]
        assert all(np.array_equal(one.chosen, other.chosen) for one, other in zip(first, second, strict=True))

    def test_a_stopped_comparison_is_continued(self, make_table: MakeTable, tmp_path: Path) -> None:
        contest, seen = _contest(make_table()), list[tuple[int, int]]()
        simulations = list(contest.simulations(RANDOM, Scale(4), (1.0, 4.0)))

        def run(stop_after: int) -> None:
            def on_progress(done: int, total: int) -> None:
                seen.append((done, total))
                if done == stop_after:
                    raise KeyboardInterrupt

            tables = {"invented": contest.table.visible()}
            simulate(simulations, tables, jobs=2, cache_folder=tmp_path / "cache", on_progress=on_progress)

        others = active_children()
        with pytest.raises(KeyboardInterrupt):
            run(stop_after=3)
        assert active_children() == others
        run(stop_after=-1)
        total = len(simulations)
        assert seen[:5] == [(0, total), (1, total), (2, total), (3, total), (0, total - 3)]
        assert seen[-1] == (total - 3, total - 3)


class TestContest:
    def test_regret_is_over_the_best_of_the_pool(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())
        chosen = np.array([[0, 5], [NOTHING, 7]], dtype=np.int16)
        pool = (0, 1, 7)
        assert contest.quality(chosen, pool).tolist() == pytest.approx(
            np.array([[0.46, 0.42], [(0.46 + 0.47 + 0.56) / 3, 0.56]])
        )
        assert contest.best(pool) == 0.46

    def test_design_seeds_decide_a_design_contest(self, make_table: MakeTable, tiny_space: SearchSpace) -> None:
        table = make_table(seeds=(0, 1), design_seeds=(3, 4))
        for place, entry in enumerate(_entries(tiny_space)[:6]):  # two are not trained with them, none with seed 2
            for seed in (3, 4):
                test = place + 10.0 * seed
                table.add(Training(entry.architecture.hash, seed, 1.0, [0.1], [0.1], [0.5], test, 0.9))
        contest = _contest(Table(table.folder), design=True)
        assert contest.members == (0, 1, 2, 3, 4, 5)
        chosen = np.array([[3, NOTHING]], dtype=np.int16)
        assert contest.quality(chosen, contest.members).tolist() == [[38.0, 37.5]]
        assert contest.best(contest.members) == 35.0

    def test_a_failed_training_is_as_bad_as_the_worst(self, make_table: MakeTable, tiny_space: SearchSpace) -> None:
        table = make_table()
        table.add(Training(_entries(tiny_space)[2].architecture.hash, 2, 1.0, cause="diverged"))
        assert _contest(Table(table.folder)).truth[2] == max(TRUTH)

    def test_wrongly_stopped(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())  # the best tenth of 8 is one: architecture 5
        started, stopped = np.zeros((2, 2, 8), dtype=bool), np.zeros((2, 2, 8), dtype=bool)
        started[:, 1, :] = True  # both runs start everything between the first budget and the second
        stopped[0, 1, [0, 5]] = True
        stopped[1, 1, [0, 1]] = True
        nothing = np.zeros((2, 2), dtype=np.float32)
        records = Records(nothing.astype(np.int16), nothing, nothing, started, stopped)
        assert wrongly_stopped(contest, records) == [Share(None, 0), Share(0.5, 2)]

    def test_test_retest_tau(self, make_table: MakeTable) -> None:
        assert _contest(make_table()).test_retest_tau == pytest.approx(1.0)
        reverse = make_table(name="reverse", second=[-figure for figure in VALIDATION])
        assert _contest(reverse).test_retest_tau == pytest.approx(-1.0)

    def test_pools_are_bootstrap_samples_and_the_same_for_all_strategies(self, make_table: MakeTable) -> None:
        contest = _contest(make_table())
        pools = contest.pools(200)
        assert pools == contest.pools(200)
        assert all(sorted(set(pool)) == list(pool) for pool in pools)
        expected = 8 * (1 - (7 / 8) ** 8)  # of 8 draws out of 8, so many differ: 5.25
        assert np.mean([len(pool) for pool in pools]) == pytest.approx(expected, abs=0.25)

    def test_says_what_is_missing(self, make_table: MakeTable) -> None:
        with pytest.raises(DataError, match=r"8 of the 8 architectures of the band all .* --design"):
            _contest(make_table(seeds=(0, 1)))
        with pytest.raises(DataError, match=r"8 of the 8 .* with the seeds 0, 1, 3; finish the table$"):
            _contest(make_table(seeds=(), name="empty"), design=True)
        with pytest.raises(DataError, match="no design seeds"):
            _contest(make_table(name="undesigned", design_seeds=()), design=True)


class TestEstimates:
    @pytest.mark.parametrize(
        ("target", "fte"),
        [(0.2, 2 * math.sqrt(2)), (0.3, 2.0), (0.4, 1.0), (0.5, 1.0), (0.1, 4.0), (0.05, math.inf)],
    )
    def test_compute_to_a_quality_is_interpolated_between_octaves(self, target: float, fte: float) -> None:
        assert first_reached((0.4, 0.3, 0.1), (1, 2, 4), target) == pytest.approx(fte)

    def test_area(self) -> None:
        assert area(np.array([[4.0, 2.0, 2.0], [1.0, 1.0, 1.0]]), (1, 2, 4)).tolist() == [3.0 + 2.0, 2.0]

    def test_error_of_runs_alone(self) -> None:
        runs = np.array([1.0, 3.0, 1.0, 3.0])  # variance 4/3, over 4 runs: 1/3
        same = np.full((5, 3), 2.0)  # no difference between pools
        figure = estimate(runs, same)
        assert figure.mean == 2.0
        assert figure.high - figure.mean == pytest.approx(1.96 * math.sqrt(1 / 3))

    def test_error_of_the_architectures_alone(self) -> None:
        pools = np.array([[1.0, 1.0], [3.0, 3.0]])  # variance 2 between two pools, none within
        figure = estimate(np.full(10, 7.0), pools)
        assert (figure.low, figure.high) == pytest.approx((7 - 1.96 * math.sqrt(2), 7 + 1.96 * math.sqrt(2)))

    def test_chance_within_pools_is_not_taken_for_architectures(self) -> None:
        pools = np.array([[0.0, 4.0], [2.0, 6.0]])[:, :, None]  # means 2 and 4: variance 2; within 8, over 2 runs: 4
        assert error_covariance(np.zeros((10, 1)), pools)[0, 0] == 0.0

    def test_intervals_shrink_with_the_runs(self) -> None:
        few, many = np.tile([1.0, 3.0], 10), np.tile([1.0, 3.0], 1000)
        pools = np.full((5, 3), 2.0)
        widths = [figure.high - figure.low for figure in (estimate(few, pools), estimate(many, pools))]
        assert widths[1] == pytest.approx(widths[0] / 10, rel=0.03)

    def test_reaching_a_mark_without_error_has_no_interval(self) -> None:
        runs = np.tile([0.4, 0.3, 0.1, 0.2], (5, 1))  # three budgets and the target
        figure = reached(runs, np.tile(runs[0], (4, 2, 1)), (1, 2, 4))
        assert (figure.value, figure.low, figure.high) == pytest.approx([2 * math.sqrt(2)] * 3, rel=1e-3)

    def test_a_mark_that_may_not_be_reached_has_an_open_end(self) -> None:
        runs = np.array([[0.4, 0.3, 0.1, 0.2]] * 5)
        apart = np.array([0, 0, 0.2, 0])
        shifted = np.stack([runs[:2] + apart, runs[:2] - apart])  # pools differ in the last budget
        figure = reached(runs, shifted, (1, 2, 4))
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is None


class TestCommand:
    @pytest.fixture
    def bench(self, nas: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
        return lambda *arguments: nas("bench", "--runs", 2, "--jobs", 1, "--cache", tmp_path / "cache", *arguments)

    def test_json(self, bench: Callable[..., Any], make_table: MakeTable) -> None:
        ran = bench("--table", make_table().folder, "--strategies", "random+halving", "--json")
        assert ran.code == 0
        found = json.loads(ran.out)
        assert found["design"] is False
        band = found["tables"]["invented"]["all"]
        assert (band["held_out"], band["architectures"], band["test_retest_tau"]) == (False, 8, pytest.approx(1.0))
        assert list(band["strategies"]) == ["random", "random+halving"]
        result = band["strategies"]["random"]
        assert set(result["regret"]["8"]) == {"mean", "low", "high"}
        assert result["regret"]["8"]["mean"] == pytest.approx(0.08)
        assert list(result["regret"]) == ["1", "2", "4", "8", "16", "32", "64", "128", "200"]
        assert result["versus_random"]["4"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        assert set(result["fte_to_random_200"]) == {"value", "low", "high"}
        assert result["runs"] == 2
        assert {"auc", "cost_ratio"} <= set(result)
        assert result["wrongly_stopped"]["200"] == {"share": 0.0, "n": 2}

    def test_text_and_picture(self, bench: Callable[..., Any], make_table: MakeTable, tmp_path: Path) -> None:
        ran = bench("--table", make_table().folder, "--strategies", "random", "--out", tmp_path / "picture.svg")
        assert ran.code == 0
        assert "invented, band all: 8 architectures, 2 runs a strategy" in ran.out
        picture = (tmp_path / "picture.svg").read_text()
        assert ">random<" in picture
        assert "true regret (nats)" in picture

    def test_held_out_bands_are_marked_and_spared_by_design(
        self, bench: Callable[..., Any], make_table: MakeTable
    ) -> None:
        folder = make_table(held_out=", held_out: true").folder
        assert "HELD OUT" in bench("--table", folder, "--strategies", "random").out
        ran = bench("--table", folder, "--strategies", "random", "--design")
        assert (ran.code, ran.err.strip()) == (
            2,
            "nas: no band is left: bands without design seeds take no part in a comparison with --design",
        )

    def test_a_band_of_any_size_takes_part_only_if_it_is_named(
        self, bench: Callable[..., Any], make_table: MakeTable, tiny_space: SearchSpace
    ) -> None:
        folder = make_table().folder
        definition = folder / "definition.yaml"
        definition.write_text(definition.read_text().replace("any_size: 0", "any_size: 2"))
        *sized, one, two = _entries(tiny_space)
        Table(folder).write_architectures([*sized, replace(one, band="any"), replace(two, band="any")])
        ran = bench("--table", folder, "--strategies", "random")
        assert ("band all" in ran.out, "band any" in ran.out) == (True, False)
        ran = bench("--table", folder, "--strategies", "random", "--bands", "any")
        assert ("band all" in ran.out, "band any" in ran.out) == (False, True)

    def test_design_says_so(self, bench: Callable[..., Any], make_table: MakeTable) -> None:
        ran = bench("--table", make_table(seeds=(0, 1, 3)).folder, "--strategies", "random", "--design")
        assert ran.code == 0
        assert ran.out.startswith("Design: ")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--strategies", "rnadom"), "--strategies names 'rnadom'; allowed: "),
            (("--bands", "none"), "--bands names 'none'"),
            (("--out", "picture.gif"), "--out is 'picture.gif'"),
            (("--out", "nowhere/picture.svg"), "--out is 'nowhere/picture.svg'; there is no folder nowhere"),
        ],
    )
    def test_bad_input_is_one_sentence(
        self, bench: Callable[..., Any], make_table: MakeTable, arguments: tuple[str, ...], message: str
    ) -> None:
        ran = bench("--table", make_table().folder, *arguments)
        assert ran.code == 2
        assert ran.err.startswith(f"nas: {message}")
        assert len(ran.err.strip().splitlines()) == 1

    def test_a_folder_that_is_no_table(self, bench: Callable[..., Any], tmp_path: Path) -> None:
        ran = bench("--table", tmp_path)
        assert ran.code == 2
        assert "definition.yaml" in ran.err


def test_all_strategies_take_part_after_random_search() -> None:
    everyone = [arm.name for arm in arms()]
    assert everyone[0] == "random"
    assert [arm.name for arm in arms(["tpe"])] == ["random", "tpe"]
    with pytest.raises(ConfigError, match="'tpee'"):
        arms(["tpee"])


def test_an_ablation_takes_part_under_its_flags() -> None:
    _, auto, without, simple = arms(["auto", "auto --no-families --pruner none", "auto --sampler random --no-families"])
    assert auto.settings == {"strategy": "auto", "seeds": 1}
    assert without.settings == {"strategy": "auto", "families": False, "pruner": "none", "seeds": 1}
    assert without.name == "auto --no-families --pruner none"
    assert without.plans
    assert simple.settings == {"strategy": "auto", "sampler": "random", "families": False, "finalists": 0}
    assert not simple.plans
    for flags, message in (("--no-pruner", "'--no-pruner'"), ("--pruner", "without a value"), ("--pruner x", "'x'")):
        with pytest.raises(ConfigError, match=message):
            arms([f"auto {flags}"])


def test_a_picture_has_a_panel_for_every_band_and_no_more(make_table: MakeTable, tmp_path: Path) -> None:
    contests = [_contest(make_table(name=name)) for name in ("one", "two", "three")]
    draw(compare(contests, [RANDOM], Scale(2)), tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text().count('id="axes_') == 3


def test_a_table_fits_into_the_terminal(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare([_contest(make_table())], [RANDOM], Scale(2))
    monkeypatch.setenv("COLUMNS", "140")
    wide = render(comparison)
    monkeypatch.setenv("COLUMNS", "60")
    narrow = render(comparison)
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines())) <= 140
    assert narrow.count("regret at FTE") > wide.count("regret at FTE") == 1


def test_pictures_have_known_formats(make_table: MakeTable, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.gif"):
        check(tmp_path / "picture.gif")
    comparison = compare([_contest(make_table())], [RANDOM], Scale(2))
    draw(comparison, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "random" in render(comparison)
