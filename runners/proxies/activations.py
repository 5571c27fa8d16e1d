"""Observes, and may replace, every activation of a forward pass: layers call them as functions, which hooks miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

RECTIFIERS = frozenset({functional.gelu, functional.relu, functional.silu, torch.relu, Tensor.relu})
"""Functions that pass positive inputs, and little or nothing of negative ones."""
GATES = frozenset({functional.sigmoid, torch.sigmoid, Tensor.sigmoid})
"""Functions that open for positive inputs, and close for negative ones."""


class Activations(TorchFunctionMode):
    """Context in which the activations among `functions` are computed by `replace`.

    Args:
        functions: The activations to replace.
        replace: Called with the input of an activation and the activation itself; returns the output.
    """

    def __init__(
        self, functions: frozenset[Any], replace: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]
    ) -> None:
        super().__init__()
        self._functions, self._replace = functions, replace

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rest = kwargs or {}
        if func not in self._functions:
            return func(*args, **rest)
        return self._replace(args[0], lambda x: func(x, *args[1:], **rest))
