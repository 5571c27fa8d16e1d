"""Memory that a training will take on a GPU, from the architecture and the recipe alone.

The model is built on torch's meta device, where a tensor has a shape but no numbers, and one training step and one
validation batch run there. What is alive at the same time is counted. That takes a fraction of a second, and no GPU.

Everything counts as float32; attention counts as if its weights were kept, which fused kernels avoid; so the prediction
is an upper bound for bf16 and for long sequences.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from runners.recipe import Recipe
from runners.training.batches import CHUNK_BYTES
from runners.training.evaluate import EVALUATION_BATCH
from runners.training.flat import ALIGNMENT
from search_space.architecture import Architecture
from search_space.errors import RunnerError
from search_space.models.model import VisionModel

FIXED = 768 * 2**20
"""Bytes for CUDA's context and loaded kernels, cuBLAS's workspaces and resident images of small data sets: 400 to 700
MiB by the documentation and reports of current versions; not measured here."""
FRAGMENTATION = 1.25
"""Memory that torch's allocator reserves over what tensors take. Arbitrary: typical reports are 1.05 to 1.2."""
FLAT_BUFFERS = 4
"""Copies of the parameters that live through a training: weights, gradient, and at most two moments."""
_CHUNKS = 4
"""Copies of a chunk of images while it is augmented: bytes, floats, grid, result."""


@lru_cache(maxsize=256)
def predicted_memory(architecture: Architecture, recipe: Recipe) -> int:
    """Upper bound of the bytes that tensors take at the peak of a training; without `FIXED` and `FRAGMENTATION`."""
    with torch.device("meta"):
        model = VisionModel(architecture)
    parameters = sum(-(-each.numel() // ALIGNMENT) * ALIGNMENT for each in model.parameters())
    step = _peak(lambda: _train(model, architecture, recipe))
    validation = _peak(lambda: _validate(model, architecture))
    return 4 * FLAT_BUFFERS * parameters + max(step, validation) + _images(architecture, recipe)


def reserved_memory(architecture: Architecture, recipe: Recipe) -> int:
    """Bytes of a GPU that a process with this training occupies."""
    return FIXED + int(FRAGMENTATION * predicted_memory(architecture, recipe))


def trials_per_gpu(architecture: Architecture, recipe: Recipe, total: int) -> int:
    """How many processes with this training fit into `total` bytes of a GPU; 0 if not even one does."""
    return total // reserved_memory(architecture, recipe)


def check_fraction(architectures: Mapping[str, Architecture], recipe: Recipe, fraction: float, total: int) -> None:
    """Check that trainings fit into a fraction of a GPU, before anything is trained.

    Args:
        architectures: Some that will be trained, by name.
        recipe: How they will be trained.
        fraction: GPUs per trial; from 1 on, the whole memory is there.
        total: Memory of the GPU in bytes.

    Raises:
        RunnerError: If it does not.
    """
    there = int(min(1.0, fraction) * total)
    needed = {name: reserved_memory(architecture, recipe) for name, architecture in architectures.items()}
    name = max(needed, key=needed.__getitem__, default="")
    if needed and needed[name] > there:
        most = total // needed[name]
        raise RunnerError(
            f"--gpus-per-trial is {fraction:g}, which leaves a trial {there / 2**30:.2g} GiB, but {name} with batches "
            f"of {recipe.batch_size} is predicted to take {needed[name] / 2**30:.2g} GiB; "
            + (f"allowed: {1 / most:.2g} and more" if most else "a smaller --batch-size takes less")
        )


def _train(model: VisionModel, architecture: Architecture, recipe: Recipe) -> None:
    model.train()
    images, labels = _batch(architecture, recipe.batch_size)
    functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing).backward()
    model.zero_grad()


def _validate(model: VisionModel, architecture: Architecture) -> None:
    model.eval()
    with torch.no_grad():
        model(_batch(architecture, EVALUATION_BATCH)[0])


def _batch(architecture: Architecture, size: int) -> tuple[Tensor, Tensor]:
    images = torch.empty(size, *architecture.input_shape, device="meta")
    return images, torch.empty(size, dtype=torch.int64, device="meta")


def _images(architecture: Architecture, recipe: Recipe) -> int:
    """Bytes of the images that are prepared at a time."""
    batch = 4 * recipe.batch_size * math.prod(architecture.input_shape)
    return _CHUNKS * max(CHUNK_BYTES, batch)


def _peak(act: Callable[[], object]) -> int:
    """The most bytes that tensors made by `act` take at the same time."""
    live = _LiveBytes()
    with live:
        act()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the storages that are alive.

    Attributes:
        peak: The most bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak, self._now = 0, 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter):
                self._count(tensor.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, size).atexit = False

    def _free(self, size: int) -> None:
        self._now -= size
