"""Objectives: their direction, and which may be named together."""

from __future__ import annotations

import pytest

from results.report.objectives import OBJECTIVES, Figures, parse_objectives
from search_space.errors import ConfigError

BETTER = Figures(nll=0.5, accuracy=0.75, params=100, macs=1000, latency_ms=1.5)
WORSE = Figures(nll=1.0, accuracy=0.5, params=200, macs=2000, latency_ms=2.5)
VALUES = {"nll": 0.5, "accuracy": 0.75, "params": 100.0, "macs": 1000.0, "latency": 1.5}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_less_loss_is_better(name):
    objective = OBJECTIVES[name]
    assert objective.value(BETTER) == VALUES[name]
    assert objective.loss(BETTER) < objective.loss(WORSE)
    assert abs(objective.loss(BETTER)) == objective.value(BETTER)
    assert (objective.loss(BETTER) < 0) is (objective.direction == "maximize")


def test_a_latency_that_was_not_measured_is_the_worst():
    unknown = Figures(nll=0.5, accuracy=0.75, params=100, macs=1000)
    assert OBJECTIVES["latency"].loss(unknown) == float("inf")


def test_the_order_is_kept():
    assert [objective.name for objective in parse_objectives(("accuracy", "macs", "nll"))] == [
        "accuracy",
        "macs",
        "nll",
    ]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_quality_may_stand_first(name):
    if name in ("nll", "accuracy"):
        assert parse_objectives((name,))[0].name == name
    else:
        with pytest.raises(ConfigError, match=f"the first --objective is {name}; allowed: nll, accuracy"):
            parse_objectives((name, "nll"))


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
