"""How fast images of a folder arrive in a training, beside torchvision's ImageFolder and torch's DataLoader.

All yield shuffled, normalised batches of float32 in this process, with the same number of threads or worker processes:

- streamed: decoded from the files in every epoch (``--image-cache none``)
- stored: decoded once, read from a file (``--image-cache disk``)
- torchvision: ImageFolder, DataLoader, and v2.Resize, CenterCrop, ToImage, ToDtype, Normalize; its workers are running
  when the clock starts

Rounds are interleaved. With ``--start N``, a folder of N images is prepared from nothing and one epoch of it is read,
both in fresh processes, and their memory is watched.

    python -m benchmarks.streaming [--images 1024] [--workers 2] [--rounds 7] [--json]
    python -m benchmarks.streaming --start 100000 [--image-cache none] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from benchmarks.common import RESULTS, machine, summary
from benchmarks.photographs import make_photographs
from runners.data import Augmentation, load_splits, prepare, stored_images
from runners.data.torchvision_import import import_torchvision
from runners.protocol import DataSpec
from runners.training.batches import Normaliser, training_batches

BATCH = 128
SIZE = 224
Epoch = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def ours(root: Path, folder: Path, cache: str) -> Epoch:
    """An epoch of `training_batches` over the training split, without augmentation."""
    spec = DataSpec(f"imagefolder:{root}", str(folder), image_size=SIZE, image_cache=cache)
    splits = load_splits(spec)
    normalise = Normaliser(splits.mean, splits.std, torch.device("cpu"))
    draws = torch.Generator().manual_seed(0)
    return lambda: training_batches(splits.train, BATCH, normalise, Augmentation(), draws)


def theirs(root: Path, workers: int) -> Epoch:
    """An epoch of torch's DataLoader with running workers."""
    torchvision = import_torchvision()
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.Resize(SIZE),
            v2.CenterCrop(SIZE),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    images = torchvision.datasets.ImageFolder(str(root), transform)
    loader = torch.utils.data.DataLoader(
        images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True
    )
    return lambda: iter(loader)


def consume(epoch: Epoch) -> dict[str, float]:
    """Wall and CPU time for each image, in ms; the CPU time of worker processes is included."""
    began, cpu, images = time.perf_counter(), _cpu_s(), 0
    for batch, _ in epoch():
        images += len(batch)
    return {"wall_ms": 1e3 * (time.perf_counter() - began) / images, "cpu_ms": 1e3 * (_cpu_s() - cpu) / images}


def _cpu_s() -> float:
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def compare(images: int, workers: int, rounds: int) -> dict[str, Any]:
    """Milliseconds for each image, and the ratios to torchvision's in the same round."""
    torch.set_num_threads(workers)
    stored_images.MAPPED_BYTES = 0  # read as in a large data set
    with tempfile.TemporaryDirectory() as folder:
        # Everything but training images is held out twice, a fifth each.
        root = make_photographs(Path(folder) / "photographs", round(images / 0.6))
        seen = make_photographs(Path(folder) / "training", images)
        epochs = {
            "streamed": ours(root, Path(folder) / "none", "none"),
            "stored": ours(root, Path(folder) / "disk", "disk"),
            "torchvision": theirs(seen, workers),
        }
        for epoch in epochs.values():  # starts workers, fills the page cache
            consume(epoch)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in epochs}
        for number in range(rounds):
            names = list(epochs) if number % 2 else list(reversed(epochs))
            for name in names:
                found[name].append(consume(epochs[name]))
    figures: dict[str, Any] = {"images": images, "workers": workers, "batch": BATCH, "size": SIZE}
    for name, runs in found.items():
        figures[name] = {kind: summary([run[kind] for run in runs]) for kind in runs[0]}
        if name != "torchvision":
            pairs = list(zip(runs, found["torchvision"], strict=True))
            figures[name]["over_torchvision"] = {
                kind: summary([run[kind] / other[kind] for run, other in pairs]) for kind in runs[0]
            }
    return figures


def start(images: int, cache: str, root: Path) -> dict[str, Any]:
    """Prepare a folder of images, and read it in another process as a worker does."""
    make_photographs(root, images, classes=100)
    files = sorted(root.rglob("*.jpg"))
    began = time.perf_counter()
    for file in files:
        file.read_bytes()
    figures: dict[str, Any] = {"images": images, "size": SIZE, "read_all_files_s": time.perf_counter() - began}
    folder = Path(tempfile.mkdtemp(dir=root.parent))
    try:
        for step in ("prepare", "prepare again", "worker"):
            command = [sys.executable, "-m", "benchmarks.streaming", "--step", step.split()[0], "--image-cache", cache]
            command += ["--folder", str(root), "--data-dir", str(folder)]
            done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
            figures[step] = json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    return figures


def step(name: str, spec: DataSpec) -> dict[str, Any]:
    """One part of `start`, in a process of its own: seconds, and the largest memory (MiB) in the course of it."""
    began, memory = time.perf_counter(), {"torch loaded": _peak_mib()}
    if name == "prepare":
        prepare(spec, lambda sentence: print(sentence, file=sys.stderr))
        return {"s": time.perf_counter() - began, "peak_mib": {**memory, "end": _peak_mib()}}
    torch.set_num_threads(1)
    splits = load_splits(spec)
    loaded = time.perf_counter() - began
    memory["loaded"] = _peak_mib()
    normalise = Normaliser(splits.mean, splits.std, torch.device("cpu"))
    batches = training_batches(splits.train, BATCH, normalise, splits.augmentation, torch.Generator().manual_seed(0))
    for number, _ in enumerate(batches, 1):
        if number in (1, 10, 100):
            memory[f"after {number} batches"] = _peak_mib()
    memory["after the epoch"] = _peak_mib()
    epoch = time.perf_counter() - began - loaded
    return {"load_s": loaded, "epoch_s": epoch, "train_images": len(splits.train), "peak_mib": memory}


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--start", type=int, metavar="N")
    parser.add_argument("--image-cache", default="none", choices=("disk", "none"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "photographs")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--step", choices=("prepare", "worker"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the figures and store nothing")
    given = parser.parse_args()
    if given.step:
        spec = DataSpec(
            f"imagefolder:{given.folder}", str(given.data_dir), image_size=SIZE, image_cache=given.image_cache
        )
        print(json.dumps(step(given.step, spec)))
        return
    name = "streaming" if given.start is None else f"streaming_start_{given.image_cache}"
    if given.start is None:
        figures = compare(given.images, given.workers, given.rounds)
    else:
        figures = start(given.start, given.image_cache, given.folder)
    text = json.dumps({"machine": machine(), **figures}, indent=2)
    print(text)
    if not given.json:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
