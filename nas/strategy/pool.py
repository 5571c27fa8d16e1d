"""Candidates in numbers, of which only the most promising ones are trained."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from search_space.architecture import Architecture

SIZE = 256
"""Candidates at once."""
FRESH = 16
"""New ones for every one that is taken, so that the list follows what the search learns."""


@dataclass(frozen=True)
class Candidate:
    """An architecture that may be trained.

    Attributes:
        architecture: It.
        stage: Where it comes from: "sampler" or "local".
    """

    architecture: Architecture
    stage: str


class CandidatePool:
    """A pool of candidates that is filled from a sampler.

    Args:
        draw: Gives an architecture that is none of those with these hashes; None if there is none.
    """

    def __init__(self, draw: Callable[[Container[str]], Architecture | None]) -> None:
        self._draw = draw
        self._held: dict[str, Candidate] = {}
        self._exhausted = False

    def __len__(self) -> int:
        return len(self._held)

    def candidates(self) -> list[Candidate]:
        """All candidates, the oldest first."""
        return list(self._held.values())

    def fill(self) -> None:
        """Draw until the list is full."""
        self._draw_up_to(SIZE)

    def refresh(self, nearby: Iterable[Architecture], rank: Callable[[list[Candidate]], list[Candidate]]) -> None:
        """Take in neighbours of good architectures and new draws, and let the least promising go.

        Args:
            nearby: Architectures that have not been trained.
            rank: Puts candidates into order, the best first.
        """
        for architecture in nearby:
            self._held.setdefault(architecture.hash, Candidate(architecture, "local"))
        self._draw_up_to(len(self._held) + FRESH)
        if len(self._held) > 2 * SIZE:
            self._held = {item.architecture.hash: item for item in rank(self.candidates())[:SIZE]}

    def drop(self, architecture: Architecture) -> None:
        """Let an architecture go that is trained now, if it is a candidate."""
        self._held.pop(architecture.hash, None)

    def _draw_up_to(self, size: int) -> None:
        while len(self._held) < size and not self._exhausted:
            architecture = self._draw(self._held)
            if architecture is None:
                self._exhausted = True
                return
            self._held[architecture.hash] = Candidate(architecture, "sampler")
