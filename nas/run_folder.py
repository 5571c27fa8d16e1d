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
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from results.names import file_name
from search_space.errors import StorageError


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

    def discard(self, key: str) -> None:
        """Delete the files of an evaluation that nobody will need."""
        self.checkpoint(key).unlink(missing_ok=True)
        self.weights(key).unlink(missing_ok=True)

    def write_report(self, text: str, data: Mapping[str, Any]) -> None:
        """Write the end report for people and for programs."""
        (self.path / "report.txt").write_text(text + "\n", encoding="utf-8")
        (self.path / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")

    def sweep(self, needed: Collection[str]) -> None:
        """Delete the checkpoints of all evaluations but the ones needed."""
        for path in self.checkpoints.glob("*.pt"):
            if path.stem not in needed:
                path.unlink(missing_ok=True)


def storage_url(storage: str | None, out: str | Path) -> str:
    """The database to use: the one named, else ``NAS_STORAGE``, else the SQLite file in the output folder."""
    return storage or os.environ.get("NAS_STORAGE") or f"sqlite:///{Path(out).resolve() / 'nas.db'}"
