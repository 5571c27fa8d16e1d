"""Paths as people type them, wherever they do: flags, keys of files, environment variables, arguments in Python."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from search_space.errors import ConfigError, brief

_MOST_OF_A_PATH = 300


def user_path(text: str | os.PathLike[str], source: str = "the path") -> Path:
    """The path that a user means: ``~`` and ``~NAME`` at its beginning are home folders.

    Args:
        text: What was typed; a file of such a name is written ``./~NAME``.
        source: Where it was typed, for the message.

    Raises:
        ConfigError: If there is no such home folder.
    """
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{source} is {brief(str(path), _MOST_OF_A_PATH)}; {_no_home(path)}") from None


def path_problem(text: str) -> str | None:
    """What is wrong with a path that was typed; None if nothing is."""
    if text in ("", "-"):
        return "allowed: a path, such as ./- for a file or folder of that name"
    if problem := text_problem(text):
        return problem
    try:
        Path(text).expanduser()
    except RuntimeError:
        return _no_home(Path(text))
    return None


def text_problem(text: str) -> str | None:
    """What is wrong with a text that may become a part of paths and messages; None if nothing is."""
    try:
        plain = not any(ord(character) < 32 or ord(character) == 127 for character in os.fsdecode(os.fsencode(text)))
    except UnicodeEncodeError:  # half of a surrogate pair, or a locale without this character
        plain = False
    return None if plain and len(text) <= 4096 else "allowed: up to 4,096 characters, none of them a control character"


def _no_home(path: Path) -> str:
    """Why a ``~`` cannot be expanded."""
    owner = path.parts[0].removeprefix("~")
    if owner:
        return f"there is no user {brief(owner)} on this machine; allowed: ~ for your home folder, ./~... for a file"
    return "there is no home folder; set HOME, or name it in full"


def shell_word(text: str) -> str:
    """A word of a command that is shown to be copied: what a shell makes of it is `text`, whatever is in it.

    What a terminal cannot show, or would obey, is written byte by byte in the form ``$'...'`` of bash and zsh.
    """
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        shows = False
    else:
        shows = text.isprintable()
    if shows:
        return shlex.quote(text)
    bytes_ = text.encode("utf-8", "surrogateescape")
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}" for byte in bytes_)
    return f"$'{''.join(plain)}'"
