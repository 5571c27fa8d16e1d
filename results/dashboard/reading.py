"""Reads Optuna's studies for the dashboard: in bulk, finished trials only once, and strictly read-only.

Optuna's own storage takes ten seconds or more to read a study of 5,000 trials, and the dashboard reads it several
times.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from results.database.connection import failing_clearly, plain_engine, shown, unhidden
from results.database.tables import OPTUNA
from results.optuna_private import FrozenStudy
from results.store.architectures import chunks
from search_space.errors import StorageError

_NO_NUMBERS = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}
_PLAIN = {"value_type": sa.String(), "intermediate_value_type": sa.String()}
"""Columns to read as stored: converting each value to an enum takes as long as the rest."""


class _ReadOnly(BaseStorage):
    """A read-only view of Optuna's tables."""

    def __init__(self, tables: RDBStorage) -> None:
        self._tables = tables

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._tables.get_trial(trial_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._tables.get_all_studies()

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._tables.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._tables.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._tables.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._tables.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._tables.get_study_system_attrs(study_id)

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise StorageError("the dashboard shows studies; it does not change them")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse


class Selection(_ReadOnly):
    """A storage in which a study has only some of its trials.

    Args:
        storage: The storage of the rest of the study.
        trials: The trials, in order of id.
    """

    def __init__(self, storage: ReadingStorage, trials: Sequence[FrozenTrial]) -> None:
        super().__init__(storage._tables)
        self._trials = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class ReadingStorage(_ReadOnly):
    """Optuna's part of a database. The trials that it returns are shared and must not be modified.

    Args:
        url: URL of the database.

    Raises:
        StorageError: If it does not have Optuna's tables yet, or they have another version.
    """

    def __init__(self, url: str) -> None:
        engine = plain_engine(url, create=False)  # also opens read-only files
        with failing_clearly(url):
            if not sa.inspect(engine).has_table("version_info"):  # Optuna's tables are created with the first study
                raise StorageError(f"{shown(url)} holds no studies yet; run a search first")
        literal = unhidden(engine.url).replace("{", "{{").replace("}", "}}")  # Optuna treats a URL as a template
        try:
            super().__init__(RDBStorage(literal, engine_kwargs={"pool": engine.pool}, skip_table_creation=True))
        except RuntimeError as error:
            raise StorageError(f"Optuna's tables in the database are of another version: {error}") from None
        self.engine = self._tables.engine
        self._lock = threading.Lock()
        self._finished: dict[int, dict[int, tuple[object, FrozenTrial]]] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials in their current state, in order of id; never a copy."""
        self.get_study_directions(study_id)  # raises KeyError if there is no such study
        with self._lock, self._one_view() as connection:
            trials = self._read(connection, study_id)
        return [trial for trial in trials if states is None or trial.state in states]

    # Reading in bulk.

    @contextmanager
    def _one_view(self) -> Iterator[sa.Connection]:
        """A connection with a consistent snapshot of the database, whatever is written meanwhile."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")  # the Python driver does not begin a transaction for reads
                yield connection
        else:
            with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                yield connection

    def _read(self, connection: sa.Connection, study_id: int) -> list[FrozenTrial]:
        table = OPTUNA.tables["trials"]
        columns = table.c.trial_id, table.c.number, table.c.state, table.c.datetime_start, table.c.datetime_complete
        query = sa.select(*columns).where(table.c.study_id == study_id).order_by(table.c.trial_id)
        rows = [tuple(row) for row in connection.execute(query)]
        known = self._finished.setdefault(study_id, {})
        wanted = [row for row in rows if row[0] not in known or known[row[0]][0] != row]
        if len(wanted) > len(rows) // 2:
            details = _Reader(connection, table.c.study_id == study_id)
            built = [details.trial(row) for row in wanted]
        else:
            built = []
            for some in chunks(wanted):
                details = _Reader(connection, table.c.trial_id.in_([row[0] for row in some]))
                built += [details.trial(row) for row in some]
        entries = known | {row[0]: (row, trial) for row, trial in zip(wanted, built, strict=True)}
        entries = {row[0]: entries[row[0]] for row in rows}
        self._finished[study_id] = {key: entry for key, entry in entries.items() if entry[1].state.is_finished()}
        return [trial for _, trial in entries.values()]


class _Reader:
    """Everything that belongs to some trials, read by one query per table."""

    def __init__(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
        self._connection, self._which = connection, which
        self._params = self._by_trial("trial_params", "param_name", "param_value", "distribution_json")
        self._values = self._by_trial("trial_values", "value", "value_type", order="objective")
        self._steps = self._by_trial(
            "trial_intermediate_values", "step", "intermediate_value", "intermediate_value_type"
        )
        self._attrs = self._by_trial("trial_user_attributes", "key", "value_json")
        self._system = self._by_trial("trial_system_attributes", "key", "value_json")

    def _by_trial(self, name: str, *columns: str, order: str | None = None) -> dict[int, list[Sequence[Any]]]:
        table, trials = OPTUNA.tables[name], OPTUNA.tables["trials"]
        kinds = [sa.type_coerce(table.c[column], _PLAIN.get(column, table.c[column].type)) for column in columns]
        query = (
            sa.select(table.c.trial_id, *kinds)
            .join(trials, trials.c.trial_id == table.c.trial_id)
            .where(self._which)
            .order_by(table.c[order] if order else next(iter(table.primary_key.columns)))
        )
        found: dict[int, list[Sequence[Any]]] = {}
        for row in self._connection.execute(query).all():
            found.setdefault(row[0], []).append(row)
        return found

    def trial(self, row: Sequence[Any]) -> FrozenTrial:
        trial_id, number, state, start, complete = row
        params, distributions = dict[str, Any](), dict[str, BaseDistribution]()
        for _, name, internal, text in self._params.get(trial_id, ()):
            distributions[name] = distribution(text)
            params[name] = distributions[name].to_external_repr(internal)
        return FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[_number(value, kind) for _, value, kind in self._values.get(trial_id, ())] or None,
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params=params,
            distributions=distributions,
            user_attrs=_decoded(self._attrs.get(trial_id, ())),
            system_attrs=_decoded(self._system.get(trial_id, ())),
            intermediate_values={step: _number(value, kind) for _, step, value, kind in self._steps.get(trial_id, ())},
            trial_id=trial_id,
        )


@lru_cache(maxsize=4096)
def distribution(text: str) -> BaseDistribution:
    """A distribution from its JSON; equal distributions share one object."""
    return json_to_distribution(text)


def _number(value: float | None, kind: str) -> float:
    return _NO_NUMBERS[kind] if value is None else value


def _local(utc: datetime | None) -> datetime | None:
    """A time in the database as Optuna returns it: local and naive."""
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _decoded(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {key: json.loads(text) for _, key, text in rows}
