"""The candidate pool: many architectures, of which only the most promising are trained."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from search_space.architecture import Architecture

SIZE = 256
"""Number of candidates in a pool. Arbitrary: ranking them takes milliseconds."""
FRESH = 16
"""New draws for every candidate that is taken, so that the pool is renewed. Arbitrary."""


@dataclass(frozen=True)
class Candidate:
    """An architecture that may be trained.

    Attributes:
        architecture: The architecture.
        phase: The phase of the search that its trial would belong to; see `nas.strategy.policy`.
    """

    architecture: Architecture
    phase: str


class CandidatePool:
    """A pool of candidates that is filled by draws.

    Args:
        draw: Draws an architecture whose hash is not among those given; None if none is left.
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
        """Draw until the pool is full."""
        self._draw_up_to(SIZE)

    def refresh(self, nearby: Iterable[Architecture], rank: Callable[[list[Candidate]], list[Candidate]]) -> None:
        """Add neighbours of good architectures and new draws, and drop the worst if the pool has become too large.

        Args:
            nearby: Architectures that have not been trained.
            rank: Sorts candidates, the best first.
        """
        for architecture in nearby:
            self._held.setdefault(architecture.hash, Candidate(architecture, "local"))
        self._draw_up_to(len(self._held) + FRESH)
        if len(self._held) > 2 * SIZE:
            self._held = {item.architecture.hash: item for item in rank(self.candidates())[:SIZE]}

    def drop(self, architecture: Architecture) -> None:
        """Remove an architecture that is being trained, if it is a candidate."""
        self._held.pop(architecture.hash, None)

    def _draw_up_to(self, size: int) -> None:
        while len(self._held) < size and not self._exhausted:
            architecture = self._draw(self._held)
            if architecture is None:
                self._exhausted = True
                return
            self._held[architecture.hash] = Candidate(architecture, "sampler")
