"""Names from a database as names of files: one that somebody else wrote must not lead out of the folder it is for."""

from __future__ import annotations

import re

from search_space.errors import StorageError, brief

_SAFE = re.compile(r"[A-Za-z0-9._+-]{1,200}")


def file_name(name: str, what: str) -> str:
    """The name, if a file or folder may be called so.

    Args:
        name: Such as the name of a study, or the key of an evaluation.
        what: What it is the name of, for the message.

    Raises:
        StorageError: If it could lead elsewhere: it is empty, ``.`` or ``..``, or has other characters than letters,
            digits, ``.``, ``_``, ``+`` and ``-``.
    """
    if not _SAFE.fullmatch(name) or name in (".", ".."):
        raise StorageError(
            f"the {what} {brief(name)} cannot be the name of a file; "
            "allowed: up to 200 letters, digits, '.', '_', '+' and '-'"
        )
    return name
