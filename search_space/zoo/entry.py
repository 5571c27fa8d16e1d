"""What the zoo says of a published model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search_space.architecture import Architecture

if TYPE_CHECKING:
    from search_space.models.initialisation import Scheme


@dataclass(frozen=True)
class Published:
    """What its authors, or others, say of a model trained on ImageNet-1k; None for what was not found.

    Attributes:
        params_m: Parameters in millions.
        gflops: "FLOPs" in billions, in the unit of the paper: see `Family.flops_per_mac`.
        top1: Top-1 accuracy on ImageNet-1k in percent.
        source: Where these figures stand.
    """

    params_m: float | None = None
    gflops: float | None = None
    top1: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Variant:
    """A model of a family.

    Attributes:
        make: Makes its architecture; takes another `image_size` than the published one.
        published: Figures from elsewhere.
        note: Where ours differ from them and why, or what is uncertain about them.
    """

    make: Callable[..., Architecture]
    published: Published = Published()
    note: str = ""


@dataclass(frozen=True)
class Family:
    """A published system.

    Attributes:
        name: Short name, as in `search_space.zoo.scaled`.
        title: What its authors call it.
        paper: Address of the paper.
        change: What it changes with respect to ViT, in a sentence.
        variants: Its models by name.
        initialisation: How its authors started the weights, as `search_space.build` takes it.
        flops_per_mac: How many of the paper's FLOPs are one multiply-accumulate.
        params_with_head: Whether its published parameters include the classifier.
    """

    name: str
    title: str
    paper: str
    change: str
    variants: Mapping[str, Variant]
    initialisation: Scheme
    flops_per_mac: int = 1
    params_with_head: bool = True


@dataclass(frozen=True)
class Entry:
    """A model of the zoo with everything known of it.

    Attributes:
        name: Its name.
        family: The system it belongs to.
        published: Figures from elsewhere.
        note: Where ours differ from them and why.
        make: Makes its architecture; takes another `image_size` than the published one.
    """

    name: str
    family: Family
    published: Published
    note: str
    make: Callable[..., Architecture]

    @cached_property
    def architecture(self) -> Architecture:
        """The point of the block space."""
        return self.make()

    @property
    def params_as_published(self) -> int:
        """Our parameters, counted as the paper counts them."""
        architecture = self.architecture
        head = (architecture.stages[-1].dim + 1) * architecture.classes
        return architecture.params - (0 if self.family.params_with_head else head)

    @property
    def flops_as_published(self) -> int:
        """Our MACs in the unit of the paper."""
        return self.family.flops_per_mac * self.architecture.macs

    def differences(self) -> list[str]:
        """What of ours is not what was published, to a unit of its last digit; `note` says why."""
        found = []
        for what, ours, theirs in (
            ("M parameters", self.params_as_published / 1e6, self.published.params_m),
            ("GFLOPs", self.flops_as_published / 1e9, self.published.gflops),
        ):
            if theirs is not None:
                digits = len(repr(theirs).partition(".")[2])  # 22 and 22.0 are different statements
                if abs(ours - theirs) >= 10**-digits:
                    found.append(f"{ours:.{digits + 1}f}{what if what[0] == 'M' else ' ' + what}, published {theirs}")
        return found

    @property
    def macs_per_param(self) -> float:
        """How often a parameter is used for one image."""
        return self.architecture.macs / self.architecture.params
