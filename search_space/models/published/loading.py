"""`load_published`: copies a published state dict into a model, all or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search_space.architecture import Architecture
from search_space.errors import ArchitectureError, WeightsError, brief
from search_space.models.initialisation import start
from search_space.models.model import VisionModel, resize_positions
from search_space.models.published.files import read_weights
from search_space.models.published.keys import KeyMap, PublishedBy, find_key_map
from search_space.models.published.report import LoadReport, Mismatch, MismatchError, some
from search_space.models.published.targets import Target, find_targets
from search_space.ops import Permute
from search_space.size import Size, shown, times

_PUBLISHED_SIZE = 224


def load_published(
    model: VisionModel,
    weights: str | Path | Mapping[str, Tensor],
    source: PublishedBy = "timm",
    *,
    strict: bool = True,
    generator: torch.Generator | None = None,
) -> LoadReport:
    """Load published weights into a model.

    The family is recognised from the structure of the model's blocks. What weights do not record (heads, epsilons,
    activations, pooling) comes from the architecture; the architectures of `search_space.zoo` have the published
    values.

    If the weights have another number of classes, the head is initialised from scratch. A ViT's positions for another
    image size are interpolated bicubically with antialiasing, as in timm. The notes of the report say so.

    Args:
        model: The model to load into; its dtype and device do not change.
        weights: A file (``.safetensors``, or written by torch.save), or a state dict; see `read_weights`.
        source: The origin of their names: timm, or the repository of the authors of the family.
        strict: Whether a tensor that is missing, unexpected or of another shape is an error. If false, everything that
            fits is loaded and the rest is reported.
        generator: Source of randomness for a new head, on the CPU; by default one with seed 0.

    Raises:
        WeightsError: If the weights cannot be read, there is no key map for the family, or (a MismatchError) they
            belong to another architecture. The model is then unchanged.
    """
    find_key_map(model.architecture, source)  # refuse a family that cannot be loaded before reading a file
    state, origin, notes = read_weights(weights)
    family, key_map = find_key_map(model.architecture, source, state)
    targets, unknown = find_targets(model, key_map, state)
    if unknown and strict:
        raise WeightsError(f"weights of {family} from {source} have nothing for {some(unknown)} of this model")
    notes += [f"{name} is unknown to {family} from {source} and stays as it was" for name in unknown]
    head = _head_of_other_classes(targets, state)
    copies: list[tuple[Target, Tensor]] = []
    misfits: list[tuple[Target, Any]] = []
    for target in targets:
        if target.name not in state or target.name in head:
            continue
        value = state[target.name]
        if _fits(target, value):
            copies.append((target, value))
        elif key_map.resizes_position and (grids := _grids(target, value, model.architecture)):
            copies.append((target, _resized(value, grids[1], model.architecture.class_token)))
            notes.append(f"positions were interpolated from {shown(grids[0])} to {shown(grids[1])}")
        else:
            misfits.append((target, value))
    if head:
        counts = f"the weights have {len(state[head[0]])} classes, the model {model.architecture.classes}"
        notes.append(f"the head was initialised from scratch: {counts}")
    if model.architecture.image_size != _PUBLISHED_SIZE and _permutes(model.architecture):
        notes.append(f"permute layers fit only the image size they were trained for, {_PUBLISHED_SIZE} as published")
    if len(copies) + len(head) < len(targets):
        notes.append(f"{len(copies)} of {len(targets)} tensors were loaded; the others stay as they were")
    expected = {target.name for target in targets}
    report = LoadReport(
        family,
        source,
        loaded=tuple(target.name for target, _ in copies),
        missing=tuple(target.name for target in targets if target.name not in state),
        unexpected=tuple(name for name in state if name not in expected),
        mismatched=tuple(_mismatches(misfits, model.architecture, key_map)),
        notes=tuple(notes),
    )
    if strict and (report.missing or report.unexpected or report.mismatched):
        raise MismatchError(origin, report)
    with torch.no_grad():
        for target, value in copies:
            target.view.copy_(value)
        if head:
            _start_afresh(model.head, generator or torch.Generator().manual_seed(0))
    return report


def _fits(target: Target, value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.shape == target.view.shape
        and value.is_floating_point() == target.view.is_floating_point()
        and not value.is_meta
    )


# Another number of classes.


def _head_of_other_classes(targets: list[Target], state: Mapping[str, Any]) -> list[str]:
    """The published names of the head if only its number of classes differs, else []."""
    head = [target for target in targets if target.ours in ("head.weight", "head.bias")]
    values = [state.get(target.name) for target in head]
    classes = {len(value) for value in values if isinstance(value, Tensor) and value.ndim > 0}
    if len(classes) != 1 or len(head[0].view) in classes:
        return []
    (count,) = classes
    same = [
        isinstance(value, Tensor) and value.is_floating_point() and value.shape == (count, *target.view.shape[1:])
        for target, value in zip(head, values, strict=True)
    ]
    return [target.name for target in head] if all(same) else []


def _start_afresh(head: nn.Linear, generator: torch.Generator) -> None:
    """Draw a head as `initialise` does, on the CPU, so that a seed gives the same head for every dtype and device."""
    fresh = nn.Linear(head.in_features, head.out_features, device="meta").to_empty(device="cpu")
    start(fresh, generator)
    head.weight.copy_(fresh.weight)
    head.bias.copy_(fresh.bias)


# Another image size.


def _grids(target: Target, value: Any, architecture: Architecture) -> tuple[int, Size] | None:
    """The published grid of positions, a square, and ours, if `value` differs in nothing else."""
    if target.ours != "position" or not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 3:
        return None
    if value.shape[0] != 1 or value.shape[2] != target.view.shape[2]:
        return None
    places = value.shape[1] - architecture.class_token
    old, new = math.isqrt(max(places, 0)), architecture.position_grid or architecture.grid
    return (old, new) if old * old == places and old > 0 else None


def _resized(position: Tensor, grid: Size, class_token: bool) -> Tensor:
    """Like timm's resample_abs_pos_embed: computed in float32, then rounded to the published dtype."""
    wide = resize_positions(position.float(), grid, class_token, "bicubic", antialias=True).to(position.dtype)
    return torch.cat([position[:, : int(class_token)], wide[:, int(class_token) :]], dim=1)


