"""The loss of a training: cross-entropy with the labels, and with a teacher's outputs if there is a teacher.

B images, K classes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from runners.data import Splits
from runners.recipe import Recipe, Teacher
from runners.teacher import WEIGHTS, digest, read_architecture
from runners.training.class_weights import balanced_weights
from runners.training.weights import load_weights
from search_space.errors import WeightsError
from search_space.models.building import build
from search_space.models.model import VisionModel


class Loss:
    """The mean loss of a batch.

    Args:
        recipe: Label smoothing, class weights, teacher, and how to learn from it.
        splits: The images, for their normalisation and the frequencies of their classes.
        devices: The devices that will compute it.

    Raises:
        WeightsError: If the teacher is missing, damaged, or another than the one of the study.
    """

    def __init__(self, recipe: Recipe, splits: Splits, devices: tuple[torch.device, ...]) -> None:
        self._recipe = recipe
        self._weights: dict[torch.device, Tensor] = {}
        if recipe.class_weights == "balanced":
            weights = balanced_weights(splits.train.labels, splits.info.classes)
            copies = [weights.to(device) for device in devices]
            self._weights = {copy.device: copy for copy in copies}  # "cuda" is the device "cuda:0"
        self._teachers: dict[torch.device, _TeacherOn] = {}
        if recipe.teacher is not None:
            for device in (torch.empty(0, device=each).device for each in devices):  # cuda is cuda:0
                self._teachers[device] = _TeacherOn(recipe.teacher, splits, device)

    def __call__(self, scores: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss.

        Args:
            scores: (B, K) float32, of the model that is trained.
            images: (B, C, H, W), as that model saw them.
            labels: (B,) int64, or (B, K) shares of classes.
        """
        loss = self._from_labels(scores, labels)
        if not self._teachers:
            return loss
        weight = self._recipe.teacher_weight
        return (1 - weight) * loss + weight * self._distilled(scores, self._teachers[scores.device](images))

    def _from_labels(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy with the labels. Weights apply to the shares of the classes, after smoothing and mixing."""
        smoothing = self._recipe.label_smoothing
        if not self._weights:
            return functional.cross_entropy(scores, labels, label_smoothing=smoothing)
        # Divided by the number of images, not by their weights: so the losses of parts of a batch add up.
        weights = self._weights[scores.device]
        return functional.cross_entropy(scores, labels, weights, label_smoothing=smoothing, reduction="sum") / len(
            labels
        )

    def _distilled(self, scores: Tensor, taught: Tensor) -> Tensor:
        """Soft: https://arxiv.org/abs/1503.02531, section 2; hard: https://arxiv.org/abs/2012.12877, equation 3."""
        if self._recipe.distillation == "hard":
            return functional.cross_entropy(scores, taught.argmax(dim=1))
        temperature = self._recipe.temperature
        log_shares, log_taught = ((each / temperature).log_softmax(dim=1) for each in (scores, taught))
        divergence = functional.kl_div(log_shares, log_taught, reduction="batchmean", log_target=True)
        return divergence * temperature**2


class _TeacherOn:
    """A teacher on a device; it sees the same images as the student, normalised as it was trained."""

    def __init__(self, teacher: Teacher, splits: Splits, device: torch.device) -> None:
        self._model, mean, std = _loaded(teacher, device)
        ours = (torch.tensor(each, device=device).view(-1, 1, 1) for each in (splits.mean, splits.std))
        theirs = (torch.tensor(each, device=device).view(-1, 1, 1) for each in (mean, std))
        (our_mean, our_std), (their_mean, their_std) = ours, theirs
        self._scale, self._shift = our_std / their_std, (our_mean - their_mean) / their_std

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        scores: Tensor = self._model(images * self._scale + self._shift)
        return scores


@lru_cache(maxsize=2)
def _loaded(teacher: Teacher, device: torch.device) -> tuple[VisionModel, tuple[float, ...], tuple[float, ...]]:
    """The model of a teacher, and the normalisation of its images; cached, as the trials of a study share it."""
    folder = Path(teacher.path)
    architecture = read_architecture(folder)
    if digest(folder) != teacher.sha256:
        raise WeightsError(f"the teacher in {folder} is not the one of the study: its files have changed")
    model = build(architecture, device=device)
    mean, std = load_weights(model, folder / WEIGHTS)
    return model.eval().requires_grad_(False), mean, std
