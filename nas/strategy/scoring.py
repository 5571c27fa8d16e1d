"""Scores of architectures by training-free proxies, computed in batches, once for all studies on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from results.store.scores import Scores
from runners.protocol import Outcome
from search_space.architecture import Architecture


class ScoreStore(Protocol):
    """Where scores are kept, by context; within a context, a proxy gives an architecture the same value."""

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        """Return the known values and seconds by architecture hash and proxy."""

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        """Store the values and seconds of architectures by proxy."""


class Scoring:
    """The scores that are known, and the batches that are being scored.

    Args:
        proxies: What architectures are scored by.
        context: The context of all scores; see `ScoreStore`.
        store: Where scores are kept.

    Attributes:
        proxies: What architectures are scored by.
        values: Values by architecture hash and proxy; None if a proxy has no value.
        batches: The architectures that are being scored, by the key of the evaluation.
    """

    def __init__(self, proxies: Sequence[str], context: str, store: ScoreStore) -> None:
        self.proxies = tuple(proxies)
        self._context, self._store = context, store
        self.values: dict[str, dict[str, float | None]] = {}
        self.batches: dict[str, tuple[Architecture, ...]] = {}
        self._under_way: set[str] = set()

    def is_open(self, architecture: Architecture) -> bool:
        """Whether an architecture has no scores and is not being scored."""
        return architecture.hash not in self.values and architecture.hash not in self._under_way

    def begin(self, key: str, batch: tuple[Architecture, ...]) -> None:
        """Record a batch that is about to be scored."""
        self.batches[key] = batch
        self._under_way |= {architecture.hash for architecture in batch}

    def forget(self, key: str) -> None:
        """Record that a batch is no longer being scored, with or without scores."""
        self._under_way -= {architecture.hash for architecture in self.batches.pop(key, ())}

    def look_up(self, architectures: Sequence[Architecture]) -> bool:
        """Read scores that an earlier run or another study has stored; returns whether there were any."""
        hashes = [architecture.hash for architecture in architectures]
        found = {
            name: {proxy: value for proxy, (value, _) in scores.items()}
            for name, scores in self._store.scores(self._context, hashes).items()
            if set(self.proxies) <= set(scores)
        }
        self.values.update(found)
        return bool(found)

    def learn(self, key: str, outcome: Outcome) -> None:
        """Store the scores of a batch; if it failed, its architectures have none, as it would fail again."""
        batch = self.batches.pop(key)
        self._under_way -= {architecture.hash for architecture in batch}
        if outcome.status != "complete":
            self.values |= {architecture.hash: dict.fromkeys(self.proxies) for architecture in batch}
            return
        found = dict(zip(batch, outcome.measured.scores, strict=True))
        for architecture, scores in found.items():
            self.values[architecture.hash] = {name: score.value for name, score in scores.items()}
        self._store.put_scores(
            self._context,
            {
                architecture: {name: (score.value, score.seconds) for name, score in scores.items()}
                for architecture, scores in found.items()
            },
        )
