"""Learning-curve extrapolation against sums by hand: windows, Theil-Sen lines, James-Stein shares, changes by mixer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
import pytest

from nas.strategy.curves import FLOOR, IMAGE_STD, MIN_TRIALS, MIXER_PRIOR, LearningCurves, RemainingChange, Shrinkage
from nas.strategy.trial import Trial
from results.database.objectives import OBJECTIVES
from results.store.store import EpochRecord, NewEvaluation, Role, State

NLL, ACCURACY = OBJECTIVES["nll"], OBJECTIVES["accuracy"]

VARIANCE_BY_HAND = (1.4826 * 0.2) ** 2
"""Squared, the usual estimate of a standard deviation from the median of 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3 and 0.3."""
TRAINING = [0.0] * 4 + [1.0] * 4
LOSSES = [2.0 * place + 1.0 + off for place in (0, 1) for off in (-0.3, -0.1, 0.1, 0.3)]
"""Around 1 + 2 * training: the 16 slopes are spread evenly around 2, and the medians of both axes are 1/2 and 2."""


@pytest.fixture
def trained(space) -> Callable[..., Trial]:
    """A trial with the NLLs, and perhaps other training losses and accuracies, that it had epoch by epoch."""
    choices = {
        "patch": 2, "dim": 32, "pooling": "gap", "position": "learned", "norm": "layernorm", "layer_scale": None,
        "drop_path": 0.0, "stages": 1, "stage1.depth": 2, "stage1.channel_ratio": 2, "stage1.order": "token_first",
    }  # fmt: skip
    mixers = {
        "linear": {"stage1.mixer": "linear"},
        "attention": {"stage1.mixer": "attention", "stage1.heads": 2},
        "mlp": {"stage1.mixer": "mlp", "stage1.token_hidden": "C/2", "stage1.token_norm": "channel"},
    }
    made = []

    def make(
        nlls: Sequence[float],
        training: Sequence[float] | None = None,
        *,
        accuracies: Sequence[float] | None = None,
        mixer: str = "linear",
        state: State = State.PAUSED,
    ) -> Trial:
        architecture = space.decode(choices | mixers[mixer])
        number = len(made)
        new = NewEvaluation(f"trial-{number:04d}", Role.TRIAL, number, architecture, "random", {}, 0, len(nlls))
        trial = Trial(new, architecture)
        trial.state = state
        objective = NLL if accuracies is None else ACCURACY
        for epoch, nll in enumerate(nlls, start=1):
            loss = nll if training is None else training[epoch - 1]
            accuracy = 0.5 if accuracies is None else accuracies[epoch - 1]
            trial.epochs.append(EpochRecord(epoch, loss, nll, accuracy, 1.0))
            trial.losses[epoch] = objective.loss(trial.figures)
        made.append(trial)
        return trial

    return make


@pytest.fixture
def scattered(trained) -> list[Trial]:
    """Eight trials of one epoch with the log losses `LOSSES` and `TRAINING`."""
    return [trained([math.exp(loss)], [math.exp(x)]) for loss, x in zip(LOSSES, TRAINING, strict=True)]


# Epochs.


def test_the_last_epochs_are_averaged(trained):
    """0.15 of 20 epochs are three; of 2, 1 and 1/2 the mean logarithm is zero."""
    trial = trained([4.0, 2.0, 1.0, 0.5])
    curves = LearningCurves.of(NLL, [trial], 20, None)
    assert curves.losses([trial], 4) == [pytest.approx(0.0, abs=1e-12)]
    assert curves.losses([trial], 3) == [pytest.approx(math.log(2.0))]
    assert curves.losses([trial], 2) == [pytest.approx(1.5 * math.log(2.0))]  # there are no more than two
    assert curves.losses([trial], 1) == [pytest.approx(math.log(4.0))]


def test_of_short_trainings_one_epoch_counts(trained):
    trial = trained([4.0, 0.5])
    assert LearningCurves.of(NLL, [trial], 2, None).losses([trial], 2) == [pytest.approx(math.log(0.5))]


def test_accuracy_is_read_as_the_logarithm_of_the_error(trained):
    """Of its last epoch alone, and whatever the number of images: chance was measured for the NLL."""
    trials = [trained([9.0] * 3, accuracies=[0.5, 0.75, last]) for last in [0.875, 1.0] * MIN_TRIALS]
    curves = LearningCurves.of(ACCURACY, trials, 20, 10)
    assert curves.losses(trials[:2], 2) == [pytest.approx(math.log(0.25))] * 2
    assert curves.losses(trials[:2], 3) == pytest.approx([math.log(0.125), math.log(FLOOR)])


def test_a_loss_of_zero_has_a_logarithm(trained):
    trial = trained([0.0], [0.0])
    assert LearningCurves.of(NLL, [trial], 1, None).losses([trial], 1) == [pytest.approx(math.log(FLOOR))]


# Images.


@pytest.mark.parametrize(
    ("chance", "share"),
    [(0.0, 1.0), (VARIANCE_BY_HAND / 4, 0.75), (VARIANCE_BY_HAND / 2, 0.5), (VARIANCE_BY_HAND, 0.0), (1.0, 0.0)],
)
@pytest.mark.parametrize("last", [LOSSES[-1], 30.0])  # one that hardly trains changes neither slope nor spread
def test_a_deviation_counts_for_its_real_share(chance, share, last):
    line = Shrinkage(np.array([*LOSSES[:-1], last]), np.array(TRAINING), chance)
    assert line.real == pytest.approx(share)
    assert line.apply(1.3, 0.0) == pytest.approx(1.0 + 0.3 * share)
    assert line.apply(1.0, 0.5) == pytest.approx(2.0 - 1.0 * share)  # between those that it was fitted to
    assert line.apply(6.0, 3.0) == pytest.approx(7.0 - 1.0 * share)  # and beyond


def test_losses_on_a_line_are_left_there():
    training = np.arange(8.0)
    line = Shrinkage(3.0 - training / 2, training, 0.01)
    assert line.apply(3.0 - 1.25, 2.5) == pytest.approx(1.75)


def test_equal_training_losses_say_nothing():
    line = Shrinkage(np.array(LOSSES), np.full(8, 5.0), VARIANCE_BY_HAND)
    assert line.apply(1.0, 5.0) == 1.0


@pytest.mark.parametrize("images", [20, 100])
def test_a_small_validation_split_draws_losses_towards_the_line(scattered, images):
    share = 1 - IMAGE_STD**2 / images / VARIANCE_BY_HAND
    assert 0 < share < 1
    expected = [1.0 + 2.0 * x + share * (loss - 1.0 - 2.0 * x) for loss, x in zip(LOSSES, TRAINING, strict=True)]
    assert LearningCurves.of(NLL, scattered, 1, images).losses(scattered, 1) == pytest.approx(expected)


def test_one_that_is_large_or_unknown_leaves_them_as_they_are(scattered):
    assert LearningCurves.of(NLL, scattered, 1, 10**9).losses(scattered, 1) == pytest.approx(LOSSES, abs=1e-6)
    assert LearningCurves.of(NLL, scattered, 1, None).losses(scattered, 1) == pytest.approx(LOSSES, abs=1e-12)


def test_one_that_is_tiny_leaves_the_line_alone(scattered):
    """Of 13 images chance explains 0.093, more than the variance there is."""
    assert LearningCurves.of(NLL, scattered, 1, 13).losses(scattered, 1) == pytest.approx([1.0] * 4 + [3.0] * 4)


def test_fewer_than_a_handful_are_left_as_they_are(scattered):
    few = scattered[: MIN_TRIALS - 1]
    assert LearningCurves.of(NLL, few, 1, 13).losses(few, 1) == pytest.approx(LOSSES[: MIN_TRIALS - 1])


def test_trials_count_that_have_reached_the_epoch(trained, scattered):
    """A ninth that went further changes nothing at the second epoch, where it is alone."""
    further = trained([math.exp(9.0), math.exp(4.0)], [1.0, 1.0])
    curves = LearningCurves.of(NLL, [*scattered, further], 2, 13)
    assert curves.losses([further], 2) == [pytest.approx(4.0)]
    assert curves.losses([further], 1)[0] < 8.0


def test_it_takes_in_trials_that_come_later(scattered):
    trials = scattered[: MIN_TRIALS - 1]
    curves = LearningCurves.of(NLL, trials, 1, 13)
    assert curves.losses(trials, 1) == pytest.approx(LOSSES[: MIN_TRIALS - 1])
    trials.append(scattered[-1])
    assert curves.losses(trials, 1) == pytest.approx([1.0] * 4 + [3.0] * 4)


# Mixers.


def test_changes_are_shrunk_towards_those_of_all():
    """Two linear ones gain 1.0 and one MLP 0.4: all of them 0.8 on average."""
    change = RemainingChange(["linear", "linear", "mlp"], [-1.0, -1.0, -0.4])
    assert change("linear") == pytest.approx(-0.8 - 0.2 * 2 / (2 + MIXER_PRIOR))
    assert change("mlp") == pytest.approx(-0.8 + 0.4 * 1 / (1 + MIXER_PRIOR))
    assert change("gating") == pytest.approx(-0.8)  # nothing is known of it


def test_without_a_complete_trial_no_change_is_expected():
    assert RemainingChange([], [])("linear") == 0.0


@pytest.fixture
def study(trained) -> list[Trial]:
    """From the first epoch of four on linear ones fall to a quarter, twice, and an MLP to a half; others are not over.

    From the third epoch on they fall to 1/2, 1/2 and 1.
    """
    return [
        trained([8.0, 8.0, 4.0, 2.0], mixer="linear", state=State.COMPLETE),
        trained([4.0, 2.0, 2.0, 1.0], mixer="linear", state=State.COMPLETE),
        trained([2.0, 9.0, 1.0, 1.0], mixer="mlp", state=State.COMPLETE),
        trained([6.0], mixer="linear"),
        trained([5.0], mixer="attention"),
        trained([3.0, 3.0, 3.0], mixer="mlp"),
        trained([9.0, 0.1], mixer="mlp", state=State.FAILED),
        trained([9.0, 9.0, 9.0, 0.1], mixer="mlp", state=State.RUNNING),
    ]


def test_a_waiting_trial_is_expected_to_change_as_its_mixer_did(study):
    curves, unit = LearningCurves.of(NLL, study, 4, None), math.log(2.0)
    overall = -unit * 5 / 3
    linear, mlp = overall - unit / 3 * 2 / (2 + MIXER_PRIOR), overall + unit * 2 / 3 * 1 / (1 + MIXER_PRIOR)
    waiting = study[3:6]
    expected = [math.log(6.0) + linear, math.log(5.0) + overall, math.log(3.0) + mlp]
    assert curves.extrapolated(waiting, 1) == pytest.approx(expected)
    later = -unit * 2 / 3 + unit * 2 / 3 * 1 / (1 + MIXER_PRIOR)
    assert curves.final_losses(waiting) == pytest.approx([*expected[:2], math.log(3.0) + later])


def test_what_is_complete_ends_where_it_ended(study):
    curves = LearningCurves.of(NLL, study, 4, None)
    assert curves.final_losses(study[:3]) == pytest.approx([math.log(2.0), 0.0, 0.0])
    assert curves.extrapolated(study[:1], 1)[0] != pytest.approx(math.log(2.0))  # at a rung all are read alike


def test_what_ended_early_for_lack_of_gain_ends_there(trained, study):
    stalled = trained([9.0, 8.0, 7.0], state=State.COMPLETE)
    curves = LearningCurves.of(NLL, [*study, stalled], 4, None)

    (found,) = curves.final_losses([stalled])

    assert found == pytest.approx(math.log(7.0))


def test_changes_follow_what_is_completed_later(trained, study):
    curves, newcomer = LearningCurves.of(NLL, study, 4, None), study[4]
    before = curves.final_losses([newcomer])[0]
    study.append(trained([8.0, 8.0, 8.0, 8.0], mixer="attention", state=State.COMPLETE))
    own, overall = 0.0, -math.log(2.0) * 5 / 4
    expected = math.log(5.0) + overall + (own - overall) / (1 + MIXER_PRIOR)
    assert curves.final_losses([newcomer]) == [pytest.approx(expected)]
    assert expected > before


def test_changes_are_of_shrunk_losses(scattered, trained):
    """With eight complete trials at both epochs, chance also explains its share of the changes."""
    trials = [
        trained([math.exp(loss + 1.0), math.exp(loss)], [math.exp(x), math.exp(x)], state=State.COMPLETE)
        for loss, x in zip(LOSSES, TRAINING, strict=True)
    ]
    waiting = trained([math.exp(5.0)], [math.exp(1.0)])
    curves = LearningCurves.of(NLL, [*trials, waiting], 2, 13)
    start = curves.losses(trials, 1)
    expected = curves.losses([waiting], 1)[0] + fmean([1.0] * 4 + [3.0] * 4) - fmean(start)
    assert curves.final_losses([waiting]) == [pytest.approx(expected)]


def test_equal_trials_are_read_alike_whatever_was_asked_before(trained):
    """A study that is opened again gives the same answers as one that was also queried earlier, with fewer trials."""
    trials = [
        trained([math.exp(loss + 1.0), math.exp(loss)], [math.exp(x), math.exp(x)], state=State.COMPLETE)
        for loss, x in zip(LOSSES, TRAINING, strict=True)
    ]
    curves = LearningCurves.of(NLL, trials, 2, 20)
    asked = [curves.final_losses(trials)]
    for nll in (1.0, 40.0):
        trials.append(trained([nll], [math.exp(2.0)]))
        asked.append(curves.final_losses(trials))
    assert asked[-1] == LearningCurves.of(NLL, trials, 2, 20).final_losses(trials)
    assert asked[-1][8] != asked[-2][8]
