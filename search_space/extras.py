"""Packages that only some features need: `pip install 'mlp-nas[EXTRA]'` brings them."""

from __future__ import annotations

import importlib.util

from search_space.errors import ConfigError

EXTRAS = {"cmaes": "cmaes", "matplotlib": "bench", "psycopg": "postgres"}
"""Each package, and the extra that installs it in `pyproject.toml`."""


def check_installed(package: str, feature: str) -> None:
    """Check, without importing it, that a package of an extra is installed.

    Args:
        package: A key of `EXTRAS`.
        feature: What needs the package; the message begins with it.

    Raises:
        ConfigError: If it is not installed; the message names the extra.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{feature} needs {package}, which is not installed; pip install 'mlp-nas[{EXTRAS[package]}]'"
        )
