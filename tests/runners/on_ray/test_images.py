"""Which images are sent to other nodes; that they arrive is tested on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runners.on_ray import images
from runners.protocol import DataSpec
from search_space.errors import DataError


@pytest.mark.parametrize(("nodes", "cache"), [([True, True], "disk"), ([True, True], "none"), ([True], "none")])
def test_what_all_nodes_have_is_not_sent(
    write_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: list[bool], cache: str
) -> None:
    root = write_images({name: [(number, 0, 0) for number in range(10)] for name in "ab"})
    monkeypatch.setattr(images, "on_every_node", lambda *_, **__: nodes)
    assert images.send(DataSpec(f"imagefolder:{root}", str(tmp_path), image_size=4, image_cache=cache)) is None


def test_images_that_are_not_stored_cannot_be_sent(
    write_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images({name: [(number, 0, 0) for number in range(10)] for name in "ab"})
    monkeypatch.setattr(images, "on_every_node", lambda *_, **__: [True, False])
    with pytest.raises(DataError, match="cannot be sent to other nodes; have their folder at the same path on all"):
        images.send(DataSpec(f"imagefolder:{root}", str(tmp_path), image_size=4, image_cache="none"))
