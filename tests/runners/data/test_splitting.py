from __future__ import annotations

import torch

from runners.data.splitting import stratified


def test_subsets_are_disjoint_and_have_exactly_the_sizes_asked_for() -> None:
    labels = torch.arange(7).repeat(9)

    parts = stratified(labels, (10, 20, 33), seed=0)

    assert [len(part) for part in parts] == [10, 20, 33]
    assert torch.cat(parts).sort().values.tolist() == list(range(63))


def test_every_class_has_its_share_to_within_one_image() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)

    (part,) = stratified(labels, (32,), seed=3)  # a fifth: 20, 10 and 2

    counts = labels[part].bincount().tolist()
    assert all(abs(count - share) <= 1 for count, share in zip(counts, (20, 10, 2), strict=True))


def test_only_the_seed_decides() -> None:
    labels = torch.arange(10).repeat(20)
    (first,) = stratified(labels, (50,), seed=1)
    torch.manual_seed(99)
    torch.rand(5)
    (again,) = stratified(labels, (50,), seed=1)
    (other,) = stratified(labels, (50,), seed=2)

    assert first.equal(again)
    assert not first.equal(other)
