"""Vision Permutator (https://arxiv.org/abs/2106.12368). Reference code: houqb/VisionPermutator, `models/vip.py`."""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Dense, Permute
from search_space.size import Size, divided
from search_space.zoo.entry import WITH_GAP, Family, Published, Scaled, Variant

_EPS = 1e-5


def vip(
    patch: int,
    depths: tuple[int, ...],
    dims: tuple[int, ...],
    halved_after: int | None = None,
    image_size: Size = 224,
) -> Architecture:
    """Stages of weighted permute-MLP and a channel MLP of ratio 3; a 2 x 2 convolution follows stage `halved_after`."""
    grid, stages = divided(image_size, patch), []
    for index, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
        entered_by_conv = halved_after is not None and index == halved_after
        grid = divided(grid, 2) if entered_by_conv else grid
        block = (Branch(Permute(grid), eps=_EPS), Branch(Dense("channel", 3 * dim), eps=_EPS))
        stages.append(Stage(depth, dim, block, "conv2" if entered_by_conv else "none"))
    return Architecture(image_size, patch, tuple(stages), final_eps=_EPS)


_SOURCE = "README of houqb/VisionPermutator (parameters, accuracy); FLOPs as quoted in a README of a model zoo"
FAMILY = Family(
    name="vip",
    title="Vision Permutator",
    paper="https://arxiv.org/abs/2106.12368",
    change="Tokens stay a grid: height, width and channels are mixed apart, each by one C x C layer, then weighed.",
    initialisation="truncated_normal",
    scaled=Scaled(
        "vip_s14", WITH_GAP, {"mixer": "permute", "weighted": True, "channel_ratio": 3, "order": "token_first"}
    ),
    variants={
        "vip_s14": Variant(
            partial(vip, 14, (4, 3, 8, 3), (384,) * 4),
        ),
        "vip_s7": Variant(
            partial(vip, 7, (4, 3, 8, 3), (192, 384, 384, 384), halved_after=1), Published(25, 6.9, 81.5, _SOURCE)
        ),
        "vip_m7": Variant(
            partial(vip, 7, (4, 3, 14, 3), (256, 256, 512, 512), halved_after=2),
            Published(55, 16.3, 82.7, _SOURCE),
            "a comment in the official code has 55,534,632 parameters, 512 x 512 more than the model beside it",
        ),
        "vip_l7": Variant(
            partial(vip, 7, (8, 8, 16, 4), (256, 512, 512, 512), halved_after=1), Published(88, 24.4, 83.2, _SOURCE)
        ),
    },
)
