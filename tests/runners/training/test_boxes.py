from __future__ import annotations

import pytest
import torch

from runners.training.boxes import erase, resized_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_crop_of_a_slope_is_a_slope_that_is_less_steep():
    """Of an image whose pixels grow by 1 from column to column, a crop of width w grows by w / 16."""
    images = torch.arange(16.0).expand(200, 1, 16, 16)

    cropped = resized_crop(images, 0.25, generator())

    steps = cropped[:, 0, 8, 4:12].diff(dim=1)  # away from the border
    assert steps.std(dim=1).max() < 1e-4
    widths = steps.mean(dim=1)
    assert widths.min() >= (0.25 * 3 / 4) ** 0.5 - 1e-3
    assert widths.max() <= 1 + 1e-3
    assert widths.std() > 0.1
    assert cropped.min() >= 0
    assert cropped.max() <= 15


def test_a_crop_that_keeps_everything_may_still_change_the_aspect():
    images = torch.randint(256, (50, 3, 8, 12), generator=generator(), dtype=torch.uint8)

    assert resized_crop(images, 1.0, generator()).shape == images.shape


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_boxes_are_erased_in_a_share_of_the_images(share):
    erased = torch.ones(2000, 2, 16, 24)

    erase(erased, share, generator())

    holes = (erased == 0).float()
    areas = holes[:, 0].mean(dim=(1, 2))
    assert (areas > 0).float().mean().item() == pytest.approx(share, abs=0.04)  # four deviations of a binomial
    assert holes[:, 0].equal(holes[:, 1])
    assert areas.max() < 0.4
    rows, columns = holes[:, 0].amax(dim=2).sum(dim=1), holes[:, 0].amax(dim=1).sum(dim=1)
    assert (rows * columns).equal(holes[:, 0].sum(dim=(1, 2)))  # each hole is a box
