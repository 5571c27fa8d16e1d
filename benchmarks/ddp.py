"""A training step on several devices: copies in one Python thread (`runners.training.replicas`) or a process for each.

The processes use torch's DistributedDataParallel: NCCL on the GPUs of this machine, gloo on the CPU, where each process
has one thread. Their gradients are compared with those of one device. Rounds are interleaved; CPU time is that of all
processes. On the CPU, the copies of one thread take turns, so only CPU times can be compared.

    python -m benchmarks.ddp [--devices 2] [--rounds 7] [--steps 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import RESULTS, machine, summary
from runners.training.memory import gradients
from runners.training.replicas import Replicas
from search_space import Limits, load_space
from search_space.models.building import build
from search_space.zoo.scaled import family_points

BATCH = 128
KINDS = ("one device", "replicas", "processes")


def run(rank: int, world: int, folder: Path, given: argparse.Namespace) -> None:
    """One process; the first also measures one device and the replicas, while the others wait."""
    torch.set_num_threads(1)
    on_gpu = torch.cuda.device_count() >= world
    devices = [torch.device("cuda", index) if on_gpu else torch.device("cpu") for index in range(world)]
    device = devices[rank]
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=world)
    space = load_space("mlp_family", image_size=28, in_channels=1, classes=10)
    architecture = family_points(space, Limits(max_params=given.params))["mixer"]
    draws = torch.Generator().manual_seed(1)
    images, labels = torch.randn(BATCH, 1, 28, 28, generator=draws), torch.randint(10, (BATCH,), generator=draws)
    images, labels = images.to(device), labels.to(device)

    def fresh() -> Any:
        return build(architecture, generator=torch.Generator().manual_seed(0), device=device)

    def loss_of(model: nn.Module, there: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda some, wanted: functional.cross_entropy(model(some.to(there)), wanted.to(there))

    alone, copies = fresh(), Replicas(fresh(), devices if rank == 0 else [device])
    losses = [loss_of(model, there) for model, there in zip(copies.models, devices, strict=False)]
    wrapped = nn.parallel.DistributedDataParallel(fresh(), device_ids=[rank] if on_gpu else None)
    mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)

    def on_one() -> nn.Module:
        alone.zero_grad()
        gradients([loss_of(alone, device)], images, labels, BATCH)
        return alone

    def on_replicas() -> nn.Module:
        copies.models[0].zero_grad()
        copies.spread()
        gradients(losses, images, labels, BATCH)
        copies.gather()
        return copies.models[0]

    def on_processes() -> nn.Module:
        wrapped.zero_grad()
        loss_of(wrapped, device)(images[mine], labels[mine]).backward()
        return wrapped.module

    steps = dict(zip(KINDS, (on_one, on_replicas, on_processes), strict=True))
    figures: list[dict[str, Any]] = []
    for number in range(given.rounds + 1):
        for kind in KINDS if number % 2 else reversed(KINDS):
            if on_gpu:
                torch.cuda.synchronize(device)
            dist.barrier()
            began, cpu = time.perf_counter(), time.process_time()
            if kind == "processes" or rank == 0:
                for _ in range(given.steps):
                    model = steps[kind]()
                found = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).cpu()
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            dist.barrier()
            figures.append({"kind": kind, "wall_s": wall, "cpu_s": cpu if kind == "processes" or rank == 0 else 0.0})
            if rank == 0 and number == 0:
                torch.save(found, folder / f"{kind}.pt")
    (folder / f"{rank}.json").write_text(json.dumps({"params": architecture.params, "runs": figures[len(KINDS) :]}))
    dist.destroy_process_group()


def collect(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds for each step, and how far the gradients are from those of one device."""
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(given.devices)]
    expected = torch.load(folder / f"{KINDS[0]}.pt")
    figures: dict[str, Any] = {"params": ranks[0]["params"], "batch": BATCH, "devices": given.devices}
    figures["on"] = "GPUs, NCCL" if torch.cuda.device_count() >= given.devices else "CPU, gloo"
    for kind in KINDS:
        runs = [[run for run in rank["runs"] if run["kind"] == kind] for rank in ranks]
        far = (torch.load(folder / f"{kind}.pt") - expected).norm() / expected.norm()
        figures[kind] = {
            "wall_ms": summary([1e3 * run["wall_s"] / given.steps for run in runs[0]]),
            "cpu_ms": summary(
                [1e3 * sum(run["cpu_s"] for run in each) / given.steps for each in zip(*runs, strict=True)]
            ),
            "relative_distance_of_gradients": float(far),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--params", type=int, default=500_000)
    parser.add_argument("--json", action="store_true", help="print the figures and store nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run, (given.devices, Path(folder), given), nprocs=given.devices)
        figures = collect(Path(folder), given)
    text = json.dumps({"machine": machine(), **figures}, indent=2)
    print(text)
    if not given.json:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "ddp.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
