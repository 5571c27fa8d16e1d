"""The one exception tree of the project: whatever a user can cause ends in one of these.

NasError                 anything below; the command line prints it as one sentence and exits with 2
  ArchitectureError      an architecture that cannot exist
  SpaceError             a search space that is malformed, or that no architecture of it can satisfy
  ConfigError            a flag, a configuration key or a value that is not allowed
  WeightsError           weights that are missing, damaged or of another architecture
  DataError              a data set that is missing, unreadable or unusable
  StorageError           a database that cannot be reached, opened or trusted
  StudyError             a study that does not exist, or that disagrees with what is asked of it
  RunnerError            an executor (Ray, a device) that cannot be had
  ExportError            an export that could not be written or verified
  OutputError            standard output or error that takes nothing more
"""

from __future__ import annotations

from collections.abc import Iterable


class NasError(Exception):
    """Base of every error that a user can cause; its text is one clear sentence."""


class ArchitectureError(NasError):
    """An architecture that breaks a rule of the block space."""


class SpaceError(NasError):
    """A search space that is malformed or empty."""


class ConfigError(NasError):
    """A flag, configuration key or value that is not allowed."""


class WeightsError(NasError):
    """Weights that are missing, damaged or of another architecture."""


class DataError(NasError):
    """A data set that is missing, unreadable or unusable."""


class StorageError(NasError):
    """A database that cannot be reached, opened or trusted."""


class StudyError(NasError):
    """A study that does not exist or disagrees with what is asked of it."""


class LeaseLost(NasError):
    """This process may not change a study any more: others have taken over what it ran."""


class RunnerError(NasError):
    """An executor that cannot be had or used."""


class ExportError(NasError):
    """An export that could not be written or verified."""


class OutputError(NasError):
    """Standard output or error that takes nothing more.

    Attributes:
        reader_gone: Whether whoever read it (head, less) has ended, as it may.
    """

    def __init__(self, message: str, *, reader_gone: bool) -> None:
        super().__init__(message)
        self.reader_gone = reader_gone


MOST_NAMED, SOME = 32, 5
MOST_SHOWN = 60
"""Characters of a foreign value in a message."""


def brief(value: object, most: int = MOST_SHOWN) -> str:
    """A foreign value as a message may show it: as Python writes it, on one line, harmless to a terminal, not long."""
    if isinstance(value, str):
        text = repr(value[: 2 * most])  # which may hold all of a file
    elif isinstance(value, int) and value.bit_length() > 4 * most:  # Python refuses to write very long ones
        return f"a whole number of {value.bit_length()} bits"
    else:
        text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def printable(text: str, most: int) -> str:
    """Foreign text inside a message: as it is if it can be, else as `brief` shows it."""
    return text if text.isprintable() and len(text) <= most else brief(text, most)


def escaped(text: str) -> str:
    """Foreign text as one line that a terminal shows and does not obey: what cannot be printed is written as an escape.

    That takes in line breaks, ESC, what changes the direction of text, what has no width, and the bytes of a file name
    that is not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def shortened(text: str, most: int) -> str:
    """Foreign text in a column of so many characters."""
    text = escaped(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def allowed(value: object, choices: Iterable[object]) -> str:
    """Say what is allowed (of very many choices the nearest), and which allowed choice `value` is nearest to.

    Returns:
        A clause such as ``allowed: gap, class_token; did you mean 'gap'?``.
    """
    names, value = [printable(str(choice), MOST_SHOWN) for choice in choices], str(value)[:MOST_SHOWN]
    import difflib  # not needed until something is wrong

    by_case = {name.lower(): name for name in names}
    near = [by_case[name] for name in difflib.get_close_matches(value.lower(), by_case, n=1)]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if len(names) > MOST_NAMED:
        some = difflib.get_close_matches(value, names, n=SOME, cutoff=0)
        return f"allowed: {len(names)} names such as {', '.join(some)}{hint}"
    return f"allowed: {', '.join(names)}{hint}"
