"""A drawing of an architecture in text: the residual stream on the left, the steps of each branch beside it."""

from __future__ import annotations

from collections.abc import Iterator

from search_space.architecture import Architecture, Branch
from search_space.breakdown import NORMS, steps
from search_space.ops import TokenShape
from search_space.size import shown


def diagram(architecture: Architecture) -> str:
    """The whole network, top to bottom, in lines of at most about 80 columns."""
    lines = [f"image {architecture.in_channels} x {shown(architecture.image_size)}"]
    relu = ", BatchNorm, ReLU" if architecture.stem == "conv_bn_relu" else ""
    lines.append(f"│  conv {architecture.patch} x {architecture.patch}{relu}")
    if architecture.class_token:
        lines.append("│  put the class token in front")
    if architecture.position == "learned":
        learned, grid = architecture.position_grid, shown(architecture.grid)
        lines.append("│  + learned positions" + (f", resized from {shown(learned)} to {grid}" if learned else ""))
    for stage, shape in architecture.shapes():
        if stage.downsample != "none":
            relu = ", BatchNorm, ReLU" if stage.downsample == "conv2_bn_relu" else ""
            lines.append(f"│  conv {stage.stride} x {stage.stride}{relu}")
        lines += _boxed(list(block_lines(stage.block, shape)), f"x {stage.depth}", _tokens(shape))
    lines += [f"│  {step}" for step in _head(architecture)]
    return "\n".join(lines)


def block_lines(block: tuple[Branch, ...], shape: TokenShape) -> Iterator[str]:
    """The branches of a block, one step per line."""
    for branch in block:
        first, *others = steps(branch, shape)
        yield f"├─╮ {first}"
        yield from (f"│ │ {step}" for step in others)
        yield "⊕─╯"


def _head(architecture: Architecture) -> list[str]:
    last = architecture.stages[-1].dim
    norm = [] if architecture.final_norm == "none" else [NORMS[architecture.final_norm]]
    pooling = ["take the class token" if architecture.pooling == "class_token" else "mean over the tokens"]
    order = pooling + norm if architecture.norm_after_pooling else norm + pooling
    return [", ".join(order), f"fc {last} -> {architecture.classes}"]


def _tokens(shape: TokenShape) -> str:
    token = " + 1" if shape.class_token else ""
    return f"N = {shown(shape.grid)}{token}, C = {shape.dim}"


def _boxed(lines: list[str], times: str, tokens: str) -> list[str]:
    """The lines of a block, with a bracket on the right that says how often the block is repeated."""
    width = max(len(line) for line in lines) + 1
    marks = ["╮", *["│"] * (len(lines) - 2), "╯"]
    middle = len(lines) // 2
    words = {middle - 1: times, middle: tokens}
    return [
        f"{line:<{width}}{mark} {words.get(index, '')}".rstrip()
        for index, (line, mark) in enumerate(zip(lines, marks, strict=True))
    ]
