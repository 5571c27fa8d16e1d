"""Checkpoints: the state of a training between two epochs; resuming from it does not change the result.

The file is a magic line, a SHA-256 digest and the output of `torch.save`. It holds no generator states: every epoch
seeds its randomness from the job's seed and its own number.

A checkpoint is optional. One that is damaged, or that belongs to another job, is ignored with a warning, and the
training restarts.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

import torch
from torch import nn

from runners.files import write_atomically
from runners.protocol import EpochResult, Job, Latency
from runners.remote import Location

log = logging.getLogger(__name__)

_MAGIC = b"nas checkpoint 2\n"
_DIGEST_SIZE = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a training resumes.

    Attributes:
        curve: The epochs so far; training resumes after the last one.
        model: State dict of the model.
        optimizer: State dict of the optimizer.
        latency: The latency measured before the training, if any; it is measured once.
        micro_batch: Images that went through the model at once; None for the recipe's batch.
        evaluation_batch: Images that went through the model at once in validation; None for the initial value.
        average: State dict of the averaged weights; None if the recipe averages none.
    """

    curve: tuple[EpochResult, ...]
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    latency: Latency | None = None
    micro_batch: int | None = None
    evaluation_batch: int | None = None
    average: Mapping[str, Any] | None = None


def save_checkpoint(path: Location, job: Job, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: a reader sees either the old or the new one.

    Raises:
        FileFailure: If it cannot be written.
    """
    buffer = io.BytesIO()
    content = {
        "identity": _identity(job),
        "curve": [astuple(epoch) for epoch in checkpoint.curve],
        "model": dict(checkpoint.model),
        "optimizer": dict(checkpoint.optimizer),
        "latency": None if checkpoint.latency is None else asdict(checkpoint.latency),
        "micro_batch": checkpoint.micro_batch,
        "evaluation_batch": checkpoint.evaluation_batch,
        **({} if checkpoint.average is None else {"average": dict(checkpoint.average)}),
    }
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_atomically(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: Location, job: Job, model: nn.Module) -> Checkpoint | None:
    """The checkpoint of this job, on the CPU; None, with a warning in the log, if the file holds anything else."""
    try:
        content = _read(path)
        recorded = content["identity"]
        if {**recorded, "data": _without_place(recorded["data"])} != _identity(job):
            raise ValueError("it belongs to another job (architecture, data, recipe or seed differ)")
        average = content.get("average")
        if average is None and job.recipe.ema:
            raise ValueError("it has no averaged weights")
        for weights in (content["model"], content["model"] if average is None else average):
            if _shapes(weights) != _shapes(model.state_dict()):
                raise ValueError("its weights have other names or shapes")
        curve = tuple(EpochResult(*epoch) for epoch in content["curve"])
        latency = None if content["latency"] is None else Latency(**content["latency"])
        batches = content.get("micro_batch"), content.get("evaluation_batch")
        return Checkpoint(curve, content["model"], content["optimizer"], latency, *batches, average)
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 (whatever is wrong with an aid, the training starts again without it)
        log.warning("checkpoint %s is ignored, and the training restarts: %s", path, error)
        return None


def _read(path: Location) -> dict[str, Any]:
    data = path.read_bytes()
    payload = data[len(_MAGIC) + _DIGEST_SIZE :]
    if not data.startswith(_MAGIC):
        raise ValueError("it is not a checkpoint of this program")
    if hashlib.sha256(payload).digest() != data[len(_MAGIC) : len(_MAGIC) + _DIGEST_SIZE]:
        raise ValueError("it is damaged (its checksum is wrong)")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its text advises to let the file run code
        raise ValueError("it holds more than tensors and plain values") from None
    return content


def _shapes(state: Mapping[str, Any]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _identity(job: Job) -> dict[str, Any]:
    """Everything that identifies a training; the location of the images and their cache does not."""
    data = _without_place(job.data.identity())
    return {"architecture": job.architecture.hash, "data": data, "recipe": job.recipe.to_dict(), "seed": job.seed}


def _without_place(data: Mapping[str, Any]) -> dict[str, Any]:
    """The images without the path of their folder, which may be moved; a study verifies that they are the same."""
    return {**data, "name": data["name"].partition(":")[0]}
