"""Factories for architectures and search spaces, and a tiny space with all architectures listed by hand."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import ArchitectureError
from search_space.ops import OPS, Attention, Dense, Op, Permute
from search_space.space import SearchSpace, load_space, parse_space

TINY = """
name: tiny
summary: Every rule of a space, small enough to be listed.
net:
  patch: [2, 4]
  pooling: [gap, class_token]
  position: [none]
  norm: [layernorm, none]
  layer_scale: [none]
  drop_path: [0.0]
  stages: [1, 2]
stage:
  downsample: [none, conv2]
  mixer:
    attention: {heads: [1, 4]}
    mlp: {token_hidden: [2C, 2N], token_norm: [channel, token]}
    permute: {weighted: [true]}
    none: {}
  channel_ratio: [0, 1]
  order: [token_first, channel_first]
scales:
  - {image_size: 8, tokens: [4, 16], dim: [4, 6], depth: [1, 2], max_params: 2k}
"""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def space_at() -> Callable[..., SearchSpace]:
    """A shipped space for images of a size, with 3 channels and 10 classes; loaded once."""

    @functools.cache
    def load(image_size: int, name: str = "mlp_family") -> SearchSpace:
        return load_space(name, image_size=image_size, classes=10)

    return load


@pytest.fixture(scope="session")
def tiny_text() -> str:
    return TINY


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    return parse_space(TINY, image_size=8, in_channels=1, classes=3)


@pytest.fixture(scope="session")
def tiny_list() -> list[Architecture]:
    """Every architecture of the tiny space, written down from its YAML without the package's own enumeration."""
    return list(dict.fromkeys(_every_tiny_architecture()))


def _every_tiny_architecture() -> Iterator[Architecture]:
    for patch, dim, token, norm in itertools.product((2, 4), (4, 6), (False, True), ("layernorm", "none")):
        net: dict[str, Any] = {"image_size": 8, "patch": patch, "in_channels": 1, "classes": 3, "final_norm": norm}
        net |= {"class_token": token, "pooling": "class_token" if token else "gap"}
        grid = 8 // patch
        for depth, block in itertools.product((1, 2), _tiny_blocks(grid, dim, token, norm)):
            first = Stage(depth, dim, block)
            yield Architecture(stages=(first,), final_eps=block[-1].eps, **net)
            seconds = [Stage(deep, dim, other) for deep in (1, 2) for other in _tiny_blocks(grid, dim, token, norm)]
            seconds = [second for second in seconds if second.block != block]
            if grid == 4 and not token:  # a grid of 2 x 2 is not halved
                halved = _tiny_blocks(2, 2 * dim, token, norm)
                seconds += [Stage(deep, 2 * dim, other, "conv2") for deep in (1, 2) for other in halved]
            for second in seconds:
                yield Architecture(stages=(first, second), final_eps=second.block[-1].eps, **net)


@functools.cache
def _tiny_blocks(grid: int, dim: int, token: bool, norm: Any) -> tuple[tuple[Branch, ...], ...]:
    tokens = grid * grid + token
    mixers: list[tuple[Op | None, Any, float]] = [(Attention(1), "channel", 1e-6), (None, "channel", 1e-6)]
    if dim % 4 == 0:
        mixers.append((Attention(4), "channel", 1e-6))
    for width, axis in itertools.product((2 * dim, 2 * tokens), ("channel", "token")):
        mixers.append((Dense("token", width), axis, 1e-6))
    if not token and dim % grid == 0:
        mixers.append((Permute(grid), "channel", 1e-5))
    blocks: list[tuple[Branch, ...]] = []
    for op, axis, eps in mixers:
        mix = () if op is None else (Branch(op, norm, axis, eps),)
        channel = (Branch(Dense("channel", dim), norm, "channel", eps),)
        blocks += [mix, mix + channel, channel + mix]
    return tuple(dict.fromkeys(block for block in blocks if block))


@pytest.fixture
def one_block() -> Callable[..., Architecture]:
    """An architecture of one block on a 4 x 4 grid of 8 channels; keywords change it."""

    def make(*ops: Op, branch: dict[str, Any] | None = None, stage: dict[str, Any] | None = None, **changes: Any):
        block = tuple(Branch(op, **(branch or {})) for op in ops or (Attention(2),))
        stages = (Stage(**{"depth": 1, "dim": 8, "block": block, **(stage or {})}),)
        return Architecture(**{"image_size": 8, "patch": 2, "classes": 5, "stages": stages, **changes})

    return make


@pytest.fixture
def refused() -> Callable[..., str]:
    """The text of the ArchitectureError that an action raises."""

    def text(action: Callable[[], object]) -> str:
        with pytest.raises(ArchitectureError) as caught:
            action()
        return str(caught.value)

    return text


@pytest.fixture(params=[(kind, number) for kind, op in OPS.items() for number in range(len(op.examples))], ids=str)
def example_op(request: pytest.FixtureRequest) -> Op:
    """Every registered op with every one of its example settings."""
    kind, number = request.param
    return OPS[kind](**OPS[kind].examples[number])
