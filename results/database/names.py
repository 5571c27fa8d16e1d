"""Names in a database: keys, origins, and file names, which must not lead out of their folder."""

from __future__ import annotations

import re

from results.database.schema import Role
from search_space.errors import StorageError, brief

TUNED = ("lr", "weight_decay")
"""Settings of a training that may be among the choices of a trial; no axis of a space has such a name."""
_SAFE = re.compile(r"[A-Za-z0-9._+-]{1,200}")
_FAMILY = "family:"
_KEY = re.compile(r"(?:trial|proxies)-[0-9]{4,}|(?:finalist|test)-[0-9]{4,}-seed-[0-9]+")


def file_name(name: str, what: str) -> str:
    """The name, if it is valid for a file or folder.

    Args:
        name: For example the name of a study.
        what: What it names, for the message.

    Raises:
        StorageError: If it could lead elsewhere: if it is empty, ``.`` or ``..``, or has characters other than letters,
            digits, ``.``, ``_``, ``+`` and ``-``.
    """
    if not is_file_name(name):
        raise StorageError(
            f"the {what} {brief(name)} cannot be the name of a file; "
            "allowed: up to 200 letters, digits, '.', '_', '+' and '-'"
        )
    return name


def is_file_name(name: str) -> bool:
    """Whether a name is valid for a file or folder."""
    return _SAFE.fullmatch(name) is not None and name not in (".", "..")


def evaluation_key(role: str, number: int, seed: int | None = None) -> str:
    """The key of an evaluation, which its files are named after: ``trial-0012``, ``finalist-0012-seed-1``."""
    return f"{role}-{number:04d}" + ("" if seed is None else f"-seed-{seed}")


def test_key(training: str) -> str:
    """The key of the test of a finalist's weights."""
    return training.replace(f"{Role.FINALIST}-", f"{Role.TEST}-", 1)


def training_key(test: str) -> str:
    """The key of the training that writes the weights for a test."""
    return test.replace(f"{Role.TEST}-", f"{Role.FINALIST}-", 1)


def family_origin(family: str) -> str:
    """The origin of a trial that is a hand-designed family."""
    return f"{_FAMILY}{family}"


def family_of(origin: str) -> str | None:
    """The hand-designed family that a trial is; None if a sampler proposed it."""
    return origin.removeprefix(_FAMILY) if origin.startswith(_FAMILY) else None


def is_evaluation_key(name: str) -> bool:
    """Whether a name has the form of `evaluation_key`: a file with another name is not ours."""
    return _KEY.fullmatch(name) is not None


def evaluation_file(key: str, suffix: str) -> str:
    """The name of a file of an evaluation.

    Raises:
        StorageError: If the key does not have the form of `evaluation_key`, so that the file could be another one.
    """
    if not is_evaluation_key(key):
        raise StorageError(
            f"the evaluation {brief(key)} cannot be the name of a file; allowed: such as 'trial-0012' or "
            "'finalist-0012-seed-1'"
        )
    return f"{key}{suffix}"
