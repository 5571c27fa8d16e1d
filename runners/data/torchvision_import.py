"""Imports torchvision, even beside a torch that was built without CUDA.

The torchvision of the package index is linked against CUDA. With a CPU-only torch its operators cannot be loaded, and
importing it fails with "operator torchvision::nms does not exist", since it describes operators that were never
declared. Declaring them is enough for data sets and transforms, which do not call them.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

from search_space.errors import DataError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []
"""A library's operators vanish with the object that declared them."""


@cache
def import_torchvision() -> ModuleType:
    """The module `torchvision`, with `torchvision.datasets` loaded.

    Raises:
        DataError: If it is not installed.
    """
    try:
        _load()
    except ModuleNotFoundError as error:
        raise DataError(f"this data set needs torchvision ({error}); pip install torchvision") from error
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # left half-loaded
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
        _load()
    return sys.modules["torchvision"]


def _load() -> None:
    importlib.import_module("torchvision.datasets")
