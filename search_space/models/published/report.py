"""The result of loading published weights: a report, or an error with the same lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from search_space.errors import WeightsError, printable
from search_space.models.published.keys import PublishedBy

_SHOWN, _LONGEST = 3, 160
"""How many names a message lists, and the maximum length of each."""


class Mismatch(NamedTuple):
    """A published tensor that does not fit.

    Attributes:
        name: Its published name.
        shape: Its shape; () if it is not a tensor.
        expected: The shape it would have if it were published for this model.
        reason: What is wrong, to be read after its name as a sentence.
    """

    name: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class LoadReport:
    """What `load_published` did. All names are published names, in the order of the model or of the weights.

    Attributes:
        family: The family the model belongs to.
        source: The naming scheme of the weights: "timm" or "official".
        loaded: Tensors that were loaded.
        missing: Tensors that the model needs and the weights lack.
        unexpected: Tensors of the weights that the model does not need.
        mismatched: Tensors of another shape or type than the model needs.
        notes: Anything else worth knowing, in sentences.
    """

    family: str
    source: PublishedBy
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.family} from {self.source}: {len(self.loaded)} tensors loaded", *self.notes]
        mismatched = [f"{mismatch.name} {mismatch.reason}" for mismatch in self.mismatched]
        for what, names in (("missing", self.missing), ("not needed", self.unexpected), ("unfit", mismatched)):
            lines += [f"{what}: {some(names)}"] if names else []
        return "\n".join(lines)


class MismatchError(WeightsError):
    """Weights of another architecture; `missing`, `unexpected` and `mismatched` are complete, as in a LoadReport."""

    def __init__(self, origin: str, report: LoadReport) -> None:
        self.missing, self.unexpected, self.mismatched = report.missing, report.unexpected, report.mismatched
        parts = {
            "": [f"{mismatch.name} {mismatch.reason}" for mismatch in self.mismatched],
            "missing: ": self.missing,
            "not needed: ": self.unexpected,
        }
        text = "; ".join(what + some(names) for what, names in parts.items() if names)
        super().__init__(f"{origin} does not fit this {report.family} (names of {report.source}): {text}")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name, _LONGEST) for name in names[:_SHOWN]) + more
