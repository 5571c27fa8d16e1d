"""What each part of an architecture costs, and how the cost grows with the tokens; closed forms, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search_space.architecture import Architecture, Branch
from search_space.ops import Cost, Dense, Op, TokenShape
from search_space.size import area, shown

NORMS = {"layernorm": "LayerNorm", "affine": "Affine", "batchnorm": "BatchNorm"}


@dataclass(frozen=True)
class Row:
    """A part of an architecture; the costs of all rows add up to that of the architecture.

    Attributes:
        key: Its name in the model: "stem", "class_token", "position", "stages.0.downsample", "stages.0.branches.1",
            "norm", "head".
        label: What it is, in a word or two.
        words: What it does, step by step.
        tokens: N, the number of tokens it works on, including the class token.
        dim: C, the number of channels.
        cost: Its cost, summed over all `depth` blocks.
        stage: Number of its stage, from 1; None if it is outside all stages.
        branch: Number of the branch in its block, from 1; None if it is not a branch.
        kind: Name of the op in YAML; None if it is not a branch.
        depth: Number of equal blocks that contain it.
    """

    key: str
    label: str
    words: tuple[str, ...]
    tokens: int
    dim: int
    cost: Cost
    stage: int | None = None
    branch: int | None = None
    kind: str | None = None
    depth: int = 1


def breakdown(architecture: Architecture) -> tuple[Row, ...]:
    """The parts of an architecture in forward order; equal blocks share a row."""
    return tuple(_rows(architecture))


def branch_key(stage: int, branch: int) -> str:
    """Row key of a branch; both indices start at 0."""
    return f"stages.{stage}.branches.{branch}"


def downsample_key(stage: int) -> str:
    """Row key of the downsampling before a stage; the index starts at 0."""
    return f"stages.{stage}.downsample"


def label(op: Op) -> str:
    """An op in a word or two: "attention", "token mlp", "channel mlp", "gating", ..."""
    if isinstance(op, Dense):
        return f"{op.axis} {'linear' if op.hidden is None else 'mlp'}"
    return op.kind


def token_mixers(architecture: Architecture) -> str:
    """The ops that mix tokens, stage by stage: ``attention``, ``permute / attention``; ``none`` if nothing does."""
    stages = [
        ", ".join(dict.fromkeys(label(branch.op) for branch in stage.block if branch.op.mixes_tokens)) or "none"
        for stage in architecture.stages
    ]
    return stages[0] if len(set(stages)) == 1 else " / ".join(stages)


def exponent(points: Sequence[tuple[int, int]]) -> float | None:
    """The least-squares slope p of log y = p log x + q over points (x, y); None unless two x differ.

    Raises:
        ValueError: If a number is not positive.
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    if len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (math.fsum(log[axis] for log in logs) / len(logs) for axis in (0, 1))
    covariance = math.fsum((x - mean_x) * (y - mean_y) for x, y in logs)
    return covariance / math.fsum((x - mean_x) ** 2 for x, _ in logs)


def macs_exponents(architectures: Sequence[Architecture]) -> dict[str, float]:
    """How MACs grow with the tokens of the first stage: as tokens ** exponent.

    Args:
        architectures: One design at several image sizes.

    Returns:
        The exponent of the whole ("total") and of each kind of branch by `label`; empty unless two token counts differ.
    """
    points: dict[str, list[tuple[int, int]]] = {}
    for architecture in architectures:
        macs = Counter(total=architecture.macs)
        for part in architecture.parts():
            if part.kind == "branch":
                macs[label(architecture.stages[part.stage].block[part.branch].op)] += part.macs
        tokens = next(shape for _, shape in architecture.shapes()).tokens
        for name, count in macs.items():
            points.setdefault(name, []).append((tokens, count))
    fitted = {name: exponent(own) for name, own in points.items()}
    return {name: power for name, power in fitted.items() if power is not None}


def steps(branch: Branch, shape: TokenShape) -> Iterator[str]:
    """What a branch does to the residual stream, step by step: norm, op, layer scale."""
    if branch.norm != "none":
        yield NORMS[branch.norm] + (" over tokens" if branch.norm_axis == "token" else "")
    yield from branch.op.steps(shape)
    if branch.layer_scale is not None:
        yield "times gamma"


def _rows(architecture: Architecture) -> Iterator[Row]:
    shapes = list(architecture.shapes())
    for part in architecture.parts():
        cost = Cost(part.params, part.macs)
        if part.kind == "branch":
            stage, shape = shapes[part.stage]
            branch = stage.block[part.branch]
            yield Row(
                branch_key(part.stage, part.branch),
                label(branch.op),
                tuple(steps(branch, shape)),
                shape.tokens,
                shape.dim,
                cost,
                part.stage + 1,
                part.branch + 1,
                branch.op.kind,
                stage.depth,
            )
        elif part.kind == "downsample":
            stage, shape = shapes[part.stage]
            words = _convolution(stage.stride, stage.downsample == "conv2_bn_relu")
            yield Row(downsample_key(part.stage), "downsampling", words, shape.tokens, shape.dim, cost, part.stage + 1)
        elif part.kind in _BEFORE:
            yield _BEFORE[part.kind](architecture, shapes[0][1], cost)
        else:
            yield _AFTER[part.kind](architecture, shapes[-1][1], cost)


def _stem(architecture: Architecture, shape: TokenShape, cost: Cost) -> Row:
    words = _convolution(architecture.patch, architecture.stem == "conv_bn_relu")
    return Row("stem", "stem", words, area(shape.grid), shape.dim, cost)


def _class_token(architecture: Architecture, shape: TokenShape, cost: Cost) -> Row:
    return Row("class_token", "class token", ("put in front",), 1, shape.dim, cost)


def _position(architecture: Architecture, shape: TokenShape, cost: Cost) -> Row:
    grid = architecture.position_grid
    words = "learned" if grid is None else f"resized from {shown(grid)}"
    return Row("position", "positions", (words,), shape.tokens, shape.dim, cost)


def _norm(architecture: Architecture, shape: TokenShape, cost: Cost) -> Row:
    tokens = 1 if architecture.norm_after_pooling else shape.tokens
    return Row("norm", "final norm", (NORMS[architecture.final_norm],), tokens, shape.dim, cost)


def _head(architecture: Architecture, shape: TokenShape, cost: Cost) -> Row:
    pooling = "class token" if architecture.pooling == "class_token" else "mean over tokens"
    words = (f"{pooling}, fc {shape.dim} -> {architecture.classes}",)
    return Row("head", "head", words, 1, shape.dim, cost)


_BEFORE = {"stem": _stem, "class_token": _class_token, "position": _position}
_AFTER = {"norm": _norm, "head": _head}
"""Rows for what precedes and follows the stages, at the token shapes of the first and the last stage."""


def _convolution(side: int, bn_relu: bool) -> tuple[str, ...]:
    return (f"conv {side} x {side}", *(("BatchNorm", "ReLU") if bn_relu else ()))
