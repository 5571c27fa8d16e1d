"""Which layer computes which op."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from search_space.errors import ArchitectureError
from search_space.ops import Op, TokenShape
from search_space.plugins import loading

LAYERS: dict[type[Op], Callable[[Op, TokenShape], nn.Module]] = {}
_LayerClass = TypeVar("_LayerClass", bound=type[nn.Module])


def register_layer(op: type[Op]) -> Callable[[_LayerClass], _LayerClass]:
    """Class decorator that registers the layer that computes `op`; it is constructed as ``Layer(op, shape)``.

    A layer whose weights are not initialised like other linear layers defines ``initialise(generator)``. If the op has
    a different deployed form, the layer defines ``deployed_state()``, which returns the state dict of that form's
    layer.

    Raises:
        ValueError: If the op already has a layer.
    """

    def register(layer: _LayerClass) -> _LayerClass:
        if op in LAYERS:
            raise ValueError(f"{op.__name__} already has a layer")
        LAYERS[op] = layer
        if (one := loading()) is not None:
            one.on_unregister(lambda: LAYERS.pop(op))
        return layer

    return register


def make_layer(op: Op, shape: TokenShape) -> nn.Module:
    """The layer that computes `op` on `shape`, (B, N, C) -> (B, N, C).

    Raises:
        ArchitectureError: If the op has no layer.
    """
    kind = type(op)
    if kind not in LAYERS and kind.layer:
        importlib.import_module(kind.layer)
    if kind not in LAYERS:
        raise ArchitectureError(
            f"the op {op.kind!r} has no layer; allowed: a class decorated with register_layer({kind.__name__}), "
            f"in the module of the op or in the one that {kind.__name__}.layer names"
        )
    return LAYERS[kind](op, shape)
