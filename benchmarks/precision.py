"""Speed of bfloat16 over float32 in our training loop, by family and size, beside the rule for `--precision auto`.

    python -m benchmarks.precision [--sides 8 14 28] [--params 34000 500000] [--pairs 5] [--epochs 2] [--json]

On random images, with one thread. The two precisions train in turn, with the same seed, and which comes first
alternates; the ratio is the CPU time in float32 over that in bfloat16, so above 1 bfloat16 is faster. A CPU without
AVX512-BF16 emulates it and `auto` never chooses it there; `--anyway` measures it nevertheless.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from benchmarks.common import machine, summary
from benchmarks.ladder import Size
from benchmarks.plain import cpu_seconds, ours
from runners.training.precision import _is_native, pays
from search_space import Architecture

CPU = torch.device("cpu")
PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


def compare(architecture: Architecture, size: Size, pairs: int) -> dict[str, Any]:
    """Ratios of CPU times of interleaved pairs; one more pair warms up."""
    ratios = []
    for pair in range(pairs + 1):
        taken: dict[str, float] = {}
        for precision in sorted(PRECISIONS, reverse=bool(pair % 2)):
            recipe = replace(size.recipe, precision=precision)
            taken[precision], _ = cpu_seconds(partial(ours, architecture, size.data, recipe, seed=pair))
        ratios.append(taken["fp32"] / taken["bf16"])
    _, shape = max(architecture.shapes(), key=lambda found: found[0].dim)
    return {
        "channels": shape.dim,
        "tokens": shape.tokens,
        "speed_of_bf16": summary(ratios[1:], 3),
        "auto": "bf16" if pays(architecture, CPU) else "fp32",
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 14, 28])
    parser.add_argument("--params", type=int, nargs="+", default=[34_000, 100_000, 500_000])
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--families", nargs="*", default=[])
    parser.add_argument("--anyway", action="store_true")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args(arguments)
    if not _is_native(CPU) and not given.anyway:
        sys.exit("this CPU has no AVX512-BF16, so --precision auto never chooses bf16 here; --anyway measures it")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for side in given.sides:
        for params in given.params:
            size = Size(side, 1, given.images, params, batch_size=64, epochs=given.epochs)
            size.supply()
            for name, architecture in size.families(given.families).items():
                rows.append(
                    {"side": side, "params": params, "family": name, **compare(architecture, size, given.pairs)}
                )
                if not given.json:
                    print(rows[-1], flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
