"""What the contracts of all kinds of plug-ins have in common: a test for each promise, run by pytest or by `check`."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import SkipTest

_LONGEST_PROBLEM = 500


@dataclass(frozen=True)
class Finding:
    """The result of testing one promise.

    Attributes:
        promise: The promise, in a sentence.
        problem: Why it is not kept; "" if it is.
        skipped: Why it could not be tested; "" if it was.
    """

    promise: str
    problem: str = ""
    skipped: str = ""


class Contract:
    """The promises of one kind of plug-in: a method ``test_...`` for each, whose docstring states it.

    Attributes:
        names: The registered names of the entries to test.
        parameter: Name of the argument that each test takes.
    """

    names: ClassVar[Iterable[str]] = ()
    parameter: ClassVar[str] = "name"

    @classmethod
    def cases(cls, name: str) -> Iterable[Any]:
        """What the tests of an entry are run with; by default its name alone."""
        return [name]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run every test for every case of every name."""
        metafunc.parametrize(self.parameter, [case for name in self.names for case in self.cases(name)], ids=str)

    @classmethod
    def check(cls, name: str) -> Iterator[Finding]:
        """Test every promise of an entry, without pytest."""
        own = [attribute for base in reversed(cls.__mro__) for attribute in vars(base)]
        for attribute in dict.fromkeys(name for name in own if name.startswith("test_")):
            yield cls._look_into(attribute, name)

    @classmethod
    def _look_into(cls, attribute: str, name: str) -> Finding:
        """What became of one promise: the first case that breaks it."""
        promise = " ".join((getattr(cls, attribute).__doc__ or attribute).split()).rstrip(".")
        for case in cls.cases(name):
            try:
                getattr(cls(), attribute)(case)
            except SkipTest as reason:
                return Finding(promise, skipped=str(reason))
            except Exception as error:  # noqa: BLE001 (whatever a plug-in raises breaks its promise)
                said = " ".join(_said(error).split())[:_LONGEST_PROBLEM]
                return Finding(promise, problem=said if case == name else f"with {case}: {said}")
        return Finding(promise)


def holds(condition: object, otherwise: str) -> None:
    """Raise AssertionError with the message `otherwise` unless a condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def _said(error: Exception) -> str:
    """An exception in words; a bare assertion is quoted, as it says nothing else."""
    if not isinstance(error, AssertionError):
        return f"{type(error).__name__}: {error}"
    if str(error):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"this does not hold: {linecache.getline(frame.filename, frame.lineno or 0).strip()}"
