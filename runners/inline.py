"""The runner that executes all jobs in this process, one after another: for debugging and notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from runners.execution import execute
from runners.protocol import Evaluator, TrialSource
from runners.resources import check_this_machine
from search_space.signals import first_ctrl_c_recorded

WAIT_S = 0.2
"""Pause before asking again when there is no job. Arbitrary."""


@dataclass(frozen=True)
class InlineRunner:
    """Executes jobs in this process.

    Attributes:
        threads: Threads that torch uses; on a CPU, the last digits of results depend on it.
        gpus: GPUs that a job uses; 0 to let its device decide.
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
            KeyboardInterrupt: On Ctrl-C, after the running job has written a checkpoint at the end of its epoch; on a
                second Ctrl-C, at once.
        """
        from runners.measuring.device import set_threads  # loads torch

        set_threads(self.threads)
        with first_ctrl_c_recorded() as stopped:
            while not source.done:
                job = source.ask()
                if job is not None:
                    source.tell(job.key, execute(job, evaluator, source.report, stopped.is_set))
                else:  # other drivers are working on the same study
                    source.idle()
                    stopped.wait(WAIT_S)
                if stopped.is_set():
                    raise KeyboardInterrupt
