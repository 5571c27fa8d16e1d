"""Where the latency of an architecture is measured. The names are known without torch: what measures imports it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from runners.protocol import Latency
from search_space.registry import Registry

if TYPE_CHECKING:
    import torch

    from search_space.models.model import VisionModel

DEVICE = "device"
"""The target that is taken unless another one is named: the device that runs the trial."""


class LatencyTarget(ABC):
    """What measures how long a forward pass of one image takes, such as a board that models are deployed on.

    It is made without arguments, in the process that runs a trial, before the trial is trained.
    """

    @abstractmethod
    def measure(self, model: VisionModel, device: torch.device) -> Latency:
        """The latency of a model, and its conditions.

        Args:
            model: In the form that is deployed, with initial weights, on `device`; left as it was.
            device: Where the trial runs.

        Raises:
            NasError: If it cannot be measured; the trial fails, with this sentence as its message.
        """


LATENCY_TARGETS: Registry[type[LatencyTarget]] = Registry("latency target")
"""All targets by name."""
_TargetClass = TypeVar("_TargetClass", bound=type[LatencyTarget])


def register_latency_target(name: str) -> Callable[[_TargetClass], _TargetClass]:
    """Decorator: this class measures latencies as the target `name`, as in ``--latency-target``.

    Raises:
        ValueError: If the name is taken.
    """
    return LATENCY_TARGETS.register(name)


@register_latency_target(DEVICE)
class TrialDevice(LatencyTarget):
    """The device that runs the trial: a batch of one in float32, after warming up."""

    def measure(self, model: VisionModel, device: torch.device) -> Latency:
        from runners.measuring.latency import measure_latency

        return measure_latency(model, device)
