"""The live progress line of a search, on stderr.

On a terminal it is redrawn in place. Elsewhere (a log file, CI) a line is printed when enough has changed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from nas.strategy.presets import Strategy
from nas.strategy.trial import Trial
from nas.study.search import Search
from results.database.schema import Role, State
from runners.data import legible
from search_space.causes import counts_towards_budget
from search_space.errors import escaped
from search_space.units import format_count, format_duration

REDRAW_EVERY_S = 0.2
PRINT_EVERY_S = 15.0
LEAST_KNOWN = 4
"""Number of evaluations that must have ended before the time left is estimated. Arbitrary."""


class Progress:
    """Shows the progress of a search.

    Args:
        stream: Where to write; stderr by default.
        clock: A monotonic clock in seconds.

    Attributes:
        was_spent: Whether the study was already finished when it was opened.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._live = self._stream.isatty()
        self._drawn_at = float("-inf")
        self._drawn = 0
        self._search: Search | None = None
        self._fte_before = 0.0
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
        if self._live and self._search is None:
            self._write_in_place("")
            self._stream.write("\r")  # the error message replaces it
        elif self._live and self._drawn:
            self._stream.write("\n")
        self._stream.flush()

    def begin(self, search: Search, new: bool) -> None:
        """Print the study and its settings."""
        self._search, self.was_spent, self._fte_before = search, search.done, search.budget.fte
        spec, study, config = search.spec, search.study, search.config
        doing = "New study" if new else "Finished study" if self.was_spent else "Continuing study"
        limit = "" if config.max_fte is None else f", at most {config.max_fte:.4g} FTE"
        self._print_line(f"{doing} {study.name}: {spec.space.name} on {legible(spec.data.name)}, {spec.limits}")
        self._print_line(f"  budget {config.budget}{limit}, {spec.recipe.epochs} epochs, {config.runner} runner")
        self._print_line(f"  strategy {config.strategy}: {_describe_parts(config.parts)}")
        self._print_line(f"  {study.store}")
        if self._live and not self.was_spent:
            self._write_in_place(f"starting the {config.runner} runner ...")

    def update(self, search: Search) -> None:
        """Redraw the line if enough time has passed."""
        interval = REDRAW_EVERY_S if self._live else PRINT_EVERY_S
        if self._clock() - self._drawn_at >= interval:
            self._show(search)

    def note(self, text: str) -> None:
        """Write a sentence that stays on the screen, above the progress line."""
        self._print_line(f"Note: {text}.")

    def farewell(self, again: str) -> str:
        """The message after Ctrl-C."""
        if self._search is None:
            return "Stopped before anything was started."
        done, budget = len(_decided(self._search)), self._search.config.budget
        return f"Stopped after {done} of {budget} trials. Nothing is lost; to continue: {again}"

    def line(self, search: Search, width: int | None = None) -> str:
        """The progress line, the most important part first.

        Args:
            search: The search.
            width: Columns of the terminal; parts that do not fit are left out. None for no limit.
        """
        elapsed = self._clock() - search.started
        left = remaining_seconds(search, elapsed, self._fte_before)
        limit = search.config.max_fte
        parts = [
            _phase(search),
            _states(search),
            f"{search.budget.fte:.1f}{'' if limit is None else f'/{limit:.4g}'} FTE",
        ]
        if search.others.count:
            parts.append(f"{search.others.count + 1} drivers")
        if search.book.best is not None:
            parts.append(f"best acc {100 * search.book.best.figures.accuracy:.2f} %")
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        parts.append(f"{format_duration(elapsed)} so far")
        if search.book.best is not None:
            parts.append(
                f"{search.book.best.mixers} {format_count(search.book.best.architecture.deployed.params)} params"
            )
        while len(line := " | ".join(parts)) > (width or len(line)) and len(parts) > 1:
            parts.pop()
        return line

    def _show(self, search: Search) -> None:
        self._drawn_at = self._clock()
        if self._live:
            self._write_in_place(self.line(search, _terminal_width(self._stream) - 1))
        else:
            self._print_line(self.line(search))

    def _write_in_place(self, text: str) -> None:
        width, text = _terminal_width(self._stream) - 1, escaped(text)
        text = text if len(text) <= width else text[: width - 1] + "…"
        self._stream.write("\r" + text + " " * max(0, self._drawn - len(text)))
        self._stream.flush()
        self._drawn = len(text)

    def _print_line(self, text: str) -> None:
        if self._live and self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0
        self._stream.write(escaped(text) + "\n")
        self._stream.flush()


