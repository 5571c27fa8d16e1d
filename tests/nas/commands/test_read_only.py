"""The results of a search can be viewed on read-only media."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nas.api import search


@pytest.fixture(scope="module")
def trained(tmp_path_factory, space_files) -> Path:
    """An output folder with the study "mine": one trial, really trained."""
    out = tmp_path_factory.mktemp("trained") / "runs"
    settings = {"space": str(space_files["tiny"]), "strategy": "random", "runner": "inline", "epochs": 1, "budget": 1}
    search(**settings, finalists=1, seeds=1, study="mine", out=str(out))
    return out


def test_a_read_only_folder_can_be_viewed(nas, trained, mounted, remount, tmp_path):
    media = mounted()
    out = media / "runs"
    shutil.copytree(trained, out)
    remount(media, "ro")
    (trial,) = json.loads(nas("results", "--json", "--out", out).out)
    assert trial["state"] == "COMPLETE"
    bundle = tmp_path / "bundle"
    for command in (
        ["results"],
        ["studies"],
        ["gc"],
        ["db", "check"],
        ["db", "upgrade"],
        ["export", "--best", "-o", bundle],
    ):
        ran = nas(*command, "--out", out)
        assert (ran.code, ran.err) == (0, ""), command
    assert list(bundle.iterdir())


@pytest.mark.parametrize(
    "command", [["search", "--study", "mine", "--budget", "2"], ["studies", "delete", "mine", "--yes"]]
)
def test_changing_it_is_refused_in_a_sentence(nas, trained, mounted, remount, command):
    media = mounted()
    out = media / "runs"
    shutil.copytree(trained, out)
    remount(media, "ro")
    ran = nas(*command, "--out", out)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert str(out) in ran.err
    assert "read-only" in ran.err.lower()
