"""A plug-in in a file of its own: a latency target, which counts instead of measuring, and an exporter."""

import json

from nas import Exporter, Latency, LatencyTarget, register_exporter, register_latency_target
from search_space.models import build


@register_latency_target("board")
class Board(LatencyTarget):
    """A board that needs a millisecond for each thousand MACs."""

    def measure(self, model, device):
        ms = model.architecture.macs / 1000
        return Latency("a board", 1, 1, "fp32", 0, 1, ms, ms, ms)


@register_exporter("json")
class Json(Exporter):
    """Architecture and weights as one JSON file."""

    files = ("model.json",)
    examples = ("mixer", "vip")

    def write(self, trained, folder):
        from safetensors import safe_open
        from safetensors.torch import load_file

        with safe_open(trained.weights, framework="pt") as file:
            normalisation = json.loads(file.metadata()["normalisation"])
        weights = {name: tensor.tolist() for name, tensor in load_file(trained.weights).items()}
        content = {"architecture": trained.architecture.to_dict(), "weights": weights, **normalisation}
        (folder / "model.json").write_text(json.dumps(content))

    def load(self, folder):
        import torch

        from search_space import Architecture

        content = json.loads((folder / "model.json").read_text())
        model = build(Architecture.from_dict(content["architecture"])).eval()
        model.load_state_dict({name: torch.tensor(values) for name, values in content["weights"].items()})
        return model, *(torch.tensor(content[key]).view(-1, 1, 1) for key in ("mean", "std"))
