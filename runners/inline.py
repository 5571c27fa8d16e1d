"""The runner that executes everything in this process, one job after the other: for debugging and notebooks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from runners.execution import execute
from runners.protocol import Evaluator, TrialSource
from runners.resources import check_this_machine

WAIT_S = 0.2
"""Pause before asking for a job again when there is none. Arbitrary."""


@dataclass(frozen=True)
class InlineRunner:
    """Executes jobs here and now.

    Attributes:
        threads: Threads that torch uses; results on a CPU depend on it in the last digits.
        gpus: GPUs that a job uses; 0 for what its device says.
    """

    threads: int = 1
    gpus: float = 0.0

    def check(self) -> None:
        """Check that this machine has a core for every thread, and the GPUs.

        Raises:
            RunnerError: If it has fewer.
        """
        check_this_machine(self.threads, self.gpus)

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until the source is done.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the running job has written a checkpoint at the end of its epoch; on
                a second Ctrl-C at once.
        """
        from runners.measuring.device import set_threads  # loads torch

        set_threads(self.threads)
        with _ctrl_c_deferred() as stopped:
            while not source.done:
                job = source.ask()
                if job is not None:
                    source.tell(job.key, execute(job, evaluator, source.report, stopped.is_set))
                else:  # other drivers are at work on the same search
                    source.idle()
                    stopped.wait(WAIT_S)
                if stopped.is_set():
                    raise KeyboardInterrupt


@contextmanager
def _ctrl_c_deferred() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield stopped
        return
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, usual)
