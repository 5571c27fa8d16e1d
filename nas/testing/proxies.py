"""The promises of a proxy, on the published families scaled down to scikit-learn's digits."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nas.testing.randomness import nothing_global_drawn
from runners.data import recipe_for
from runners.protocol import DataSpec
from runners.proxies.base import NEEDS, PROXIES
from search_space.architecture import Architecture
from search_space.contract import Contract, holds
from search_space.zoo.baselines import baselines

if TYPE_CHECKING:
    from runners.proxies.images import Images
    from runners.proxies.material import Material

HARDEST = ("gmlp", "repmlp")
"""Families whose material is changed most easily: gates that start almost shut, and statistics of BatchNorm."""


class ProxyContract(Contract):
    """A proxy is a function of its material: the same each time, and it leaves the material as it was."""

    def test_it_scores_architectures(self, name: str) -> None:
        """It returns numbers, at least one of them finite."""
        values = [PROXIES.find(name).compute(_material(one)) for one in _architectures().values()]
        holds(all(isinstance(value, float) for value in values), f"its scores are {values}")
        holds(any(math.isfinite(value) for value in values), f"none of its scores is finite: {values}")

    def test_scores_repeat(self, name: str) -> None:
        """Its score depends on the architecture and the seed alone, and it draws from no global generator."""
        proxy = PROXIES.find(name)
        for family in HARDEST:
            architecture = _architectures()[family]
            material = _material(architecture)
            for need in proxy.needs:
                getattr(material, need)
            with nothing_global_drawn():
                first = proxy.compute(material)
            second = proxy.compute(_material(architecture))
            same = first == second or (math.isnan(first) and math.isnan(second))
            holds(same, f"it scores {family} {first}, and then {second}")

    def test_it_declares_what_it_reads(self, name: str) -> None:
        """It reads only those parts of its material that it declares."""
        from runners.proxies.material import Material

        proxy = PROXIES.find(name)

        class Strict(Material):
            def __getattribute__(self, attribute: str) -> Any:
                holds(
                    attribute not in NEEDS or attribute in proxy.needs,
                    f"it reads {attribute!r}, but is registered with the needs {list(proxy.needs)}",
                )
                return super().__getattribute__(attribute)

        for family in HARDEST:
            proxy.compute(_material(_architectures()[family], Strict))

    def test_the_material_stays_as_it_was(self, name: str) -> None:
        """It leaves weights, gradients, hooks and modes of the models as they were."""
        import torch

        for family in HARDEST:
            architecture = _architectures()[family]
            own, untouched = _material(architecture), _untouched(family)
            for need in NEEDS:
                getattr(own, need)
            PROXIES.find(name).compute(own)
            for need in ("model", "trained"):
                now, then = getattr(own, need), getattr(untouched, need)
                where = f"of {family}, it changes the {need}'s"
                pairs = zip(now.state_dict().values(), then.state_dict().values(), strict=True)
                holds(all(torch.equal(one, other) for one, other in pairs), f"{where} weights")
                holds(all(parameter.grad is None for parameter in now.parameters()), f"{where} gradients")
                holds(not any(module._forward_hooks for module in now.modules()), f"{where} hooks")
                modes = [[module.training for module in model.modules()] for model in (now, then)]
                holds(modes[0] == modes[1], f"{where} mode")
            for now, then in zip(own.gradients, untouched.gradients, strict=True):
                holds(all(torch.equal(now[key], then[key]) for key in then), f"of {family}, it changes the gradients")


@lru_cache(maxsize=1)
def _architectures() -> dict[str, Architecture]:
    return baselines("20k", image_size=8, in_channels=1, classes=10)


@lru_cache(maxsize=1)
def _images() -> Images:
    import torch

    from runners.proxies.images import load_images

    return load_images(DataSpec("digits"), 0, torch.device("cpu"))


@lru_cache
def _untouched(family: str) -> Material:
    """The material of a family that no proxy is given."""
    material = _material(_architectures()[family])
    for need in NEEDS:
        getattr(material, need)
    return material


def _material(architecture: Architecture, kind: type[Material] | None = None) -> Material:
    import torch

    from runners.proxies.material import Material

    torch.set_num_threads(1)  # the models are small, and the last digits depend on the number of threads
    return (kind or Material)(architecture, _images(), recipe_for("digits"), 0)
