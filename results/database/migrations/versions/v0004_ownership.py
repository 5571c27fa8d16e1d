"""Ownership of files: a unique id for every study, and the digest of the weights of an evaluation."""

import secrets

import sqlalchemy as sa
from alembic import op

from results.database.migrations import steps

revision = "0004_ownership"
down_revision = "0003_drivers"


def upgrade() -> None:
    """Add two columns; existing studies get ids."""
    steps.add_column("nas_studies", sa.Column("uid", sa.String(32), nullable=False, server_default=sa.text("''")))
    studies = sa.table("nas_studies", sa.column("id", sa.Integer), sa.column("uid", sa.String))
    connection = op.get_bind()
    for (study_id,) in connection.execute(sa.select(studies.c.id)).all():
        connection.execute(sa.update(studies).where(studies.c.id == study_id).values(uid=secrets.token_hex(16)))
    steps.create_index("uq_nas_studies_uid", "nas_studies", ["uid"], unique=True)
    steps.add_column("nas_evaluations", sa.Column("weights_sha256", sa.String(64)))
