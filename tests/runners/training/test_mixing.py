from __future__ import annotations

import random

import pytest
import torch

from runners.training.mixing import Mixing

LABELS = torch.arange(4).repeat(3)


def mixed(mixing: Mixing, draws: random.Random, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Batches of four images, each of the value of its label, after mixing; and their labels."""
    labels = LABELS[:count]
    images = labels.float()[:, None, None, None].repeat(1, 2, 6, 10)
    return images, mixing(images, labels, 4, draws)


def test_mixup_blends_a_batch_with_its_reverse_and_labels_alike():
    images, labels = mixed(Mixing(1.0, 0.0, 4), random.Random(0))

    by_hand = random.Random(0)
    for batch in range(3):
        by_hand_share = by_hand.betavariate(1.0, 1.0)
        for index in range(4):
            value = by_hand_share * index + (1 - by_hand_share) * (3 - index)
            torch.testing.assert_close(images[4 * batch + index], torch.full((2, 6, 10), value))
            expected = torch.zeros(4)
            expected[index] += by_hand_share
            expected[3 - index] += 1 - by_hand_share
            torch.testing.assert_close(labels[4 * batch + index], expected)


def test_cutmix_pastes_one_box_and_labels_have_its_area():
    images, labels = mixed(Mixing(0.0, 1.0, 4), random.Random(1))

    for index, (image, shares) in enumerate(zip(images, labels, strict=True)):
        own, other = index % 4, 3 - index % 4
        pasted = image == other
        assert (pasted | (image == own)).all()
        assert shares[other].item() == pytest.approx(pasted.float().mean().item())
        assert shares[own].item() == pytest.approx(1 - shares[other].item())
        box = pasted[0]
        assert box.any(dim=1).sum() * box.any(dim=0).sum() == box.sum()


def test_with_both_a_batch_gets_one_of_them():
    mixing, draws = Mixing(0.8, 1.0, 4), random.Random(2)

    kinds = [len(mixed(mixing, draws, 4)[0][0].unique()) == 1 for _ in range(200)]

    assert 60 < sum(kinds) < 140  # mixup leaves images of one value; a box may be empty


def test_labels_are_shares():
    _, labels = mixed(Mixing(0.8, 1.0, 4), random.Random(3))

    torch.testing.assert_close(labels.sum(dim=1), torch.ones(12))
    assert labels.min() >= 0
