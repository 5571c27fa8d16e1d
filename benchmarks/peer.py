"""Forward and backward passes of published models, compared with timm's models of the same names in the same run.

python -m benchmarks.peer [cpu|cuda]

Both train on one batch of 16 random images in float32 (on a GPU also in bfloat16), with the same weights, in turn. The
ratio is our median over timm's; below 1 is faster.
"""

from __future__ import annotations

import statistics
import sys
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import summary, write
from runners.data.torchvision_import import import_torchvision
from runners.measuring.latency import times_in_turn
from search_space import build, load_published, zoo

import_torchvision()
import timm  # noqa: E402 (needs torchvision to be importable)

MODELS = {
    "vit_s16": "vit_small_patch16_224",
    "mixer_s16": "mixer_s16_224",
    "resmlp_s12": "resmlp_12_224",
    "gmlp_s16": "gmlp_s16_224",
}
BATCH, RUNS, WARM_UP = 16, 10, 2


def step(model: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = model(images).float().logsumexp(dim=1).mean()
    loss.backward()
    model.zero_grad(set_to_none=True)


def compare(name: str, device: str, dtype: torch.dtype) -> dict[str, Any]:
    theirs = timm.create_model(MODELS[name], pretrained=False).to(device).train()
    ours = build(zoo.get(name))
    load_published(ours, theirs.state_dict(), source="timm")
    ours = ours.to(device).train()
    images = torch.randn(BATCH, 3, 224, 224, device=device)
    passes = [lambda model=model: step(model, images, dtype) for model in (ours, theirs)]
    times = times_in_turn(passes, images.device, range(WARM_UP + RUNS))
    of_ours, of_timm = (taken[WARM_UP:] for taken in times)
    pairs = [own / other for own, other in zip(of_ours, of_timm, strict=True)]
    return {
        "ratio": round(statistics.median(of_ours) / statistics.median(of_timm), 3),
        "ratio_of_pairs": summary(pairs, 3),
        "ours_s": summary(of_ours),
        "timm_s": summary(of_timm),
    }


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    dtypes = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if device == "cuda" else {})
    figures: dict[str, Any] = {"timm": version("timm"), "device": device, "threads": torch.get_num_threads()}
    if device == "cuda":
        figures["gpu"] = torch.cuda.get_device_name()
    for label, dtype in dtypes.items():
        figures[label] = {}
        for name in MODELS:
            figures[label][name] = compare(name, device, dtype)
            print(f"{label} {name}: {figures[label][name]['ratio']}", file=sys.stderr)
    write("peer" if device == "cpu" else f"peer_{device}", figures)


if __name__ == "__main__":
    main()
