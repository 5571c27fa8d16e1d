"""The layers that compute the ops, one file each, named as in `search_space/ops/`; importing registers them."""

from search_space.models.layers import attention, dense, gating, permute, repmlp
from search_space.models.layers.registry import LAYERS, register_layer

__all__ = ["LAYERS", "attention", "dense", "gating", "permute", "register_layer", "repmlp"]
