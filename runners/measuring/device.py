"""Devices: choosing and describing them."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import torch

from search_space.errors import RunnerError


def pick_device(name: str) -> torch.device:
    """The device with that name; "auto" is a GPU if there is one.

    Raises:
        RunnerError: If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunnerError(f"there is no device named {name!r}; allowed: auto, cpu, cuda, cuda:0, cuda:1, ...") from None
    if device.type not in ("cpu", "cuda") and not (device.type == "mps" and torch.backends.mps.is_available()):
        raise RunnerError(f"the device {name!r} is not supported here; allowed: auto, cpu, cuda, cuda:0, cuda:1, ...")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunnerError(f"device {name!r} was asked for, but this torch ({torch.__version__}) sees no GPU")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RunnerError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} GPUs here")
    return device


def pick_devices(name: str, gpus: int) -> tuple[torch.device, ...]:
    """Consecutive GPUs, starting with the named one; only the named device if it is not a GPU.

    Raises:
        RunnerError: If this machine has too few.
    """
    first = pick_device(name)
    if first.type != "cuda" or gpus <= 1:
        return (first,)
    start, there = first.index or 0, torch.cuda.device_count()
    if start + gpus > there:
        raise RunnerError(f"--gpus-per-trial is {gpus}, but there are only {there - start} GPUs from {name!r} on")
    return tuple(torch.device("cuda", start + index) for index in range(gpus))


def gpu_count() -> int:
    """Number of GPUs that torch sees."""
    return torch.cuda.device_count()


def gpu_memory() -> int | None:
    """Memory of the smallest GPU in bytes; None without a GPU."""
    sizes = [torch.cuda.get_device_properties(index).total_memory for index in range(gpu_count())]
    return min(sizes, default=None)


def set_threads(threads: int) -> None:
    """Set the threads that torch uses for one operation, in this process."""
    torch.set_num_threads(threads)


def describe_device(device: torch.device) -> str:
    """The device in words, such as "NVIDIA H100 80GB HBM3" or "CPU (AMD EPYC), 1 thread"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type.upper()} ({_processor()}), {threads} thread{'' if threads == 1 else 's'}"


def versions() -> dict[str, str]:
    """Versions of the software that affects results, by name."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    return found


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on the device is done, before reading a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or os.uname().machine
