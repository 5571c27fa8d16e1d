"""Learning-curve extrapolation: the loss that a trial is expected to end with, from its curve and those of others.

A single validation loss is noisy in three ways. Each is corrected by what the study itself has seen:

    epochs      the loss jumps from epoch to epoch, so the last few are averaged
    images      a small validation split favours some architectures by chance, with every seed the same ones. The
                training loss is free of that, so it predicts the validation loss, and the validation loss is shrunk
                towards the prediction by as much as chance alone would explain (empirical Bayes)
    mixers      token mixers learn at different speeds, so fast starters that plateau would be favoured half-way. The
                mean change until the end of complete trials with the same mixer is added, shrunk while they are few

Losses are logarithms: differences between good models count as much as differences between bad ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.strategy.observed import Observed
from nas.strategy.problem import Goal

Array = NDArray[np.float64]

WINDOW = 0.15
"""Share of the epochs over which a loss is averaged, one epoch at least. Arbitrary."""
IMAGE_STD = 1.1
"""Standard deviation, over images, of the part of a model's loss that another model does not share, over its mean.

Measured on the 360 validation images of digits, as the standard deviation of the difference between two models' losses
(each over its mean) divided by the square root of 2: 1.1 on average over the ten pairs of five trained models, 0.8 to
1.4.
"""
MIN_TRIALS = 8
"""Trials that must have reached an epoch before validation losses are compared with training losses. Arbitrary."""
MIXER_PRIOR = 16.0
"""Weight of the mean over all mixers, as a pseudo-count of complete trials of one mixer. Arbitrary."""
REFIT = 0.1
"""Losses are compared again once this many more trials have reached an epoch, as a share. Arbitrary: it saves time."""
NEWEST = 512
"""At most this many trials, the newest, are compared. Arbitrary: the time grows with the square of their number."""
FLOOR = 1e-3
"""Losses below this count as equal. Arbitrary: it keeps logarithms finite."""


class LearningCurves:
    """Extrapolates the learning curves of a study's trials.

    Args:
        trials: All trials; grows during the search.
        epochs: Epochs of a full training.
        ideal: The lowest possible loss: logarithms are of the distance from it. None compares losses as they are.
        window: Share of the epochs over which a loss is averaged, one epoch at least.
        chance: Variance of a log validation loss due to the choice of validation images; 0 if it does not matter.
    """

    def __init__(
        self,
        trials: Sequence[Observed],
        epochs: int,
        ideal: float | None = 0.0,
        *,
        window: float = 0.0,
        chance: float = 0.0,
    ) -> None:
        self._trials, self._epochs = trials, epochs
        self._ideal, self._chance = ideal, chance
        self._window = max(1, round(window * epochs))
        self._means: dict[tuple[str, int], tuple[float, float]] = {}
        self._shrinkages: dict[int, tuple[int, Shrinkage]] = {}
        self._changes: dict[int, tuple[tuple[int, Shrinkage, Shrinkage], RemainingChange]] = {}
        self._last_epochs = Counter[int]()
        self._complete: list[Observed] = []

    @classmethod
    def of(
        cls, quality: Goal, trials: Sequence[Observed], epochs: int, validation_images: int | None
    ) -> LearningCurves:
        """Return the curves for an objective; only an NLL is smoothed and shrunk.

        Args:
            quality: The first objective.
            trials: All trials; grows during the search.
            epochs: Epochs of a full training.
            validation_images: Size of the validation split; None if it is not known, which counts as large.
        """
        ideal = quality.ideal if quality.direction == "minimize" else -quality.ideal
        if quality.name != "nll":
            return cls(trials, epochs, ideal)
        chance = IMAGE_STD**2 / validation_images if validation_images else 0.0
        return cls(trials, epochs, ideal, window=WINDOW, chance=chance)

    def losses(self, trials: Sequence[Observed], epoch: int) -> list[float]:
        """The smoothed and shrunk log losses of trials after an epoch that they have reached."""
        self._see()
        return self._losses(trials, epoch)

    def extrapolated(self, trials: Sequence[Observed], epoch: int) -> list[float]:
        """The log losses that trials are expected to end with, from their curves up to an epoch."""
        self._see()
        return self._extrapolated(trials, epoch)

    def final_losses(self, trials: Sequence[Observed]) -> list[float]:
        """The log losses that trials end with, or are expected to end with, from their whole curves."""
        self._see()
        found: dict[str, float] = {}
        for epoch in sorted({trial.epoch for trial in trials}):
            there = [trial for trial in trials if trial.epoch == epoch]
            found |= zip((trial.key for trial in there), self._extrapolated(there, epoch), strict=True)
        return [found[trial.key] for trial in trials]

    def _see(self) -> None:
        """Count the epochs that the trials have reached: once per call, as nothing changes during one."""
        self._last_epochs = Counter(trial.epoch for trial in self._trials)
        self._complete = [trial for trial in self._trials if trial.is_complete and trial.epoch >= self._epochs]

    def _losses(self, trials: Sequence[Observed], epoch: int) -> list[float]:
        shrinkage = self._shrinkage(epoch)
        return [shrinkage.apply(*self._mean_losses(trial, epoch)) for trial in trials]

    def _extrapolated(self, trials: Sequence[Observed], epoch: int) -> list[float]:
        change = self._remaining_change(epoch) if epoch < self._epochs else RemainingChange.NONE
        losses = self._losses(trials, epoch)
        ended = [trial.is_complete and trial.epoch == epoch for trial in trials]  # early, with no gain left
        pairs = zip(losses, trials, ended, strict=True)
        return [loss if is_end else loss + change(trial.family) for loss, trial, is_end in pairs]

    def _mean_losses(self, trial: Observed, epoch: int) -> tuple[float, float]:
        """Mean log loss over the window, and the log training loss at its end."""
        found = self._means.get((trial.key, epoch))
        if found is None:
            first = max(1, epoch - self._window + 1)
            loss = fmean(self._log(trial.losses[number]) for number in range(first, epoch + 1))
            train_loss = math.log(max(trial.train_loss(epoch), FLOOR)) if self._chance else 0.0
            found = self._means[trial.key, epoch] = loss, train_loss
        return found

    def _log(self, loss: float) -> float:
        return loss if self._ideal is None else math.log(max(loss - self._ideal, FLOOR))

    def _shrinkage(self, epoch: int) -> Shrinkage:
        if not self._chance:
            return Shrinkage.NONE
        count = sum(trials for last, trials in self._last_epochs.items() if last >= epoch)
        known = self._shrinkages.get(epoch)
        if known is None or count > (1 + REFIT) * known[0]:
            reached = [trial for trial in self._trials if trial.epoch >= epoch]
            points = np.array([self._mean_losses(trial, epoch) for trial in reached[-NEWEST:]]).reshape(-1, 2)
            known = self._shrinkages[epoch] = count, Shrinkage(points[:, 0], points[:, 1], self._chance)
        return known[1]

    def _remaining_change(self, epoch: int) -> RemainingChange:
        basis = len(self._complete), self._shrinkage(epoch), self._shrinkage(self._epochs)
        known = self._changes.get(epoch)
        if known is None or known[0] != basis:
            complete = [trial for trial in self._complete[-NEWEST:] if epoch in trial.losses]
            before, after = self._losses(complete, epoch), self._losses(complete, self._epochs)
            changes = [end - loss for loss, end in zip(before, after, strict=True)]
            known = self._changes[epoch] = basis, RemainingChange([trial.family for trial in complete], changes)
        return known[1]


class Shrinkage:
    """Shrinks log validation losses towards the values predicted from the training losses.

    The deviation from the prediction is partly real and partly chance, depending on which images are in the validation
    split. The real share is the share of the deviations' variance that chance does not explain (James and Stein, 1961,
    https://projecteuclid.org/euclid.bsmsp/1200512173). Slope and spread are medians (Theil and Sen,
    https://doi.org/10.1080/01621459.1968.10480934; the median absolute deviation), as some architectures hardly train.

    Args:
        losses: Log validation losses, of shape [n].
        training: Log training losses, of shape [n].
        chance: Variance of a log validation loss due to the choice of images.

    Attributes:
        real: The real share of a deviation, from 0 to 1.
    """

    NONE: ClassVar[Shrinkage]

    def __init__(self, losses: Array, training: Array, chance: float) -> None:
        self.real = 1.0
        self._slope = self._level = 0.0
        if len(losses) < MIN_TRIALS or not np.ptp(training):
            return
        from scipy.stats import theilslopes

        self._slope, self._level, _, _ = theilslopes(losses, training)
        deviations = losses - (self._level + self._slope * training)
        # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
        variance = (1.4826 * float(np.median(np.abs(deviations - np.median(deviations))))) ** 2
        self.real = max(0.0, 1.0 - chance / variance) if variance else 0.0

    def apply(self, loss: float, training: float) -> float:
        """A log validation loss, shrunk towards the value predicted from the training loss."""
        predicted = self._level + self._slope * training
        return float(predicted + self.real * (loss - predicted))


class RemainingChange:
    """The mean change of log losses from an epoch to the end of the training, by mixer.

    The mean of a mixer is shrunk towards the mean over all trials.

    Args:
        mixers: Mixers of complete trials.
        changes: Changes of their log losses.
    """

    NONE: ClassVar[RemainingChange]

    def __init__(self, mixers: Sequence[str], changes: Sequence[float]) -> None:
        by_mixer: dict[str, list[float]] = {}
        for mixer, change in zip(mixers, changes, strict=True):
            by_mixer.setdefault(mixer, []).append(change)
        self._overall = fmean(changes) if changes else 0.0
        self._by_mixer = {
            mixer: self._overall + (fmean(own) - self._overall) * len(own) / (len(own) + MIXER_PRIOR)
            for mixer, own in by_mixer.items()
        }

    def __call__(self, mixer: str) -> float:
        """The expected change of the log loss with a mixer."""
        return self._by_mixer.get(mixer, self._overall)


Shrinkage.NONE = Shrinkage(np.empty(0), np.empty(0), 0.0)
RemainingChange.NONE = RemainingChange([], [])
