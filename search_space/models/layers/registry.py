"""Which layer computes which op."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from search_space.ops import Op, TokenShape

LAYERS: dict[type[Op], Callable[[Op, TokenShape], nn.Module]] = {}
_LayerClass = TypeVar("_LayerClass", bound=type[nn.Module])


def register_layer(op: type[Op]) -> Callable[[_LayerClass], _LayerClass]:
    """Class decorator: this layer computes `op`; it is constructed as ``Layer(op, shape)``.

    A layer whose weights do not start like other linear layers has a method ``initialise(generator)``. One whose op
    has another deployed form has ``deployed_state()``, the state dict of the layer of that form.
    """

    def register(layer: _LayerClass) -> _LayerClass:
        if op in LAYERS:
            raise ValueError(f"{op.__name__} has a layer already")
        LAYERS[op] = layer
        return layer

    return register
