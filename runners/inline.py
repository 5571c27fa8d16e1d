"""The runner that executes everything in this process, one job after the other: for debugging and notebooks."""

from __future__ import annotations

from runners.base import Decision, Evaluation, Evaluator, TrialSource


class InlineRunner:
    """Executes jobs here and now."""

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until the source is done.

        Raises:
            KeyboardInterrupt: On Ctrl-C; the running job's checkpoint has been written.
        """
        while not source.done:
            job = source.ask()
            if job is None:
                raise RuntimeError("the search has nothing to run and is not done")
            evaluation = Evaluation(job, evaluator)
            outcome = None
            try:
                while outcome is None:
                    epochs, outcome = evaluation.advance()
                    stop = bool(epochs) and source.report(job.key, epochs) is Decision.STOP
                    if stop and outcome is None:
                        outcome = evaluation.stop()
            except BaseException:
                evaluation.stop()
                raise
            source.tell(job.key, outcome)
