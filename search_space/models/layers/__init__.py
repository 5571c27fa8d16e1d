"""The layers that compute the ops, named as in `search_space/ops/`; importing this package registers all of them."""

import importlib
import pkgutil

from search_space.models.layers.registry import LAYERS, make_layer, register_layer

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["LAYERS", "make_layer", "register_layer"]
