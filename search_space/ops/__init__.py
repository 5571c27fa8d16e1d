"""The operations a residual branch can apply, one file each; importing this package registers them."""

from search_space.ops.attention import Attention
from search_space.ops.base import MIXERS, OPS, Cost, Op, TokenShape, register_mixer, register_op
from search_space.ops.dense import Dense
from search_space.ops.gating import Gating
from search_space.ops.permute import Permute
from search_space.ops.repmlp import RepMLP

__all__ = [
    "MIXERS",
    "OPS",
    "Attention",
    "Cost",
    "Dense",
    "Gating",
    "Op",
    "Permute",
    "RepMLP",
    "TokenShape",
    "register_mixer",
    "register_op",
]
