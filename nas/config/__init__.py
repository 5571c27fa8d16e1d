"""Settings of a search: the same names as flags, as keys of a ``--config`` file, and as arguments in Python.

`SearchConfig` holds them. Every setting is defined once, by its field: check, help, unit and default. Flags, keys and
the reference page (docs/reference.md) are generated from it.
"""

from nas.config.search_config import SETTINGS, SearchConfig
from nas.config.setting import Setting, flag, settings_of
from nas.config.values import MAX_SEED, name_problem

__all__ = ["MAX_SEED", "SETTINGS", "SearchConfig", "Setting", "flag", "name_problem", "settings_of"]
