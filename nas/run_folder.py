"""The folder of a search: where its files lie, and the lock that keeps a second driver out.

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

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search_space.errors import StorageError, StudyError


class RunFolder:
    """The files of one study under the output folder.

    Args:
        out: The output folder.
        study: Name of the study.
    """

    def __init__(self, out: Path, study: str) -> None:
        self.path = out.resolve() / study
        self.checkpoints, self.weights_folder = self.path / "checkpoints", self.path / "weights"

    def make(self) -> None:
        """Make the folder.

        Raises:
            StorageError: If that cannot be done.
        """
        try:
            for folder in (self.checkpoints, self.weights_folder):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the folder {self.path} cannot be made: {error.strerror}; choose another --out"
            ) from None

    def checkpoint(self, key: str) -> Path:
        """Checkpoint file of an evaluation."""
        return self.checkpoints / f"{key}.pt"

    def weights(self, key: str) -> Path:
        """Weights file of an evaluation."""
        return self.weights_folder / f"{key}.safetensors"

    def discard(self, key: str) -> None:
        """Delete the files of an evaluation that nobody will need."""
        self.checkpoint(key).unlink(missing_ok=True)
        self.weights(key).unlink(missing_ok=True)

    def write_report(self, text: str, data: Mapping[str, Any]) -> None:
        """Write the end report for people and for programs."""
        (self.path / "report.txt").write_text(text + "\n", encoding="utf-8")
        (self.path / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study's lock, so that no second search of this machine drives the same study.

        Raises:
            StudyError: If another process holds it.
        """
        with (self.path / "driver.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StudyError(
                    f"the study {self.path.name!r} is being searched by process {file.read().strip() or 'another'} "
                    "already; wait for it, stop it, or name another --study"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def default_storage(out: Path) -> str:
    """The database that a search uses unless told otherwise."""
    return f"sqlite:///{out.resolve() / 'nas.db'}"
