"""A check that several contracts share: nothing is drawn from a global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from search_space.contract import holds


@contextmanager
def nothing_global_drawn() -> Iterator[None]:
    """Check that nothing is drawn from torch's global generator inside.

    Raises:
        AssertionError: If something is.
    """
    import torch

    before = torch.get_rng_state()
    yield
    holds(torch.equal(torch.get_rng_state(), before), "it draws from torch's global random generator")
