"""MLP-Mixer (https://arxiv.org/abs/2105.01601, table 1). Reference code: timm `mlp_mixer.py`, `MlpMixer`."""

from functools import partial

from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Dense
from search_space.size import Size
from search_space.zoo.entry import WITH_GAP, Family, Published, Scaled, Variant


def mixer(patch: int, dim: int, depth: int, image_size: Size = 224) -> Architecture:
    """Blocks of a token MLP of hidden width D_S = C / 2 and a channel MLP of D_C = 4 C."""
    block = (Branch(Dense("token", dim // 2)), Branch(Dense("channel", 4 * dim)))
    return Architecture(image_size, patch, (Stage(depth, dim, block),))


_SOURCE = "arXiv 2105.01601, table 1 (parameters, without the head) and table 3 (ImageNet-1k, 300 epochs)"
FAMILY = Family(
    name="mixer",
    title="MLP-Mixer",
    paper="https://arxiv.org/abs/2105.01601",
    change="An MLP over the tokens, the same for every channel, in place of attention; no class token, no positions.",
    params_with_head=False,
    initialisation="xavier",
    scaled=Scaled(
        "mixer_s16",
        WITH_GAP,
        {"mixer": "mlp", "token_hidden": "C/2", "token_norm": "channel", "channel_ratio": 4, "order": "token_first"},
    ),
    variants={
        "mixer_s32": Variant(partial(mixer, 32, 512, 8), Published(19, None, None, _SOURCE)),
        "mixer_s16": Variant(partial(mixer, 16, 512, 8), Published(18, None, None, _SOURCE)),
        "mixer_b32": Variant(partial(mixer, 32, 768, 12), Published(60, None, None, _SOURCE)),
        "mixer_b16": Variant(
            partial(mixer, 16, 768, 12),
            Published(59, 12.7, 76.44, f"{_SOURCE}; FLOPs from arXiv 2103.14030, table 10"),
        ),
        "mixer_l32": Variant(partial(mixer, 32, 1024, 24), Published(206, None, None, _SOURCE)),
        "mixer_l16": Variant(
            partial(mixer, 16, 1024, 24),
            Published(207, 44.8, 71.76, f"{_SOURCE}; FLOPs as quoted in a README of a model zoo"),
            "the quoted FLOPs come from a counter that is not named",
        ),
        "mixer_h14": Variant(partial(mixer, 14, 1280, 32), Published(431, None, None, _SOURCE)),
    },
)
