"""Ctrl-C and other signals that ask a process to stop: what they do in this process, or for as long as a block runs.

Python runs signal handlers in the main thread only. In other threads these context managers have no effect.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler that reclaims the machine, and a closed terminal."""

Handler = Callable[[int, FrameType | None], object]


def stop_as_by_ctrl_c() -> None:
    """Let every `STOPPING` signal do what Ctrl-C does at the moment, except those that are ignored, as under nohup."""
    for number in STOPPING:
        if number != signal.SIGINT and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _as_ctrl_c)


def stop_silently() -> None:
    """Let every `STOPPING` signal end the process at once, except those that are ignored."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def ignore_ctrl_c() -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the one that started this one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does; where that is nothing, as in what a script starts in the background, end."""
    if not callable(signal.getsignal(signal.SIGINT)):
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer all `STOPPING` signals to the end of the block, for a step that must not be interrupted halfway.

    Only a pause while the database cannot be reached can still be interrupted; see `interruptible`.
    """
    caught: list[int] = []
    try:
        with handled(dict.fromkeys(STOPPING, lambda number, _: caught.append(number))):
            yield
    finally:
        for number in caught:
            signal.raise_signal(number)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt at once, even inside `uninterrupted`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), interrupt)):
        yield


@contextmanager
def first_ctrl_c_recorded() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; a second Ctrl-C has its usual effect."""
    noted = threading.Event()
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, usual)

    with handled({signal.SIGINT: note}):
        yield noted


@contextmanager
def handlers_kept(*numbers: int) -> Iterator[None]:
    """Restore the handlers of these signals after a block whose libraries replace them."""
    with handled({}, restore=numbers):
        yield


@contextmanager
def handled(handlers: Mapping[int, Handler], restore: tuple[int, ...] = ()) -> Iterator[None]:
    """Replace signal handlers while the block runs.

    Args:
        handlers: Handlers by signal.
        restore: Further signals whose handlers are restored at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in (*handlers, *restore)}
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
