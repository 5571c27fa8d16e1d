"""Whether a database is intact: its file, its schema, its references, and that our tables and Optuna's agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from results.database.cells import as_stored, cell_problems, lost_references, some
from results.database.connection import HEAD, no_searches, shown, snapshot, version
from results.database.names import training_key
from results.database.optuna_tables import MIRRORED
from results.database.schema import ArchitectureRow, Base, EpochRow, EvaluationRow, FinalistRow, Role, StudyRow
from results.database.tables import OPTUNA_STUDIES, present
from results.optuna_private import models
from search_space.architecture import Architecture
from search_space.errors import NasError, UnknownOpError
from search_space.plugins import not_imported


@dataclass
class Health:
    """The result of a check.

    Attributes:
        database: The database, without its password.
        version: The newest migration that was applied.
        rows: Number of rows by table, for existing tables.
        problems: Pairs of a table ("" if unknown) and a sentence that says what is wrong there.
    """

    database: str
    version: str
    rows: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def check_database(url: str, progress: Callable[[str], None] = lambda _: None) -> Health:
    """Look for damage. Nothing is written, and a search may run meanwhile.

    Args:
        url: The database.
        progress: Called with the name of each check.

    Raises:
        StorageError: If it does not exist, cannot be read, or is not one of ours.
    """
    with snapshot(url) as connection:
        found = version(connection)
        if found is None:
            raise no_searches(shown(url))
        health = Health(shown(url), found)
        for check in (_integrity, _schema):  # if these fail, the others cannot run
            progress(check.__name__.strip("_"))
            health.problems += check(connection)
            if health.problems:
                return health
        with as_stored(connection):
            for table in present(connection):
                progress(table.name)
                query = sa.select(sa.func.count()).select_from(table)
                health.rows[table.name] = connection.scalar(query) or 0
                health.problems += cell_problems(connection, table)
                health.problems += lost_references(connection, table)
            for check in (_studies, _silent, _trials, _numbers, _curves, _architectures):
                progress(check.__name__.strip("_"))
                health.problems += check(connection)
    return health


def _integrity(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """The integrity of the file; PostgreSQL checks its own files."""
    if connection.dialect.name != "sqlite":
        return
    try:
        found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    except DatabaseError as error:  # damage that SQLite cannot even list
        found = [str(error.orig)]
    if found != ["ok"]:
        yield from (("", f"SQLite says: {line}") for text in found for line in str(text).splitlines())


def _schema(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    if (found := version(connection)) != HEAD:
        yield "", f"the schema is that of {found}, not of {HEAD}; nas db upgrade brings an older one up to date"
        return
    inspector = sa.inspect(connection)
    tables = present(connection)
    for table in Base.metadata.sorted_tables:
        if table not in tables:
            yield table.name, "the table is missing"
    for table in tables:
        missing = {column.name for column in table.columns} - {own["name"] for own in inspector.get_columns(table.name)}
        if missing:
            yield table.name, f"it lacks {some(sorted(missing), 'column')}"


def _studies(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Every study of ours must be one of Optuna's with the same name."""
    ours = connection.execute(sa.select(StudyRow.name, StudyRow.optuna_study_id).order_by(StudyRow.id)).all()
    if not ours:
        return
    if OPTUNA_STUDIES not in present(connection):
        yield OPTUNA_STUDIES.name, "the table is missing, though there are studies"
        return
    query = sa.select(models.StudyModel.study_id, models.StudyModel.study_name)
    theirs = {row.study_id: row.study_name for row in connection.execute(query)}
    for name, key in ours:
        if key not in theirs:
            yield "studies", f"the study {name!r} is missing in Optuna's tables (study_id {key})"
        elif theirs[key] != name:
            yield "studies", f"the study {name!r} is {theirs[key]!r} in Optuna's tables (study_id {key})"


