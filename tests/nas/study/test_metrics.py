"""Metrics beyond NLL and accuracy: searched for, averaged over seeds, tested, reported, and shown."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from statistics import mean

import pytest

from nas import open_study
from nas.commands.results import trial_records
from results.dashboard.reading import ReadingStorage
from results.database.schema import Role
from results.report.render import render
from runners.protocol import EpochResult, Job, Measured
from runners.synthetic import synthetic
from search_space.errors import ConfigError

METRICS = ("balanced_accuracy", "macro_f1", "calibration_error")


def measuring(job: Job) -> Generator[EpochResult, None, Measured]:
    """Synthetic curves with metrics: smaller models have the better balanced accuracy, against their NLL."""
    share = 1 / (1 + job.architecture.params / 1000) + job.seed / 10_000
    training = synthetic(job)
    for epoch in training:
        yield replace(epoch, balanced_accuracy=share, macro_f1=share / 2, calibration_error=1 - share)
    return Measured(device="nothing was computed")


@pytest.mark.parametrize("strategy", ["auto", "random"])
def test_a_search_for_balanced_accuracy(run, stored, settings, strategy):
    report = run(measuring, objective="balanced_accuracy", budget=10, pruner="none", strategy=strategy)
    rows = stored().evaluations()
    trials = [row for row in rows if row.role == Role.TRIAL]
    best = max(trials, key=lambda row: row.balanced_accuracy)
    assert report.winner.trial == best.number  # seeds shift all architectures alike
    tests = [row for row in rows if row.role == Role.TEST]
    fresh = [row for row in rows if row.role == Role.FINALIST and row.number == best.number]
    for name in METRICS:
        assert getattr(report.winner, f"mean_{name}") == pytest.approx(mean(getattr(row, name) for row in fresh))
        assert getattr(report.winner, f"test_{name}") == pytest.approx(mean(getattr(row, name) for row in tests))
    assert f"balanced accuracy {100 * report.winner.test_balanced_accuracy:.2f} %, macro F1" in render(report)
    assert [record["macro_f1"] for record in trial_records(stored())] == [row.macro_f1 for row in trials]
    read = open_study(storage=f"sqlite:///{settings['out']}/nas.db")
    assert [trial.calibration_error for trial in read.trials] == [row.calibration_error for row in trials]
    storage = ReadingStorage(f"sqlite:///{settings['out']}/nas.db")
    (shown,) = storage.get_all_studies()
    for trial, row in zip(storage.get_all_trials(shown._study_id), trials, strict=True):
        assert trial.values == [row.balanced_accuracy]
        assert {name: trial.user_attrs[f"val_{name}"] for name in METRICS} == {n: getattr(row, n) for n in METRICS}


def test_a_metric_is_traded_off_against_nll(run):
    report = run(measuring, objective="nll,macro_f1", budget=8, pruner="none")
    assert all(point.values["macro_f1"] for point in report.pareto)
    assert report.hypervolume.reference == {"nll": pytest.approx(2.302585), "macro_f1": 0.1}
    assert "macro F1" in render(report)


def test_a_study_continues_from_what_it_has_stored(run, stored):
    run(measuring, objective="balanced_accuracy", budget=4, pruner="none", finalists=0)
    report = run(measuring, objective="balanced_accuracy", budget=8, pruner="none", finalists=0)
    assert report.evaluated == 8
    assert report.winner.balanced_accuracy == max(row.balanced_accuracy for row in stored().evaluations())


def test_without_being_measured_it_cannot_be_searched_for(run, stored):
    message = (
        "^--objective is balanced_accuracy, which the evaluator of trial-0000 does not measure; allowed with every"
    )
    with pytest.raises(ConfigError, match=message):
        run(synthetic, objective="balanced_accuracy", budget=4)
    assert [row.epochs_trained for row in stored().evaluations()] == [0]


def test_what_was_not_measured_has_no_mean(run, stored):
    report = run(synthetic, budget=4, pruner="none")
    assert [getattr(report.winner, f"test_{name}") for name in METRICS] == [None] * 3
    assert "macro F1" not in render(report)
