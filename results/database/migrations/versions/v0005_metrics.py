"""Metrics beyond NLL and accuracy: balanced accuracy, macro F1 and calibration error."""

import sqlalchemy as sa

from results.database.migrations import steps

revision = "0005_metrics"
down_revision = "0004_ownership"

METRICS = ("balanced_accuracy", "macro_f1", "calibration_error")


def upgrade() -> None:
    """Add columns to evaluations, epochs and finalists; existing rows were not measured."""
    for table, prefixes in (("nas_evaluations", ("",)), ("nas_epochs", ("",)), ("nas_finalists", ("mean_", "test_"))):
        for prefix in prefixes:
            for name in METRICS:
                steps.add_column(table, sa.Column(prefix + name, sa.Double))
