"""The folder of a study, and the paths of its files.

nas-runs/
  nas.db                       the database of all studies (unless --storage says otherwise)
  STUDY/
    .nas-study.json            which study it belongs to; see `nas.study.ownership`
    report.txt, report.json    the report
    weights/                   trial-0012.safetensors, finalist-0012-seed-1.safetensors, ...
    checkpoints/               of trainings that are running, paused or interrupted

With --checkpoint-dir the last two are in another place, which may be remote storage.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nas.study.ownership import Owner, is_file_of_evaluation, must_be_usable
from results.database.connection import sqlite_url
from results.database.names import evaluation_file, file_name
from runners.files import FileFailure, write_atomically
from runners.remote import Location, locate
from search_space.errors import StorageError
from search_space.paths import user_path

log = logging.getLogger(__name__)


class RunFolder:
    """The files of one study under the output folder.

    Args:
        out: The output folder.
        study: Name of the study.
        checkpoint_dir: The parent of the study's folder for checkpoints and weights; None for the output folder.

    Raises:
        StorageError: If the name of the study, or later the key of an evaluation, leads out of the folder.
    """

    def __init__(self, out: Path, study: str, checkpoint_dir: str | None = None) -> None:
        name = file_name(study, "study")
        self.path = out.resolve() / name
        files: Location = self.path if checkpoint_dir is None else checkpoint_root(checkpoint_dir) / name
        self._folders = {self.path: "--out"} if files == self.path else {self.path: "--out", files: "--checkpoint-dir"}
        self.checkpoints, self.weights_folder = files / "checkpoints", files / "weights"

    def check(self, owner: Owner | None) -> None:
        """Raise an error if the study may not use these folders; nothing is written.

        Args:
            owner: The study; None for one that does not exist yet.

        Raises:
            StorageError: If they hold something else.
        """
        for folder, option in self._folders.items():
            must_be_usable(folder, owner, option)

    @contextmanager
    def made(self) -> Iterator[None]:
        """Create the folders; those that were created are removed again if the body fails.

        Raises:
            StorageError: If they cannot be created or written to.
        """
        files = self.weights_folder.parent if isinstance(self.weights_folder, Path) else None
        new: list[Path] = []
        try:
            for folder in (self.path, self.checkpoints, self.weights_folder):
                try:
                    new += _try_out(folder)
                except OSError as error:
                    choice = "--out" if self.path in (folder, files) else "--checkpoint-dir"
                    reason = error.strerror or error
                    raise StorageError(
                        f"the folder {folder} cannot be written to: {reason}; choose another {choice}"
                    ) from None
            yield
        except BaseException:
            for path in reversed(new):
                with suppress(OSError):
                    path.rmdir()
            raise

    def claim(self, owner: Owner) -> None:
        """Mark the folders as those of a study.

        Raises:
            StorageError: If they belong to something else in the meantime, or cannot be written to.
        """
        self.check(owner)
        for folder in self._folders:
            owner.mark(folder)

    def checkpoint(self, key: str) -> Location:
        """Checkpoint file of an evaluation."""
        return self.checkpoints / evaluation_file(key, ".pt")

    def weights(self, key: str) -> Location:
        """Weights file of an evaluation."""
        return self.weights_folder / evaluation_file(key, ".safetensors")

    def has_weights(self, key: str, sha256: str | None) -> bool:
        """Whether the weights of an evaluation can be read from here, and have this SHA-256."""
        try:
            content = self.weights(key).read_bytes()
        except OSError:
            return False
        return sha256 is not None and hashlib.sha256(content).hexdigest() == sha256

    def discard_checkpoint(self, key: str) -> None:
        """Delete the checkpoint of an evaluation that will not be resumed."""
        _remove(self.checkpoint(key))

    def discard(self, key: str) -> None:
        """Delete the checkpoint and the weights of an evaluation."""
        self.discard_checkpoint(key)
        _remove(self.weights(key))

    def write_report(self, text: str, data: Mapping[str, Any]) -> None:
        """Write the report as text and as JSON.

        Raises:
            StorageError: If it cannot be written; an earlier report is then kept.
        """
        try:
            write_atomically(self.path / "report.txt", f"{text}\n".encode())
            write_atomically(self.path / "report.json", f"{json.dumps(data, indent=2)}\n".encode())
        except FileFailure as error:
            raise StorageError(f"the report {error}; nas results shows it") from None

    def sweep(self, needed: Collection[str]) -> None:
        """Delete the checkpoints of all evaluations except those needed; on remote storage none is deleted."""
        if isinstance(self.checkpoints, Path) and not self.checkpoints.is_symlink():
            for path in self.checkpoints.glob("*.pt"):
                if is_file_of_evaluation(path) and path.stem not in needed:
                    _remove(path)

    @contextmanager
    def weights_here(self, key: str) -> Iterator[Path]:
        """A local folder with the weights of an evaluation, if there are any; remote weights are fetched."""
        if isinstance(self.weights_folder, Path):
            yield self.weights_folder
            return
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            try:
                (here / f"{key}.safetensors").write_bytes(self.weights(key).read_bytes())
            except FileNotFoundError:
                pass
            except OSError as error:
                raise StorageError(f"the weights {self.weights(key)} cannot be read: {error}") from None
            yield here


def local_roots(out: str | Path, checkpoint_dir: str | None = None) -> list[Path]:
    """The local folders in which a command looks for studies; never one that only a database names."""
    named = [user_path(out, "--out").resolve(), *([] if checkpoint_dir is None else [checkpoint_root(checkpoint_dir)])]
    return [root for root in dict.fromkeys(named) if isinstance(root, Path)]


def checkpoint_root(checkpoint_dir: str) -> Location:
    """The place that ``--checkpoint-dir`` names.

    Raises:
        StorageError: If this kind of storage is not supported.
    """
    place = locate(checkpoint_dir)
    return place.resolve() if isinstance(place, Path) else place


def _try_out(folder: Location) -> list[Path]:
    """Create a folder and check that files can be written to it; returns the folders that were created."""
    new: list[Path] = []
    if isinstance(folder, Path):
        new = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    else:
        probe = folder / ".probe"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    return new


def _remove(path: Location) -> None:
    """Delete a file if possible; a file that remains takes up space, but does not end a search."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be deleted (%s); nas gc deletes it later", path, error.strerror)


def storage_url(storage: str | None, out: str | Path) -> str:
    """The database to use: `storage`, else ``NAS_STORAGE``, else the SQLite file in the output folder."""
    return storage or os.environ.get("NAS_STORAGE") or sqlite_url(user_path(out, "--out").resolve() / "nas.db")
