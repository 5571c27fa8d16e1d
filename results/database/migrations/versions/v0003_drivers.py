"""Drivers and their leases; revisions, by which drivers of a study see each other's changes; and micro-batches.

From now on the database enforces that no architecture is a trial of a study twice.
"""

import sqlalchemy as sa

from results.database.migrations import steps

revision = "0003_drivers"
down_revision = "0002_ledger"


def upgrade() -> None:
    """Add a table, five columns and a constraint; rows that are marked as running have no driver any more."""
    steps.create_table(
        "nas_drivers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("nas_studies.id"), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("operations", sa.BigInteger, nullable=False),
        sa.Column("heard_at", sa.Double, nullable=False),
    )
    steps.create_index("ix_nas_drivers_study_state", "nas_drivers", ["study_id", "state"])
    for name in ("revision", "decisions"):
        steps.add_column("nas_studies", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    steps.add_column("nas_evaluations", sa.Column("micro_batch", sa.Integer))
    steps.add_reference("nas_evaluations", "driver_id", "nas_drivers")
    steps.add_column(
        "nas_evaluations", sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    steps.create_index("ix_nas_evaluations_study_revision", "nas_evaluations", ["study_id", "revision"])
    trials = sa.text("role = 'trial'")
    steps.create_index(
        "uq_nas_evaluations_trials",
        "nas_evaluations",
        ["study_id", "architecture_id"],
        unique=True,
        sqlite_where=trials,
        postgresql_where=trials,
    )
