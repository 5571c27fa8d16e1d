"""What learning curves say about architectures, beyond the last number on them.

Three things blur the validation loss of one training, and each is corrected by what the study itself has seen:

    epochs      the loss jumps from epoch to epoch: the mean over the last few is taken
    images      a small validation split favours some architectures by chance, with every seed the same ones; the
                training loss is not blurred by that, so it says what to expect, and the validation loss is drawn
                towards it by as much as chance alone would explain (empirical Bayes)
    mixers      token mixers learn at different speeds, so that comparing them half-way favours the fast ones: what
                trials of a mixer have still gained from there is added, shrunk while there are few

All losses are logarithms: differences of good models count as much as those of bad ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.strategy.trial import Trial
from results.database.schema import State
from results.report.objectives import Objective

Array = NDArray[np.float64]

WINDOW = 0.15
"""Share of the epochs over which a loss is averaged, one epoch at least."""
SPREAD = 1.1
"""Standard deviation, over images, of a model's loss beyond what it shares with another model's, over its mean.

Measured on the 360 validation images of digits as that of the difference of two models' losses, each over its mean,
over the root of 2: mean 1.1 of the ten pairs of five trained models, 0.8 to 1.4.
"""
FEWEST = 8
"""Trials that have come as far, before validation losses are compared with training losses."""
TRUST = 16.0
"""So many trials of a mixer have to have been completed before half of their own gain counts, not everybody's."""
REFIT = 0.1
"""Losses are compared anew once so many more trials have come as far, as a share."""
NEWEST = 512
"""So many trials are compared at most, the newest: comparing losses takes the square of their number, and everything is
compared again and again while the study grows."""
FLOOR = 1e-3
"""Least loss that is told from a smaller one."""


