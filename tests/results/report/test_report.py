"""The end report, on studies small enough to be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from results.database.checks import check_database
from results.report.render import render
from results.report.report import make_report
from results.store.store import Role, State, StudyStore


@pytest.fixture
def study(sqlite_store, make_study) -> StudyStore:
    return make_study(sqlite_store)


@pytest.fixture
def add(study, architectures, add_evaluation) -> Callable[..., None]:
    """Put trial `number` into the study; every number has an architecture of its own, a larger one with each."""

    def make(number: int, **changes: Any) -> None:
        add_evaluation(study, number, architectures[number], **changes)

    return make


def test_a_study_without_trials(study):
    report = make_report(study)
    assert report.winner is None
    assert (report.evaluated, report.budget) == (0, 8)
    assert report.counts == {"complete": 0, "pruned": 0, "failed": 0}
    assert (report.compute.seconds, report.compute.fte) == (0.0, 0.0)
    assert "no winner" in render(report)


def test_counts_and_causes(study, add):
    add(0)
    add(1, state=State.PRUNED, epochs=1)
    add(2, state=State.FAILED, cause="diverged", epochs=0)
    add(3, state=State.FAILED, cause="too_slow", epochs=0)
    add(4, state=State.FAILED, cause="diverged", epochs=0)
    report = make_report(study)
    assert report.counts == {"complete": 1, "pruned": 1, "failed": 3}
    assert report.causes == {"diverged": 2, "too_slow": 1}
    assert report.evaluated == 4  # all but the one that was too slow
    assert "4 of 8 architectures evaluated: 1 complete, 1 pruned, 3 failed (2 diverged, 1 too_slow)" in render(report)


def test_the_report_shows_the_ledger(study, add):
    add(0, seconds=10.0, phase="families")
    add(1, seconds=20.0, phase="model")
    add(2, seconds=5.0, state=State.PRUNED, epochs=1, phase="model")
    add(0, key="proxies-0000", role=Role.PROXIES, seconds=0.05, epochs=0, epochs_planned=0)
    lines = render(make_report(study)).splitlines()
    start = lines.index("Compute        count      FTE   seconds   (FTE: full-training equivalents)")
    assert lines[start + 1 : start + 6] == [
        "  proxies          1     0.25         0",  # 0.05 s, where a full training takes 2 * 0.1 s
        "  complete         2     2.00        30",
        "  pruned           1     0.50         5",
        "  total            4     2.75        35",
        "  Trials by phase, with FTE: families 1 for 1.00, model 2 for 1.50",
    ]


def test_without_finalists_the_best_complete_trial_wins(study, add):
    add(0, nll=0.5, accuracy=0.9)
    add(1, nll=0.25, accuracy=0.8)
    add(2, nll=0.125, accuracy=0.95, state=State.PRUNED, epochs=1)
    winner = make_report(study).winner
    assert (winner.trial, winner.nll, winner.accuracy, winner.seeds, winner.mean_nll) == (1, 0.25, 0.8, 0, None)


def test_the_first_objective_decides_which_is_best(sqlite_store, make_study, add_evaluation, architectures):
    study = make_study(sqlite_store, objectives=("accuracy",))
    add_evaluation(study, 0, architectures[0], nll=0.5, accuracy=0.9)
    add_evaluation(study, 1, architectures[1], nll=0.25, accuracy=0.8)
    assert make_report(study).winner.trial == 0


def test_any_metric_decides_which_is_best(sqlite_store, make_study, add_evaluation, architectures):
    """Balanced accuracy, macro F1 and calibration error disagree with each other and with accuracy."""
    metrics = {0: (0.9, 0.5, 0.3), 1: (0.6, 0.8, 0.2), 2: (0.7, 0.6, 0.1)}
    for winner, objective in enumerate(("balanced_accuracy", "macro_f1", "calibration_error")):
        study = make_study(sqlite_store, objective, objectives=(objective, "nll"))
        for number, figures in metrics.items():
            add_evaluation(study, number, architectures[number], accuracy=0.5, metrics=figures)
        report = make_report(study)
        assert report.winner.trial == winner
        assert report.winner.values[objective] == metrics[winner][winner]
        assert getattr(report.winner, objective) == metrics[winner][winner]
        assert [point.trial for point in report.pareto] == [winner]  # all have the same NLL
        assert check_database(sqlite_store.url).problems == []


def test_the_metrics_of_the_test_take_one_line(study, add, architectures):
    add(0, nll=0.25)
    figures = {"rank": 1, "mean_nll": 0.625, "mean_accuracy": 0.75, "test_nll": 1.0, "test_accuracy": 0.5}
    study.driver.put_finalist(0, architectures[0], 1, **figures)
    add(0, key="test-0000-seed-1", role=Role.TEST)
    assert "balanced" not in render(make_report(study))  # an earlier version did not measure it
    more = {"test_balanced_accuracy": 0.4375, "test_macro_f1": 0.40625, "test_calibration_error": 0.03125}
    study.driver.put_finalist(0, architectures[0], 1, **more)
    lines = render(make_report(study)).splitlines()
    start = lines.index("  test NLL 1.0000, accuracy 50.00 %, the same models;")
    assert lines[start + 1] == "  balanced accuracy 43.75 %, macro F1 40.62 %, calibration error 0.0312;"


def test_the_finalist_ranked_first_wins_even_over_a_luckier_trial(study, add, architectures):
    add(0, nll=0.25)
    add(1, nll=0.5)
    add(2, nll=0.75)
    study.driver.put_finalist(0, architectures[0], 2, rank=2, mean_nll=0.75, sd_nll=0.25, mean_accuracy=0.5)
    study.driver.put_finalist(
        1,
        architectures[1],
        2,
        rank=1,
        mean_nll=0.625,
        sd_nll=0.125,
        mean_accuracy=0.75,
        test_nll=1.0,
        test_accuracy=0.5,
    )
    study.driver.put_finalist(2, architectures[2], 2)  # not ranked: its trainings have not ended
    for seed in (1, 2):
        add(1, key=f"test-0001-seed-{seed}", role=Role.TEST)
    report = make_report(study)
    assert [(row.trial, row.mean_nll, row.test_nll) for row in report.finalists] == [(1, 0.625, 1.0), (0, 0.75, None)]
    assert report.winner == report.finalists[0]
    assert (report.winner.hash, report.winner.nll) == (architectures[1].hash, 0.5)
    assert report.test_evaluations == 1
    text = render(report)
    assert "validation NLL 0.6250 +- 0.1250, accuracy 75.00 %, mean of 2 fresh seeds" in text
    assert "test NLL 1.0000, accuracy 50.00 %, the same models" in text
    assert "no other architecture was evaluated on the test split" in text


def test_without_finalists_the_choice_of_the_search_wins_over_the_best_trial(study, add, architectures):
    add(0, nll=0.5, accuracy=0.75)
    add(1, nll=0.25)
    study.driver.put_finalist(0, architectures[0], 0, rank=1)
    report = make_report(study)
    assert (report.winner.trial, report.winner.nll, report.winner.seeds, report.finalists) == (0, 0.5, 0, [])
    assert "validation NLL 0.5000, accuracy 75.00 %, one seed, no finalists" in render(report)
    assert check_database(study.store.url).problems == []


@pytest.mark.parametrize("continues", ["start", "resume"])
def test_a_search_that_continues_withdraws_its_choice(study, add, architectures, continues):
    add(0, nll=0.5)
    add(1, nll=0.25)
    study.driver.put_finalist(0, architectures[0], 0, rank=1)
    study.driver.put_finalist(1, architectures[1], 2, rank=2, mean_nll=0.5, mean_accuracy=0.5)
    add(0, key="finalist-0000-seed-1", role=Role.FINALIST, state=State.FAILED, cause="data")
    assert make_report(study).winner.trial == 0
    if continues == "start":
        add(2, nll=1.0)
    else:
        study.driver.set_pending("trial-0001", State.RUNNING)
    assert [(row.number, row.seeds) for row in study.finalists()] == [(1, 2)]


def test_a_winner_that_was_trained_again_needs_its_mean(study, add, architectures):
    add(0)
    study.driver.put_finalist(0, architectures[0], 1, rank=1)
    (problem,) = check_database(study.store.url).problems
    assert "mean_nll" in str(problem)


def test_two_winners_over_time_are_admitted(study, add, architectures):
    for number in (0, 1):
        add(number)
        add(number, key=f"test-{number:04d}-seed-1", role=Role.TEST)
    study.driver.put_finalist(
        0, architectures[0], 1, rank=1, mean_nll=0.5, mean_accuracy=0.5, test_nll=1.0, test_accuracy=0.5
    )
    report = make_report(study)
    assert report.test_evaluations == 2
    assert "2 winners have been evaluated on the test split so far" in render(report)


def test_the_families_have_a_table_of_their_own(study, add, architectures):
    add(0, origin="family:vit", nll=0.75, accuracy=0.25)
    add(1, origin="tpe", nll=0.5, accuracy=0.5)
    add(2, origin="family:mixer", nll=0.625, accuracy=0.375)
    add(3, origin="family:gmlp", state=State.FAILED, cause="out_of_memory", epochs=0)
    report = make_report(study)
    found = {family.name: (family.trial, family.params, family.nll, family.accuracy) for family in report.families}
    assert found == {
        "vit": (0, architectures[0].params, 0.75, 0.25),
        "mixer": (2, architectures[2].params, 0.625, 0.375),
        "gmlp": (3, architectures[3].params, None, None),
    }
    rows = [line.split()[0] for line in render(report).splitlines() if "%" in line or " - " in line]
    assert [name for name in rows if name in ("winner", "vit", "mixer", "gmlp")] == ["winner", "mixer", "vit", "gmlp"]


def test_pareto_front(sqlite_store, make_study, add_evaluation, architectures):
    reference = {"nll": 1.0, "params": 2.0 * architectures[4].params}
    study = make_study(sqlite_store, objectives=("nll", "params"), reference=reference)
    #                        0 smallest: on the front; 1: on it; 2: worse and larger than 1; 3: as good as 1 but larger
    for number, nll in enumerate([0.875, 0.5, 0.75, 0.5, 0.25]):
        add_evaluation(study, number, architectures[number], nll=nll)
    add_evaluation(study, 5, architectures[5], nll=0.125, state=State.PRUNED, epochs=1)  # not complete: not a point
    report = make_report(study)
    assert [point.trial for point in report.pareto] == [4, 1, 0]
    shares = [architectures[number].params / reference["params"] for number in (0, 1, 4)]
    by_hand = 0.125 * (1 - shares[0]) + 0.375 * (1 - shares[1]) + 0.25 * (1 - shares[2])
    assert report.hypervolume.value == pytest.approx(by_hand)
    assert report.hypervolume.reference == reference
    text = render(report)
    assert "Pareto front of nll, params:" in text
    assert f"Hypervolume: {by_hand:.4f} of the volume better than nll 1, params" in text


def test_a_point_of_the_front_says_what_its_quality_rests_on(sqlite_store, make_study, add_evaluation, architectures):
    """Retraining moves trial 2 from the front behind trial 1; trial 0 keeps its place with another figure."""
    study = make_study(sqlite_store, objectives=("nll", "params"))
    for number, nll in enumerate([0.75, 0.5, 0.25]):
        add_evaluation(study, number, architectures[number], nll=nll, accuracy=0.5)
    study.driver.put_finalist(0, architectures[0], 3, rank=1, mean_nll=0.625, mean_accuracy=0.75)
    study.driver.put_finalist(2, architectures[2], 2, rank=None, mean_nll=0.5625, mean_accuracy=0.25)
    study.driver.put_finalist(1, architectures[1], 2)  # nothing is trained yet, so the trial's own figures stand
    found = [
        (point.trial, point.nll, point.accuracy, point.epochs, point.epochs_planned, point.seeds, point.fresh)
        for point in make_report(study).pareto
    ]
    assert found == [(1, 0.5, 0.5, 2, 2, 1, False), (0, 0.625, 0.75, 2, 2, 3, True)]
    rows = [line.split()[-3:] for line in render(make_report(study)).splitlines() if line.startswith("  trial ")]
    assert rows == [["2/2", "1", "own"], ["2/2", "3", "fresh"]]


def test_an_architecture_without_latency_is_on_no_front_of_latencies(
    sqlite_store, make_study, add_evaluation, architectures
):
    study = make_study(sqlite_store, objectives=("accuracy", "latency"))
    for number, (accuracy, latency_ms) in enumerate([(0.5, 1.0), (0.75, 2.0), (0.625, 3.0), (0.875, None)]):
        add_evaluation(study, number, architectures[number], accuracy=accuracy, latency_ms=latency_ms)
    report = make_report(study)
    assert [point.trial for point in report.pareto] == [1, 0]
    assert report.hypervolume is None
    assert "Without --max-latency-ms the hypervolume has no reference point" in render(report)


def test_latencies_of_several_devices_are_not_compared_silently(
    sqlite_store, make_study, add_evaluation, architectures
):
    reference = {"nll": 2.0, "latency": 4.0}
    study = make_study(sqlite_store, objectives=("nll", "latency"), reference=reference, max_latency_ms=4.0)
    add_evaluation(study, 0, architectures[0], nll=1.0, latency_ms=1.0, latency_on="a CPU, 1 thread")
    report = make_report(study)
    assert report.latency_measured_on == ["a CPU, 1 thread"]
    assert report.hypervolume.value == pytest.approx(0.5 * 0.75)
    assert "Latencies were measured on a CPU, 1 thread." in render(report)

    add_evaluation(study, 1, architectures[1], nll=0.5, latency_ms=2.0, latency_on="a GPU")
    report = make_report(study)
    assert report.latency_measured_on == ["a CPU, 1 thread", "a GPU"]
    assert report.hypervolume is None
    assert "measured on 2 devices, so they cannot be compared: a CPU, 1 thread; a GPU." in render(report)


def test_paused_trials_are_counted_while_there_are_any(study, new_evaluation, architectures, space):
    study.driver.start(new_evaluation(0, architectures[0]), {axis.name: axis for axis in space.axes})
    study.driver.set_pending("trial-0000", State.PAUSED)
    assert make_report(study).counts == {"paused": 1, "complete": 0, "pruned": 0, "failed": 0}


def test_a_single_objective_has_no_front(study, add):
    add(0)
    assert make_report(study).pareto == []


def test_the_report_as_plain_data(study, add):
    add(0, nll=0.5)
    data = json.loads(json.dumps(make_report(study).to_dict()))
    assert set(data) == {
        "study",
        "data",
        "space",
        "max_params",
        "max_macs",
        "max_latency_ms",
        "objective",
        "budget",
        "evaluated",
        "counts",
        "causes",
        "winner",
        "finalists",
        "families",
        "pareto",
        "hypervolume",
        "latency_measured_on",
        "test_evaluations",
        "failures",
        "compute",
    }
    assert (data["study"], data["data"], data["space"], data["max_params"]) == ("study", "digits", "small", 50_000)
    assert (data["winner"]["trial"], data["winner"]["nll"]) == (0, 0.5)
    assert set(data["compute"]) == {"seconds", "fte", "stages", "parts"}
    assert data["compute"]["stages"]["complete"] == {"count": 1, "seconds": 1.0, "fte": 1.0}
