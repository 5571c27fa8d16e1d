"""How a model is trained: all settings of the training loop in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """Settings of the training loop.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images per step.
        lr: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay; biases, norms, positions and tokens have none.
        warmup: Share of all steps over which the learning rate grows linearly.
        final_lr: Learning rate at the end of the cosine, as a share of the peak.
        label_smoothing: Mass taken from the true class.
        clip_norm: Largest norm of the gradient.
        precision: "bf16" for autocast to bfloat16, "fp32", or "auto": bf16 where the hardware is faster with it.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    final_lr: float = 0.01
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
