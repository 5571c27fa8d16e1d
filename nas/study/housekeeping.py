"""Renaming and deleting a study with its folders: all or nothing, even if the process is killed half-way.

The database decides, and folders follow it. Both operations begin with a step that leaves a trace in the folder:

    rename   The file MOVING is created in the folder, the folder is moved, the database commits, the report is written
             with the new name, MOVING is removed.
    delete   The folder is set aside as ``.NAME.deleted-UID``, the database commits, our files are deleted, the marker
             last.

Other commands begin with `settle`. It finds these traces, looks up the study's uid in the database, and completes what
was committed or undoes what was not.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from nas.study.files import RunFolder
from nas.study.ownership import MARKER, MOVING, Marker, Owner, contents, is_unfinished, read_marker, remove_own
from results.database.schema import StudyRow
from results.report.render import render
from results.report.report import make_report
from results.store.rename_delete import count_trials, deleting, locked_idle, renaming
from results.store.store import Store
from search_space.errors import StorageError, StudyError

log = logging.getLogger(__name__)

_ASIDE = re.compile(r"\.(.+)\.deleted-([0-9a-f]{32})")


def rename_study(store: Store, old: str, new: str, roots: Sequence[Path]) -> list[Path]:
    """Rename a study and its folders.

    Args:
        store: The database.
        old: Its name.
        new: A name that no study has.
        roots: Where its folders are.

    Returns:
        Its folders with their new names.

    Raises:
        StudyError: If there is no such study, the new name is taken, or the study is being searched.
        StorageError: If the database fails or a folder cannot be moved; then nothing has changed.
    """
    moved: list[Path] = []
    with _settled_on_failure(store, roots), renaming(store, old, new) as study:
        owner = Owner(old, Marker(study.uid, store.place))
        folders = [RunFolder(root, old).path for root in roots]
        for folder in folders:
            to = folder.with_name(new)
            if os.path.lexists(to):
                raise StorageError(f"the folder {to} exists already; move it away, or choose another name")
        for folder in filter(owner.owns, folders):
            owner.mark(folder)
            to = folder.with_name(new)
            _begin_move(folder)
            _move(folder, to)
            moved.append(to)
    for folder in moved:
        _end_move(store, folder)
    return moved


def delete_study(store: Store, name: str, roots: Sequence[Path]) -> list[Path]:
    """Delete a study, with the architectures and scores that no other study uses, and its files.

    Args:
        store: The database.
        name: Its name.
        roots: Where its folders are.

    Returns:
        Folders that remain because they hold files that are not ours.

    Raises:
        StudyError: If there is no such study, or it is being searched.
        StorageError: If the database fails or a folder cannot be moved out of the way; then nothing has changed. Also
            if files remain, which the message names.
    """
    aside: list[Path] = []
    with _settled_on_failure(store, roots), deleting(store, name) as study:
        owner = Owner.of(store, study)
        for folder in owned_folders(owner, roots):
            owner.mark(folder)
            hidden = folder.with_name(f".{name}.deleted-{study.uid}")
            _move(folder, hidden)
            aside.append(hidden)
    left = []
    for folder in aside:
        try:
            left.append(_end_deletion(folder, name))
        except OSError as error:
            raise StorageError(
                f"the study {name!r} is deleted, but some of its files are still in {folder}: {error.strerror}; "
                "the next command on this output folder tries again"
            ) from None
    return [folder for folder in left if folder is not None]


@dataclass(frozen=True)
class Belongings:
    """What belongs to a study.

    Attributes:
        trials: How many trials.
        folders: Its folders.
        files: How many files of ours are in them.
        size: Their size in bytes.
        others: Other files in them, and folders with the study's name that do not belong to it; both are kept.
    """

    trials: int
    folders: list[Path]
    files: int
    size: int
    others: list[Path]


def belongings(store: Store, name: str, roots: Sequence[Path]) -> Belongings:
    """What deleting a study would delete, and what it would keep.

    Raises:
        StudyError: If there is no such study.
        StorageError: If a folder cannot be read.
    """
    trials, study = count_trials(store, name), store.study(name)
    assert study is not None
    owner = Owner.of(store, study.row)
    folders, named = list(owned_folders(owner, roots)), [RunFolder(root, name).path for root in roots]
    found = [entry for folder in folders for entry in contents(folder)]
    others = [path for path in named if path not in folders and os.path.lexists(path)]
    others += [path for path, is_ours in found if not is_ours]
    sizes = [path.lstat().st_size for path, is_ours in found if is_ours and path.name != MARKER]
    return Belongings(trials, folders, len(sizes), sum(sizes), others)


def owned_folders(owner: Owner, roots: Sequence[Path]) -> Iterator[Path]:
    """The folders of a study that exist and belong to it."""
    for root in roots:
        folder = RunFolder(root, owner.name).path
        if owner.owns(folder):
            yield folder


def settle(store: Store, roots: Sequence[Path]) -> None:
    """Complete or undo renames and deletions that were killed half-way; what cannot be settled is left unchanged.
    Damaged rows of one study do not prevent work on other studies.
    """
    for root in roots:
        for folder in _unsettled(root):
            try:
                _settle(store, folder)
            except StudyError:  # it is being searched, or another process is settling it
                continue
            except (OSError, StorageError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                log.warning(
                    "the folder %s of a study that was renamed or deleted cannot be tidied up: %s", folder, reason
                )


@contextmanager
def _settled_on_failure(store: Store, roots: Sequence[Path]) -> Iterator[None]:
    """Settle after any failure, even one that hides whether the commit was made."""
    try:
        yield
    except BaseException:
        settle(store, roots)
        raise


def _unsettled(root: Path) -> list[Path]:
    try:
        folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]
        return [path for path in folders if _ASIDE.fullmatch(path.name) or (path / MOVING).is_file()]
    except OSError:  # it does not exist yet, or the command reports the problem
        return []


def _settle(store: Store, folder: Path) -> None:
    marker, aside = read_marker(folder), _ASIDE.fullmatch(folder.name)
    if marker is None:
        if aside is not None:  # the marker is deleted last
            _give_back(folder, aside[1])
        return
    with store.session() as session:
        name = session.scalar(sa.select(StudyRow.name).where(StudyRow.uid == marker.uid))
    if name is None:
        if aside is not None and marker.database == store.place:
            _end_deletion(folder, aside[1])
        return
    with locked_idle(store, name, "settled") as (_, study):
        home = RunFolder(folder.parent, name).path
        if study.uid != marker.uid or (folder != home and os.path.lexists(home)):
            return
        if folder != home:
            folder.rename(home)
        for path, is_ours in contents(home):
            if is_ours and path.parent == home and is_unfinished(path.name):
                path.unlink(missing_ok=True)
        _end_move(store, home)


def _begin_move(folder: Path) -> None:
    try:
        (folder / MOVING).touch()
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be moved: {error.strerror}") from None


def _end_move(store: Store, folder: Path) -> None:
    """Write the report with the new name of the study, if there is one, and remove the trace of the move."""
    try:
        study = store.study(folder.name)
        if study is not None and (folder / "report.json").is_file():
            report = make_report(study)
            RunFolder(folder.parent, folder.name).write_report(render(report), report.to_dict())
    except StorageError as error:  # damaged rows, a full disk: the study is renamed nevertheless
        log.warning(
            "the report in %s still has the old name of the study; a later command updates it: %s", folder, error
        )
    else:
        (folder / MOVING).unlink(missing_ok=True)


def _end_deletion(folder: Path, name: str) -> Path | None:
    """Delete our files in a folder that was set aside; returns the new path of its other files, None if it has none."""
    remove_own(folder)
    return _give_back(folder, name)


def _give_back(folder: Path, name: str) -> Path | None:
    """Remove a folder that was set aside if it is empty, else move it back to where the user looks for it."""
    try:
        folder.rmdir()
    except OSError:
        if not folder.is_dir():  # another process was quicker
            return None
        home = folder.with_name(name)
        if os.path.lexists(home):
            home = folder.with_name(f"{name}.left-{folder.name[-8:]}")
        folder.rename(home)
        return home
    return None


def _move(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be moved to {to}: {error.strerror}") from None
