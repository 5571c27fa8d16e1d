"""ViT (https://arxiv.org/abs/2010.11929) and DeiT (https://arxiv.org/abs/2012.12877), which has its smaller models.

Reference code: timm `vision_transformer.py`.
"""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Attention, Dense
from search_space.size import Size
from search_space.zoo.entry import WITH_CLASS_TOKEN, Family, Published, Scaled, Variant


def vit(patch: int, dim: int, depth: int, heads: int, image_size: Size = 224) -> Architecture:
    """A class token and learned positions, then blocks of self-attention and a channel MLP."""
    block = (Branch(Attention(heads)), Branch(Dense("channel", 4 * dim)))
    return Architecture(
        image_size,
        patch,
        (Stage(depth, dim, block),),
        class_token=True,
        position="learned",
        pooling="class_token",
    )


_TABLE_1 = "arXiv 2010.11929, table 1"
_QUOTED = f"{_TABLE_1} (parameters); arXiv 2105.02723, table 1, quotes the accuracy"
FAMILY = Family(
    name="vit",
    title="ViT / DeiT",
    paper="https://arxiv.org/abs/2010.11929",
    change="The starting point: self-attention mixes the tokens, a class token collects what the head sees.",
    initialisation="truncated_normal",
    scaled=Scaled("vit_ti16", WITH_CLASS_TOKEN, {"mixer": "attention", "channel_ratio": 4, "order": "token_first"}),
    variants={
        "vit_ti16": Variant(
            partial(vit, 16, 192, 12, 3), Published(5.7, None, 72.2, "README of DeiT; arXiv 2105.02723, table 1")
        ),
        "vit_s16": Variant(
            partial(vit, 16, 384, 12, 6),
            Published(22, 4.6, 79.9, "README of DeiT; FLOPs from arXiv 2105.03404, table 1"),
            "the DeiT paper has an accuracy of 79.8",
        ),
        "vit_s32": Variant(partial(vit, 32, 384, 12, 6)),
        "vit_b16": Variant(
            partial(vit, 16, 768, 12, 12), Published(86, None, 77.9, _QUOTED), "the accuracy is at 384 pixels"
        ),
        "vit_b32": Variant(partial(vit, 32, 768, 12, 12)),
        "vit_l16": Variant(
            partial(vit, 16, 1024, 24, 16),
            Published(307, None, None, _TABLE_1),
            "the paper has one count for Large at all patch sizes",
        ),
        "vit_l32": Variant(partial(vit, 32, 1024, 24, 16), Published(307, None, 71.2, _QUOTED)),
        "vit_h14": Variant(partial(vit, 14, 1280, 32, 16), Published(632, None, None, _TABLE_1)),
    },
)
