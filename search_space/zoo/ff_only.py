"""FF-only (https://arxiv.org/abs/2105.02723). Reference code: lukemelas/do-you-even-need-attention."""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Dense
from search_space.size import Size, area, divided
from search_space.zoo.entry import WITH_CLASS_TOKEN, Family, Published, Scaled, Variant


def ff_only(patch: int, dim: int, depth: int, image_size: Size = 224) -> Architecture:
    """A channel MLP, then an MLP over the tokens (class token included), normalised over the tokens, both of ratio 4.

    Positions are learned on a 14 x 14 grid for every patch size, and resized in every forward pass.
    """
    tokens = area(divided(image_size, patch)) + 1
    block = (Branch(Dense("channel", 4 * dim)), Branch(Dense("token", 4 * tokens), norm_axis="token"))
    return Architecture(
        image_size,
        patch,
        (Stage(depth, dim, block),),
        class_token=True,
        position="learned",
        position_grid=14,
        pooling="class_token",
    )


_SOURCE = "arXiv 2105.02723, table 1"
FAMILY = Family(
    name="ff_only",
    title="FF-only",
    paper="https://arxiv.org/abs/2105.02723",
    change="ViT with a second MLP, over the transposed tokens, in place of attention, and the channel MLP first.",
    initialisation="truncated_normal",
    scaled=Scaled(
        "ff_only_ti16",
        WITH_CLASS_TOKEN,
        {"mixer": "mlp", "token_hidden": "4N", "token_norm": "token", "channel_ratio": 4, "order": "channel_first"},
    ),
    variants={
        "ff_only_ti16": Variant(partial(ff_only, 16, 192, 12), Published(7.7, None, 61.4, _SOURCE)),
        "ff_only_b16": Variant(partial(ff_only, 16, 768, 12), Published(62, None, 74.9, _SOURCE)),
        "ff_only_l32": Variant(partial(ff_only, 32, 1024, 24), Published(206, None, 71.4, _SOURCE)),
    },
)
