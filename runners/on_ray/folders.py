"""The folders in which Ray keeps its files on this machine, checked before a study is created."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from search_space.errors import RunnerError, brief

_SESSION = "ray/session_2026-11-30_23-59-59_999999_4194304/sockets/plasma_store"
"""The longest name of a socket in a Ray session."""
_MOST_BYTES = 103 if sys.platform == "darwin" else 107
"""Maximum length of a socket's path: ``sun_path`` in unix(7), which ends with a zero."""


def check_home() -> Path:
    """Check that there is a home folder, which Ray needs even to be imported.

    Raises:
        RunnerError: If there is none.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise RunnerError("Ray needs a home folder, and there is none; set HOME") from None


def check_temporary() -> None:
    """Check that Python has a folder for temporary files.

    Raises:
        RunnerError: If not.
    """
    try:
        tempfile.gettempdir()
    except OSError:
        raise RunnerError("no folder for temporary files can be written to; set TMPDIR to one that can") from None


def check_ray_folders(environment: Mapping[str, str]) -> None:
    """Check that a Ray started on this machine has folders for its session and its token.

    Raises:
        RunnerError: If not; the message names the variable to set.
    """
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    name = next((name for name in names if name in environment), "RAY_TMPDIR")
    place = environment.get(name, "/tmp")
    room = _MOST_BYTES - len(f"/{_SESSION}")
    if not os.path.isabs(place):  # noqa: PTH117 (it may be empty)
        problem: str | None = "which is not an absolute path"
    elif len(os.fsencode(place.rstrip("/"))) > room:
        problem = f"which is too long for the paths of its sockets, by {len(os.fsencode(place)) - room} bytes"
    else:
        problem = _obstacle(Path(place))
    if problem:
        raise RunnerError(
            f"Ray cannot keep its files in {brief(place, 300)}, {problem}; "
            f"set RAY_TMPDIR to a folder that can be written to, with a path of at most {room} bytes"
        )
    if environment.get("RAY_AUTH_MODE", "token").lower() != "token" or any(
        environment.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    ):
        return
    folder = check_home() / ".ray"
    if not (folder / "auth_token").is_file() and (problem := _obstacle(folder)):
        raise RunnerError(
            f"Ray cannot keep its token in {brief(str(folder), 300)}, {problem}; set HOME to a folder that can be "
            "written to, or RAY_AUTH_TOKEN to a secret of your own"
        )


def _obstacle(folder: Path) -> str | None:
    """Why nothing can be written to a folder, which may must be made first; None if nothing is in the way."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            what = "it" if place == folder else brief(str(place), 300)
            if not place.is_dir():
                return f"where {what} is not a folder"
            try:
                with tempfile.TemporaryFile(dir=place):  # permissions alone are not conclusive, least of all for root
                    return None
            except OSError as error:
                return f"where {what} cannot be written to ({error.strerror})"
    return None
