"""When to compute in bfloat16."""

from __future__ import annotations

from typing import Literal

import torch

from search_space.architecture import Architecture

MIN_WIDTH = 128
"""Minimum width of the widest stage for which "auto" chooses bfloat16; in narrower layers casts cost more than they
save.

One core of an AMD EPYC with AVX512-BF16, torch 2.13, a training step on 64 images of 64 tokens, best of 6, speed of
bfloat16 over float32: with attention 0.5x at 64 channels, 1.0x at 128, 1.2x at 192, 1.4x at 256; a mixer 1.5x, 1.8x,
1.8x, 1.9x. At the 16 tokens and 40 channels of a digits model nothing is faster. Not measured on a GPU, where a cast is
one more kernel launch.
"""


def autocast_for(
    precision: Literal["auto", "bf16", "fp32"], architecture: Architecture, device: torch.device
) -> torch.autocast:
    """The context for forward passes; parameters, their gradients and the loss stay float32.

    Args:
        precision: "bf16", "fp32", or "auto": bf16 if the device multiplies it natively and the architecture is wide.
        architecture: The architecture of the model.
        device: The device of the model.
    """
    wide = max(stage.dim for stage in architecture.stages) >= MIN_WIDTH
    enabled = precision == "bf16" or (precision == "auto" and wide and _is_native(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _is_native(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
