"""The cache of proxy scores, the stage of a trial, the provenance of a latency, the reference point of a study."""

import sqlalchemy as sa

from results.database.migrations import steps

revision = "0002_ledger"
down_revision = "0001_initial"


def upgrade() -> None:
    """Add a table and three columns; existing rows have no stage, provenance or reference point."""
    steps.add_column("nas_studies", sa.Column("reference", sa.JSON))
    steps.add_column("nas_evaluations", sa.Column("stage", sa.String(32), nullable=False, server_default=sa.text("''")))
    steps.add_column("nas_evaluations", sa.Column("latency", sa.JSON))
    steps.create_table(
        "nas_scores",
        sa.Column("context", sa.String(64), primary_key=True),
        sa.Column("architecture_id", sa.Integer, sa.ForeignKey("nas_architectures.id"), primary_key=True),
        sa.Column("proxy", sa.String(64), primary_key=True),
        sa.Column("value", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
    )
