"""What a latency target promises, on a published family scaled down to 20,000 parameters."""

from __future__ import annotations

from runners.measuring.targets import LATENCY_TARGETS
from runners.protocol import Latency
from search_space.architecture import Architecture
from search_space.contract import Contract, holds
from search_space.zoo.baselines import baselines


class LatencyTargetContract(Contract):
    """A latency target measures a model, and leaves it as it was."""

    def test_a_model_is_measured(self, name: str) -> None:
        """It gives the median and the quartiles of times above 0, and says where they were measured."""
        import torch

        from search_space.models.building import build

        latency = LATENCY_TARGETS.find(name)().measure(build(_architecture()), torch.device("cpu"))
        holds(isinstance(latency, Latency), f"measure returns {latency!r}, which is no Latency")
        ordered = 0 < latency.lower_ms <= latency.median_ms <= latency.upper_ms
        holds(ordered, f"its quartiles are {latency.lower_ms}, {latency.median_ms} and {latency.upper_ms}")
        holds(latency.device, "it does not say on which device it measured")

    def test_the_model_stays_as_it_was(self, name: str) -> None:
        """It leaves weights, mode and hooks of the model as they were."""
        import torch

        from search_space.models.building import build

        model = build(_architecture()).train()
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        LATENCY_TARGETS.find(name)().measure(model, torch.device("cpu"))
        after = model.state_dict()
        holds(all(torch.equal(tensor, after[key]) for key, tensor in before.items()), "it changes the weights")
        holds(model.training, "it leaves the model in the mode of evaluation")
        holds(not any(module._forward_hooks for module in model.modules()), "it leaves hooks behind")


def _architecture() -> Architecture:
    return baselines("20k", image_size=8, in_channels=1, classes=10)["mixer"]
