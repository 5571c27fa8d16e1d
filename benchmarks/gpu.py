"""All measurements that need a GPU, in one command of less than 10 minutes.

    python -m benchmarks.gpu [--json] [--only ladder,roofline] [--device cpu --tiny]

ladder     images per second from the plain loop to graphs, by family and size of images (benchmarks.ladder)
packed     the same for 1 to 16 processes on one GPU
stacked    the same for 1 to 16 models in one step
roofline   time of a step beside the least time for its arithmetic and memory traffic (benchmarks.roofline)
training   epochs per second of five families on Fashion-MNIST, in bf16 and in fp32
shared     throughput of a search with 1, 1/2 and 1/4 of a GPU per trial
memory     peak memory of a training
table      trainings per minute of the tabular benchmark on Fashion-MNIST, with 1/8 of a GPU each
proxies    seconds per architecture of every proxy
zoo        forward and backward passes of published models beside timm's, if timm is installed (benchmarks.peer)
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.common import TABLES, evaluate, machine, seconds, summary, write
from benchmarks.ladder import SIZES, TINY, ladder, packing, stacked
from benchmarks.roofline import roofline
from benchmarks.table import build
from nas import search
from nas.bench.definition import read_definition
from nas.bench.table import Table
from runners.protocol import DataSpec, Job
from runners.proxies import PROXIES
from runners.proxies.scoring import score
from runners.recipe import Recipe
from runners.training.train import train
from search_space import Limits, load_space
from search_space.zoo.scaled import family_points

DATA = DataSpec("fashion_mnist_10k")
EPOCHS = 4


def training(precision: Literal["bf16", "fp32"]) -> dict[str, Any]:
    """Seconds per epoch and peak memory of every family at half a million parameters; the first epoch is a warm-up."""
    space = load_space("mlp_family", image_size=28, in_channels=1, classes=10)
    figures: dict[str, Any] = {}
    for name, architecture in family_points(space, Limits(max_params=500_000)).items():
        recipe = Recipe(epochs=EPOCHS, batch_size=256, precision=precision)
        epochs, outcome = evaluate(Job(name, architecture, DATA, recipe, seed=0, device="cuda"), train)
        figures[name] = {
            "seconds_an_epoch": summary([epoch.seconds for epoch in epochs[1:]]),
            "peak_memory_mib": round(outcome.measured.peak_memory_mib or 0.0, 1),
            "val_accuracy": round(epochs[-1].accuracy, 4),
        }
    return figures


def shared(share: float) -> float:
    """Trials per minute of a short search with this share of a GPU per trial."""
    with tempfile.TemporaryDirectory() as out:
        run = seconds(
            lambda: search(
                data=DATA.name,
                budget=16,
                epochs=2,
                strategy="random",
                finalists=0,
                gpus_per_trial=share,
                out=Path(out),
            )
        )
    return 16 / run * 60


def table(share: float, architectures: int = 24) -> dict[str, float]:
    """Trainings per minute of a small table like the committed one, and the minutes that the committed one would
    take.
    """
    committed = read_definition(TABLES / "fashion_mnist")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "table"
        folder.mkdir()
        text = (TABLES / "fashion_mnist" / "definition.yaml").read_text(encoding="utf-8")
        text = text.replace(f"architectures: {committed.bands[0].architectures}", f"architectures: {architectures}")
        (folder / "definition.yaml").write_text(text, encoding="utf-8")
        run = seconds(lambda: build(folder, [committed.search_seeds[0]], gpus_per_trial=share))
        trained = len(Table(folder).trainings)
    whole = sum(len(committed.seeds(band.name)) * band.architectures for band in committed.bands)
    return {
        "trainings_a_minute": round(trained / run * 60, 1),
        "whole_table_minutes": round(whole * run / trained / 60, 1),
    }


def proxies() -> dict[str, Any]:
    """Seconds of every proxy on architectures of the committed table, scored one after another."""
    known = Table(TABLES / "fashion_mnist")
    chosen = [entry.architecture for entry in list(known.entries.values())[:16]]
    score(chosen[:2], list(PROXIES), DATA, known.recipe, 0, "cuda")  # warm-up
    scores = score(chosen, list(PROXIES), DATA, known.recipe, 0, "cuda")
    return {name: summary([each[name].seconds for each in scores]) for name in PROXIES}


def loop(device: str, *, tiny: bool) -> dict[str, Callable[[], Any]]:
    """What is measured of the training loop alone, by name; it runs on a CPU, too."""
    sizes = TINY if tiny else SIZES
    size = next(iter(sizes.values()))
    counts, names = ([1, 2], ["mixer"]) if tiny else ([1, 2, 4, 8, 16], [])
    return {
        "ladder": lambda: {label: ladder(each, device, names) for label, each in sizes.items()},
        "packed": lambda: packing(size, device, "mixer", counts),
        "stacked": lambda: {name: stacked(size, device, name, counts) for name in names or ("mixer", "resmlp", "vip")},
        "roofline": lambda: {label: roofline(each, device, names) for label, each in sizes.items()},
    }


def searches() -> dict[str, Callable[[], Any]]:
    """What is measured of whole trainings, searches and proxies, by name."""
    shares = (1.0, 0.5, 0.25)
    measured: dict[str, Callable[[], Any]] = {
        "training": lambda: {"bf16": training("bf16"), "fp32": training("fp32")},
        "shared": lambda: {str(share): round(shared(share), 1) for share in shares},
        "table": lambda: table(1 / 8),
        "proxies": proxies,
    }
    if importlib.util.find_spec("timm") is not None:
        measured["zoo"] = _zoo
    return measured


def _zoo() -> dict[str, Any]:
    from benchmarks import peer

    return {
        label: {name: peer.compare(name, "cuda", dtype) for name in peer.MODELS}
        for label, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--json", action="store_true", help="print JSON alone, and store nothing")
    given = parser.parse_args(arguments)
    on_gpu = torch.device(given.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu needs a CUDA device")
    measured = loop(given.device, tiny=given.tiny) | (searches() if on_gpu and not given.tiny else {})
    names = given.only.split(",") if given.only else list(measured)
    if unknown := [name for name in names if name not in measured]:
        sys.exit(f"--only is {given.only!r}, but {unknown[0]!r} is not measured; allowed: {', '.join(measured)}")
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name() if on_gpu else given.device}
    for name in names:
        figures[name] = measured[name]()
    if given.json:
        print(json.dumps({"machine": machine(), **figures}, indent=2))
    else:
        write("gpu", figures)


if __name__ == "__main__":
    main()
