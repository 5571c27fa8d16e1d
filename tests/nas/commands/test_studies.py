"""`nas studies`: listing, renaming and deleting on the command line."""

from __future__ import annotations

import io
import json
from contextlib import closing
from pathlib import Path

import pytest

from results.store.store import Store


class Terminal(io.StringIO):
    """An input that is a terminal with typed text."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def at(run, settings, tmp_path, monkeypatch):
    """Options that locate a finished study."""
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    run(budget=4)
    return "--out", settings["out"]


def test_the_list(nas, at):
    ran = nas("studies", *at)
    assert (ran.code, ran.err) == (0, "")
    title, line, details = ran.out.splitlines()
    assert title.split() == ["study", "state", "evaluated", "best", "FTE", "last", "activity", "(UTC)"]
    assert line.split()[:6] == ["study", "finished", "4", "of", "4", "nll"]
    assert details.startswith("  small on digits; 1 complete, 3 pruned; best is trial ")


def test_the_list_as_json_agrees_with_the_report(nas, at, settings):
    (study,) = json.loads(nas("studies", *at, "--json").out)
    report = json.loads((Path(settings["out"]) / "study" / "report.json").read_text())
    assert (study["name"], study["space"], study["data"]) == (report["study"], report["space"], report["data"])
    assert (study["evaluated"], study["budget"]) == (report["evaluated"], report["budget"])
    assert study["fte"] == report["compute"]["fte"]
    winner = report["winner"]
    assert study["best"] == {
        "trial": winner["trial"],
        "mixers": winner["mixers"],
        "hash": winner["hash"],
        "objective": "nll",
        "value": winner["mean_nll"],
        "seeds": winner["seeds"],
    }


def test_a_renamed_study_continues_under_its_new_name(nas, at, run, recording, settings):
    ran = nas("studies", "rename", "study", "other", *at)
    folder = Path(settings["out"]) / "other"
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(f"is now other; its files are in {folder}\n")
    assert (folder / "report.txt").read_text().startswith("Study other: ")
    assert json.loads((folder / "report.json").read_text())["study"] == "other"
    evaluator = recording()
    assert run(evaluator, budget=5, study="other").evaluated == 5
    assert {key for key in evaluator.keys if key.startswith("trial")} == {"trial-0004"}


def test_options_may_come_before_the_subcommand(nas, at):
    assert nas("studies", *at, "rename", "study", "other").code == 0
    assert json.loads(nas("studies", *at, "--json").out)[0]["name"] == "other"


def test_deleting_without_a_terminal_needs_yes(nas, at, settings, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    folder = Path(settings["out"]) / "study"
    ran = nas("studies", "delete", "study", *at)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("nas: this would delete the study study with 4 trials in sqlite:")
    assert f"in {folder}; say --yes" in ran.err
    assert folder.exists()
    ran = nas("studies", "delete", "study", *at, "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Deleted the study study with 4 trials")
    assert not folder.exists()
    ran = nas("studies", *at)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("nas.db holds no studies yet; run a search first\n")


@pytest.mark.parametrize(("typed", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_user_at_a_terminal_is_asked(nas, at, monkeypatch, typed, left):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    ran = nas("studies", "delete", "study", *at)
    assert ran.code == 0
    assert "Delete the study study with 4 trials" in ran.err
    assert ("Nothing was deleted." in ran.err) == bool(left)
    monkeypatch.undo()
    assert len(json.loads(nas("studies", *at, "--json").out)) == left


def test_an_answer_that_never_comes_deletes_nothing(nas, at, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert nas("studies", "delete", "study", *at).code == 130
    monkeypatch.undo()
    assert len(json.loads(nas("studies", *at, "--json").out)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rename", "study", "../up"], r"the new name is '\.\./up'; allowed: up to 100 letters"),
        (["rename", "study", ""], "the new name is ''; allowed: up to 100 letters"),
        (["rename", "../up", "study"], r"the old name is '\.\./up'; allowed"),
        (["rename", "stduy", "new"], "there is no study 'stduy' .*did you mean 'study'"),
        (["rename", "study", "study"], "there is already a study 'study' in "),
        (["rename", "study"], "Missing argument 'NEW'"),
        (["delete", "../up", "--yes"], r"the name is '\.\./up'; allowed"),
        (["delete", "stduy", "--yes"], "there is no study 'stduy' .*did you mean 'study'"),
        (["remove", "study"], "there is no command 'remove'; allowed: rename, delete"),
    ],
)
def test_a_mistake_is_answered_in_one_line(nas, at, settings, arguments, message):
    before = sorted(Path(settings["out"]).rglob("*"))
    ran = nas("studies", *arguments, *(at if arguments[0] != "remove" else ()))
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert pytest.RaisesExc(ValueError, match=message).matches(ValueError(line)), line
    assert sorted(Path(settings["out"]).rglob("*")) == before


def test_a_study_that_is_searched_is_left_alone(nas, at, settings):
    with closing(Store(f"sqlite:///{settings['out']}/nas.db")) as store, store.driving("study"):
        for arguments in (["rename", "study", "new"], ["delete", "study", "--yes"]):
            ran = nas("studies", *arguments, *at)
            assert (ran.code, ran.out) == (2, "")
            assert "the study 'study' is being searched; stop the search" in ran.err
        driver = store.study("study").drive()
        assert nas("studies", *at).out.splitlines()[1].split()[1] == "running"
        driver.leave()


def test_no_database(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    ran = nas("studies")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no database at" in ran.err
    assert list(tmp_path.iterdir()) == []
