"""How a runner executes a job: the loop, the classification of failures, and the time limit."""

from runners.execution.loop import Execution, execute

__all__ = ["Execution", "execute"]
