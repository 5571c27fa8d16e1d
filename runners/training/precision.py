"""When to compute in bfloat16."""

from __future__ import annotations

from typing import Literal

import torch

from search_space.architecture import Architecture
from search_space.ops import Attention

MIN_WIDTH = 64
"""Minimum channels of a stage without attention for which "auto" chooses bfloat16 on a CPU.

In narrower layers casts cost more than they save. One core of an AMD EPYC with AVX512-BF16, torch 2.13, speed of
bfloat16 over float32: a mixer with 64 tokens 1.5x at 64 channels, 1.8x at 128 and 192, 1.9x at 256; families scaled to
500,000 parameters on 28 x 28 pixels, CPU time of whole trainings: ViP (96 channels, 16 tokens) 1.3x, n = 4; FF-only (96
channels, 50 tokens) 1.7x and 1.8x, n = 2; the final NLL is equal (ViP 0.5163 and 0.5166 over 4 seeds). At 16 tokens and
40 channels nothing is faster. `python -m benchmarks.precision` measures all families.
"""
MIN_NUMBERS = 1536
"""Minimum tokens times channels of such a stage: 16 x 96, the smallest for which bfloat16 was measured to be faster."""
MIN_WIDTH_ATTENTION = 192
"""Minimum channels of a stage with attention. Same machine, 64 tokens: 0.5x at 64 channels, 1.0x at 128, 1.2x at 192,
1.4x at 256."""
MIN_WIDTH_GPU = 128
"""Minimum channels on a GPU, where a cast is one more kernel. Arbitrary: not measured."""


def autocast_for(
    precision: Literal["auto", "bf16", "fp32"], architecture: Architecture, device: torch.device
) -> torch.autocast:
    """The context for forward passes; parameters, their gradients and the loss stay float32.

    Args:
        precision: "bf16", "fp32", or "auto": bf16 if the device multiplies it natively and it pays.
        architecture: The architecture of the model.
        device: The device of the model.
    """
    enabled = precision == "bf16" or (precision == "auto" and pays(architecture, device) and _is_native(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def pays(architecture: Architecture, device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device of this kind that multiplies it natively.

    The widest stage decides, as it takes most of the time.
    """
    stage, shape = max(architecture.shapes(), key=lambda pair: pair[0].dim)
    if device.type != "cpu":
        return stage.dim >= MIN_WIDTH_GPU
    if any(isinstance(branch.op, Attention) for branch in stage.block):
        return stage.dim >= MIN_WIDTH_ATTENTION
    return stage.dim >= MIN_WIDTH and stage.dim * shape.tokens >= MIN_NUMBERS


def _is_native(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