def _permutes(architecture: Architecture) -> bool:
    """Whether an op depends on the number of tokens although none of its shapes does."""
    return any(isinstance(branch.op, Permute) for stage in architecture.stages for branch in stage.block)


# What is wrong.


def _mismatches(misfits: list[tuple[Target, Any]], architecture: Architecture, key_map: KeyMap) -> Iterator[Mismatch]:
    axes = _token_axes(architecture, key_map) if misfits else {}
    for target, value in misfits:
        expected = tuple(target.view.shape)
        if not isinstance(value, Tensor):
            yield Mismatch(target.name, (), expected, f"is of type {type(value).__name__}, not a tensor")
            continue
        shape, reason = tuple(value.shape), f"is {brief(tuple(value.shape))} where this model needs {expected}"
        axis = axes.get(target.ours)
        if shape == expected:
            reason = "has no values" if value.is_meta else f"is of {value.dtype}, not {target.view.dtype}"
        elif axis is not None and len(shape) == len(expected) and shape[axis] != expected[axis]:
            reason = f"mixes {shape[axis]} tokens, this model has {expected[axis]}: it fits one image size only"
        yield Mismatch(target.name, shape, expected, reason)


def _token_axes(architecture: Architecture, key_map: KeyMap) -> dict[str, int]:
    """The axis of each published tensor whose length is the number of tokens, by our names.

    Found by comparing the model with itself at twice the image size.
    """
    try:
        larger = architecture.at(times(architecture.image_size, 2))
    except ArchitectureError:
        return {}
    with torch.device("meta"):
        pair = [find_targets(VisionModel(size), key_map, ())[0] for size in (architecture, larger)]
    tokens = [[shape.tokens for _, shape in size.shapes()] for size in (architecture, larger)]
    axes: dict[str, int] = {}
    for ours, theirs in zip(*pair, strict=True):
        if ours.ours.startswith("stages."):
            stage = int(ours.ours.split(".")[1])
            lengths = zip(ours.view.shape, theirs.view.shape, strict=True)
            grown = [axis for axis, pair in enumerate(lengths) if pair == (tokens[0][stage], tokens[1][stage])]
            axes |= {ours.ours: grown[-1]} if grown else {}
    return axes
