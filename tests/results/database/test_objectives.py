"""Objectives: their contract over all that are registered, values by hand, and which may be named together."""

from __future__ import annotations

import random

import pytest

from results.database.objectives import (
    OBJECTIVES,
    Figures,
    parse_objectives,
    qualities,
    register_objective,
    shown_with,
)
from results.report.overview import make_overviews
from results.testing import ObjectiveContract
from search_space.errors import ConfigError, StorageError
from search_space.units import format_count

BETTER = Figures(
    **{"nll": 0.5, "accuracy": 0.75, "balanced_accuracy": 0.625, "macro_f1": 0.6, "calibration_error": 0.125},
    **{"params": 100, "macs": 1000, "latency_ms": 1.5},
)
WORSE = Figures(
    **{"nll": 1.0, "accuracy": 0.5, "balanced_accuracy": 0.375, "macro_f1": 0.3, "calibration_error": 0.25},
    **{"params": 200, "macs": 2000, "latency_ms": 2.5},
)
QUALITIES = {"nll": 0.5, "accuracy": 0.75, "balanced_accuracy": 0.625, "macro_f1": 0.6, "calibration_error": 0.125}
VALUES = {**QUALITIES, "params": 100.0, "macs": 1000.0, "latency": 1.5}


class TestContract(ObjectiveContract):
    """Over all that are registered."""

    names = tuple(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_quality_may_be_the_first(name):
    if name in QUALITIES:
        assert parse_objectives((name,)) == (OBJECTIVES[name],)
    else:
        with pytest.raises(ConfigError, match=rf"^the first --objective is {name}; allowed: nll, accuracy"):
            parse_objectives((name, "nll"))


@pytest.mark.parametrize("name", VALUES)
def test_values_by_hand(name):
    objective = OBJECTIVES[name]
    assert objective.value(BETTER) == VALUES[name]
    assert objective.loss(BETTER) < objective.loss(WORSE)
    assert (objective.loss(BETTER) < 0) is (objective.direction == "maximize")


def test_what_is_exact_ranks_candidates_by_itself(space):
    architecture = space.sample(random.Random(0))
    deployed = architecture.deployed
    found = {name: OBJECTIVES[name].estimate(architecture) for name in ("params", "macs", "latency")}
    assert found == {"params": deployed.params, "macs": deployed.macs, "latency": deployed.macs}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("nll", 0.12345, "0.1235"),
        ("accuracy", 0.9012, "90.12 %"),
        ("balanced_accuracy", 0.9012, "90.12 %"),
        ("macro_f1", 1.0, "100.00 %"),
        ("calibration_error", 0.01234, "0.0123"),
        ("params", 50_000.0, format_count(50_000)),
        ("latency", 1.2345, "1.23"),
    ],
)
def test_how_values_are_shown(name, value, text):
    assert OBJECTIVES[name].format(value) == text


def test_the_worst_results_that_count_are_those_of_guessing(space):
    """With 10 classes, guessing is right for one image of ten; guessing for certain is off by nine of ten."""
    worst = {name: OBJECTIVES[name].worst(space) for name in ("balanced_accuracy", "macro_f1", "calibration_error")}
    assert worst == pytest.approx({"balanced_accuracy": 0.1, "macro_f1": 0.1, "calibration_error": 0.9})


def test_a_latency_that_was_not_measured_is_the_worst():
    unknown = Figures(nll=0.5, accuracy=0.75, params=100, macs=1000)
    assert OBJECTIVES["latency"].loss(unknown) == float("inf")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="the objective 'nll' is already registered, by results"):
        register_objective("nll")(type(OBJECTIVES["nll"]))


def test_the_order_is_kept():
    assert [objective.name for objective in parse_objectives(("accuracy", "macs", "nll"))] == [
        "accuracy",
        "macs",
        "nll",
    ]


def test_tables_show_cost_and_quality_and_what_else_the_study_has():
    assert qualities() == list(QUALITIES)
    assert [one.heading for one in shown_with(parse_objectives(("macro_f1", "calibration_error")))] == [
        "params",
        "MACs",
        "val NLL",
        "val acc",
        "macro F1",
        "cal err",
    ]
    assert [one.heading for one in shown_with(parse_objectives(("nll", "latency")))] == [
        "params",
        "MACs",
        "val NLL",
        "val acc",
        "ms",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "the first --objective is nothing"),
        (("nll", "nll"), "names one objective twice: nll, nll"),
        (("acuracy",), "names 'acuracy'; allowed: .*did you mean 'accuracy'"),
    ],
)
def test_names_that_cannot_be(names, message):
    with pytest.raises(ConfigError, match=message):
        parse_objectives(names)


def test_a_study_whose_quality_is_a_plug_ins_is_listed_without_it(sqlite_store, make_study, add_evaluation, space):
    """One that names no plug-in is damaged: nothing can define its objective."""
    made = make_study(sqlite_store, objectives=("f1",), objective=["f1"], plugins={"f1.py": "sha256:0"})
    add_evaluation(made, 0, space.sample(random.Random(0)))
    (listed,) = make_overviews(sqlite_store)
    assert (listed.name, listed.evaluated, listed.best) == ("study", 1, None)
    make_study(sqlite_store, "other", objectives=("f1",), objective=["f1"])
    with pytest.raises(StorageError, match=r"objectives: the first of \['f1'\] is none of nll, accuracy"):
        make_overviews(sqlite_store)
