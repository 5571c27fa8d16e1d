"""The operations that a residual branch can apply; importing this package registers every module in the folder."""

import importlib
import pkgutil

from search_space.ops.attention import Attention
from search_space.ops.base import EXAMPLE_SHAPE, OPS, Cost, Op, TokenShape, register_op
from search_space.ops.dense import Dense
from search_space.ops.gating import Gating
from search_space.ops.mixer import MIXERS, Mix, Mixer, register_mixer
from search_space.ops.permute import Permute
from search_space.ops.repmlp import RepMLP

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "EXAMPLE_SHAPE",
    "MIXERS",
    "OPS",
    "Attention",
    "Cost",
    "Dense",
    "Gating",
    "Mix",
    "Mixer",
    "Op",
    "Permute",
    "RepMLP",
    "TokenShape",
    "register_mixer",
    "register_op",
]
