"""The Optuna dashboard on our database: read-only, fast with large studies, and protected."""

from results.dashboard.server import Dashboard

__all__ = ["Dashboard"]
