"""The published names of weights: one map per family and source, from the names of this package.

Names of this package, as the maps write them: ``stem``, ``class_token``, ``position``, ``norm`` and ``head``; in a
branch ``norm``, ``op`` and ``gamma``. A name covers all names that begin with it, the longest one wins, and ``*``
matches a number. A Part is a tensor that is published in another layout: the copy goes into its view of the model's
tensor.

Sources: timm is https://github.com/huggingface/pytorch-image-models (1.0). Official are facebookresearch/deit
(resmlp_models.py), lukemelas/do-you-even-need-attention, houqb/VisionPermutator and DingXiaoH/RepMLP (repmlpnet.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from torch import Tensor

from search_space.architecture import Architecture, Branch, Norm
from search_space.errors import WeightsError, allowed
from search_space.ops import Attention, Dense, Gating, Permute, RepMLP

PublishedBy = Literal["timm", "official"]


class Part(NamedTuple):
    """A published tensor, and the view of ours that has its shape."""

    name: str
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor


Names = Mapping[str, str | Part | tuple[Part, ...]]


@dataclass(frozen=True)
class KeyMap:
    """The published names of one family.

    Attributes:
        net: Names outside blocks.
        branches: Names in each branch of a block.
        block: Prefix of these: the block is number `block` of all, and number `index` of those after
            `segment` downsamplings; the file has it as number `place` of its part `part`.
        inside: Names in a downsampling layer.
        downsample: Prefix of these: it is number `joint` of its kind, and the file's part `part`.
        norm: What all norms of the family are.
        resizes_position: Whether positions can be resized to another image size.
    """

    net: Names
    branches: tuple[Names, ...]
    block: str = "blocks.{block}."
    inside: Names = field(default_factory=dict)
    downsample: str = ""
    norm: Norm = "layernorm"
    resizes_position: bool = False


def _broadcast(vector: Tensor) -> Tensor:
    """(C) -> (1, 1, C)."""
    return vector.view(1, 1, -1)


def _pointwise(weight: Tensor) -> Tensor:
    """A linear layer as a 1 x 1 convolution, (O, I) -> (O, I, 1, 1)."""
    return weight[..., None, None]


def _grouped(weight: Tensor) -> Tensor:
    """S matrices as a 1 x 1 convolution of S groups, (S, N, N) -> (S N, N, 1, 1)."""
    return weight.view(-1, weight.shape[-1], 1, 1)


def _flat(bias: Tensor) -> Tensor:
    """(S, N) -> (S N)."""
    return bias.view(-1)


def _class_position(position: Tensor) -> Tensor:
    """(1, 1 + G^2, C) -> (1, 1, C)."""
    return position[:, :1]


def _grid_position(position: Tensor) -> Tensor:
    """(1, 1 + G^2, C) -> (1, C, G, G)."""
    side = round((position.shape[1] - 1) ** 0.5)
    return position[:, 1:].transpose(1, 2).view(1, -1, side, side)


_PATCH_EMBED: Names = {"stem": "patch_embed.proj", "norm": "norm", "head": "head"}
_STEM: Names = {"stem": "stem.proj", "norm": "norm", "head": "head"}


def _affine(name: str, view: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Names:
    """ResMLP's Affine."""
    return {"norm.weight": Part(f"{name}.alpha", view), "norm.bias": Part(f"{name}.beta", view)}


_TIMM_VIT = KeyMap(
    net={**_PATCH_EMBED, "class_token": "cls_token", "position": "pos_embed"},
    branches=(
        {"norm": "norm1", "op": "attn", "gamma": "ls1.gamma"},
        {"norm": "norm2", "op": "mlp", "gamma": "ls2.gamma"},
    ),
    resizes_position=True,
)
_TIMM_VIT_FC_NORM = replace(_TIMM_VIT, net={**_TIMM_VIT.net, "norm": "fc_norm"})
_TIMM_MIXER = KeyMap(
    net=_STEM,
    branches=({"norm": "norm1", "op": "mlp_tokens"}, {"norm": "norm2", "op": "mlp_channels"}),
)
_TIMM_RESMLP = KeyMap(
    net={**_STEM, **_affine("norm", _broadcast)},
    branches=(
        {**_affine("norm1", _broadcast), "op.fc1": "linear_tokens", "gamma": "ls1"},
        {**_affine("norm2", _broadcast), "op": "mlp_channels", "gamma": "ls2"},
    ),
    norm="affine",
)
_TIMM_GMLP = KeyMap(
    net=_STEM,
    branches=(
        {
            "norm": "norm",
            "op": "mlp_channels",
            "op.norm": "mlp_channels.gate.norm",
            "op.spatial": "mlp_channels.gate.proj",
        },
    ),
)
_OFFICIAL_RESMLP = KeyMap(
    net={**_PATCH_EMBED, **_affine("norm")},
    branches=(
        {**_affine("norm1"), "op.fc1": "attn", "gamma": "gamma_1"},
        {**_affine("norm2"), "op": "mlp", "gamma": "gamma_2"},
    ),
    norm="affine",
)
_OFFICIAL_FF_ONLY = KeyMap(
    net={
        **_PATCH_EMBED,
        "class_token": "cls_token",
        "position": (
            Part("pos_encoding.cls_pos_embed", _class_position),
            Part("pos_encoding.pos_embed", _grid_position),
        ),
    },
    branches=({"norm": "norm1", "op": "mlp1"}, {"norm": "norm2", "op": "mlp2"}),
)
_OFFICIAL_VIP = KeyMap(
    net=_PATCH_EMBED,
    branches=(
        {
            "norm": "norm1",
            **{"op.height": "attn.mlp_h", "op.width": "attn.mlp_w", "op.channel": "attn.mlp_c"},
            **{"op.reweight*": "attn.reweight.fc*", "op.proj": "attn.proj"},
        },
        {"norm": "norm2", "op": "mlp"},
    ),
    block="network.{part}.{place}.",
    inside={"conv": "proj"},
    downsample="network.{part}.",
)
_OFFICIAL_REPMLPNET = KeyMap(
    net={
        **{"stem.conv": "conv_embedding.conv", "stem.norm": "conv_embedding.bn"},
        **{"norm": "head_norm", "head": "head"},
    },
    branches=(
        {
            "norm": "prebn1",
            "op.gate*.weight": Part("repmlp_block.gp.fc*.weight", _pointwise),
            "op.gate*.bias": "repmlp_block.gp.fc*.bias",
            "op.weight": Part("repmlp_block.fc3.weight", _grouped),
            "op.bias": Part("repmlp_block.fc3.bias", _flat),
            "op.norm": "repmlp_block.fc3_bn",
            **{"op.local.conv*.conv": "repmlp_block.repconv*.conv", "op.local.conv*.norm": "repmlp_block.repconv*.bn"},
        },
        {
            "norm": "prebn2",
            "op.fc*.weight": Part("ffn_block.ffn_fc*.conv.weight", _pointwise),
            "op.norm*": "ffn_block.ffn_fc*.bn",
        },
    ),
    block="stages.{segment}.{index}.",
    inside={"conv.conv": "conv", "conv.norm": "bn"},
    downsample="embeds.{joint}.",
    norm="batchnorm",
)

