"""How a runner executes a job: one loop, and what becomes of failures and of attempts that take too long."""

from runners.execution.loop import Execution, execute

__all__ = ["Execution", "execute"]
