"""The Optuna dashboard on our database: read-only, quick with large studies, and guarded."""

from results.dashboard.server import Dashboard

__all__ = ["Dashboard"]
