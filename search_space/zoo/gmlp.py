"""gMLP and aMLP (https://arxiv.org/abs/2105.08050). Reference code: timm `mlp_mixer.py`, lucidrains/g-mlp-pytorch.

The paper has aMLP for language only; the vision models here add its attention of width 64 to the gMLP of each size.
"""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Gating
from search_space.size import Size
from search_space.zoo.entry import WITH_GAP, Family, Published, Scaled, Variant


def gmlp(dim: int, attention_dim: int = 0, image_size: Size = 224) -> Architecture:
    """30 blocks of one branch, a channel MLP whose hidden units are gated by a linear map over the tokens."""
    block = (Branch(Gating(6 * dim, attention_dim=attention_dim)),)
    return Architecture(image_size, 16, (Stage(30, dim, block),))


_QUOTED = "arXiv 2105.08050, as quoted elsewhere"
_NO_FIGURES = "the paper has no vision results for aMLP"
FAMILY = Family(
    name="gmlp",
    title="gMLP / aMLP",
    paper="https://arxiv.org/abs/2105.08050",
    change="One branch does both: inside a channel MLP, half the hidden units gate the other half across tokens.",
    flops_per_mac=2,
    initialisation="xavier",
    scaled=Scaled("gmlp_ti16", WITH_GAP, {"mixer": "gating", "expansion": 6, "attention_dim": 0, "channel_ratio": 0}),
    variants={
        "gmlp_ti16": Variant(partial(gmlp, 128), Published(5.9, None, 72.3, _QUOTED)),
        "gmlp_s16": Variant(partial(gmlp, 256), Published(19.5, None, 79.6, _QUOTED)),
        "gmlp_b16": Variant(
            partial(gmlp, 512),
            Published(73.4, 31.6, 81.6, "arXiv 2105.08050, as listed by paperswithcode"),
            "timm's model of this name has 73.08M parameters as ours; the paper's 73.4M are not broken down",
        ),
        "amlp64_ti16": Variant(partial(gmlp, 128, 64), note=_NO_FIGURES),
        "amlp64_s16": Variant(partial(gmlp, 256, 64), note=_NO_FIGURES),
        "amlp64_b16": Variant(partial(gmlp, 512, 64), note=_NO_FIGURES),
    },
)
