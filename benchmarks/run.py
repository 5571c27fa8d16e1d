"""All benchmarks, one after another: about an hour on 2 cores.

python -m benchmarks.run
"""

from __future__ import annotations

import subprocess
import sys

ALL = ("startup", "cost", "build_memory", "peer", "overhead", "pooling", "live")


def main() -> None:
    for name in ALL:  # one process each, so that none warms up another
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
