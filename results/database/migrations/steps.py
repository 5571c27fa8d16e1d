"""Steps of migrations that skip what already exists.

A migration is one transaction. In earlier versions it was not on SQLite, where a kill could leave a migration half
done.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def create_table(name: str, *parts: sa.schema.SchemaItem) -> None:
    """Create a table and its indexes."""
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *parts)
        return
    for part in parts:
        if isinstance(part, sa.Index):
            create_index(str(part.name), name, list(map(str, part.expressions)))
        elif isinstance(part, sa.Column) and part.index:
            create_index(f"ix_{name}_{part.name}", name, [part.name])


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column."""
    if not _has_column(table, column.name):
        op.add_column(table, column)


def add_reference(table: str, name: str, target: str) -> None:
    """Add a column that refers to the ids of another table; on SQLite, Alembic could only do so by copying the
    table.
    """
    if not _has_column(table, name):
        op.execute(f"ALTER TABLE {table} ADD COLUMN {name} INTEGER REFERENCES {target} (id)")


def create_index(name: str, table: str, columns: list[str], **settings: Any) -> None:
    """Create an index."""
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns, **settings)


def _has_column(table: str, name: str) -> bool:
    return name in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