def _trials(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Every trial of ours must be one of Optuna's, with the same number and state, and vice versa."""
    if OPTUNA_STUDIES not in present(connection):
        return
    model = models.TrialModel
    for study_id, name, optuna_id in connection.execute(
        sa.select(StudyRow.id, StudyRow.name, StudyRow.optuna_study_id)
    ).all():
        state_name = sa.type_coerce(model.state, sa.String)  # also where it is unknown
        query = sa.select(model.trial_id, model.number, state_name).where(model.study_id == optuna_id)
        theirs = {trial_id: (number, state) for trial_id, number, state in connection.execute(query)}
        mine = (
            sa.select(EvaluationRow.key, EvaluationRow.number, EvaluationRow.state, EvaluationRow.optuna_trial_id)
            .where(EvaluationRow.study_id == study_id, EvaluationRow.role == Role.TRIAL)
            .order_by(EvaluationRow.id)
        )
        for key, number, state, trial_id in connection.execute(mine):
            where = f"{key} of the study {name!r}"
            if trial_id not in theirs:
                yield "trials", f"{where} is missing in Optuna's tables (trial_id {trial_id})"
                continue
            other_number, other_state = theirs.pop(trial_id)
            if other_number != number:
                yield "trials", f"{where} has the number {number} in ours, {other_number} in Optuna's tables"
            expected = MIRRORED.get(state)
            if expected is None or other_state != expected.name:
                told = "no state" if expected is None else f"{expected.name} there"
                yield "trials", f"{where} is {state}, which is {told}; Optuna's tables say {other_state}"
        if theirs:
            lost = some([number for number, _ in theirs.values()], "trial")
            yield "nas_evaluations", f"it lacks what Optuna's tables have of the study {name!r}: {lost}"


def _curves(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Every evaluation must have the epochs that its row says."""
    last, count = sa.func.max(EpochRow.epoch), sa.func.count(EpochRow.epoch)
    query = (
        sa.select(EvaluationRow.id, EvaluationRow.key, EvaluationRow.epochs_trained, last, count)
        .outerjoin(EpochRow, EpochRow.evaluation_id == EvaluationRow.id)
        .group_by(EvaluationRow.id, EvaluationRow.key, EvaluationRow.epochs_trained)
        .order_by(EvaluationRow.id)
    )
    for number, key, trained, found, epochs in connection.execute(query):
        if (found or 0) != trained:
            yield (
                "nas_epochs",
                f"id {number} ({key}) was trained for {trained} epochs, and its last one is {found or 0}",
            )
        elif epochs not in (trained, 1):  # a test has a single one
            yield "nas_epochs", f"id {number} ({key}) was trained for {trained} epochs, of which {epochs} are there"


def _numbers(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """The trials of a study must be numbered without gaps, and finalists must come from them."""
    for study_id, name in connection.execute(sa.select(StudyRow.id, StudyRow.name).order_by(StudyRow.id)).all():
        trials = sa.select(EvaluationRow.number).where(
            EvaluationRow.study_id == study_id, EvaluationRow.role == Role.TRIAL
        )
        numbers = set(connection.scalars(trials))
        if lost := [number for number in range(len(numbers)) if number not in numbers]:
            yield "nas_evaluations", f"the study {name!r} has later trials than {some(lost, 'trial')}, but not these"
        keys = sa.select(EvaluationRow.key).where(EvaluationRow.study_id == study_id).order_by(EvaluationRow.id)
        known = list(connection.scalars(keys))
        trained = [training_key(key) for key in known if str(key).startswith(f"{Role.TEST}-")]
        if lost_runs := sorted(set(trained) - set(known)):
            yield "nas_evaluations", f"the study {name!r} tested what it does not have: {some(lost_runs, 'key')}"
        finalists = sa.select(FinalistRow.number).where(FinalistRow.study_id == study_id).order_by(FinalistRow.id)
        if lost := [number for number in connection.scalars(finalists) if number not in numbers]:
            yield "nas_finalists", f"the study {name!r} has finalists, but no {some(lost, 'trial')}"


def _silent(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Every study must say what it searches, and with which budget."""
    for column in (StudyRow.identity, StudyRow.config):
        empty = sa.select(StudyRow.name).where(sa.cast(column, sa.Text) == "{}").order_by(StudyRow.id)
        for name in connection.scalars(empty):
            yield "nas_studies", f"the study {name!r} has an empty {column.key}"


def _architectures(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """The YAML of an architecture must match its hash; if an op is a plug-in's, say which one was not imported."""
    missing = _plugins_not_imported(connection)
    unreadable = 0
    query = sa.select(ArchitectureRow.id, ArchitectureRow.hash, sa.cast(ArchitectureRow.yaml, sa.Text)).order_by(
        ArchitectureRow.id
    )
    for key, expected, text in connection.execute(query):
        try:
            found = Architecture.from_yaml(text).hash
        except UnknownOpError as error:
            unreadable += bool(missing)
            if not missing:
                yield "nas_architectures", f"the YAML of id {key} is no architecture: {error}"
            continue
        except NasError as error:
            yield "nas_architectures", f"the YAML of id {key} is not an architecture: {error}"
            continue
        if found != expected:
            yield "nas_architectures", f"the YAML of id {key} gives the hash {found}; its row says {expected}"
    if unreadable:
        needed = f"needed is one of the plug-ins {', '.join(missing)}; name it with --import"
        yield "nas_architectures", f"{unreadable} architectures have ops that are not known here; {needed}"


def _plugins_not_imported(connection: sa.Connection) -> list[str]:
    """The plug-ins of all studies that were not imported."""
    recorded: dict[str, str] = {}
    for text in connection.scalars(sa.select(sa.cast(StudyRow.identity, sa.Text)).order_by(StudyRow.id)):
        with suppress(ValueError, TypeError, AttributeError):  # an identity that is damaged is told of elsewhere
            recorded |= json.loads(text).get("plugins", {})
    return not_imported(recorded)
