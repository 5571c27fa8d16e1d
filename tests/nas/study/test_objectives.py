"""An objective of a plug-in: one class, and a search trades quality off against it, from flags to dashboard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.study.garbage import _worth_keeping
from results.dashboard.reading import ReadingStorage
from results.database.objectives import OBJECTIVES, Objective, register_objective
from results.report.hypervolume import hypervolume
from results.report.pareto import pareto_front
from results.report.render import render
from results.report.report import make_report
from results.testing import ObjectiveContract
from runners.protocol import Measured
from runners.synthetic import synthetic
from search_space.errors import NasError


@pytest.fixture(autouse=True)
def peak_memory(monkeypatch) -> Objective:
    """An objective as a plug-in brings it, for one test."""
    for name in ("_entries", "_origins"):
        monkeypatch.setattr(OBJECTIVES, name, dict(getattr(OBJECTIVES, name)))

    @register_objective("peak_memory_mib")
    class PeakMemory(Objective):
        """Most memory that the device held at once in training, in MiB."""

        title, heading, unit = "peak memory (MiB)", "MiB", "MiB"
        kind = "measured"

        def read(self, figures):
            return figures.peak_memory_mib

        def worst(self, space):
            return 1024.0

    return OBJECTIVES["peak_memory_mib"]


def measuring(job):
    """Synthetic curves; a training needs 1 MiB for every thousand parameters, which is not known until it has ended."""
    measured = yield from synthetic(job)
    return replace(measured, peak_memory_mib=job.architecture.params / 1000, device="a device")


SETTINGS = {"objective": "nll,peak_memory_mib", "budget": 12, "pruner": "none"}


class TestItsContract(ObjectiveContract):
    names = ("peak_memory_mib",)


@pytest.mark.parametrize("strategy", ["auto", "nsgaii"])
def test_it_is_searched_reported_and_shown(run, stored, settings, strategy):
    report = run(measuring, strategy=strategy, **SETTINGS)
    rows = {row.number: row for row in stored().evaluations("trial")}
    means = {finalist.trial: finalist.mean_nll for finalist in report.finalists}
    points = {number: (means.get(number, row.nll), row.peak_memory_mib) for number, row in rows.items()}
    numbers = list(points)
    front = {numbers[index] for index in pareto_front(list(points.values()))}
    assert {point.trial for point in report.pareto} == front
    assert [point.values["peak_memory_mib"] for point in report.pareto] == [
        point.params / 1000 for point in report.pareto
    ]

    reference = {"nll": pytest.approx(2.302585), "peak_memory_mib": 1024.0}
    assert stored().row.reference == reference
    named = [dict(zip(stored().row.reference, points[number], strict=True)) for number in front]
    assert report.hypervolume.value == pytest.approx(hypervolume(named, stored().row.reference).value)
    assert report.hypervolume.value > 0
    assert report.to_dict()["winner"]["values"]["peak_memory_mib"] == report.winner.params / 1000

    text = render(report)
    heads = [line.split() for line in text.splitlines() if line.split()[:2] == ["mixers", "params"]]
    assert heads == [
        ["mixers", "params", "MACs", "val", "NLL", "val", "acc", "MiB"],
        ["mixers", "params", "MACs", "val", "NLL", "val", "acc", "MiB", "epochs", "seeds"],
    ]
    assert "of the volume better than nll 2.303, peak_memory_mib 1.02k" in text

    storage = ReadingStorage(f"sqlite:///{settings['out']}/nas.db")
    (shown,) = storage.get_all_studies()
    assert storage.get_study_system_attrs(shown._study_id)["study:metric_names"] == [
        "validation NLL (nats)",
        "peak memory (MiB)",
    ]
    assert [trial.values for trial in storage.get_all_trials(shown._study_id)] == [
        [row.nll, row.peak_memory_mib] for row in rows.values()
    ]


def test_weights_of_its_front_are_kept(run, stored):
    report = run(measuring, **SETTINGS)
    kept = _worth_keeping(stored(), stored().evaluations())
    assert {f"trial-{point.trial:04d}" for point in report.pareto if not point.fresh} <= kept


def test_where_nothing_was_measured_nothing_is_on_the_front(run):
    report = run(lambda job: (yield from _unmeasured(job)), **SETTINGS)
    assert (report.pareto, report.hypervolume.value) == ([], 0.0)


def _unmeasured(job):
    yield from synthetic(job)
    return Measured()


def test_without_its_plug_in_the_report_says_which_objective_is_missing(run, stored):
    run(measuring, **SETTINGS)
    del OBJECTIVES._entries["peak_memory_mib"]
    with pytest.raises(NasError, match="there is no objective named 'peak_memory_mib'; allowed: nll, accuracy"):
        make_report(stored())
