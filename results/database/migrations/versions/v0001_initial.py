"""The first tables."""

import sqlalchemy as sa

from results.database.migrations import steps

revision = "0001_initial"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    steps.create_table(
        "nas_studies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("optuna_study_id", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("identity", sa.JSON, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("objectives", sa.JSON, nullable=False),
    )
    steps.create_table(
        "nas_architectures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.String(32), nullable=False, unique=True),
        sa.Column("yaml", sa.Text, nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
    )
    steps.create_table(
        "nas_evaluations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("nas_studies.id"), nullable=False),
        sa.Column("architecture_id", sa.Integer, sa.ForeignKey("nas_architectures.id"), nullable=False, index=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("origin", sa.String(64), nullable=False),
        sa.Column("choices", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(32)),
        sa.Column("message", sa.Text),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("epochs_planned", sa.Integer, nullable=False),
        sa.Column("epochs_trained", sa.Integer, nullable=False),
        sa.Column("epochs_run", sa.Integer, nullable=False),
        sa.Column("nll", sa.Double),
        sa.Column("accuracy", sa.Double),
        sa.Column("latency_ms", sa.Double),
        sa.Column("peak_memory_mib", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("device", sa.String(200), nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("optuna_trial_id", sa.Integer),
        sa.UniqueConstraint("study_id", "key", name="uq_nas_evaluations_study_key"),
        sa.Index("ix_nas_evaluations_study_state", "study_id", "state"),
    )
    steps.create_table(
        "nas_epochs",
        sa.Column("evaluation_id", sa.Integer, sa.ForeignKey("nas_evaluations.id"), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("train_loss", sa.Double, nullable=False),
        sa.Column("nll", sa.Double, nullable=False),
        sa.Column("accuracy", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    steps.create_table(
        "nas_finalists",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("nas_studies.id"), nullable=False),
        sa.Column("architecture_id", sa.Integer, sa.ForeignKey("nas_architectures.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("seeds", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("mean_nll", sa.Double),
        sa.Column("sd_nll", sa.Double),
        sa.Column("mean_accuracy", sa.Double),
        sa.Column("test_nll", sa.Double),
        sa.Column("test_accuracy", sa.Double),
        sa.UniqueConstraint("study_id", "number", name="uq_nas_finalists_study_number"),
    )
