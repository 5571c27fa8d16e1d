from __future__ import annotations

import pytest
import torch

from runners.data import Augmentation
from runners.training.augmentation import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_to_do_returns_the_images_themselves() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)

    assert augment(images, Augmentation(), generator()) is images


def test_shifts_move_whole_images_and_take_every_step_about_equally_often() -> None:
    images = torch.zeros(9000, 2, 5, 5, dtype=torch.uint8)
    images[:, 1, 2, 2] = 255  # one bright pixel in the middle of the second channel

    moved = augment(images, Augmentation(shift=1), generator())

    assert moved[:, 0].max() == 0
    assert (moved[:, 1].sum(dim=(1, 2)) == 255).all()
    heat = (moved[:, 1] == 255).sum(dim=0)
    assert heat[1:4, 1:4].sum() == 9000
    assert heat[1:4, 1:4].sub(1000).abs().max() < 150  # five deviations of a binomial (9000, 1/9)


def test_what_moves_in_is_black() -> None:
    images = torch.full((50, 1, 4, 4), 200, dtype=torch.uint8)

    moved = augment(images, Augmentation(shift=2), generator())

    assert set(moved.unique().tolist()) == {0, 200}


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8).expand(1000, 1, 1, 3)

    mirrored = augment(images, Augmentation(flip=True), generator()).flatten(1)

    assert {tuple(row) for row in mirrored.tolist()} == {(1, 2, 3), (3, 2, 1)}
    assert abs(int((mirrored[:, 0] == 3).sum()) - 500) < 80


@pytest.mark.parametrize("augmentation", [Augmentation(degrees=20, share=0.25), Augmentation(shift=1, share=0.25)])
def test_only_a_share_is_moved(augmentation: Augmentation) -> None:
    images = torch.randint(1, 256, (1000, 1, 6, 6), dtype=torch.uint8, generator=generator(5))

    moved = augment(images, augmentation, generator()).float()

    still = (moved - images).abs().amax(dim=(1, 2, 3)) < 0.01
    # A ninth of the images that are shifted by at most 1 are shifted by (0, 0).
    assert abs(int(still.sum()) - 750) < 100


def test_a_warp_turns_no_further_than_asked() -> None:
    images = torch.zeros(200, 1, 21, 21, dtype=torch.uint8)
    images[:, :, 10, :] = 255  # a horizontal line through the middle

    turned = augment(images, Augmentation(degrees=10), generator())[:, 0]

    ends = turned[:, :, 18].argmax(dim=1) - 10  # 8 pixels right of the middle: 8 tan(10 degrees) = 1.41
    assert ends.abs().max() <= 2
    assert ends.unique().numel() >= 3
    assert (turned[:, 10, 10] > 200).all()


def test_a_warp_can_mirror() -> None:
    images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
    images[:, :, :, 0] = 255

    mirrored = augment(images, Augmentation(shift=0.25, flip=True), generator())[:, 0]

    left, right = mirrored[:, 4, 0] > 100, mirrored[:, 4, 7] > 100
    assert (left ^ right).all()
    assert 20 < int(right.sum()) < 80


@pytest.mark.parametrize(
    "augmentation", [Augmentation(shift=2, flip=True), Augmentation(shift=0.5, degrees=5, scale=0.1)]
)
def test_the_generator_alone_decides(augmentation: Augmentation) -> None:
    images = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8, generator=generator(5))
    first = augment(images, augmentation, generator(1))
    torch.manual_seed(99)

    assert augment(images, augmentation, generator(1)).equal(first)
    assert not augment(images, augmentation, generator(2)).equal(first)
