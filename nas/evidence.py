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
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from nas.objectives import Objective
from nas.trial import Trial
from results.schema import State

Array = NDArray[np.float64]

WINDOW = 0.15
"""Share of the epochs over which a loss is averaged, one epoch at least."""
SPREAD = 1.1
"""Standard deviation, over images, of how much two models' losses differ beyond their means, over those means.

Measured on the validation images of digits: mean 1.1 of the ten pairs of five trained models, 0.8 to 1.4.
"""
FEWEST = 8
"""Trials that have come as far, before validation losses are compared with training losses."""
TRUST = 16.0
"""So many trials of a mixer have to have been completed before half of their own gain counts, not everybody's."""
FLOOR = 1e-3
"""Least loss that is told from a smaller one."""


class Evidence:
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
        self._chance = 0.0 if validation_images is None else SPREAD**2 / validation_images
        self._known: dict[tuple[str, int], tuple[float, float]] = {}
        self._lines: dict[int, tuple[int, Line]] = {}
        self._gains: tuple[int, dict[int, Gains]] = (0, {})

    def at(self, trial: Trial, epoch: int) -> float:
        """The log loss of a trial after an epoch that it has reached, as far as the curves tell."""
        loss, expected_from = self._means(trial, epoch)
        if not self._is_nll or not self._chance:
            return loss
        return self._line(epoch).draw(loss, expected_from)

    def end(self, trial: Trial) -> float:
        """The log loss that a trial ends with, or is expected to end with."""
        if trial.epoch >= self._epochs:
            return self.at(trial, self._epochs)
        return self.expected_end(trial, trial.epoch)

    def expected_end(self, trial: Trial, epoch: int) -> float:
        """The log loss that a trial is expected to end with, by its curve up to an epoch."""
        return self.at(trial, epoch) + self._gain(epoch)(trial.family)

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
        reached = [trial for trial in self._trials if trial.epoch >= epoch]
        known = self._lines.get(epoch)
        if known is None or known[0] != len(reached):
            points = np.array([self._means(trial, epoch) for trial in reached]).reshape(-1, 2)
            known = self._lines[epoch] = len(reached), Line(points[:, 0], points[:, 1], self._chance)
        return known[1]

    def _gain(self, epoch: int) -> Gains:
        complete = [trial for trial in self._trials if trial.state == State.COMPLETE and trial.epoch >= self._epochs]
        if self._gains[0] != len(complete):
            self._gains = len(complete), {}
        if epoch not in self._gains[1]:
            changes = [(trial.family, self.at(trial, self._epochs) - self.at(trial, epoch)) for trial in complete]
            self._gains[1][epoch] = Gains(changes)
        return self._gains[1][epoch]


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

    def __init__(self, losses: Array, training: Array, chance: float) -> None:
        self.real = 1.0
        self._slope = self._level = 0.0
        if len(losses) < FEWEST:
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
        changes: Mixer and change of every complete trial.
    """

    def __init__(self, changes: Sequence[tuple[str, float]]) -> None:
        by_mixer: dict[str, list[float]] = {}
        for mixer, change in changes:
            by_mixer.setdefault(mixer, []).append(change)
        self._overall = fmean(change for _, change in changes) if changes else 0.0
        self._by_mixer = {
            mixer: self._overall + (fmean(own) - self._overall) * len(own) / (len(own) + TRUST)
            for mixer, own in by_mixer.items()
        }

    def __call__(self, mixer: str) -> float:
        """The expected change of the log loss of a mixer."""
        return self._by_mixer.get(mixer, self._overall)
