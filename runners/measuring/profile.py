"""The cost of a model on its device: memory for the backward pass, and the share of every part in the time.

Parts have the keys of `search_space.breakdown`.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from runners.execution.failures import classify
from runners.measuring.device import synchronize
from runners.measuring.latency import MAX_PASSES, MIN_PASSES, rounds
from runners.protocol import Cause
from search_space.architecture import Architecture
from search_space.breakdown import branch_key, downsample_key
from search_space.errors import RunnerError
from search_space.models.building import build
from search_space.models.layers.common import ResidualBranch
from search_space.models.model import Downsample, VisionModel, set_generator

BATCHES = (2, 3)
"""Batch sizes that differ by one image; batch norm refuses a single image if there is a single token."""
_BLOCK = re.compile(r"stages\.(\d+)\.\d+\.(\d+\..+)")


def make_model(architecture: Architecture, device: torch.device, dtype: torch.dtype) -> VisionModel:
    """A newly initialised model in eval mode; weights and buffers are cast to `dtype`."""
    return build(architecture, device=device, scheme="pytorch").to(dtype).eval()  # the fastest scheme


def make_images(model: VisionModel, batch: int) -> Tensor:
    """Noise in the shape that `model` takes: (batch, in_channels, H, W)."""
    weight = next(model.parameters())
    generator = torch.Generator(weight.device).manual_seed(0)
    shape = (batch, *model.architecture.input_shape)
    return torch.randn(shape, generator=generator, device=weight.device, dtype=weight.dtype)


@contextmanager
def clear_device_errors(what: str, device: torch.device) -> Iterator[None]:
    """Turn errors about memory and unsupported operations into one sentence.

    Raises:
        RunnerError: Instead of torch's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if classify(error)[0] == Cause.OUT_OF_MEMORY:
            raise RunnerError(f"{device} ran out of memory for {what}") from None
        if "overflow" in reason:
            raise RunnerError(f"{device} has no room for {what}") from None
        if "not implemented" in reason:
            raise RunnerError(f"{device} cannot compute {what}: {reason}") from None
        raise


def activation_bytes(model: VisionModel) -> dict[str, int]:
    """Memory that autograd keeps for the backward pass of one image in training mode, in bytes, by part.

    Every storage counts once, for the part that kept it first; the images count, too. A storage is kept as a whole even
    if only a slice of it is needed. One image is the difference between batches of three and two, so memory that does
    not grow with the batch (parameters, the statistics of a batch norm) does not count.

    Args:
        model: Left in eval mode. The passes update the statistics of its batch norms.

    Returns:
        The parts that keep anything.
    """
    device = next(model.parameters()).device
    set_generator(model, torch.Generator(device).manual_seed(0))
    smaller, larger = (_saved_bytes(model, batch) for batch in BATCHES)
    set_generator(model, None)
    return {key: larger[key] - smaller[key] for key in larger if larger[key] > smaller[key]}


def time_shares(model: VisionModel, images: Tensor, seconds: float) -> dict[str, float]:
    """The share of every part in the time of a forward pass; the shares add up to 1.

    Computation between two parts (adding positions, pooling) counts for the earlier one. The clock is read between any
    two parts, after a GPU has finished the first, so the shares are more accurate than the underlying times.

    Args:
        model: In eval mode.
        images: A batch.
        seconds: How long to measure; at least MIN_PASSES are counted.
    """
    device = images.device
    passes = [_seconds_by_part(model, images, device) for _ in rounds(MIN_PASSES + 1, MAX_PASSES, seconds)]
    counted = passes[1:]  # the first pass is a warm-up
    medians = {key: statistics.median(one[key] for one in counted) for key in counted[0]}
    total = sum(medians.values())
    return {key: seconds / total for key, seconds in medians.items()}


@dataclass(frozen=True)
class ResizedWeight:
    """A weight whose shape depends on the image size, merged over equal blocks.

    Attributes:
        name: Its name in the state dict, with ``*`` for the number of the block.
        before: Its shape for the one image size; None if it does not exist there.
        after: Its shape for the other image size.
        blocks: Number of blocks that have it; 1 for a weight outside blocks.
    """

    name: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    blocks: int


def resized_weights(architecture: Architecture, other: Architecture) -> list[ResizedWeight]:
    """The weights and buffers whose shapes differ between two models, in the order of the model."""
    before, after = _shapes(architecture), _shapes(other)
    names = list(dict.fromkeys([*before, *after]))
    changed = Counter(
        (_BLOCK.sub(r"stages.\1.*.\2", name), before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )
    return [ResizedWeight(*weight, blocks) for weight, blocks in changed.items()]


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = VisionModel(architecture)
    return {name: tuple(weight.shape) for name, weight in model.state_dict().items()}


def _parts(model: VisionModel) -> Iterator[tuple[str, nn.Module]]:
    """The modules that are parts of the breakdown, by key; a branch has the same key in all blocks of a stage."""
    yield "stem", model.stem
    for number, stage in enumerate(model.stages):
        assert isinstance(stage, nn.Sequential)
        for block in stage:
            if isinstance(block, Downsample):
                yield downsample_key(number), block
            else:
                assert isinstance(block, nn.Sequential)
                for index, branch in enumerate(block):
                    assert isinstance(branch, ResidualBranch)
                    yield branch_key(number, index), branch
    if model.architecture.final_norm != "none":
        yield "norm", model.norm
    yield "head", model.head


@contextmanager
def _watching(model: VisionModel, enter: Callable[[str], None]) -> Iterator[None]:
    """Call `enter` with the key of every part before it computes."""

    def watch(key: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_pre_hook(lambda module, inputs: enter(key))

    handles = [watch(key, module) for key, module in _parts(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _saved_bytes(model: VisionModel, batch: int) -> Counter[str]:
    """Bytes of the storages that a forward pass in training mode keeps, by the part that kept them first."""
    images = make_images(model, batch)
    kept: dict[int, tuple[str, torch.UntypedStorage]] = {}  # keeps storages alive, so that no address is used twice
    part = "stem"

    def enter(key: str) -> None:
        nonlocal part
        part = key

    def pack(tensor: Tensor) -> None:  # never unpacked, as there is no backward pass
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), (part, storage))

    model.train()
    try:
        with torch.enable_grad(), _watching(model, enter), saved_tensors_hooks(pack, lambda nothing: nothing):
            model(images)
    finally:
        model.eval()
    sizes: Counter[str] = Counter()
    for key, storage in kept.values():
        sizes[key] += storage.nbytes()
    return sizes


@torch.inference_mode()
def _seconds_by_part(model: VisionModel, images: Tensor, device: torch.device) -> dict[str, float]:
    """Wall time of every part in one forward pass."""
    spent: dict[str, float] = {}
    part, since = "stem", time.perf_counter()

    def enter(key: str) -> None:
        nonlocal part, since
        synchronize(device)
        now = time.perf_counter()
        spent[part] = spent.get(part, 0.0) + now - since
        part, since = key, now

    with _watching(model, enter):
        synchronize(device)
        since = time.perf_counter()
        model(images)
        enter("")
    return spent
