"""The figures of a model on a split: by hand, by definition, and against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from runners.training.metrics import BINS, Metrics, metrics_of


def measure(predicted: list[int], confidence: list[float], labels: list[int], classes: int) -> Metrics:
    certain = torch.tensor(confidence)
    return metrics_of(torch.tensor(2.0), torch.tensor(predicted), certain, torch.tensor(labels), classes)


def drawn(images: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted classes, their probabilities and labels; rare classes are left out of some draws."""
    draws = torch.Generator().manual_seed(seed)
    frequency = torch.arange(1, classes + 1, dtype=torch.float32) ** 2
    labels = torch.multinomial(frequency, images, replacement=True, generator=draws)
    scores = torch.randn(images, classes, generator=draws)
    scores[torch.arange(images), labels] += 1.0
    confidence, predicted = scores.softmax(dim=1).max(dim=1)
    return predicted, confidence, labels


def test_by_hand():
    """Three images of class 0, one of class 1, none of class 2, which is predicted once.

    Recall is 2/3 and 1, so the balanced accuracy is 5/6. F1 is 2 * 2 / (3 + 2) = 0.8, 2 * 1 / (1 + 1) = 1 and 0. The
    confidences 0.9 and 0.9 are in the 14th bin, (13/15, 14/15], where one is right: a gap of 1 - 1.8; 0.5 is in the
    8th, right, a gap of 0.5; 0.6 in the 9th, (8/15, 9/15], right, a gap of 0.4.
    """
    found = measure([0, 0, 2, 1], [0.9, 0.5, 0.9, 0.6], [0, 0, 0, 1], 3)
    assert found.nll == 0.5
    assert found.accuracy == 0.75
    assert found.balanced_accuracy == pytest.approx(5 / 6)
    assert found.macro_f1 == pytest.approx((0.8 + 1 + 0) / 3)
    assert found.calibration_error == pytest.approx((0.8 + 0.5 + 0.4) / 4)


def test_the_accuracy_of_a_majority_is_not_that_of_its_classes():
    """Nine of ten images are of class 0, which is always predicted with the confidence 0.9: calibrated, and useless."""
    found = measure([0] * 10, [0.9] * 10, [0] * 9 + [1], 2)
    assert (found.accuracy, found.balanced_accuracy) == (0.9, 0.5)
    assert found.macro_f1 == pytest.approx((18 / 19 + 0) / 2)
    assert found.calibration_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("images", "classes"), [(7, 20), (500, 3), (1000, 10)])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:The number of unique classes")
def test_scikit_learn_agrees(images, classes, seed):
    predicted, confidence, labels = drawn(images, classes, seed)
    found = metrics_of(torch.tensor(0.0), predicted, confidence, labels, classes)
    truth, guesses = labels.numpy(), predicted.numpy()
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, guesses))
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(truth, guesses))
    assert found.macro_f1 == pytest.approx(reference.f1_score(truth, guesses, average="macro"))


def test_the_calibration_error_by_its_definition():
    """Guo et al. 2017, equations 2, 3 and 5: bins of equal width, open below."""
    predicted, confidence, labels = drawn(400, 10, 2)
    expected = 0.0
    for bin_ in range(BINS):
        inside = [i for i, p in enumerate(confidence.tolist()) if bin_ / BINS < p <= (bin_ + 1) / BINS]
        if inside:
            accuracy = sum(bool(predicted[i] == labels[i]) for i in inside) / len(inside)
            mean_confidence = math.fsum(confidence[i].item() for i in inside) / len(inside)
            expected += len(inside) / len(labels) * abs(accuracy - mean_confidence)
    found = metrics_of(torch.tensor(0.0), predicted, confidence, labels, 10)
    assert found.calibration_error == pytest.approx(expected, abs=1e-7)


def test_a_diverged_model_has_figures_too():
    """It is the NLL that says so: a confidence that is not a number must not be an error of its own."""
    found = measure([0, 0], [math.nan, math.nan], [0, 1], 2)
    assert found.accuracy == 0.5
    assert math.isnan(found.calibration_error)
