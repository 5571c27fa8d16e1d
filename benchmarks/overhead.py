"""Overhead of search, Ray and database per trial when the evaluation does nothing, with two slots.

For comparison: Ray Tune alone, with one random number per trial and the same settings of Tune.

    python -m benchmarks.overhead [TRIALS ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import ray

from benchmarks.common import seconds, write
from nas import search
from runners.synthetic import synthetic

SLOTS = 2


def ours(trials: int) -> float:
    """Milliseconds per trial of a whole search, without finalists."""
    with tempfile.TemporaryDirectory() as out:
        run = seconds(lambda: search(evaluator=synthetic, budget=trials, epochs=4, finalists=0, out=out))
    return 1000 * run / trials


def tune_alone(trials: int) -> float:
    """Milliseconds per trial of Ray Tune with random search."""
    from ray import tune

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.x = config["x"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            return {"x": self.x, "done": True}

    with tempfile.TemporaryDirectory() as out:
        tuner = tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
            run_config=tune.RunConfig(
                name="nothing",
                storage_path=str(Path(out)),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        return 1000 * seconds(tuner.fit) / trials


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [200, 2000]
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    ours(10)  # start the workers
    figures: dict[str, Any] = {"unit": "ms a trial", "slots": SLOTS}
    for trials in counts:
        own, alone = ours(trials), tune_alone(trials)
        figures[str(trials)] = {"nas": round(own, 1), "tune_alone": round(alone, 1), "ratio": round(own / alone, 2)}
    ray.shutdown()
    write("overhead", figures)


if __name__ == "__main__":
    main()
