"""How long `nas --help`, `nas spaces` and `nas zoo` take, compared with a Python that does nothing.

python -m benchmarks.startup
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.common import seconds, summary, write

RUNS = 15
COMMANDS = {
    "python": ["-c", "pass"],
    "nas_help": ["-m", "nas", "--help"],
    "nas_spaces": ["-m", "nas", "spaces"],
    "nas_zoo": ["-m", "nas", "zoo"],
    "nas_spaces_mlp_family": ["-m", "nas", "spaces", "mlp_family"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            command = [sys.executable, *arguments]
            times[name].append(
                seconds(lambda command=command: subprocess.run(command, check=True, capture_output=True))
            )
    write("startup", {"unit": "s", **{name: summary(values[1:]) for name, values in times.items()}})


if __name__ == "__main__":
    main()
