from __future__ import annotations

import pytest
import torch

from runners.data import Augmentation, Split
from runners.training import batches
from runners.training.batches import Normaliser, evaluation_batches, steps_per_epoch, training_batches
from runners.training.variation import Variation

CPU = torch.device("cpu")


def numbered(count: int) -> Split:
    """Image i is filled with i and has label i."""
    numbers = torch.arange(count)
    return Split(numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 2, 2).contiguous(), numbers)


def test_normalised_pixels_have_the_mean_and_deviation_asked_for() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)

    values = Normaliser((0.5, 0.2), (0.25, 0.4), CPU)(images)

    assert values.flatten().tolist() == pytest.approx([(0 - 0.5) / 0.25, (1 - 0.2) / 0.4])


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 2**20])
def test_an_epoch_shows_every_image_once_but_what_fills_no_batch(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk_bytes)
    split, unchanged = numbered(23), Normaliser((0.0,), (1 / 255,), CPU)

    epoch = list(training_batches(split, 5, unchanged, Variation(Augmentation()), torch.Generator().manual_seed(0)))

    assert len(epoch) == steps_per_epoch(split, 5) == 4
    assert all(len(labels) == 5 for _, labels in epoch)
    labels = torch.cat([labels for _, labels in epoch])
    assert len(labels.unique()) == 20
    assert labels.tolist() != sorted(labels.tolist())
    for images, expected in epoch:
        assert images[:, 0, 0, 0].tolist() == pytest.approx(expected.tolist())


def test_evaluation_shows_all_images_in_order() -> None:
    split = numbered(7)

    shown = [labels for _, labels in evaluation_batches(split, 3, Normaliser((0.0,), (1.0,), CPU), CPU)]

    assert [len(labels) for labels in shown] == [3, 3, 1]
    assert torch.cat(shown).equal(split.labels)
