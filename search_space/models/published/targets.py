"""Where every published tensor goes: a key map applied to a model, layer by layer."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor

from search_space.architecture import Architecture
from search_space.models.model import VisionModel
from search_space.models.published.keys import KeyMap, translate


class Target(NamedTuple):
    """A tensor of a model, or a part of one, as it is published.

    Attributes:
        name: Its published name.
        view: What to copy into: it has the published shape and shares memory with the model.
        ours: The model's own name for the tensor.
    """

    name: str
    view: Tensor
    ours: str


def find_targets(model: VisionModel, key_map: KeyMap, published: Iterable[str]) -> tuple[list[Target], list[str]]:
    """Every tensor that the model expects to be published, in order; and its own names for those that never are.

    Args:
        model: The model to fill.
        key_map: The names of its family.
        published: The names in the file; in some repositories the layer numbers depend on them.
    """
    blocks, joints = _prefixes(model.architecture, key_map, published)
    targets: list[Target] = []
    unknown: list[str] = []
    for ours, tensor in model.state_dict().items():
        prefix, names, name = "", key_map.net, ours
        if ours.startswith("stages."):
            _, stage, layer, branch, rest = ours.split(".", 4)
            if int(layer) == 0 and int(stage) in joints:
                prefix, names, name = joints[int(stage)], key_map.inside, f"{branch}.{rest}"
            else:
                prefix, names, name = blocks[int(stage), int(layer)], key_map.branches[int(branch)], rest
        parts = translate(names, name)
        targets += [Target(prefix + part.name, part.view(tensor), ours) for part in parts]
        unknown += [] if parts else [ours]
    return targets, unknown


def _prefixes(
    architecture: Architecture, key_map: KeyMap, published: Iterable[str]
) -> tuple[dict[tuple[int, int], str], dict[int, str]]:
    """The published prefixes: of each block, by its stage and layer; of each downsampling, by its stage.

    An architecture merges neighbouring stages that are equal, so its stages may differ from the published ones. What
    counts are segments: all blocks between one downsampling and the next.
    """
    parts, number = _Parts(published), itertools.count()
    segment, index, places = 0, itertools.count(), parts.places(0)
    blocks: dict[tuple[int, int], str] = {}
    joints: dict[int, str] = {}
    for position, stage in enumerate(architecture.stages):
        entered = stage.downsample != "none"
        if entered:
            joints[position] = key_map.downsample.format(joint=segment, part=parts.joint(segment))
            segment += 1
            index, places = itertools.count(), parts.places(segment)
        for layer in range(entered, entered + stage.depth):
            part, place = next(places)
            blocks[position, layer] = key_map.block.format(
                block=next(number), segment=segment, index=next(index), part=part, place=place
            )
    return blocks, joints


class _Parts:
    """How a file numbers its parts: ``network.P.I`` is block I of part P, and ``network.P.proj`` a downsampling.

    If the file lacks what the model needs, it is treated like a file with one part per segment.
    """

    def __init__(self, published: Iterable[str]) -> None:
        self._joints: list[int] = []
        self._sizes: dict[int, int] = {}
        for name in published:
            if match := re.match(r"network\.(\d{1,6})\.(?:(\d{1,6})|proj)\.", name):
                part = int(match[1])
                if match[2]:
                    self._sizes[part] = max(self._sizes.get(part, 0), int(match[2]) + 1)
                elif part not in self._joints:
                    self._joints.append(part)
        self._joints.sort()

    def joint(self, number: int) -> int:
        """The part that is downsampling `number`."""
        return self._joints[number] if number < len(self._joints) else 2 * number + 1

    def places(self, segment: int) -> Iterator[tuple[int, int]]:
        """Part and place of every block after `segment` downsamplings; the last part is unlimited."""
        last = 2 * segment
        if segment <= len(self._joints):
            low = self._joints[segment - 1] if segment > 0 else -1
            high = self._joints[segment] if segment < len(self._joints) else math.inf
            inside = sorted(part for part in self._sizes if low < part < high)
            for part in inside[:-1]:
                yield from ((part, place) for place in range(self._sizes[part]))
            last = inside[-1] if inside else low + 1
        yield from ((last, place) for place in itertools.count())
