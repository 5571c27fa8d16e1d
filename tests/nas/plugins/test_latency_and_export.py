"""A latency target and an exporter from a plug-in, by the command line; and what their contracts find."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.api import search
from nas.config import SearchConfig
from nas.reading import open_study
from nas.registries import REGISTRIES
from nas.testing import CONTRACTS
from results.export import EXPORTERS, Bundle, register_exporter
from runners.measuring.targets import LATENCY_TARGETS, register_latency_target
from runners.protocol import Latency
from search_space.errors import ConfigError, StudyError
from search_space.plugins import forgotten, load

BOARD = str(Path(__file__).with_name("board.py"))
Nas = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def measured(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a search by latency."""
    small = {"strategy": "random", "families": False, "pruner": "none", "epochs": 1, "budget": 2, "finalists": 1}
    return {**settings, **small, "seeds": 1, "objective": ("nll", "latency")}


def test_a_latency_target_measures_each_trial_and_belongs_to_the_study(measured: dict[str, Any]) -> None:
    ours = {**measured, "imports": (BOARD,), "latency_target": "board"}
    report = search(**ours)
    assert report.latency_measured_on == ["a board"]
    for trial in open_study("study", out=ours["out"]).trials:
        assert trial.latency_ms == trial.architecture.deployed.macs / 1000
    with pytest.raises(StudyError, match="latency_target was board and is now None"):
        search(**{**ours, "latency_target": "device", "budget": 3})


def test_a_study_measured_on_the_trials_device_has_the_identity_that_it_always_had(run: Any, stored: Any) -> None:
    run(budget=1, finalists=0, objective=("nll", "latency"))
    assert "latency_target" not in stored().row.identity


def test_a_target_is_refused_where_nothing_is_measured() -> None:
    load(BOARD)
    with pytest.raises(ConfigError, match=r"^--latency-target is 'board', but no latency is measured; allowed with "):
        SearchConfig.make(latency_target="board")
    with pytest.raises(ConfigError, match=r"^--latency-target is 'bored'; allowed: .*board"):
        SearchConfig.make(latency_target="bored", max_latency_ms=1)


def test_another_format_is_written_and_verified(measured: dict[str, Any], nas: Nas, tmp_path: Path) -> None:
    search(**{**measured, "objective": "nll"})
    output = tmp_path / "exported"
    ran = nas("export", "--out", measured["out"], "--best", "--import", BOARD, "--format", "json", "-o", output)
    assert (ran.code, ran.err) == (0, "")
    assert "Exported trial" in ran.out
    assert [path.name for path in output.iterdir()] == ["model.json"]
    assert json.loads((output / "model.json").read_text())["architecture"]["image_size"] == 8


def test_what_they_register_keeps_its_contracts() -> None:
    load(BOARD)
    for kind, name in (("latency target", "board"), ("exporter", "json")):
        assert name in REGISTRIES[kind]
        assert [finding.problem for finding in CONTRACTS[kind].check(name)] == ["", ""]


def test_the_contract_finds_an_exporter_that_loses_a_bias() -> None:
    class Careless(Bundle):
        files = ("architecture.yaml", "model.safetensors", "load.py")

        def load(self, folder):
            model, mean, std = super().load(folder)
            model.head.bias.data.zero_()
            return model, mean, std

    register_exporter("careless")(Careless)
    try:
        named, same = [finding.problem for finding in CONTRACTS["exporter"].check("careless")]
    finally:
        EXPORTERS.discard("careless")
    assert "`files` is ('architecture.yaml', 'model.safetensors', 'load.py')" in named
    assert "the scores differ by" in same


def test_the_contract_finds_a_latency_target_that_leaves_the_mode_changed() -> None:
    class Careless:
        def measure(self, model, device):
            model.eval()
            return Latency("", 1, 1, "fp32", 0, 1, 2.0, 1.0, 3.0)

    register_latency_target("careless")(Careless)
    try:
        measured, kept = [finding.problem for finding in CONTRACTS["latency target"].check("careless")]
    finally:
        LATENCY_TARGETS.discard("careless")
    assert measured == "it does not say on which device it measured"
    assert kept == "it leaves the model in the mode of evaluation"
