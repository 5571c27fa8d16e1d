"""`nas plugins` and `nas check-plugin`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.registries import REGISTRIES
from search_space.plugins import forgotten

OWN = Path(__file__).with_name("own.py")
BAD = """\
from nas import register_pruner


@register_pruner("hasty")
class Hasty:
    def __init__(self, epochs):
        self.all_rungs = (epochs,)

    def rungs(self, number):
        return self.all_rungs

    def has_quota(self, passed):
        return False

    def promoted(self, losses, passed, waiting):
        return [n for n in range(len(losses)) if waiting[n]]
"""
Nas = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


def test_what_is_registered_is_listed_with_where_it_comes_from(nas: Nas) -> None:
    ran = nas("plugins", "--import", OWN)
    assert (ran.code, ran.err) == (0, "")
    for kind, registry in REGISTRIES.items():
        (line,) = [line for line in ran.out.splitlines() if line.startswith(f"{kind}:")]
        assert set(registry) - {"stripes", "quasi_random", "patient", "shallow"} <= set(line.replace(",", "").split())
    assert "stripes  from own.py (sha256:" in ran.out


def test_the_list_as_json(nas: Nas) -> None:
    found = json.loads(nas("plugins", "--json").out)
    assert {"kind": "data set", "name": "digits", "plugin": None, "version": None} in found
    assert {entry["kind"] for entry in found} == set(REGISTRIES)


def test_a_plug_in_that_breaks_its_promises(nas: Nas, tmp_path: Path) -> None:
    file = tmp_path / "hasty.py"
    file.write_text(BAD)
    ran = nas("check-plugin", file)
    assert ran.code == 1
    assert ran.out.startswith("pruner hasty\n")
    assert "not kept  Its rungs are epochs before the last one" in ran.out
    assert "for 1 epochs, the rungs of trial 0 are (1,), beyond the training" in ran.out
    assert "ok        It decides by its arguments alone\n" in ran.out
    assert ran.err == "nas: hasty.py does not keep 3 of its promises\n"


def test_a_plug_in_that_keeps_them(nas: Nas, tmp_path: Path) -> None:
    file = tmp_path / "mended.py"
    file.write_text(
        "from nas import Halving, register_pruner\n\n\n"
        "@register_pruner('half')\nclass Half(Halving):\n    shares = (1 / 2,)\n    share = 1 / 2\n"
    )
    ran = nas("check-plugin", file)
    assert (ran.code, ran.err) == (0, "")
    assert "not kept" not in ran.out


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x = 1\n", "own.py registers nothing"), ("1 / 0\n", "cannot be imported (line 1: ZeroDivisionError")],
)
def test_a_module_that_is_not_a_plug_in(nas: Nas, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "own.py").write_text(text)
    ran = nas("check-plugin", tmp_path / "own.py")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert reason in ran.err
