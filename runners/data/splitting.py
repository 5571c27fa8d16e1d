"""Splits one set of labelled images into several, every class in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor


def stratified(labels: Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Disjoint random subsets in which every class has its share, within one image.

    The images of a class are shuffled and spread evenly over the interval from 0 to 1; the subsets are cut from the
    resulting order. The sizes are therefore exact, and the result depends only on `labels`, `sizes` and `seed`.

    Args:
        labels: (B,) int64.
        sizes: Number of images in each subset; at most B in total.
        seed: Seed of the shuffle.

    Returns:
        Indices of each subset in ascending order; leftover images are in none of them.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    place = torch.empty(len(labels), dtype=torch.float64)
    by_label = order[labels[order].argsort(stable=True)]
    for members in by_label.split(labels.unique(return_counts=True)[1].tolist()):
        # Every class starts at its own random offset; otherwise the first subset would get the first image of every
        # class.
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        place[members] = (torch.arange(len(members), dtype=torch.float64) + offset) / len(members)
    by_place = place.argsort(stable=True)
    return [by_place[start:end].sort().values for start, end in pairwise(accumulate(sizes, initial=0))]
