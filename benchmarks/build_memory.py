"""Peak memory of building the largest models of the zoo, over the size of their weights.

python -m benchmarks.build_memory

Each model is built in a process of its own; its peak resident memory before building is subtracted.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

from benchmarks.common import summary, write
from search_space import zoo

RUNS = 3
LARGEST = 3


def build_and_print(name: str) -> None:
    import torch

    from search_space import build

    build(zoo.get("vit_ti16", image_size=32, classes=10))  # modules loaded on first use do not count for the model
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build(zoo.get(name))
    print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def main() -> None:
    if len(sys.argv) > 1:
        build_and_print(sys.argv[1])
        return
    figures: dict[str, Any] = {"unit": "peak memory of building / size of the float32 weights"}
    for name in sorted(zoo.names(), key=lambda name: -zoo.get(name).params)[:LARGEST]:
        weights = 4 * zoo.get(name).params
        command = [sys.executable, "-m", "benchmarks.build_memory", name]
        peaks = [int(subprocess.check_output(command, text=True)) for _ in range(RUNS)]
        figures[name] = {"weights_mib": round(weights / 2**20, 1), **summary([peak / weights for peak in peaks], 4)}
    write("build_memory", figures)


if __name__ == "__main__":
    main()
