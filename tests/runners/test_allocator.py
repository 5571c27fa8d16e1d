from __future__ import annotations

import subprocess
import sys

import pytest

from runners import allocator

PROGRAM = """
import resource, sys, torch
from runners.allocator import keep_freed_memory
torch.set_num_threads(1)
assert sys.argv[1] == "default" or keep_freed_memory()
def step():
    kept = [torch.ones(2**20) for _ in range(8)]  # 4 MiB each
    del kept
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setting: str) -> int:
    """Pages that were cleared for five steps of 32 MiB (8,192 pages)."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, setting], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_used_again() -> None:
    assert 4 * faults("kept") < faults("default")


def test_elsewhere_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
