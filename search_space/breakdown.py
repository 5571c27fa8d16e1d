"""Where the cost of an architecture lies, and how it grows with the number of tokens; in closed form, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Cost, Dense, Op, TokenShape
from search_space.ops.base import linear

NORMS = {"layernorm": "LayerNorm", "affine": "Affine", "batchnorm": "BatchNorm"}


@dataclass(frozen=True)
class Row:
    """A piece of an architecture; the costs of all rows add up to the architecture's.

    Attributes:
        key: Its name in the model: "stem", "class_token", "position", "stages.0.downsample", "stages.0.branches.1",
            "norm", "head".
        label: What it is, in a word or two.
        words: What it does, step by step.
        tokens: N, the tokens it works on (class token included).
        dim: C, the width of these.
        cost: Its cost in all `depth` blocks.
        stage: Number of its stage from 1; None for what belongs to no stage.
        branch: Number of the branch in its block from 1; None for what is no branch.
        kind: Name of the branch's op in YAML; None for what is no branch.
        depth: In how many equal blocks it stands.
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
    """The pieces of an architecture in the order in which an image meets them; equal blocks are one."""
    return tuple(_rows(architecture))


def branch_key(stage: int, branch: int) -> str:
    """Key of the row of a branch, both counted from 0."""
    return f"stages.{stage}.branches.{branch}"


def downsample_key(stage: int) -> str:
    """Key of the row of the downsampling in front of a stage, counted from 0."""
    return f"stages.{stage}.downsample"


def label(op: Op) -> str:
    """An op in a word or two: "attention", "token mlp", "channel mlp", "gating", ..."""
    if isinstance(op, Dense):
        return f"{op.axis} {'linear' if op.hidden is None else 'mlp'}"
    return op.kind


def token_mixers(architecture: Architecture) -> str:
    """What mixes its tokens, stage by stage: ``attention``, ``permute / attention``; ``none`` if nothing does."""
    stages = [
        ", ".join(dict.fromkeys(label(branch.op) for branch in stage.block if branch.op.mixes_tokens)) or "none"
        for stage in architecture.stages
    ]
    return stages[0] if len(set(stages)) == 1 else " / ".join(stages)


def exponent(points: Sequence[tuple[int, int]]) -> float | None:
    """The p of least squares of log y = p log x + q over points (x, y), or None without two different x.

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
        The exponent of the whole ("total") and of each kind of branch by `label`; empty without two numbers of tokens.
    """
    points: dict[str, list[tuple[int, int]]] = {}
    for architecture in architectures:
        macs = Counter(total=architecture.macs)
        for stage, shape in architecture.shapes():
            for branch in stage.block:
                macs[label(branch.op)] += stage.depth * branch.cost(shape).macs
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
    (first, shape), last = shapes[0], shapes[-1]
    yield _stem(architecture, shape)
    if architecture.class_token:
        yield Row("class_token", "class token", ("put in front",), 1, first.dim, Cost(first.dim, 0))
    if architecture.position == "learned":
        side = architecture.position_grid or architecture.grid
        words = (f"resized from {side} x {side}",) if side != architecture.grid else ("learned",)
        cost = Cost((side * side + architecture.class_token) * first.dim, 0)
        yield Row("position", "positions", words, shape.tokens, first.dim, cost)
    dim = first.dim
    for number, (stage, shape) in enumerate(shapes):
        if stage.downsample != "none":
            yield _downsampling(stage, shape, dim, number)
        for index, branch in enumerate(stage.block):
            yield Row(
                branch_key(number, index),
                label(branch.op),
                tuple(steps(branch, shape)),
                shape.tokens,
                stage.dim,
                branch.cost(shape).times(stage.depth),
                number + 1,
                index + 1,
                branch.op.kind,
                stage.depth,
            )
        dim = stage.dim
    if architecture.final_norm != "none":
        tokens = 1 if architecture.norm_after_pooling else last[1].tokens
        yield Row("norm", "final norm", (NORMS[architecture.final_norm],), tokens, dim, Cost(2 * dim, 0))
    pooling = "class token" if architecture.pooling == "class_token" else "mean over tokens"
    words = (f"{pooling}, fc {dim} -> {architecture.classes}",)
    yield Row("head", "head", words, 1, dim, linear(dim, architecture.classes, 1))


def _stem(architecture: Architecture, shape: TokenShape) -> Row:
    patch, places = architecture.patch, shape.grid * shape.grid
    bn_relu = architecture.stem == "conv_bn_relu"
    cost = _convolution(patch, architecture.in_channels, shape, bn_relu)
    return Row("stem", "stem", _convolution_words(patch, bn_relu), places, shape.dim, cost)


def _downsampling(stage: Stage, shape: TokenShape, dim: int, number: int) -> Row:
    bn_relu = stage.downsample == "conv2_bn_relu"
    cost, words = _convolution(stage.stride, dim, shape, bn_relu), _convolution_words(stage.stride, bn_relu)
    return Row(downsample_key(number), "downsampling", words, shape.tokens, stage.dim, cost, number + 1)


def _convolution(side: int, in_dim: int, shape: TokenShape, bn_relu: bool) -> Cost:
    """A convolution of size = stride = `side` with a bias, or without one and with a BatchNorm."""
    inputs = side * side * in_dim
    norm = Cost(2 * shape.dim if bn_relu else 0, 0)
    return linear(inputs, shape.dim, shape.grid * shape.grid, bias=not bn_relu).plus(norm)


def _convolution_words(side: int, bn_relu: bool) -> tuple[str, ...]:
    return (f"conv {side} x {side}", *(("BatchNorm", "ReLU") if bn_relu else ()))
