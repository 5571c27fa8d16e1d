"""The definition of a proxy, and the registry of proxies by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search_space.errors import allowed, brief
from search_space.registry import Registry

if TYPE_CHECKING:
    from runners.proxies.material import Material  # imports torch

Need = Literal["model", "gradients", "trained"]
"""A part of `Material` that takes time; a part that several proxies need is computed once."""
NEEDS: tuple[Need, ...] = ("model", "gradients", "trained")
"""In order of computation."""

Compute = Callable[["Material"], float]


@dataclass(frozen=True)
class Proxy:
    """A number that is computed without a training, and should rank architectures as trainings would.

    Attributes:
        name: As in ``--proxies``.
        needs: The parts of the material that it reads, with the parts that these depend on.
        compute: Higher is better; not finite if it cannot be computed. Must not modify the material.
    """

    name: str
    needs: tuple[Need, ...]
    compute: Compute


PROXIES: Registry[Proxy] = Registry("proxy")


def register_proxy(name: str, *needs: Need) -> Callable[[Compute], Compute]:
    """Decorator that registers a function of `Material` as the proxy `name`.

    Example:
        >>> @register_proxy("blocks")
        ... def blocks(material: Material) -> float:
        ...     return float(material.architecture.depth)

    Args:
        name: As in ``--proxies`` and ``--ranker``.
        needs: The parts of the material that it reads: "model", "gradients" (with "model"), "trained".

    Raises:
        ValueError: If the name is taken, or there is no such part.
    """
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"the proxy {name} needs {brief(need)}; {allowed(need, NEEDS)}")

    def register(compute: Compute) -> Compute:
        PROXIES.add(name, Proxy(name, needs, compute), origin=compute.__module__)
        return compute

    return register


def find_proxies(names: Iterable[str]) -> tuple[Proxy, ...]:
    """The proxies with these names, in this order.

    Raises:
        ConfigError: If there is no proxy with one of the names.
    """
    return tuple(PROXIES.find(name) for name in names)
