"""The live progress line of a search, on stderr.

On a terminal it is redrawn in place. Elsewhere (a log file, CI) a line is printed when enough has changed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from nas.engine import Search
from nas.trial import Trial
from results.schema import Role, State
from runners.base import Cause
from search_space.units import format_count

REDRAW_EVERY_S = 0.2
PRINT_EVERY_S = 15.0


class Progress:
    """Shows how a search is getting on.

    Args:
        stream: Where to; stderr by default.
        clock: A monotonic clock in seconds.

    Attributes:
        was_spent: Whether the study had nothing left to do when it was opened.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._live = self._stream.isatty()
        self._drawn_at = float("-inf")
        self._drawn = 0
        self._search: Search | None = None
        self.was_spent = False

    def __enter__(self) -> Progress:
        if self._live:
            self._write_in_place("starting ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._search is not None and not self.was_spent:
            self._show(self._search)
        if self._live:
            self._stream.write("\n" if self._drawn else "")
            self._stream.flush()

    def begin(self, search: Search, new: bool) -> None:
        """Say what is being done."""
        self._search, self.was_spent = search, search.done
        question, study = search.question, search.study
        doing = "New study" if new else "Study finished before:" if self.was_spent else "Continuing study"
        self._print_line(f"{doing} {study.name}: {question.space.name} on {question.data.name}, {question.limits}")
        self._print_line(
            f"  budget {search.config.budget}, {search.config.sampler} + {search.config.pruner}, "
            f"{question.recipe.epochs} epochs, {search.config.runner} runner"
        )
        self._print_line(f"  {study.store}")
        if self._live and not self.was_spent:
            self._write_in_place(f"starting the {search.config.runner} runner ...")

    def update(self, search: Search) -> None:
        """Draw anew if it is time."""
        interval = REDRAW_EVERY_S if self._live else PRINT_EVERY_S
        if self._clock() - self._drawn_at >= interval:
            self._show(search)

    def farewell(self, again: str) -> str:
        """What to say after Ctrl-C."""
        if self._search is None:
            return "Stopped before anything was begun."
        done = self._search.spent - len([trial for trial in self._search.pending if trial.role == Role.TRIAL])
        return f"Stopped after {done} of {self._search.config.budget} trials. Nothing is lost; to go on: {again}"

    def line(self, search: Search) -> str:
        """The progress line, the most important first: a narrow terminal cuts its end."""
        trials = [trial for trial in search.of(Role.TRIAL) if trial.cause != Cause.TOO_SLOW]
        count = {state: sum(trial.state == state for trial in trials) for state in State}
        done = count[State.COMPLETE] + count[State.PRUNED] + count[State.FAILED]
        running = sum(trial.state == State.RUNNING for trial in search.pending)
        elapsed = self._clock() - search.started
        left = remaining_seconds(search, elapsed)
        parts = [
            f"{_phase(search)} {done}/{search.config.budget}",
            f"{running} running, {count[State.PRUNED]} pruned, {count[State.FAILED]} failed",
            _duration(elapsed) + (f", {_duration(left)} left" if left is not None else ""),
        ]
        if search.best is not None:
            parts.append(f"best {_describe(search.best)}")
        return " | ".join(parts)

    def _show(self, search: Search) -> None:
        self._drawn_at = self._clock()
        if self._live:
            self._write_in_place(self.line(search))
        else:
            self._print_line(self.line(search))

    def _write_in_place(self, text: str) -> None:
        width = _terminal_width(self._stream) - 1
        text = text if len(text) <= width else text[: width - 1] + "…"
        self._stream.write("\r" + text + " " * max(0, self._drawn - len(text)))
        self._stream.flush()
        self._drawn = len(text)

    def _print_line(self, text: str) -> None:
        if self._live and self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0
        self._stream.write(text + "\n")
        self._stream.flush()


def remaining_seconds(search: Search, elapsed: float) -> float | None:
    """An estimate of the time left, from what this run has done so far; None while too little is known.

    Trials are assumed to go on at the rate so far. A finalist takes as long as a complete trial, and as many run
    side by side as did on average.
    """
    finished = [trial for trial in search.trials.values() if trial.state in (State.COMPLETE, State.PRUNED)]
    if search.finished_here < 4 or not finished or elapsed <= 0:
        return None
    trials_left = max(0, search.config.budget - search.spent) + sum(t.role == Role.TRIAL for t in search.pending)
    seconds = trials_left * elapsed / search.finished_here
    complete = [trial.seconds for trial in finished if trial.state == State.COMPLETE and trial.role != Role.TEST]
    planned = search.config.finalists * search.config.seeds
    runs_left = max(0, planned - len(search.of(Role.FINALIST, State.COMPLETE, State.FAILED)))
    if complete and runs_left:
        compute = sum(trial.seconds for trial in finished) / len(finished) * search.finished_here
        side_by_side = max(1.0, compute / elapsed)
        seconds += runs_left * (sum(complete) / len(complete)) / side_by_side
    return seconds


def _phase(search: Search) -> str:
    finalists = search.of(Role.FINALIST)
    if search.phase == "trials":
        return "trials"
    if search.phase == "test":
        return "testing the winner, trials"
    done = sum(trial.state in (State.COMPLETE, State.FAILED) for trial in finalists)
    return f"finalists {done}/{search.config.finalists * search.config.seeds}, trials"


def _describe(trial: Trial) -> str:
    params = format_count(trial.architecture.deployed.params)
    return f"{trial.mixers} {params} params, val acc {100 * trial.figures.accuracy:.2f} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _terminal_width(stream: TextIO) -> int:
    import os

    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
