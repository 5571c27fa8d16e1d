"""Reading a study from Python."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from nas.study.files import storage_url
from nas.study.opening import find_study
from results.database.damage import architecture_of
from results.database.objectives import QUALITY_FIGURES
from results.database.schema import Role
from results.report.report import Report, make_report
from results.store.store import Store
from search_space.architecture import Architecture


@dataclass(frozen=True)
class StoredTrial:
    """One trial of a study.

    Attributes:
        number: Its number.
        state: RUNNING, PAUSED, COMPLETE, PRUNED or FAILED.
        architecture: What was trained.
        origin: What proposed it.
        epochs: Epochs trained.
        nll: Validation NLL in nats after the last of them; None before the first.
        accuracy: Validation accuracy after the last of them, 0 to 1; None before the first.
        latency_ms: Median latency of one image; None if it was not measured.
        balanced_accuracy: Validation balanced accuracy, 0 to 1; None if it was not measured.
        macro_f1: Validation macro F1, 0 to 1; None if it was not measured.
        calibration_error: Expected calibration error, 0 to 1; None if it was not measured.
    """

    number: int
    state: str
    architecture: Architecture
    origin: str
    epochs: int
    nll: float | None
    accuracy: float | None
    latency_ms: float | None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None


@dataclass(frozen=True)
class Study:
    """A study at the time when it was read.

    Attributes:
        name: Its name.
        settings: The settings of its last run, named as in `nas.SearchConfig`.
        report: Its report; for an unfinished study, what is known so far.
        trials: Its trials, by number.
    """

    name: str
    settings: Mapping[str, Any]
    report: Report
    trials: tuple[StoredTrial, ...]


def open_study(name: str | None = None, *, storage: str | None = None, out: str = "nas-runs") -> Study:
    """Read a study.

    Example:
        >>> from nas import open_study
        >>> study = open_study("mlp_family-digits")  # doctest: +SKIP
        >>> best = min(study.trials, key=lambda trial: trial.nll or float("inf"))  # doctest: +SKIP

    Args:
        name: Name of the study; None if there is only one.
        storage: Database URL; None for ``NAS_STORAGE``, else the SQLite file in `out`.
        out: Folder that the search wrote to.

    Raises:
        NasError: If there is no such study, or the database cannot be read.
    """
    with closing(Store(storage_url(storage, out), create=False)) as store:
        study = find_study(store, name, architectures=True)
        trials = [
            StoredTrial(
                number=row.number,
                state=str(row.state),
                architecture=architecture_of(row.architecture),
                origin=row.origin,
                epochs=row.epochs_trained,
                latency_ms=row.latency_ms,
                **{name: getattr(row, name) for name in QUALITY_FIGURES},
            )
            for row in study.evaluations(Role.TRIAL)
        ]
        by_number = tuple(sorted(trials, key=lambda trial: trial.number))
        return Study(study.name, dict(study.row.config), make_report(study), by_number)
