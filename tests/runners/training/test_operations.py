"""Every operation on a batch is compared with torchvision's on one image."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from runners.data.torchvision_import import import_torchvision
from runners.training import operations, pixels
from runners.training.operations import TRIVIAL_AUGMENT, Policy, operate, rand_augment

import_torchvision()
from torchvision.transforms import InterpolationMode  # noqa: E402
from torchvision.transforms.v2 import functional as reference  # noqa: E402

H, W = 20, 14
LEVELS = torch.tensor([0.0, 0.1, 0.3, 0.3, 0.7, 1.0])
SIGNS = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
POLICY = rand_augment(9)
affine = partial(
    reference.affine, angle=0.0, scale=1.0, interpolation=InterpolationMode.BILINEAR, translate=[0, 0], shear=[0.0, 0.0]
)


def images(channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (len(LEVELS), channels, H, W), generator=generator, dtype=torch.uint8)


def degrees(tangent: float) -> float:
    return math.degrees(math.atan(tangent))


# From an image, and a signed level, to what torchvision makes of it; see its RandAugment.
BY_TORCHVISION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "_shear_x": lambda image, level: affine(image, shear=[degrees(0.3 * level), 0.0], center=[0, 0]),
    "_shear_y": lambda image, level: affine(image, shear=[0.0, degrees(0.3 * level)], center=[0, 0]),
    "_shift_x": lambda image, level: affine(image, translate=[int(150 / 331 * W * level), 0]),
    "_shift_y": lambda image, level: affine(image, translate=[0, int(150 / 331 * H * level)]),
    "_rotate": lambda image, level: reference.rotate(image, 30 * level, interpolation=InterpolationMode.BILINEAR),
    "_brightness": lambda image, level: reference.adjust_brightness(image, 1 + 0.9 * level),
    "_colour": lambda image, level: reference.adjust_saturation(image, 1 + 0.9 * level),
    "_contrast": lambda image, level: reference.adjust_contrast(image, 1 + 0.9 * level),
    "_sharpness": lambda image, level: reference.adjust_sharpness(image, 1 + 0.9 * level),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BY_TORCHVISION)
def test_operations_equal_those_of_torchvision(name, channels):
    batch = images(channels)
    expected = [
        BY_TORCHVISION[name](image, level) for image, level in zip(batch, (LEVELS * SIGNS).tolist(), strict=True)
    ]

    found = getattr(operations, name)(batch.float(), LEVELS, SIGNS, POLICY)

    # torchvision rounds to bytes, some operations after every step
    torch.testing.assert_close(found, torch.stack(expected).float(), rtol=0, atol=2.0)


def test_bits_are_dropped_and_bright_pixels_inverted_as_by_torchvision():
    batch, dropped = images(), [0, 1, 2, 3, 4, 6]
    posterized = [reference.posterize(image, 8 - bits) for image, bits in zip(batch, dropped, strict=True)]

    assert pixels.posterize(batch.float(), torch.tensor(dropped)).equal(torch.stack(posterized).float())
    solarized = torch.stack([reference.solarize(image, 100.0) for image in batch]).float()
    assert pixels.solarize(batch.float(), torch.full((len(batch),), 100.0)).equal(solarized)


def test_histograms_are_stretched_and_equalized_as_by_torchvision():
    batch = images() // 3 + 20
    batch[0, 0] = 7  # a channel of one colour stays
    large = torch.randint(90, (2, 1, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)

    stretched = torch.stack([reference.autocontrast(image) for image in batch]).float()
    torch.testing.assert_close(pixels.autocontrast(batch.float()), stretched, rtol=0, atol=1.0)
    for each in (batch, large):
        equal = torch.stack([reference.equalize(image) for image in each]).float()
        assert pixels.equalize(each.float()).equal(equal)


@pytest.mark.parametrize("policy", [rand_augment(9), rand_augment(30), TRIVIAL_AUGMENT], ids=["9", "30", "trivial"])
@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (5, 3, 16, 24), (1, 4, 3, 3)])
def test_the_same_seeds_give_the_same_images(policy, shape):
    batch = torch.randint(256, shape, generator=torch.Generator().manual_seed(2)).float()

    first, second, other = (
        operate(batch, policy, torch.Generator().manual_seed(seed), random.Random(seed)) for seed in (0, 0, 1)
    )

    assert first.equal(second)
    assert first.shape == batch.shape
    assert first.min() >= 0
    assert first.max() <= 255
    assert len(batch) < 64 or not first.equal(other)


def test_images_keep_their_places_and_every_operation_gets_its_share(monkeypatch):
    """Each of 5 operations adds another number: small batches use all of them, too."""
    adders = [lambda images, levels, signs, policy, number=number: images + number for number in range(5)]
    monkeypatch.setattr(operations, "_OPERATIONS", tuple(adders))
    batch = torch.arange(0, 60, 10).float()[:, None, None, None]
    generator, draws = torch.Generator().manual_seed(0), random.Random(0)

    added = [operate(batch, Policy(1, 1.0, 0, 0, 0, 0, 0), generator, draws) - batch for _ in range(500)]

    numbers, counts = torch.cat(added).unique(return_counts=True)
    assert numbers.tolist() == [0, 1, 2, 3, 4]
    assert (counts - 600).abs().max() < 60  # 3000 images; fewer than a binomial's deviation of 22 times 3
