"""Which folders and files belong to a study: folders by the marker in them, files by their names.

A folder with the name of a study may be the user's own. So a folder is used only if it is new, empty, or has a marker
with the study's uid, and only files with names that this program gives are deleted or replaced in it. Links are never
followed.

Earlier versions wrote no marker. Their folders are recognised by their contents, and get a marker when their study is
continued.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from results.database.connection import snapshot, sqlite_url
from results.database.names import is_evaluation_key
from results.database.schema import StudyRow
from results.store.store import Store
from runners.files import FileFailure, write_atomically
from runners.remote import Location
from search_space.errors import StorageError, printable

MARKER = ".nas-study.json"
MOVING = ".nas-moving"
"""Name of the file that marks a folder whose study is being renamed; see `nas.study.housekeeping`."""
_LONGEST_MARKER = 10_000
_RAY = re.compile(  # files of Ray Tune in the folders of earlier versions
    r"(experiment_state|basic-variant-state|searcher-state|search_gen_state)-.+\.(json|pkl)|result\.json|progress\.csv"
    r"|(params|error|tuner|trainable)\.(json|txt|pkl)|events\.out\.tfevents\..+|\.validate_storage_marker"
)
_UNFINISHED = re.compile(r"\.(.+)\.[A-Za-z0-9_]{1,16}")  # as `runners.files.write_atomically` names it
_SUFFIXES = {"checkpoints": ".pt", "weights": ".safetensors"}


@dataclass(frozen=True)
class Marker:
    """Which study a folder belongs to.

    Attributes:
        uid: The uid of the study.
        database: The URL of its database, without a password.
    """

    uid: str
    database: str


@dataclass(frozen=True)
class Owner:
    """A study that may own a folder.

    Attributes:
        name: Its name.
        marker: The marker in its folders.
    """

    name: str
    marker: Marker

    @classmethod
    def of(cls, store: Store, study: StudyRow) -> Owner:
        """The owner for a study in a database."""
        return cls(study.name, Marker(study.uid, store.place))

    def owns(self, folder: Path) -> bool:
        """Whether an existing folder belongs to the study; a link never does.

        Raises:
            StorageError: If it cannot be read.
        """
        if folder.is_symlink() or not folder.is_dir():
            return False
        marker = read_marker(folder)
        if marker is not None:
            return marker.uid == self.marker.uid
        return _is_of_earlier_version(folder) and not self._has_namesake(folder.parent)

    def mark(self, folder: Location) -> None:
        """Write the marker into a folder of the study; it is updated if its database was moved.

        Raises:
            StorageError: If it cannot be written.
        """
        if read_marker(folder) != self.marker:
            try:
                write_atomically(folder / MARKER, f"{json.dumps(asdict(self.marker))}\n".encode())
            except FileFailure as error:
                raise StorageError(f"the marker {error}") from None

    def _has_namesake(self, out: Path) -> bool:
        """Whether the output folder has another database, with a study of the same name."""
        own = sqlite_url(os.path.realpath(out / "nas.db"))
        if own == self.marker.database or not (out / "nas.db").is_file():
            return False
        try:
            with snapshot(own) as connection:
                found = connection.exec_driver_sql("SELECT 1 FROM nas_studies WHERE name = ?", (self.name,))
                return found.first() is not None
        except StorageError:  # it is not a database of ours
            return False


def must_be_usable(folder: Location, owner: Owner | None, option: str) -> None:
    """Raise an error unless a study may use a folder; nothing is written.

    Args:
        folder: The folder, which need not exist.
        owner: The study; None for one that does not exist yet.
        option: The flag that named the parent of the folder.

    Raises:
        StorageError: If it holds something that does not belong to the study, or cannot be read.
    """
    marker = read_marker(folder)
    advice = f"choose another --study or {option}"
    if marker is not None:
        if owner is None or marker.uid != owner.marker.uid:
            place = f" of the database {printable(marker.database, 300)}" if marker.database else ""
            raise StorageError(f"the folder {folder} belongs to another study{place}; {advice}")
        return
    if (
        not isinstance(folder, Path) or not folder.is_dir()
    ):  # on remote storage, objects with other names are never touched
        return
    held = sorted(contents(folder), key=lambda found: found[1])  # what is not ours comes first
    if held and (owner is None or not owner.owns(folder.resolve())):
        raise StorageError(
            f"the folder {folder} exists already and does not belong to this study: it holds "
            f"{printable(str(held[0][0].relative_to(folder)), 100)}; {advice}"
        )


def read_marker(folder: Location) -> Marker | None:
    """The marker of a folder; None if there is none. A damaged one matches no study.

    Raises:
        StorageError: If it cannot be read.
    """
    path = folder / MARKER
    try:
        if isinstance(path, Path) and not stat.S_ISREG(path.lstat().st_mode):
            return Marker("", "")
        found: Any = json.loads(path.read_bytes()[:_LONGEST_MARKER])
        return Marker(str(found["uid"]), str(found["database"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        return Marker("", "")


def contents(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield everything in a folder of a study, and whether its name is that of one of our files.

    Raises:
        StorageError: If something cannot be read.
    """
    try:
        for path in sorted(folder.iterdir()):
            if path.name in (*_SUFFIXES, "ray") and _is(stat.S_ISDIR, path):
                yield from _within(path, path.name)
            else:
                yield path, _is(stat.S_ISREG, path) and _is_name_of_ours(path.name, "")
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be read: {error.strerror}") from None


