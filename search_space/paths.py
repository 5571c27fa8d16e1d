"""Paths given by users: in flags, configuration files, environment variables and Python arguments."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path

from search_space.errors import ConfigError, NasError, brief

_MOST_OF_A_PATH = 300


def user_path(text: str | os.PathLike[str], source: str = "the path", error: type[NasError] = ConfigError) -> Path:
    """The path that a user means; a leading ``~`` or ``~NAME`` is a home folder.

    Args:
        text: The text as given. A file whose name begins with ``~`` is written ``./~NAME``.
        source: Where it was given, for the message.
        error: The exception class to raise.

    Raises:
        NasError: (of class `error`) If there is no such home folder, or the name is too long for a file.
    """
    if problem := _unusable(text):
        raise error(f"{source} is {brief(os.fspath(text), _MOST_OF_A_PATH)}; {problem}")
    return _expanded(text)


def path_problem(text: str) -> str | None:
    """What is wrong with a path; None if it is usable."""
    if text in ("", "-"):
        return "allowed: a path, such as ./- for a file or folder of that name"
    return text_problem(text) or _unusable(text)


def output_problem(text: str) -> str | None:
    """What is wrong with the path of an output folder; None if it is usable.

    Its name must be UTF-8, as database URLs and weight files require.
    """
    if problem := path_problem(text):
        return problem
    try:
        text.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8 in this locale, which databases and files of weights require"
    return None


def text_problem(text: str) -> str | None:
    """What is wrong with a text that may become part of paths and messages; None if it is usable."""
    try:
        plain = not any(ord(character) < 32 or ord(character) == 127 for character in os.fsdecode(os.fsencode(text)))
    except UnicodeEncodeError:  # half of a surrogate pair, or a character that the locale lacks
        plain = False
    return None if plain and len(text) <= 4096 else "allowed: up to 4,096 characters, none of them a control character"


def _expanded(text: str | os.PathLike[str]) -> Path:
    path = Path(text)
    if os.fspath(text).startswith("~"):
        return path.expanduser()
    return path.absolute() if str(path).startswith("~") else path  # a path drops its ./


def _unusable(text: str | os.PathLike[str]) -> str | None:
    """Why no file can be at a path; None if there may be one."""
    try:
        _expanded(text).lstat()
    except RuntimeError:
        owner = Path(text).parts[0].removeprefix("~")
        if owner:
            return f"there is no user {brief(owner)} on this machine; allowed: ~ for your home folder, ./~ for a file"
        return "there is no home folder; set HOME, or name it in full"
    except OSError as error:
        return "its name is too long for a file" if error.errno == errno.ENAMETOOLONG else None
    except ValueError:  # no file can have this name; opening it raises the error
        return None
    return None


def shell_word(text: str) -> str:
    """`text` as one word of a command to be copied; a shell reads it back unchanged, whatever it contains.

    Text that a terminal cannot show, or would interpret, is written byte by byte in the form ``$'...'`` of bash and
    zsh.
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
