"""What `nas gc` shows and deletes: never what a search may need, always what it would have deleted itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nas.study.files import RunFolder
from nas.study.garbage import ABANDONED_AFTER_S, delete, survey
from nas.study.ownership import MARKER
from results.store.store import Role, State, Store
from runners.protocol import Cause, Decision, EpochResult, Outcome
from search_space.errors import NasError, StorageError

NOW = 1_800_000_000.0


def write_all(search, folder):
    """Leave a checkpoint and weights of every evaluation behind, as a machine that died would."""
    for key in search.book.by_key:
        for path in (folder.checkpoint(key), folder.weights(key)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"12345678")


def names(folder):
    return sorted(path.name for path in folder.path.rglob("*") if path.is_file())


def step(search, nll, end=True):
    """Run the next job to its rung or end; with `end` False it is left running."""
    job = search.ask()
    for epoch in range(job.reported + 1, 9):
        decision = search.report(job.key, [EpochResult(epoch, nll, nll, 0.5, 1.0)])
        if not end:
            return
        if decision is Decision.STOP:
            search.tell(job.key, Outcome("stopped", 1.0))
            return
    search.tell(job.key, Outcome("complete", 1.0))


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 8, 11, 13])
def test_every_evaluation_that_may_be_resumed_keeps_its_files(open_search, database_url, steps):
    """The process dies after so many jobs, with one more of them running."""
    search = open_search(budget=8, storage=database_url, finalists=2)
    for number in range(steps):
        step(search, 1.0 + number % 3)
    step(search, 2.0, end=False)
    write_all(search, search.folder)
    states = {row.key: row.state for row in search.study.evaluations()}
    promoted = {key for key, state in states.items() if state in (State.RUNNING, State.QUEUED, State.PAUSED)}
    assert promoted

    pieces = survey(search.study, [search.folder.path], NOW)
    freed = delete(pieces)

    assert {path.stem for path in search.folder.checkpoints.iterdir()} == promoted
    kept = {path.stem for path in search.folder.weights_folder.iterdir()}
    assert kept == {key for key, state in states.items() if state not in (State.PRUNED, State.FAILED)}
    assert freed == 8 * (2 * len(states) - len(promoted) - len(kept))
    assert delete(survey(search.study, [search.folder.path], NOW)) == 0


@pytest.mark.parametrize("objective", [("nll",), ("accuracy", "params"), ("nll", "macs", "params")], ids=str)
def test_it_keeps_the_weights_that_the_search_kept(run, stored, settings, objective):
    """What the search deleted while it ran is put back, and goes; what it kept stays: the best, front and finalists."""
    run(budget=16, pruner="none", objective=objective)
    folder, study = RunFolder(Path(settings["out"]), "study"), stored()
    kept = names(folder)
    assert len(study.evaluations(Role.TRIAL)) == 16
    for row in study.evaluations():
        if not folder.weights(row.key).exists() and row.role != Role.TEST:
            folder.weights(row.key).write_bytes(b"weights")
    assert len(names(folder)) > len(kept)

    delete(survey(study, [folder.path], NOW))

    assert set(kept) <= set(names(folder))
    finalists = {f"trial-{row.number:04d}.safetensors" for row in study.finalists()}
    assert set(names(folder)) - set(kept) <= finalists


@pytest.mark.parametrize(
    ("cause", "kept"), [(Cause.DATA, True), (Cause.STORAGE, True), (Cause.DIVERGED, False), (Cause.TIMEOUT, False)]
)
def test_failures_that_can_be_fixed_keep_their_checkpoint(open_search, cause, kept):
    search = open_search(budget=3)
    job = search.ask()
    if kept:  # which ends the search until the fault is fixed
        with pytest.raises(NasError, match="so it was"):
            search.tell(job.key, Outcome("failed", 1.0, cause, "so it was"))
    else:
        search.tell(job.key, Outcome("failed", 1.0, cause, "so it was"))
    write_all(search, search.folder)

    delete(survey(search.study, [search.folder.path], NOW))

    assert search.folder.checkpoint(job.key).exists() is kept


def test_what_is_unknown_or_a_link_is_left_alone(run, stored, settings, tmp_path):
    run()
    folder = RunFolder(Path(settings["out"]), "study")
    (tmp_path / "elsewhere").mkdir()
    precious = tmp_path / "elsewhere" / "precious"
    precious.write_bytes(b"precious")
    folder.weights("trial-0099").write_bytes(b"of another database")
    folder.checkpoint("trial-0000").symlink_to(precious)
    (folder.checkpoints / "trial-0001.pt").mkdir()

    delete(survey(stored(), [folder.path], NOW))

    assert precious.read_bytes() == b"precious"
    assert folder.weights("trial-0099").exists()
    assert folder.checkpoint("trial-0000").is_symlink()
    assert (folder.checkpoints / "trial-0001.pt").is_dir()


def test_only_old_temporary_files_are_abandoned(run, stored, settings):
    run()
    folder = RunFolder(Path(settings["out"]), "study")
    for name, age in (("old", ABANDONED_AFTER_S + 1), ("young", ABANDONED_AFTER_S - 1)):
        path = folder.checkpoints / f".trial-0000.pt.{name}"
        path.write_bytes(b"half")
        os.utime(path, (NOW - age, NOW - age))

    pieces = [piece for piece in survey(stored(), [folder.path], NOW) if piece.kind == "temporary"]
    delete(pieces)

    assert [(piece.path.suffix, piece.needed) for piece in pieces] == [(".old", False), (".young", True)]
    assert [path.suffix for path in folder.checkpoints.iterdir()] == [".young"]


def test_a_folder_that_cannot_be_read(run, stored, settings, monkeypatch):
    run()
    folder = RunFolder(Path(settings["out"]), "study")

    def unreadable(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", unreadable)  # root may read everything
    with pytest.raises(StorageError, match=r"study cannot be read: Permission denied"):
        survey(stored(), [folder.path], NOW)


# The command.


def test_the_command_shows_and_then_deletes(nas, run, settings):
    run()
    run(study="other", seed=1)
    folder = RunFolder(Path(settings["out"]), "study")
    folder.checkpoint("trial-0000").write_bytes(bytes(3 * 2**10))
    before = names(folder)

    shown = nas("gc", "--out", settings["out"])

    assert (shown.code, shown.err) == (0, "")
    header, first, second, _, advice = shown.out.splitlines()
    assert header.split() == ["study", "checkpoints", "weights", "temporary", "total", "not", "needed"]
    assert first.split() == ["study", "3.00", "KiB", "0", "B", "0", "B", "3.00", "KiB", "3.00", "KiB"]
    assert second.split()[0] == "other"
    assert advice == "3.00 KiB of this are not needed; the same command with --delete frees them."
    assert names(folder) == before

    deleted = nas("gc", "study", "--out", settings["out"], "--delete")
    assert (deleted.code, deleted.out.splitlines()[-1]) == (0, "Freed 3.00 KiB.")
    assert set(before) - set(names(folder)) == {"trial-0000.pt"}
    assert "Everything here may be needed." in nas("gc", "--out", settings["out"]).out


def test_a_study_that_is_being_searched_keeps_everything(nas, run, settings, database_url):
    run(storage=database_url)
    run(storage=database_url, study="other")
    folders = [RunFolder(Path(settings["out"]), name) for name in ("study", "other")]
    for folder in folders:
        folder.checkpoint("trial-0000").write_bytes(b"12345678")
    command = ("gc", "--out", settings["out"], "--storage", database_url, "--delete")
    store = Store(database_url)

    with store.driving("study"):
        driver = store.study("study").drive()
        named, all_of_them = nas(*command, "study"), nas(*command)
        driver.leave()
    store.close()

    assert named.code == 2
    assert "the study 'study' is being searched; stop the search before it is cleaned up" in named.err
    assert all_of_them.code == 0
    assert "nas: none of its files were deleted: the study 'study' is being searched;" in all_of_them.err
    assert "Freed 8 B." in all_of_them.out
    assert [folder.checkpoint("trial-0000").exists() for folder in folders] == [True, False]


@pytest.mark.parametrize("marked", [True, False])
def test_files_of_a_study_of_the_same_name_elsewhere_are_skipped(nas, run, settings, tmp_path, marked):
    """An earlier version marked no folders: then the database beside them tells."""
    run()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    run(storage=other, out=str(tmp_path / "elsewhere"))
    folder = RunFolder(Path(settings["out"]), "study")
    folder.checkpoint("trial-0000").write_bytes(b"12345678")
    if not marked:
        (folder.path / MARKER).unlink()

    for command in (("gc", "--delete"), ("studies", "delete", "study", "--yes")):
        before = names(folder)
        ran = nas(*command, "--out", settings["out"], "--storage", other)
        assert ran.code == 0
        assert ran.err.count("\n") == 1
        assert str(folder.path) in ran.err
        assert names(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "there is no database at"), (("stdy",), "there is no study 'stdy'")],
)
def test_mistakes(nas, run, settings, tmp_path, arguments, message):
    out = tmp_path / "nowhere"
    if arguments:
        run()
        out = settings["out"]

    ran = nas("gc", *arguments, "--out", out)

    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "nowhere").exists()


def test_the_clock_is_real_in_the_command(nas, run, settings):
    run()
    path = RunFolder(Path(settings["out"]), "study").weights_folder / ".trial-0000.safetensors.abc"
    path.write_bytes(b"half")
    nas("gc", "--out", settings["out"], "--delete")
    assert path.exists()
    long_ago = time.time() - 2 * ABANDONED_AFTER_S
    os.utime(path, (long_ago, long_ago))
    nas("gc", "--out", settings["out"], "--delete")
    assert not path.exists()
