"""Our trials as rows of Optuna's own tables, for its dashboard and for `optuna.load_study`.

A trial must reach Optuna's tables in the same transaction as ours; otherwise a crash between the two would leave them
inconsistent. Optuna's storage interface opens transactions of its own (about twenty for one trial with its curve), so
this module writes through Optuna's table definitions instead. That is why Optuna's major version is pinned;
`tests/results/database/test_optuna_tables.py` reads everything back through Optuna's public interface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from results.database.schema import State, StudyRow
from results.optuna_private import METRIC_NAMES, models
from search_space.errors import StorageError
from search_space.space import Axis, Range

Direction = Literal["minimize", "maximize"]

optuna.logging.set_verbosity(optuna.logging.WARNING)

MIRRORED: dict[str, TrialState] = {
    State.QUEUED: TrialState.WAITING,
    State.RUNNING: TrialState.RUNNING,
    State.PAUSED: TrialState.WAITING,
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}
"""The state of a trial in Optuna's tables, by its state in ours."""


def distribution(axis: Axis | Range) -> BaseDistribution:
    """An axis as an Optuna distribution: evenly spaced whole numbers are ordered, everything else is categorical.

    A range is a number on a logarithmic scale.
    """
    if isinstance(axis, Range):
        return FloatDistribution(axis.low, axis.high, log=True)
    if axis.step is not None:
        numbers = [value for value in axis.values if isinstance(value, int)]
        return IntDistribution(min(numbers), max(numbers), step=axis.step)
    return CategoricalDistribution(axis.values)


def prepare(connection: sa.Connection, name: str) -> None:
    """Create Optuna's tables if they are missing, as its `RDBStorage` does, in the transaction of the connection.

    Args:
        connection: A connection to the database.
        name: Its name for messages.

    Raises:
        StorageError: If the tables belong to another version of Optuna.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    models.BaseModel.metadata.create_all(connection)
    made_by = sa.select(models.VersionInfoModel.schema_version, models.VersionInfoModel.library_version)
    if connection.execute(made_by).first() is None:
        ours = {"schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
        connection.execute(sa.insert(models.VersionInfoModel).values(ours))
    schema, library = connection.execute(made_by).one()
    scripts = ScriptDirectory(str(Path(models.__file__).parent / "alembic"))
    migrations = MigrationContext.configure(connection)
    found, newest = migrations.get_current_revision(), scripts.get_current_head()
    if found is None and schema == models.SCHEMA_VERSION:
        migrations.stamp(scripts, "head")
    elif found != newest:
        raise StorageError(
            f"the tables of Optuna in {name} are of its version {library}, and this is {optuna.__version__}; "
            "bring them up to date with: optuna storage upgrade --storage URL"
        )


def has_study(session: Session, name: str) -> bool:
    """Whether Optuna's tables hold a study of this name."""
    return models.StudyModel.find_by_name(name, session) is not None


def create_study(session: Session, name: str, directions: Sequence[Direction], metric_names: Sequence[str]) -> int:
    """Add a study; returns its id in Optuna's tables."""
    rows = [
        models.StudyDirectionModel(objective=objective, direction=StudyDirection[direction.upper()])
        for objective, direction in enumerate(directions)
    ]
    study = models.StudyModel(study_name=name, directions=rows)
    session.add(study)
    session.flush()
    names = {"study_id": study.study_id, "key": METRIC_NAMES, "value_json": json.dumps(list(metric_names))}
    session.execute(sa.insert(models.StudySystemAttributeModel), [names])
    return int(study.study_id)


def has_lost(session: Session, study_id: int) -> bool:
    """Whether Optuna's tables lack a study of ours, by id and name."""
    theirs = models.StudyModel
    same = sa.and_(theirs.study_id == StudyRow.optuna_study_id, theirs.study_name == StudyRow.name)
    query = sa.select(StudyRow.id).outerjoin(theirs, same).where(StudyRow.id == study_id, theirs.study_id.is_(None))
    return session.scalar(query) is not None


def insert_trial(
    session: Session,
    study_id: int,
    number: int,
    choices: Mapping[str, Any],
    axes: Mapping[str, Axis | Range],
    user_attrs: Mapping[str, Any],
) -> int:
    """Add a RUNNING trial; returns its id in Optuna's tables."""
    trial = models.TrialModel(
        study_id=study_id, number=number, state=TrialState.RUNNING, _datetime_start_utc=_utc_now()
    )
    session.add(trial)
    session.flush()
    trial_id = int(trial.trial_id)
    rows = []
    for name, value in choices.items():
        kind = distribution(axes[name])
        rows.append(
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": kind.to_internal_repr(value),
                "distribution_json": distribution_to_json(kind),
            }
        )
    if rows:
        session.execute(sa.insert(models.TrialParamModel), rows)
    set_user_attrs(session, trial_id, user_attrs)
    return trial_id


def set_user_attrs(session: Session, trial_id: int, attrs: Mapping[str, Any]) -> None:
    """Set user attributes; those from an earlier end of the trial are replaced."""
    model = models.TrialUserAttributeModel
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]
    if rows:
        session.execute(sa.delete(model).where(model.trial_id == trial_id, model.key.in_(list(attrs))))
        session.execute(sa.insert(model), rows)


def add_intermediate_values(session: Session, trial_id: int, values: Mapping[int, float]) -> None:
    """Add the quality after each epoch that the trial does not have yet."""
    model = models.TrialIntermediateValueModel
    rows = []
    for step, value in values.items():
        stored, kind = model.intermediate_value_to_stored_repr(value)
        rows.append(
            {
                "trial_id": trial_id,
                "step": step,
                "intermediate_value": stored,
                "intermediate_value_type": kind,
            }
        )
    if rows:
        session.execute(sa.insert(model), rows)


def set_state(session: Session, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> None:
    """Change the state of a trial, and set its objective values if it is finished and has any."""
    session.execute(
        sa.update(models.TrialModel)
        .where(models.TrialModel.trial_id == trial_id)
        .values(state=state, _datetime_complete_utc=_utc_now() if state.is_finished() else None)
    )
    model = models.TrialValueModel
    rows = []
    for objective, value in enumerate(values or ()):
        stored, kind = model.value_to_stored_repr(value)
        rows.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
    if rows:
        session.execute(sa.insert(model), rows)


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
