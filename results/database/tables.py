"""All tables of a database, ours and Optuna's, and the rows that belong to a study, derived from the schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import ArchitectureRow, Base, StudyRow
from results.optuna_private import models

OPTUNA: sa.MetaData = models.BaseModel.metadata
STUDIES = Base.metadata.tables[StudyRow.__tablename__]
OPTUNA_STUDIES = OPTUNA.tables[models.StudyModel.__tablename__]
OPTUNA_TRIALS = OPTUNA.tables[models.TrialModel.__tablename__]
ARCHITECTURES = Base.metadata.tables[ArchitectureRow.__tablename__]

_VERSIONS = sa.MetaData()
VERSION_TABLES = [
    sa.Table(name, _VERSIONS, sa.Column("version_num", sa.String(32), primary_key=True))
    for name in (VERSION_TABLE, "alembic_version")
]
"""The tables with the applied migrations, ours and Optuna's; Alembic keeps them apart from the schemas."""


def all_tables() -> list[sa.Table]:
    """Every table, ordered so that a table comes after those that it refers to."""
    return [*VERSION_TABLES, *Base.metadata.sorted_tables, *OPTUNA.sorted_tables]


def present(connection: sa.Connection) -> list[sa.Table]:
    """The tables of `all_tables` that exist in a database; Optuna's are created with the first study."""
    names = set(sa.inspect(connection).get_table_names())
    return [table for table in all_tables() if table.name in names]


def rows_of(root: sa.Table, which: sa.ColumnElement[bool]) -> Mapping[sa.Table, sa.ColumnElement[bool]]:
    """The rows that belong to given rows of a table, such as a study: these rows, and all that refer to them in turn.

    Args:
        root: The table, ours or one of Optuna's.
        which: A condition for its rows.

    Returns:
        A condition for each table that has such rows; a table comes after those that it refers to.
    """
    owned = {root: which}
    for table in root.metadata.sorted_tables:
        links = [
            link.parent.in_(sa.select(link.column).where(owned[link.column.table]))
            for link in table.foreign_keys
            if link.column.table in owned and table is not root
        ]
        if links:
            owned[table] = sa.or_(*links)
    return owned


def referring_to(target: sa.Table, tables: Sequence[sa.Table]) -> list[sa.ForeignKey]:
    """The foreign keys of these tables that refer to another table."""
    return [link for table in tables for link in table.foreign_keys if link.column.table is target]
