"""Architectures costed in closed form per second on one core; the alternative builds each on the meta device and
counts.

python -m benchmarks.cost
"""

from __future__ import annotations

import random

import torch

from benchmarks.common import seconds, summary, write
from search_space import Architecture, load_space
from search_space.models.model import VisionModel

RUNS = 7
ARCHITECTURES = 2000
BUILT = 50


def main() -> None:
    torch.set_num_threads(1)
    space = load_space("mlp_family", image_size=32, classes=10)
    rng = random.Random(0)
    sample = [space.sample(rng, space.limits) for _ in range(ARCHITECTURES)]
    described = [architecture.to_dict() for architecture in sample]
    fields = [{name: getattr(a, name) for name in a.__dataclass_fields__} for a in sample]

    def closed_form() -> None:
        for values in fields:
            _ = Architecture(**values).cost

    def built() -> None:
        for architecture in sample[:BUILT]:
            with torch.device("meta"):
                model = VisionModel(architecture)
            assert sum(parameter.numel() for parameter in model.parameters()) == architecture.params

    def sampled() -> None:
        for _ in range(ARCHITECTURES):
            space.sample(rng, space.limits)

    assert described
    write(
        "cost",
        {
            "unit": "architectures a second",
            "checked_and_costed": summary([ARCHITECTURES / seconds(closed_form) for _ in range(RUNS)], 0),
            "built_and_counted": summary([BUILT / seconds(built) for _ in range(RUNS)], 0),
            "sampled_within_limit": summary([ARCHITECTURES / seconds(sampled) for _ in range(RUNS)], 0),
        },
    )


if __name__ == "__main__":
    main()
