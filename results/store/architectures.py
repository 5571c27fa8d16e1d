"""Rows of architectures: one for each distinct architecture, shared by all studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from results.database.schema import ArchitectureRow, Base
from search_space.architecture import Architecture

Value = TypeVar("Value")
CHUNK = 500
"""Maximum number of values in one query; databases limit it (SQLite before 3.32 to 999)."""


def architecture_ids(session: Session, architectures: Iterable[Architecture]) -> dict[str, int]:
    """Ids of these architectures by hash; missing rows are inserted."""
    by_hash = {architecture.hash: architecture for architecture in architectures}
    found = known_ids(session, by_hash)
    missing = [architecture for key, architecture in by_hash.items() if key not in found]
    if missing:
        rows = []
        for architecture in missing:
            params, macs = architecture.deployed.cost
            rows.append(
                {"hash": architecture.hash, "yaml": architecture.to_yaml(), "params": params, "macs": macs},
            )
        insert_new(session, ArchitectureRow, rows)
        found |= known_ids(session, [architecture.hash for architecture in missing])
    return found


def known_ids(session: Session, hashes: Iterable[str]) -> dict[str, int]:
    """Ids by hash of the architectures that have a row."""
    found: dict[str, int] = {}
    for chunk in chunks(list(hashes)):
        query = sa.select(ArchitectureRow.hash, ArchitectureRow.id).where(ArchitectureRow.hash.in_(chunk))
        found |= {row.hash: row.id for row in session.execute(query)}
    return found


def insert_new(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, skipping those with an existing key."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(model).on_conflict_do_nothing(), list(rows))


def chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """The values in chunks that fit into a query."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