KEY_MAPS: dict[tuple[str, PublishedBy], KeyMap] = {
    ("ViT", "timm"): _TIMM_VIT,
    ("Mixer", "timm"): _TIMM_MIXER,
    ("ResMLP", "timm"): _TIMM_RESMLP,
    ("gMLP", "timm"): _TIMM_GMLP,
    ("ResMLP", "official"): _OFFICIAL_RESMLP,
    ("FF-only", "official"): _OFFICIAL_FF_ONLY,
    ("ViP", "official"): _OFFICIAL_VIP,
    ("RepMLPNet", "official"): _OFFICIAL_REPMLPNET,
}
FAMILY_BY_BLOCK = {
    ("attention", "channel MLP"): "ViT",
    ("token MLP", "channel MLP"): "Mixer",
    ("token linear", "channel MLP"): "ResMLP",
    ("gating",): "gMLP",
    ("gating with attention",): "aMLP",
    ("channel MLP", "token MLP"): "FF-only",
    ("permute", "channel MLP"): "ViP",
    ("RepMLP", "channel MLP with batchnorm"): "RepMLPNet",
}
"""The families, by what the branches of their blocks compute."""


def find_key_map(architecture: Architecture, source: PublishedBy, published: Container[str] = ()) -> tuple[str, KeyMap]:
    """The family that an architecture belongs to by its structure, and the key map that fits the `published` names.

    Raises:
        WeightsError: If it belongs to no family, or there is no key map for it.
    """
    sources = list(dict.fromkeys(source for _, source in KEY_MAPS))
    if source not in sources:
        raise WeightsError(f"there are no key maps for weights from {source!r}; {allowed(source, sources)}")
    blocks = list(dict.fromkeys(tuple(map(_branch_kind, stage.block)) for stage in architecture.stages))
    family = FAMILY_BY_BLOCK.get(blocks[0]) if len(blocks) == 1 else None
    if family is None:
        text = " and ".join(" + ".join(block) for block in blocks)
        known = ", ".join(f"{' + '.join(block)} ({name})" for block, name in FAMILY_BY_BLOCK.items() if _sources(name))
        raise WeightsError(f"there is no key map for blocks of {text}; allowed: {known}")
    if source not in _sources(family):
        other = f"from {_sources(family)[0]!r}" if _sources(family) else "none"
        raise WeightsError(f"there is no key map for weights of {family} from {source!r}; allowed: {other}")
    key_map = KEY_MAPS[family, source]
    norms = [branch.norm for stage in architecture.stages for branch in stage.block] + [architecture.final_norm]
    for norm in norms:
        if norm not in (key_map.norm, "none"):
            raise WeightsError(f"the norms of {family} are {key_map.norm}; this model has {norm}")
    if key_map is _TIMM_VIT:
        if architecture.class_token and architecture.pooling == "gap":
            raise WeightsError("timm's global pooling leaves out the class token; this model's includes it")
        if "fc_norm.weight" in published:
            key_map = _TIMM_VIT_FC_NORM
    return family, key_map


def translate(names: Names, name: str) -> tuple[Part, ...]:
    """The published parts of the model's tensor `name`; () if there are none."""
    for pattern in sorted(names, key=len, reverse=True):
        match = re.fullmatch(re.escape(pattern).replace(r"\*", r"(\d+)") + r"((?:\..+)?)", name)
        if match:
            *numbers, rest = match.groups()
            value = names[pattern]
            parts = (Part(value),) if isinstance(value, str) else (value,) if isinstance(value, Part) else value
            return tuple(Part(part.name.replace("*", "{}").format(*numbers) + rest, part.view) for part in parts)
    return ()


def _branch_kind(branch: Branch) -> str:
    op = branch.op
    if isinstance(op, Dense):
        kind = f"{op.axis} {'linear' if op.hidden is None else 'MLP'}"
        return f"{kind} with batchnorm" if op.batchnorm else kind
    if isinstance(op, Gating) and op.attention_dim:
        return "gating with attention"
    return {Attention: "attention", Gating: "gating", Permute: "permute", RepMLP: "RepMLP"}.get(type(op), op.kind)


def _sources(family: str) -> list[PublishedBy]:
    return [source for name, source in KEY_MAPS if name == family]