def remove_own(folder: Path) -> None:
    """Delete our files, then empty folders, and the marker last.

    Raises:
        OSError: If something cannot be deleted.
    """
    for path, is_ours in contents(folder):
        if is_ours and path.name != MARKER:
            path.unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder, topdown=False):
        if Path(parent).relative_to(folder).parts[:1] in (("checkpoints",), ("weights",), ("ray",)):
            with suppress(OSError):  # it is not empty
                Path(parent).rmdir()
    (folder / MARKER).unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Whether a file has the temporary name of one of our files."""
    unfinished = _UNFINISHED.fullmatch(name)
    return unfinished is not None and any(_is_name_of_ours(unfinished[1], place) for place in ("", *_SUFFIXES))


def is_file_of_evaluation(path: Path) -> bool:
    """Whether a file in a folder of checkpoints or weights has the name of one of our complete files."""
    return path.suffix == _SUFFIXES.get(path.parent.name) and is_evaluation_key(path.stem)


def _within(folder: Path, place: str) -> Iterator[tuple[Path, bool]]:
    for path in sorted(folder.iterdir()):
        if place == "ray" and _is(stat.S_ISDIR, path):
            yield from _within(path, place)
        else:
            yield path, _is(stat.S_ISREG, path) and _is_name_of_ours(path.name, place)


def _is_name_of_ours(name: str, place: str) -> bool:
    """Whether a file in a subfolder, or in the folder itself (""), has a name of ours."""
    if place == "ray":
        return _RAY.fullmatch(name) is not None
    if place == "":
        known = name in ("report.txt", "report.json", MARKER, MOVING)
    else:
        stem, dot, suffix = name.rpartition(".")
        known = dot + suffix == _SUFFIXES[place] and is_evaluation_key(stem)
    unfinished = None if known else _UNFINISHED.fullmatch(name)
    return known or (unfinished is not None and _is_name_of_ours(unfinished[1], place))


def _is_of_earlier_version(folder: Path) -> bool:
    """Whether a folder without a marker is empty, or holds files of a study of an earlier version."""
    found = list(contents(folder))
    ours = [path for path, is_ours in found if is_ours]
    return len(ours) == len(found) or any(map(is_file_of_evaluation, ours))


def _is(kind: Any, path: Path) -> bool:
    """Whether a path is of a kind such as `stat.S_ISREG`; links are not followed."""
    try:
        return bool(kind(path.lstat().st_mode))
    except FileNotFoundError:  # another process has deleted it
        return False
