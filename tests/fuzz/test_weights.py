"""A thousand mutants of files of weights: loaded as a whole, or refused in one sentence with the model untouched."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from runners.training.weights import load_weights, save_weights
from search_space.architecture import Architecture, Branch, Stage
from search_space.models.building import build
from search_space.models.model import VisionModel
from search_space.models.published import load_published
from search_space.ops import Attention, Dense

VIT = Architecture(
    8,
    4,
    (Stage(1, 8, (Branch(Attention(2)), Branch(Dense("channel", 16)))),),
    classes=5,
    class_token=True,
    position="learned",
    pooling="class_token",
)
PUBLISHED = {
    **{"cls_token": (1, 1, 8), "pos_embed": (1, 5, 8), "patch_embed.proj.weight": (8, 3, 4, 4)},
    **{"patch_embed.proj.bias": (8,), "norm.weight": (8,), "norm.bias": (8,), "head.weight": (5, 8), "head.bias": (5,)},
    **{f"blocks.0.{name}.{kind}": (8,) for name in ("norm1", "norm2") for kind in ("weight", "bias")},
    **{"blocks.0.attn.qkv.weight": (24, 8), "blocks.0.attn.qkv.bias": (24,)},
    **{"blocks.0.attn.proj.weight": (8, 8), "blocks.0.attn.proj.bias": (8,)},
    **{"blocks.0.mlp.fc1.weight": (16, 8), "blocks.0.mlp.fc1.bias": (16,)},
    **{"blocks.0.mlp.fc2.weight": (8, 16), "blocks.0.mlp.fc2.bias": (8,)},
}
"""timm's names and shapes of the weights of this ViT."""

HEADER_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 1.5, "", "x" * 3000, "a\nb", "\x1b[2J", [], {}, [[]]),
    *(
        [0, 0],
        [0, 2**62],
        [8, 0],
        [-4, 4],
        [2**63],
        [0] * 200,
        [8, -8],
        {"dtype": "F32", "shape": [], "data_offsets": []},
    ),
    *("F64", "F16", "BF16", "I8", "I64", "U64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "F32", "Q7"),
    *('{"mean": [0.5], "std": [0.5]}', '{"mean": 1, "std": 2}', '{"mean": [0.5, 0.5, 0.5], "std": [1, 1, NaN]}'),
    *('{"mean": ["a"], "std": []}', '{"mean": [0, 0, 0], "std": [0, 0, 0]}', "[]", "{", "null", "[" * 5000),
)


def mutants_of_safetensors(rng: random.Random, data: bytes) -> bytes:
    """One mutant of a file: of its header's length, its header, or any bytes."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    kind = rng.randrange(10)
    if kind == 0:
        length = rng.choice((0, 1, length - 1, length + 1, length * 2, 2**31, 2**40, 2**63, 2**64 - 1, len(data)))
        return length.to_bytes(8, "little") + data[8:]
    if kind == 1:
        return data[: rng.randrange(len(data))]
    if kind == 2:
        return data + bytes(rng.randrange(1, 100))
    if kind == 3:
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 4:
        at = rng.randrange(8, 8 + length)
        return data[:at] + rng.randbytes(3) + data[at + 3 :]
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(header))
        entry = header[name]
        match rng.randrange(5):
            case 0:
                del header[name]
                if not header:
                    break
            case 1:
                header[rng.choice(("", "x" * 3000, "a\nb", "\x1b[2J", "__metadata__", name + ".weight"))] = header.pop(
                    name
                )
            case 2:
                header[name] = copy.deepcopy(header[rng.choice(sorted(header))])
            case 3 if isinstance(entry, dict) and entry:
                entry[rng.choice(sorted(entry))] = rng.choice(HEADER_VALUES)
            case _:
                header[name] = rng.choice(HEADER_VALUES)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def mutants_of_archives(rng: random.Random, data: bytes) -> bytes:
    """One mutant of what torch.save wrote, in either of its formats."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.choice((1, 50))]
            case 2:
                out[at:at] = rng.randbytes(4)
            case 3:
                del out[at:]
        if not out:
            break
    return bytes(out)


class Runs:
    """Runs code when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def disguised(canary: Path) -> Iterator[bytes]:
    """Pickles that would create the canary, in every format of weights."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps({"state_dict": Runs(canary)}, protocol)
        yield pickle.dumps([Runs(canary)], protocol)
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save({"weight": torch.zeros(2), "other": Runs(canary)}, buffer, _use_new_zipfile_serialization=new)
        yield buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Runs(canary), 2))
        archive.writestr("archive/version", "3\n")
    yield buffer.getvalue()
    script = torch.jit.script(torch.nn.Linear(2, 2))
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    yield buffer.getvalue()


@pytest.fixture
def published() -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=draws) for name, shape in PUBLISHED.items()}


@pytest.fixture
def tried(outcome, tmp_path) -> Callable[..., Counter]:
    """Load files into one model, which must stay unchanged whenever one is refused."""

    def run(load: Callable[[VisionModel, Path], Any], files: Iterator[bytes], suffix: str) -> Counter[bool]:
        model, ends, path = build(VIT), Counter[bool](), tmp_path / f"mutant{suffix}"
        for content in files:
            path.write_bytes(content)
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            found = outcome(lambda: load(model, path))
            ends[found is not None] += 1
            if found is None:
                same = all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
                assert same, "the model was changed by weights that were refused"
        return ends

    return run


def used(model: VisionModel, path: Path) -> Any:
    """Load our own weights, and check that what they say of the images can be computed with."""
    mean, std = load_weights(model, path)
    assert torch.isfinite(
        (torch.zeros(3, 8, 8) - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    ).all()
    return mean


def test_our_own_weights(tried, fuzz, tmp_path):
    save_weights(build(VIT), tmp_path / "whole", (0.25, 0.5, 0.5), (0.5, 0.5, 0.5))
    whole = (tmp_path / "whole").read_bytes()
    files = (mutants_of_safetensors(random.Random(f"own {number}"), whole) for number in range(fuzz(500)))
    ends = tried(used, files, "")
    assert min(ends[True], ends[False]) > 20, ends


@pytest.mark.parametrize("strict", [True, False])
def test_published_safetensors(tried, fuzz, published, strict):
    whole = save(published)
    files = (mutants_of_safetensors(random.Random(f"theirs {number}"), whole) for number in range(fuzz(200)))
    ends = tried(lambda model, path: load_published(model, path, strict=strict), files, ".safetensors")
    assert min(ends[True], ends[False]) > 10, ends


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_published_archives(tried, fuzz, published, new):
    buffer = io.BytesIO()
    torch.save({"state_dict": published, "epoch": 3}, buffer, _use_new_zipfile_serialization=new)
    files = (mutants_of_archives(random.Random(f"{new} {number}"), buffer.getvalue()) for number in range(fuzz(200)))
    ends = tried(load_published, files, ".pth")
    assert ends[False] > 10, ends


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".pth"])
def test_pickles_in_disguise_are_not_run(tried, canary, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about the age of its script format
        files = list(disguised(canary))
    load = load_weights if not suffix else load_published
    ends = tried(load, iter(files), suffix)
    assert ends[True] == 0
