"""The zoo's data on a published family and its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search_space.architecture import Architecture
from search_space.space import Value

if TYPE_CHECKING:
    from search_space.models.initialisation import Scheme  # loads torch


@dataclass(frozen=True)
class Published:
    """Published figures of a model trained on ImageNet-1k; None where no figure was found.

    Attributes:
        params_m: Parameters in millions.
        gflops: "FLOPs" in billions, in the unit of the paper: see `Family.flops_per_mac`.
        top1: Top-1 accuracy on ImageNet-1k in percent.
        source: Where these figures are published.
    """

    params_m: float | None = None
    gflops: float | None = None
    top1: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Variant:
    """A model of a family.

    Attributes:
        make: Returns its architecture, for its published image size or another `image_size`.
        published: Published figures.
        note: Where our figures differ and why, or what is uncertain about the published ones.
    """

    make: Callable[..., Architecture]
    published: Published = Published()
    note: str = ""


PLAIN: Mapping[str, Value] = {"norm": "layernorm", "layer_scale": None, "drop_path": 0.0, "conv_bn": False}
"""Choices for the whole network that most families share."""
WITH_CLASS_TOKEN: Mapping[str, Value] = {**PLAIN, "pooling": "class_token", "position": "learned"}
WITH_GAP: Mapping[str, Value] = {**PLAIN, "pooling": "gap", "position": "none"}


@dataclass(frozen=True)
class Scaled:
    """How a family is scaled into search spaces: fixed choices on axes, and the proportions of a published model.

    Attributes:
        model: The variant with these proportions (grid, width, depths, RepMLP's sets): the smallest one.
        net: Choices for the whole network.
        stage: Choices for every stage.
    """

    model: str
    net: Mapping[str, Value]
    stage: Mapping[str, Value]


@dataclass(frozen=True)
class Family:
    """A published system.

    Attributes:
        name: Short name.
        title: Its name in the paper.
        paper: URL of the paper.
        change: What it changes with respect to ViT, in a sentence.
        variants: Its models by name.
        initialisation: The scheme of `search_space.build` with which its authors initialise the weights.
        scaled: How it is scaled into search spaces; None if it is not.
        flops_per_mac: How many of the paper's FLOPs are one multiply-accumulate.
        params_with_head: Whether its published parameters include the classifier.
    """

    name: str
    title: str
    paper: str
    change: str
    variants: Mapping[str, Variant]
    initialisation: Scheme
    scaled: Scaled | None = None
    flops_per_mac: int = 1
    params_with_head: bool = True


@dataclass(frozen=True)
class Entry:
    """A model of the zoo with its published figures.

    Attributes:
        name: Its name.
        family: The family that it belongs to.
        published: Published figures.
        note: Where our figures differ and why.
        make: Returns its architecture, for its published image size or another `image_size`.
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
        """The exact number of parameters, counted as in the paper."""
        architecture = self.architecture
        head = (architecture.stages[-1].dim + 1) * architecture.classes
        return architecture.params - (0 if self.family.params_with_head else head)

    @property
    def flops_as_published(self) -> int:
        """The exact MACs in the unit of the paper."""
        return self.family.flops_per_mac * self.architecture.macs

    def differences(self) -> list[str]:
        """Exact counts that differ from the published figures by a unit or more of their last digit; `note` says
        why.
        """
        found = []
        for what, ours, theirs in (
            ("M parameters", self.params_as_published / 1e6, self.published.params_m),
            ("GFLOPs", self.flops_as_published / 1e9, self.published.gflops),
        ):
            if theirs is not None:
                digits = len(repr(theirs).partition(".")[2])  # 22 and 22.0 differ in precision
                if abs(ours - theirs) >= 10**-digits:
                    found.append(f"{ours:.{digits + 1}f}{what if what[0] == 'M' else ' ' + what}, published {theirs}")
        return found

    @property
    def macs_per_param(self) -> float:
        """How often a parameter is used for one image, on average."""
        return self.architecture.macs / self.architecture.params
