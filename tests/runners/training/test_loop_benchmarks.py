"""The benchmarks of the training loop with tiny models on the CPU: every figure is there, and none is 0."""

from __future__ import annotations

import json

import pytest

from benchmarks import gpu, precision
from benchmarks.ladder import TINY
from benchmarks.roofline import PARAMETER_PASSES, bytes_moved


def test_the_loop_is_measured_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--tiny", "--json", "--only", "ladder,stacked,roofline"])

    figures = json.loads(capsys.readouterr().out)
    (rungs,) = [row["mixer"] for row in figures["ladder"].values()]
    assert list(rungs) == ["plain", "resident", "bf16", "graph", "graph without bf16"]
    assert all(rung["images_a_second"]["n"] == 1 and rung["over_plain"] > 0 for rung in rungs.values())
    assert list(figures["stacked"]["mixer"]) == ["1", "2"]
    (row,) = [row["mixer"] for row in figures["roofline"].values()]
    assert 0 < row["share"] < 1
    assert row["bound"] in ("arithmetic", "memory")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SystemExit, match="'ladders' is not measured; allowed: ladder, packed, stacked, roofline"):
        gpu.main(["--device", "cpu", "--tiny", "--only", "ladder,ladders"])


def test_bytes_of_a_step() -> None:
    """Without images only the parameters move; every image adds what autograd keeps of it, twice."""
    (architecture,) = next(iter(TINY.values())).families(["mixer"]).values()
    nothing, one, two = (bytes_moved(architecture, batch) for batch in (0, 1, 2))

    assert nothing == 4 * PARAMETER_PASSES * architecture.params
    assert two - one == one - nothing > 2 * 4 * architecture.image_size**2


def test_precisions_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--anyway --json --sides 8 --params 10000 --images 64 --epochs 1 --pairs 2 --families mixer"
    precision.main(given.split())

    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["speed_of_bf16"]["n"] == 2
    assert (row["family"], row["auto"]) == ("mixer", "fp32")


def test_without_native_bfloat16_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_is_native", lambda device: False)
    with pytest.raises(SystemExit, match="no AVX512-BF16"):
        precision.main([])
