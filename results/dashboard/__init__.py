"""The Optuna dashboard on our database: read-only, quick with large studies, and guarded."""

from results.dashboard.server import Dashboard, make_dashboard

__all__ = ["Dashboard", "make_dashboard"]