def remaining_seconds(search: Search, elapsed: float, fte_before: float = 0.0) -> float | None:
    """Estimate the time left from the progress of this run; None while too little is known.

    Args:
        search: The search.
        elapsed: Seconds since the start of this run.
        fte_before: Compute spent by earlier runs, in full-training equivalents.
    """
    fte_here = search.budget.fte - fte_before
    if search.finished_here < LEAST_KNOWN or fte_here <= 0:
        return None
    return _fte_left(search) * elapsed / fte_here


def _fte_left(search: Search) -> float:
    """Compute still to be spent, if future trials cost as much as past ones."""
    config, epochs = search.config, search.spec.recipe.epochs
    runs = search.book.of(Role.FINALIST)
    left = float(_finalists_planned(search) * epochs - sum(run.epoch for run in runs))
    if search.phase == "trials":
        decided = _decided(search)
        spent = sum(trial.epochs_run for trial in search.book.searched)
        left += max(0, config.budget - len(decided)) * spent / max(1, len(decided))
    left = max(0.0, left / epochs)
    return left if config.max_fte is None else min(left, max(0.0, config.max_fte - search.budget.fte))


def _finalists_planned(search: Search) -> int:
    """The planned number of trainings of finalists."""
    chosen = search.budget.finalists if search.finalists.chosen is None else len(search.finalists.chosen)
    return chosen * search.config.seeds


def _decided(search: Search) -> list[Trial]:
    """The trials that count towards the budget and have ended or reached a rung."""
    running = {trial.key for trial in search.book.pending if not trial.passed}
    return [trial for trial in search.book.searched if trial.key not in running and counts_towards_budget(trial.cause)]


def _phase(search: Search) -> str:
    """The phase of the search, and its progress."""
    if search.phase == "test":
        return "testing the winner"
    if search.phase == "finalists":
        ended = search.book.of(Role.FINALIST, State.COMPLETE, State.FAILED)
        if search.finalists.chosen is not None:
            numbers = {trial.number for trial in search.finalists.chosen}
            ended = [run for run in ended if run.number in numbers]
        planned = _finalists_planned(search)
        return f"finalists {len(ended)}/{planned}" if planned else "choosing the winner"
    if any(trial.role == Role.PROXIES for trial in search.book.pending):
        return "scoring by proxies"
    phase = search.book.searched[-1].phase if search.book.searched else "families"
    decided, parts = _decided(search), search.config.parts
    if phase == "families" and search.planner.families:
        return f"families {sum(trial.phase == 'families' for trial in decided)}/{search.planner.families}"
    chosen_by = "start-up" if phase == "startup" else parts.sampler if parts.ranker == "none" else parts.ranker
    return f"{chosen_by} {len(decided)}/{search.config.budget}"


def _states(search: Search) -> str:
    """The numbers of trials that run, wait at a rung, were pruned or failed; zeros are left out."""
    trials = [trial for trial in search.book.searched if counts_towards_budget(trial.cause)]
    counts = {
        "run": sum(trial.state == State.RUNNING for trial in search.book.pending),
        "wait": sum(trial.state == State.PAUSED for trial in trials),
        "pruned": sum(trial.state == State.PRUNED for trial in trials),
        "failed": sum(trial.state == State.FAILED for trial in trials),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "run")


def _describe_parts(parts: Strategy) -> str:
    """The parts of a strategy in words."""
    words = [f"sampler {parts.sampler}", f"ranker {parts.ranker}", f"pruner {parts.pruner}"]
    words += [f"proxies {' + '.join(parts.proxies)}"] if parts.proxies else []
    words += ["families"] if parts.families else []
    words += ["local search"] if parts.local else []
    return ", ".join(words)


def _terminal_width(stream: TextIO) -> int:
    import os

    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
