"""A feature whose package is not installed says which extra brings it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("package", "arguments", "sentence"),
    [
        (
            "psycopg",
            ("search", "--storage", "postgresql://localhost/nas", "--budget", "1"),
            "the storage postgresql://localhost/nas needs psycopg, which is not installed; "
            "pip install 'mlp-nas[postgres]'",
        ),
        (
            "cmaes",
            ("search", "--sampler", "cmaes", "--budget", "1"),
            "the sampler cmaes needs cmaes, which is not installed; pip install 'mlp-nas[cmaes]'",
        ),
        (
            "matplotlib",
            ("bench", "--out", "regret.svg"),
            "--out needs matplotlib, which is not installed; pip install 'mlp-nas[bench]'",
        ),
    ],
)
def test_a_missing_extra_is_one_sentence_and_nothing_is_written(
    package: str,
    arguments: tuple[str, ...],
    sentence: str,
    nas: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)  # as Python has it for what must not be imported
    ran = nas(*arguments)
    assert (ran.code, ran.err) == (2, f"nas: {sentence}\n")
    assert list(tmp_path.iterdir()) == []