class LearningCurves:
    """Reads the curves of a study's trials.

    Args:
        trials: All of them; grows while the search goes on.
        objective: The quality.
        epochs: Epochs of a full training.
        validation_images: Size of the validation split; None if it is not known, then it is taken to be large.
    """

    def __init__(
        self, trials: Sequence[Trial], objective: Objective, epochs: int, validation_images: int | None
    ) -> None:
        self._trials, self._epochs = trials, epochs
        self._least = 0.0 if objective.direction == "minimize" else -1.0  # of a loss: NLL, or minus the accuracy
        self._is_nll = objective.name == "nll"
        self._window = max(1, round(WINDOW * epochs)) if self._is_nll else 1
        self._chance = SPREAD**2 / validation_images if validation_images and self._is_nll else 0.0
        self._known: dict[tuple[str, int], tuple[float, float]] = {}
        self._lines: dict[int, tuple[int, Line]] = {}
        self._gains: dict[int, tuple[tuple[int, Line, Line], Gains]] = {}
        self._come = Counter[int]()  # trials by their last epoch
        self._complete: list[Trial] = []

    def at(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        """The log losses of trials after an epoch that they have reached, as far as the curves tell."""
        self._count()
        return self._at(trials, epoch)

    def _at(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        line = self._line(epoch)
        return [line.draw(*self._means(trial, epoch)) for trial in trials]

    def expected_ends(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        """The log losses that trials are expected to end with, by their curves up to an epoch."""
        self._count()
        return self._expected_ends(trials, epoch)

    def _expected_ends(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        gain = self._gain(epoch) if epoch < self._epochs else Gains.NONE
        losses = self._at(trials, epoch)
        return [loss + gain(trial.family) for loss, trial in zip(losses, trials, strict=True)]

    def ends(self, trials: Sequence[Trial]) -> list[float]:
        """The log losses that trials end with, or are expected to end with by all that is known of them."""
        self._count()
        ends: dict[str, float] = {}
        for epoch in sorted({trial.epoch for trial in trials}):
            as_far = [trial for trial in trials if trial.epoch == epoch]
            ends |= zip((trial.key for trial in as_far), self._expected_ends(as_far, epoch), strict=True)
        return [ends[trial.key] for trial in trials]

    def _count(self) -> None:
        """See how far the trials have come: once for every question, as nothing changes while it is answered."""
        self._come = Counter(trial.epoch for trial in self._trials)
        self._complete = [
            trial for trial in self._trials if trial.state == State.COMPLETE and trial.epoch >= self._epochs
        ]

    def _means(self, trial: Trial, epoch: int) -> tuple[float, float]:
        """Mean log loss over the window, and the log training loss at its end."""
        found = self._known.get((trial.key, epoch))
        if found is None:
            first = max(1, epoch - self._window + 1)
            losses = [trial.losses[number] for number in range(first, epoch + 1)]
            loss = fmean(math.log(max(value - self._least, FLOOR)) for value in losses)
            found = self._known[trial.key, epoch] = loss, math.log(max(trial.epochs[epoch - 1].train_loss, FLOOR))
        return found

    def _line(self, epoch: int) -> Line:
        if not self._chance:
            return Line.NONE
        count = sum(trials for come, trials in self._come.items() if come >= epoch)
        known = self._lines.get(epoch)
        if known is None or count > (1 + REFIT) * known[0]:
            reached = [trial for trial in self._trials if trial.epoch >= epoch]
            points = np.array([self._means(trial, epoch) for trial in reached[-NEWEST:]]).reshape(-1, 2)
            known = self._lines[epoch] = count, Line(points[:, 0], points[:, 1], self._chance)
        return known[1]

    def _gain(self, epoch: int) -> Gains:
        told_by = len(self._complete), self._line(epoch), self._line(self._epochs)
        known = self._gains.get(epoch)
        if known is None or known[0] != told_by:
            complete = self._complete[-NEWEST:]
            before, after = self._at(complete, epoch), self._at(complete, self._epochs)
            changes = [end - loss for loss, end in zip(before, after, strict=True)]
            known = self._gains[epoch] = told_by, Gains([trial.family for trial in complete], changes)
        return known[1]


class Line:
    """The validation losses to be expected by the training losses, and how far to trust a deviation from that.

    A deviation is partly real and partly the chance of which images are in the validation split. Its real share is
    estimated as what is left of the variance of all deviations after that of chance (James and Stein's shrinkage).
    Slope and spread are medians (Theil and Sen), as some architectures hardly train.

    Args:
        losses: Log validation losses, of shape [n].
        training: Log training losses, of shape [n].
        chance: Variance of a log validation loss by the chance of its images.
    """

    NONE: ClassVar[Line]

    def __init__(self, losses: Array, training: Array, chance: float) -> None:
        self.real = 1.0
        self._slope = self._level = 0.0
        if len(losses) < FEWEST or not np.ptp(training):
            return
        from scipy.stats import theilslopes

        self._slope, self._level, _, _ = theilslopes(losses, training)
        deviations = losses - (self._level + self._slope * training)
        variance = (1.4826 * float(np.median(np.abs(deviations - np.median(deviations))))) ** 2
        self.real = max(0.0, 1.0 - chance / variance) if variance else 0.0

    def draw(self, loss: float, training: float) -> float:
        """A log validation loss, drawn towards what the training loss lets expect."""
        expected = self._level + self._slope * training
        return float(expected + self.real * (loss - expected))


class Gains:
    """By how much log losses still fall from an epoch to the end of the training, by mixer.

    The mean of a mixer is shrunk towards that of all trials.

    Args:
        mixers: Mixers of complete trials.
        changes: Their changes.
    """

    NONE: ClassVar[Gains]

    def __init__(self, mixers: Sequence[str], changes: Sequence[float]) -> None:
        by_mixer: dict[str, list[float]] = {}
        for mixer, change in zip(mixers, changes, strict=True):
            by_mixer.setdefault(mixer, []).append(change)
        self._overall = fmean(changes) if changes else 0.0
        self._by_mixer = {
            mixer: self._overall + (fmean(own) - self._overall) * len(own) / (len(own) + TRUST)
            for mixer, own in by_mixer.items()
        }

    def __call__(self, mixer: str) -> float:
        """The expected change of the log loss of a mixer."""
        return self._by_mixer.get(mixer, self._overall)


Line.NONE = Line(np.empty(0), np.empty(0), 0.0)
Gains.NONE = Gains([], [])
