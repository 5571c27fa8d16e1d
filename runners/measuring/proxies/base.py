"""What a proxy is, and the registry of those known by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search_space.errors import ConfigError, allowed

if TYPE_CHECKING:
    from runners.measuring.proxies.material import Material

Need = Literal["model", "gradients", "trained"]
"""A part of `Material` that costs something; what several proxies need is made once."""
NEEDS: tuple[Need, ...] = ("model", "gradients", "trained")
"""In the order in which they are made."""

Compute = Callable[["Material"], float]


@dataclass(frozen=True)
class Proxy:
    """A number that is computed without a training, and is hoped to rank architectures as trainings would.

    Attributes:
        name: As in ``--proxies``.
        needs: The parts of the material that it reads, with what these are made from.
        compute: More is better; not finite where it cannot be computed. Leaves the material as it was.
    """

    name: str
    needs: tuple[Need, ...]
    compute: Compute


PROXIES: dict[str, Proxy] = {}


def register_proxy(name: str, *needs: Need) -> Callable[[Compute], Compute]:
    """Decorator: this function is the proxy `name`; refuses duplicates."""

    def register(compute: Compute) -> Compute:
        if name in PROXIES:
            raise ValueError(f"a proxy named {name!r} is registered already")
        PROXIES[name] = Proxy(name, needs, compute)
        return compute

    return register


def find_proxies(names: Iterable[str]) -> tuple[Proxy, ...]:
    """The proxies of these names, in this order.

    Raises:
        ConfigError: If there is none of a name.
    """
    names = tuple(names)
    for name in names:
        if name not in PROXIES:
            raise ConfigError(f"there is no proxy named {name!r}; {allowed(name, PROXIES)}")
    return tuple(PROXIES[name] for name in names)
