"""A cache of simulation results, each under a hash of what decides it: the simulation, the table, the code."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from nas.bench import simulation as simulated
from nas.bench.simulation import Records, Simulation
from nas.bench.source_code import code_digest
from nas.bench.table import Table
from search_space.errors import StorageError

ROOT = Path(__file__).parents[2]
"""The folder that holds this package and the others."""


class Cache:
    """Records in a folder.

    Args:
        folder: The folder; None to cache nothing.
        tables: The tables by name, without truth.

    Raises:
        StorageError: If the folder cannot be made.
    """

    def __init__(self, folder: Path | None, tables: Mapping[str, Table]) -> None:
        self._folder = folder
        self._digests: dict[tuple[str, str], str] = {}
        self._tables = tables
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"the folder {folder} cannot be made: {error.strerror}; choose another --cache"
                ) from None

    def get(self, simulation: Simulation) -> Records | None:
        """The records of a simulation; None if they are not cached."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(self._folder, simulation)) as arrays:
                return Records(**arrays)
        except (OSError, ValueError, EOFError, TypeError):  # missing or truncated: it is simulated again
            return None

    def put(self, simulation: Simulation, records: Records) -> None:
        """Store the records of a simulation.

        Raises:
            StorageError: If the folder cannot be written to.
        """
        if self._folder is None:
            return
        path = self._path(self._folder, simulation)
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                np.savez_compressed(file, **vars(records))
            Path(file.name).replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from None

    def _path(self, folder: Path, simulation: Simulation) -> Path:
        key = simulation.table, simulation.band
        if key not in self._digests:
            self._digests[key] = _digest_of_band(self._tables[simulation.table], simulation.band)
        plain = asdict(simulation)
        plain["runs"] = [simulation.runs.start, simulation.runs.stop]
        del plain["arm"]["name"]
        text = json.dumps([plain, self._digests[key], _digest_of_code()], sort_keys=True)
        return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _digest_of_band(table: Table, band: str) -> str:
    """A hash of everything that a search over this band can see."""
    names = [entry.architecture.hash for entry in table.band(band)]
    trainings = [asdict(table.trainings[key]) for key in sorted(table.trainings) if key[0] in set(names)]
    scores = {name: {proxy: asdict(score) for proxy, score in table.scores.get(name, {}).items()} for name in names}
    text = json.dumps([table.space.to_dict(), names, trainings, scores, table.recipe.to_dict()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _digest_of_code() -> str:
    return code_digest(simulated.__name__, ROOT)
