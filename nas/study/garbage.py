"""How much space the files of a study take, and which of them are no longer needed.

The database decides: an evaluation that may be resumed needs all of its files. Files of evaluations that are not in the
database, files with names that are not ours, and links are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.study.kept_weights import KEPT_WEIGHTS
from nas.study.ownership import contents, is_file_of_evaluation, is_unfinished
from results.database.objectives import Figures, parse_objectives
from results.database.schema import EvaluationRow
from results.report.pareto import pareto_front
from results.store.store import FINAL_STATES, Role, State, StudyStore
from runners.protocol import Cause
from search_space.errors import StorageError

KINDS = ("checkpoints", "weights", "temporary")
ABANDONED_AFTER_S = 24 * 3600.0
"""Age from which an unfinished file counts as abandoned; arbitrary."""


@dataclass(frozen=True)
class Piece:
    """A file of a study.

    Attributes:
        path: Where it is.
        kind: One of `KINDS`.
        size: Bytes.
        needed: Whether it is or may be needed.
    """

    path: Path
    kind: str
    size: int
    needed: bool


def survey(study: StudyStore, folders: Iterable[Path], now: float) -> list[Piece]:
    """The files of a study.

    Args:
        study: The study in the database.
        folders: Where its files are; see `nas.study.housekeeping.owned_folders`.
        now: Seconds since the epoch.

    Raises:
        StorageError: If a folder cannot be read.
    """
    rows = {row.key: row for row in study.evaluations()}
    unfinished = {row.key for row in rows.values() if row.state not in FINAL_STATES or row.cause == Cause.DATA}
    settled = rows.keys() - unfinished
    unwanted = settled - _worth_keeping(study, rows.values())
    unneeded = {"checkpoints": settled, "weights": unwanted}
    return [piece for folder in folders for piece in _files(folder, unneeded, now)]


def delete(pieces: Iterable[Piece]) -> int:
    """Delete the files that are not needed; returns the number of bytes freed.

    Raises:
        StorageError: If something cannot be deleted.
    """
    freed = 0
    for piece in pieces:
        if piece.needed:
            continue
        try:
            piece.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{piece.path} cannot be deleted: {error.strerror}") from None
        freed += piece.size
    return freed


def _worth_keeping(study: StudyStore, rows: Iterable[EvaluationRow]) -> set[str]:
    """Keys of evaluations whose weights are worth keeping: finalists, their trials, and the best trials."""
    complete = [row for row in rows if row.state == State.COMPLETE]
    finalists = {row.number for row in study.finalists()}
    kept = {row.key for row in complete if row.role == Role.FINALIST or row.number in finalists}
    objectives = parse_objectives(study.row.objectives)
    trials = {row.key: Figures.of_row(row) for row in complete if row.role == Role.TRIAL}
    losses = {key: [objective.loss(figures) for objective in objectives] for key, figures in trials.items()}
    best = sorted(losses, key=lambda key: (losses[key][0], key))[:KEPT_WEIGHTS]
    keys = list(losses)
    front = pareto_front(list(losses.values())) if len(objectives) > 1 else []
    return kept | {*best, *(keys[index] for index in front)}


def _files(folder: Path, unneeded: Mapping[str, Collection[str]], now: float) -> Iterator[Piece]:
    """Our files in the folder of a study; all are needed except abandoned ones and those of `unneeded` evaluations."""
    for path, is_ours in contents(folder):
        try:
            status = path.lstat()
        except FileNotFoundError:  # a running search has deleted it
            continue
        if is_ours and is_unfinished(path.name):
            yield Piece(path, "temporary", status.st_size, now - status.st_mtime <= ABANDONED_AFTER_S)
        elif is_ours and is_file_of_evaluation(path):
            kind = path.parent.name
            yield Piece(path, kind, status.st_size, path.stem not in unneeded[kind])
