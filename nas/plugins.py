"""Which plug-ins a study depends on, and whether those of a study that is read have been imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from results.database.objectives import OBJECTIVES
from search_space.errors import StudyError, printable
from search_space.ops import MIXERS
from search_space.plugins import Plugin, load, not_imported, provider


def plugins_of(imports: Iterable[str], used: Iterable[tuple[str, str]]) -> tuple[Plugin, ...]:
    """The plug-ins that a study depends on: those that its settings name, and those that register what it uses.

    Args:
        imports: Modules and files, as in ``--import``.
        used: Kind and name of what it uses.

    Raises:
        ConfigError: If a module or file cannot be imported.
    """
    named = [load(name) for name in imports]
    providers = [one.plugin for kind, name in used if (one := provider(kind, name))]
    return tuple(dict.fromkeys([*named, *providers]))


def check_imported(study: str, identity: Mapping[str, Any], *, architectures: bool = False) -> None:
    """See whether what a study holds can be read: the plug-ins that it needs for that were imported.

    A file or module that the database names is never imported by itself: the user has to name it.

    Args:
        study: Its name.
        identity: Its identity, as in the database.
        architectures: Whether its architectures are read, and not its figures alone.

    Raises:
        StudyError: If not, with the plug-ins to import.
    """
    missing = not_imported(identity.get("plugins", {}))
    unknown = [f"the objective {name}" for name in identity.get("objective", ()) if name not in OBJECTIVES]
    if architectures:
        mixers = identity.get("space", {}).get("mixers", {})
        unknown += [f"the token mixer {name}" for name in mixers if name not in MIXERS and name != "none"]
    if missing and unknown:
        what = "plug-in" if len(missing) == 1 else "plug-ins"
        raise StudyError(
            f"{', '.join(unknown)} of the study {printable(study, 100)!r} is not known here; import its {what} "
            f"{printable(', '.join(missing), 500)} with --import"
        )
