"""The cache of proxy scores: a score is computed once for all studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database.schema import ArchitectureRow, ScoreRow
from results.store.architectures import architecture_ids, chunks, insert_new
from search_space.architecture import Architecture

Scores = Mapping[str, tuple[float | None, float]]
"""Value and seconds by proxy; the value is None if the proxy cannot be computed."""


def read_scores(
    session: Session, context: str, hashes: Iterable[str]
) -> dict[str, dict[str, tuple[float | None, float]]]:
    """The known scores of architectures; architectures without scores are left out."""
    found: dict[str, dict[str, tuple[float | None, float]]] = {}
    for chunk in chunks(list(hashes)):
        query = (
            sa.select(ArchitectureRow.hash, ScoreRow)
            .join(ArchitectureRow, ArchitectureRow.id == ScoreRow.architecture_id)
            .where(ScoreRow.context == context, ArchitectureRow.hash.in_(chunk))
        )
        for key, score in session.execute(query):
            found.setdefault(key, {})[score.proxy] = (score.value, score.seconds)
    return found


def write_scores(session: Session, context: str, scores: Mapping[Architecture, Scores]) -> None:
    """Add new scores; known scores stay, since a score depends only on its context."""
    ids = architecture_ids(session, scores)
    rows = [
        {
            "context": context,
            "architecture_id": ids[architecture.hash],
            "proxy": proxy,
            "value": None if value is None or math.isnan(value) else value,
            "seconds": seconds,
        }
        for architecture, by_proxy in scores.items()
        for proxy, (value, seconds) in by_proxy.items()
    ]
    rows.sort(
        key=lambda row: (row["architecture_id"], row["proxy"])
    )  # in the same order everywhere, so that drivers do not deadlock
    if rows:
        insert_new(session, ScoreRow, rows)
