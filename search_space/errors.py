"""The exception tree of the project: every error that a user can cause is one of these.

NasError                 base of all; the command line prints its text as one sentence and exits with 2
  ArchitectureError      an architecture that cannot exist
    UnknownOpError       an op that is not registered; a plug-in may define it
  SpaceError             a search space that is malformed or empty, or limits that none of its architectures meets
  ConfigError            a flag, a configuration key or a value that is not allowed
  WeightsError           weights that are missing, damaged or of another architecture
    MismatchError        published weights that do not fit, with the names of all tensors concerned
  DataError              a data set that is missing, unreadable or unusable
  StorageError           a database that cannot be reached, opened or trusted
  StudyError             a study that does not exist, or that disagrees with the request
  LeaseLost              a study that another process has taken over from this one
  RunnerError            an executor (Ray, a device) that is not available
  ExportError            an export that could not be written or verified
  OutputError            standard output or standard error that accepts no more data
"""

from __future__ import annotations

from collections.abc import Iterable


class NasError(Exception):
    """Base of every error that a user can cause; its text is one clear sentence."""


class ArchitectureError(NasError):
    """An architecture that breaks a rule of the block space."""


class UnknownOpError(ArchitectureError):
    """An op that is not registered; it may be that of a plug-in that was not imported."""


class SpaceError(NasError):
    """A search space that is malformed or empty, or limits that none of its architectures meets."""


class ConfigError(NasError):
    """A flag, configuration key or value that is not allowed."""


class WeightsError(NasError):
    """Weights that are missing, damaged or of another architecture."""


class DataError(NasError):
    """A data set that is missing, unreadable or unusable."""


class StorageError(NasError):
    """A database that cannot be reached, opened or trusted."""


class StudyError(NasError):
    """A study that does not exist, or that disagrees with the request."""


class LeaseLost(NasError):
    """This process may no longer change a study: another one has taken over its evaluations."""


class RunnerError(NasError):
    """An executor that is not available."""


class ExportError(NasError):
    """An export that could not be written or verified."""


class OutputError(NasError):
    """Standard output or standard error that accepts no more data.

    Attributes:
        reader_gone: Whether the reader of a pipe (such as head or less) has exited, which is not a failure.
    """

    def __init__(self, message: str, *, reader_gone: bool) -> None:
        super().__init__(message)
        self.reader_gone = reader_gone


MOST_NAMED, SOME = 32, 5
"""How many choices a message lists in full, and how many examples it gives if there are more."""
MOST_SHOWN = 60
"""Maximum length of a foreign value in a message."""


def brief(value: object, most: int = MOST_SHOWN) -> str:
    """A foreign value for a message: its repr on one line, harmless to a terminal, shortened."""
    if isinstance(value, str):
        text = repr(value[: 2 * most])  # it may hold a whole file
    elif isinstance(value, int) and value.bit_length() > 4 * most:  # Python refuses to write very long ones
        return f"a whole number of {value.bit_length()} bits"
    else:
        text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def printable(text: str, most: int) -> str:
    """Foreign text for a message: unchanged if it is printable and short, else as `brief` shows it."""
    return text if text.isprintable() and len(text) <= most else brief(text, most)


def escaped(text: str) -> str:
    """Foreign text as one line that a terminal shows without interpreting it: unprintable characters become escapes.

    These include line breaks, ESC, marks that change the direction of text, zero-width characters, and the bytes of
    file names that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def shortened(text: str, most: int) -> str:
    """Foreign text, escaped and cut to `most` characters, for a column."""
    text = escaped(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def allowed(value: object, choices: Iterable[object]) -> str:
    """A clause that says what is allowed (the nearest few of many choices), and which choice is nearest to `value`.

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
