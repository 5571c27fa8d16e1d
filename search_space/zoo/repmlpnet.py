"""RepMLPNet (https://arxiv.org/abs/2112.11081). Reference code: DingXiaoH/RepMLP, `repmlpnet.py`.

The RepMLP of the paper's first version (https://arxiv.org/abs/2105.01883), a block inside a ResNet-50, is a different
system; its authors replaced it with this one.
"""

from collections.abc import Callable
from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Dense, RepMLP
from search_space.size import Size
from search_space.zoo.entry import WITH_GAP, Family, Published, Scaled, Variant

_EPS = 1e-5


def repmlpnet(dim: int, depths: tuple[int, ...], sharesets: tuple[int, ...], image_size: Size) -> Architecture:
    """Stages of RepMLP and a channel MLP, with BatchNorm throughout; each halves the grid and doubles the width."""
    stages = []
    for index, (depth, sets) in enumerate(zip(depths, sharesets, strict=True)):
        width = dim * 2**index
        ops = (RepMLP(sets), Dense("channel", 4 * width, batchnorm=True))
        block = tuple(Branch(op, "batchnorm", eps=_EPS) for op in ops)
        stages.append(Stage(depth, width, block, "conv2_bn_relu" if index else "none"))
    return Architecture(image_size, 4, tuple(stages), stem="conv_bn_relu", final_norm="batchnorm", final_eps=_EPS)


_SOURCE = "README of DingXiaoH/RepMLP (FLOPs are MACs of the deployed model)"
_T, _B, _D = (2, 2, 6, 2), (2, 2, 12, 2), (2, 2, 18, 2)
_MODELS = (
    # letter, image size, C, depths, S; parameters in millions, GFLOPs, top-1
    ("t", 224, 64, _T, (1, 4, 16, 128), (38.3, 2.8, 76.62)),
    ("t", 256, 64, _T, (1, 4, 16, 128), (58.7, 4.2, 77.44)),
    ("b", 224, 96, _B, (1, 4, 32, 128), (68.2, 6.7, 80.32)),
    ("b", 256, 96, _B, (1, 4, 32, 128), (96.5, 9.6, 81.03)),
    ("d", 256, 80, _D, (1, 4, 16, 128), (86.9, 8.6, 80.83)),
    ("l", 256, 96, _D, (1, 4, 32, 256), (117.7, 11.5, 81.68)),
)


def _variants() -> dict[str, Variant]:
    """Each model in its training form, then in its deployed form."""
    variants = {}
    for letter, size, dim, depths, sharesets, figures in _MODELS:
        name, make = f"repmlpnet_{letter}{size}", partial(repmlpnet, dim, depths, sharesets, image_size=size)
        published = Published(*figures, _SOURCE)
        variants[name] = Variant(make, published, "the published FLOPs are those of the deployed form")
        variants[f"{name} (deploy)"] = Variant(
            partial(_deployed, make), published, "the published parameters are those of the training form"
        )
    return variants


def _deployed(make: Callable[..., Architecture], **changes: int) -> Architecture:
    return make(**changes).deployed


FAMILY = Family(
    name="repmlp",
    title="RepMLPNet",
    paper="https://arxiv.org/abs/2112.11081",
    change="One matrix over all places of a map for each set of channels, trained beside convolutions merged into it.",
    initialisation="pytorch",
    scaled=Scaled(
        "repmlpnet_t224",
        {**WITH_GAP, "norm": "batchnorm", "conv_bn": True},
        {"mixer": "repmlp", "channel_ratio": 4, "order": "token_first"},
    ),
    variants=_variants(),
)
