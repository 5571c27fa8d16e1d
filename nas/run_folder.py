"""The folder of a search: where its files lie.

nas-runs/
  nas.db                       the database of all studies (unless --storage says otherwise)
  STUDY/
    report.txt, report.json    the end report
    weights/                   trial-0012.safetensors, finalist-0012-seed-1.safetensors, ...
    checkpoints/               of trainings under way or interrupted
    ray/                       what Ray Tune writes
    driver.lock                held while a search runs
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from results.names import file_name
from runners.files import FileFailure, write_atomically
from search_space.errors import StorageError

log = logging.getLogger(__name__)


class RunFolder:
    """The files of one study under the output folder.

    Args:
        out: The output folder.
        study: Name of the study.

    Raises:
        StorageError: If the study, or later an evaluation, has a name that would lead out of the folder.
    """

    def __init__(self, out: Path, study: str) -> None:
        self.path = out.resolve() / file_name(study, "study")
        self.checkpoints, self.weights_folder = self.path / "checkpoints", self.path / "weights"

    def make(self) -> None:
        """Make the folder.

        Raises:
            StorageError: If that cannot be done.
        """
        try:
            for folder in (self.checkpoints, self.weights_folder):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except OSError as error:
            raise StorageError(
                f"the folder {self.path} cannot be written to: {error.strerror}; choose another --out"
            ) from None

    def checkpoint(self, key: str) -> Path:
        """Checkpoint file of an evaluation."""
        return self.checkpoints / f"{file_name(key, 'evaluation')}.pt"

    def weights(self, key: str) -> Path:
        """Weights file of an evaluation."""
        return self.weights_folder / f"{file_name(key, 'evaluation')}.safetensors"

    def discard_checkpoint(self, key: str) -> None:
        """Delete the checkpoint of an evaluation that will not go on."""
        _remove(self.checkpoint(key))

    def discard(self, key: str) -> None:
        """Delete the files of an evaluation that nobody will need."""
        self.discard_checkpoint(key)
        _remove(self.weights(key))

    def write_report(self, text: str, data: Mapping[str, Any]) -> None:
        """Write the end report for people and for programs.

        Raises:
            StorageError: If the disk does not take it; what was there before is still there.
        """
        try:
            write_atomically(self.path / "report.txt", f"{text}\n".encode())
            write_atomically(self.path / "report.json", f"{json.dumps(data, indent=2)}\n".encode())
        except FileFailure as error:
            raise StorageError(f"the report {error}; nas results shows it") from None

    def sweep(self, needed: Collection[str]) -> None:
        """Delete the checkpoints of all evaluations but the ones needed."""
        for path in self.checkpoints.glob("*.pt"):
            if path.stem not in needed:
                _remove(path)


def _remove(path: Path) -> None:
    """Delete a file if it can be done: one that stays takes room, but no search ends for it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be deleted, nas gc may do so later: %s", path, error.strerror)


def storage_url(storage: str | None, out: str | Path) -> str:
    """The database to use: the one named, else ``NAS_STORAGE``, else the SQLite file in the output folder."""
    return storage or os.environ.get("NAS_STORAGE") or f"sqlite:///{Path(out).resolve() / 'nas.db'}"
