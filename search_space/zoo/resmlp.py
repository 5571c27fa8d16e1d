"""ResMLP (https://arxiv.org/abs/2105.03404). Reference code: facebookresearch/deit, and timm `ResBlock`.

The paper's equations end a branch in Aff(alpha, beta); its code and counts have only alpha, here `layer_scale`.
"""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Dense
from search_space.size import Size
from search_space.zoo.entry import WITH_GAP, Family, Published, Scaled, Variant


def resmlp(patch: int, dim: int, depth: int, layer_scale: float, image_size: Size = 224) -> Architecture:
    """Blocks of one linear layer over the tokens and a channel MLP; affine in place of norm, and a scaled residual."""
    ops = (Dense("token"), Dense("channel", 4 * dim))
    block = tuple(Branch(op, "affine", layer_scale=layer_scale) for op in ops)
    return Architecture(image_size, patch, (Stage(depth, dim, block),), final_norm="affine")


_TABLE_3 = "arXiv 2105.03404, table 3"
FAMILY = Family(
    name="resmlp",
    title="ResMLP",
    paper="https://arxiv.org/abs/2105.03404",
    change="A single linear layer over the tokens, and a learned scale and shift (Affine) in place of LayerNorm.",
    initialisation="truncated_normal",
    scaled=Scaled(
        "resmlp_s12",
        {**WITH_GAP, "norm": "affine", "layer_scale": 0.1},
        {"mixer": "linear", "channel_ratio": 4, "order": "token_first"},
    ),
    variants={
        "resmlp_s12": Variant(
            partial(resmlp, 16, 384, 12, 0.1),
            Published(15.4, 3.0, 76.6, _TABLE_3),
            "timm starts the layer scale at 1e-4, the official code at 0.1",
        ),
        "resmlp_s24": Variant(partial(resmlp, 16, 384, 24, 1e-5), Published(30.0, 6.0, 79.4, _TABLE_3)),
        "resmlp_s36": Variant(
            partial(resmlp, 16, 384, 36, 1e-6),
            Published(44.7, 8.9, 79.7, "arXiv 2105.03404, table D.3"),
            "the 116M parameters and 23 GFLOPs in the README of DeiT are those of B24",
        ),
        "resmlp_b24_16": Variant(partial(resmlp, 16, 768, 24, 1e-6), Published(115.7, 23.0, 81.0, _TABLE_3)),
        "resmlp_b24_8": Variant(
            partial(resmlp, 8, 768, 24, 1e-6), Published(129.1, 100.2, 81.0, _TABLE_3), "83.6 with distillation"
        ),
    },
)
