"""The base class of contracts: a test for each promise, run by pytest or by `Contract.check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import SkipTest


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
    """

    names: ClassVar[Iterable[str]] = ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run every test for every name."""
        metafunc.parametrize("name", list(self.names))

    @classmethod
    def check(cls, name: str) -> Iterator[Finding]:
        """Test every promise of an entry, without pytest."""
        own = [attribute for base in reversed(cls.__mro__) for attribute in vars(base)]
        for attribute in dict.fromkeys(name for name in own if name.startswith("test_")):
            promise = " ".join((getattr(cls, attribute).__doc__ or attribute).split()).rstrip(".")
            try:
                getattr(cls(), attribute)(name)
            except SkipTest as reason:
                yield Finding(promise, skipped=str(reason))
            except Exception as error:  # noqa: BLE001 (whatever a plug-in raises breaks its promise)
                said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                yield Finding(promise, problem=" ".join(said.split())[:500])
            else:
                yield Finding(promise)


def holds(condition: object, otherwise: str) -> None:
    """Raise AssertionError with the message `otherwise` unless a condition holds."""
    if not condition:
        raise AssertionError(otherwise)


@contextmanager
def nothing_global_drawn() -> Iterator[None]:
    """Check that nothing is drawn from torch's global generator inside."""
    import torch

    before = torch.get_rng_state()
    yield
    holds(torch.equal(torch.get_rng_state(), before), "it draws from torch's global random generator")
