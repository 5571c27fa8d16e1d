"""All uses of Optuna's private API.

The bounds on Optuna in `pyproject.toml` exist because of this module. `tests/results/database/test_optuna_tables.py`
reads back through Optuna's public interface what was written through its table definitions.
"""

from __future__ import annotations

from optuna._hypervolume import compute_hypervolume
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES as METRIC_NAMES

__all__ = ["METRIC_NAMES", "FrozenStudy", "compute_hypervolume", "models"]
