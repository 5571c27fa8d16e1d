"""Names of processes, by which other processes on the same machine can check whether they have ended."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> tuple[str, str]:
    """The host's name, and a name of this process there that stays unique when its PID is reused."""
    return socket.gethostname(), f"{_world()} {os.getpid()} {_started(os.getpid())}"


def is_gone(host: str, process: str) -> bool:
    """Whether a process has certainly ended; False if that cannot be known here."""
    world, number, started = process.split(" ")
    if host != socket.gethostname() or world != _world() or world == "?":
        return False
    now = _started(int(number))
    if now is None:  # it does not exist, or it belongs to another user and is hidden
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False
    return now != started


def _world() -> str:
    """This boot of this machine, and its PID namespace: a container has its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "?"


def _started(number: int) -> str | None:
    """Start time of a process in ticks since boot; empty for a zombie, None if it is not found."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
