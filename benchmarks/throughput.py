"""Models per hour of a whole search, compared with a search as it is usually written with Ray Tune.

    python -m benchmarks.throughput [--quick] [--json] [--pairs 5] [--data digits ...]

All arms train the same architectures, the seven families at one size, with the same recipe, in two processes on this
machine, from the start of the program to its end:

    plain          a plain loop (`benchmarks.plain`) under Ray Tune with Ray's OptunaSearch, an actor for each trial
    plain_reused   the same with reused actors
    loop           our training loop in place of the plain one, under Ray Tune with reused actors
    nas            `nas search`: our loop, workers, database

Arms run in turn, every round with another seed; the order of arms rotates. A ratio is the time of an arm over that of
`nas` in the same round. Final validation NLLs are compared, too: a ratio counts if the mean difference is within one
standard error, or in favour of `nas`. CPU time is that of all processes of an arm, sampled while it runs; where the
machine does other work, it says more than wall time.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import RESULTS, machine, summary
from runners.data import describe_dataset, recipe_for
from runners.protocol import DataSpec, Job
from runners.recipe import Recipe
from search_space import Architecture, Limits, load_space
from search_space.plugins import load
from search_space.units import parse_count
from search_space.zoo.scaled import family_points

Epoch = tuple[int, float, float]
"""Number of the epoch, validation NLL in nats, validation accuracy."""
Loop = Callable[[Architecture, DataSpec, Recipe, int], Iterator[Epoch]]
ROOT = Path(__file__).parent.parent
SLOTS = 2
SAMPLE_EVERY_S = 0.1
ARMS = ("plain", "plain_reused", "loop", "nas")


@dataclass(frozen=True)
class Task:
    """What every arm trains.

    Attributes:
        data: Name of the data set.
        params: The limit that the families are scaled to.
        epochs: Epochs of each training.
        quick_epochs: The same with ``--quick``.
        plugin: File that registers the data set; "" if the program does.
    """

    data: str
    params: str
    epochs: int
    quick_epochs: int
    plugin: str = ""


TASKS = {
    "digits": Task("digits", "34k", 60, 12),
    "fashion_14": Task("fashion_mnist_14", "100k", 8, 1, str(ROOT / "benchmarks" / "fashion_14.py")),
    "fashion_28": Task("fashion_mnist_10k", "500k", 8, 1),
}


@dataclass(frozen=True)
class Run:
    """What one run of an arm took and came to.

    Attributes:
        wall_s: Seconds from the start of the program to its end.
        cpu_s: CPU seconds of all its processes.
        finals: Final validation NLL of each training.
        reached: Seconds since the start, and the lowest validation NLL until then, at every improvement.
    """

    wall_s: float
    cpu_s: float
    finals: list[float]
    reached: list[tuple[float, float]]


def run_arm(arm: str, task: str, epochs: int, seed: int) -> Run:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--arm", arm, "--data", task]
    command += ["--epochs", str(epochs), "--seed", str(seed)]
    started = time.time()
    process = psutil.Popen(
        [*command, "--started", str(started)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    used: dict[tuple[int, float], float] = {}
    while process.poll() is None:
        for one in [process, *_descendants(process)]:
            try:
                spent = one.cpu_times()
                used[one.pid, one.create_time()] = spent.user + spent.system
            except psutil.Error:  # it has ended
                continue
        time.sleep(SAMPLE_EVERY_S)
    wall = time.time() - started
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the arm {arm!r} failed on {task}:\n{errors[-3000:]}")
    told = json.loads(output.splitlines()[-1])
    return Run(wall, sum(used.values()), told["finals"], [tuple(pair) for pair in told["reached"]])


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


class Progress:
    """The lowest validation NLL over time, counted from the start of the program."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.reached: list[tuple[float, float]] = []

    def see(self, nll: float) -> None:
        """A training has reached this validation NLL."""
        if not self.reached or nll < self.reached[-1][1]:
            self.reached.append((time.time() - self.started, nll))


def nas_arm(task: Task, epochs: int, seed: int, progress: Progress) -> list[float]:
    """`nas search` over the families: as many trials as there are, each in full."""
    from nas import search
    from results.database.schema import Role

    finals: list[float] = []

    def see(running: Any) -> None:
        trials = running.book.of(Role.TRIAL)
        for trial in trials:
            if trial.epochs:
                progress.see(min(epoch.nll for epoch in trial.epochs))
        finals[:] = [trial.epochs[-1].nll for trial in trials if trial.epochs]

    imports = (task.plugin,) if task.plugin else ()
    with tempfile.TemporaryDirectory() as out:
        search(
            data=task.data,
            imports=imports,
            max_params=task.params,
            strategy="random",
            families=True,
            budget=len(points(task)),
            epochs=epochs,
            finalists=0,
            seed=seed,
            out=out,
            on_change=see,
        )
    return finals


def tune_arm(task: Task, epochs: int, seed: int, progress: Progress, *, loop: Loop, reused: bool) -> list[float]:
    """Ray Tune with Ray's OptunaSearch; the nth suggestion trains the nth architecture."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    architectures = list(points(task).values())

    class Numbered(OptunaSearch):  # type: ignore[misc]
        suggested = 0

        def suggest(self, trial_id: str) -> Any:
            config = super().suggest(trial_id)
            if isinstance(config, dict):
                config["number"] = self.suggested
                self.suggested += 1
            return config

    class Watch(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            progress.see(result["nll"])

    class Training(tune.Trainable):
        """An epoch for each step."""

        def setup(self, config: dict[str, Any]) -> None:
            import torch

            torch.set_num_threads(1)
            load_plugin(task)
            recipe = recipe_for(task.data, epochs=epochs)
            self.epochs = loop(architectures[config["number"]], DataSpec(task.data), recipe, seed)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            epoch, nll, accuracy = next(self.epochs)
            return {"nll": nll, "accuracy": accuracy, "done": epoch == epochs}

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    with tempfile.TemporaryDirectory() as out:
        tuner = tune.Tuner(
            tune.with_resources(Training, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                num_samples=len(architectures),
                search_alg=Numbered(space, metric="nll", mode="min", seed=seed),
                reuse_actors=reused,
            ),
            run_config=tune.RunConfig(name="peer", storage_path=out, verbose=0, callbacks=[Watch()]),
        )
        results = tuner.fit()
    ray.shutdown()
    return [result.metrics["nll"] for result in results]


def our_epochs(architecture: Architecture, data: DataSpec, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """Our training loop, as a generator of the same kind as the plain one."""
    from runners.training.train import train

    for epoch in train(Job("peer", architecture, data, recipe, seed, device="cpu")):
        yield epoch.epoch, epoch.nll, epoch.accuracy


def plain(architecture: Architecture, data: DataSpec, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """The plain training loop."""
    from benchmarks.plain import plain_epochs

    return plain_epochs(architecture, data, recipe, seed)


def load_plugin(task: Task) -> None:
    """Register the data set of a task."""
    if task.plugin:
        load(task.plugin)


def points(task: Task) -> dict[str, Architecture]:
    """The architectures of a task: every family at the limit on parameters."""
    load_plugin(task)
    info = describe_dataset(DataSpec(task.data))
    sides = {"image_size": info.image_size, "in_channels": info.in_channels, "classes": info.classes}
    return family_points(load_space("mlp_family", **sides), Limits(max_params=parse_count(task.params)))


def execute(arm: str, task: Task, epochs: int, seed: int, started: float) -> None:
    """Run an arm in this process, and print what it came to."""
    progress = Progress(started)
    if arm == "nas":
        finals = nas_arm(task, epochs, seed, progress)
    else:
        loop = our_epochs if arm == "loop" else plain
        finals = tune_arm(task, epochs, seed, progress, loop=loop, reused=arm != "plain")
    print(json.dumps({"finals": finals, "reached": progress.reached}))


def compare(task: str, epochs: int, rounds: int, arms: Sequence[str]) -> dict[str, Any]:
    """All arms in turn, and the ratios of each to `nas`."""
    runs: dict[str, list[Run]] = {arm: [] for arm in arms}
    for number in range(rounds):
        turn = number % len(arms)
        for arm in (*arms[turn:], *arms[:turn]):
            run = run_arm(arm, task, epochs, seed=number)
            runs[arm].append(run)
            print(f"{task} {number} {arm}: {run.wall_s:.1f} s, {run.cpu_s:.1f} CPU s", file=sys.stderr)
    figures: dict[str, Any] = {"epochs": epochs, "trainings": len(runs["nas"][0].finals), "arms": {}}
    for arm, own in runs.items():
        figures["arms"][arm] = {
            "models_per_hour": summary([3600 * len(run.finals) / run.wall_s for run in own], 1),
            "wall_s": summary([run.wall_s for run in own], 2),
            "cpu_s": summary([run.cpu_s for run in own], 2),
            "final_nll": summary([statistics.fmean(run.finals) for run in own]),
            **(_against(own, runs["nas"]) if arm != "nas" else {}),
        }
    return figures


def _against(own: Sequence[Run], ours: Sequence[Run]) -> dict[str, Any]:
    """An arm's times over those of `nas`, and whether the losses allow the comparison."""
    pairs = list(zip(own, ours, strict=True))
    differences = [statistics.fmean(there.finals) - statistics.fmean(here.finals) for there, here in pairs]
    error = statistics.stdev(differences) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.inf
    target = [max(there.reached[-1][1], here.reached[-1][1]) for there, here in pairs]
    times = [(_time_to(there, nll), _time_to(here, nll)) for (there, here), nll in zip(pairs, target, strict=True)]
    return {
        "wall_ratio": summary([there.wall_s / here.wall_s for there, here in pairs], 3),
        "cpu_ratio": summary([there.cpu_s / here.cpu_s for there, here in pairs], 3),
        "time_to_nll_ratio": summary([there / here for there, here in times], 3),
        "nll_difference": round(statistics.fmean(differences), 4),
        "nll_standard_error": round(error, 4) if math.isfinite(error) else None,
        "counts": statistics.fmean(differences) >= -error,
    }


def _time_to(run: Run, nll: float) -> float:
    """Seconds until a run had reached a validation NLL."""
    return next(seconds for seconds, reached in run.reached if reached <= nll)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short trainings, two rounds, no step in between")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--pairs", type=int, help="rounds of all arms; 5 by default, 2 with --quick")
    parser.add_argument("--data", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    for hidden, kind in (("--epochs", int), ("--seed", int), ("--started", float)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        return execute(given.arm, TASKS[given.data[0]], given.epochs, given.seed, given.started)
    arms = ("plain", "plain_reused", "nas") if given.quick else ARMS
    rounds = given.pairs or (2 if given.quick else 5)
    figures: dict[str, Any] = {"machine": machine(), "slots": SLOTS, "quick": given.quick, "data": {}}
    for name in given.data:
        task = TASKS[name]
        figures["data"][name] = compare(name, task.quick_epochs if given.quick else task.epochs, rounds, arms)
        if not given.json:
            _say(name, figures["data"][name])
    text = json.dumps(figures, indent=2)
    if given.json:
        print(text)
    if not given.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "throughput.json").write_text(text + "\n", encoding="utf-8")


def _say(name: str, figures: dict[str, Any]) -> None:
    """The ratios of one data set in words."""
    for arm, found in figures["arms"].items():
        line = f"{name} {arm:13} {found['models_per_hour']['median']:8.0f} models an hour"
        if arm != "nas":
            wall, cpu, until = (found[kind] for kind in ("wall_ratio", "cpu_ratio", "time_to_nll_ratio"))
            line += f", over nas: wall {_spread(wall)}, CPU {_spread(cpu)}, time to equal NLL {_spread(until)}"
            line += "" if found["counts"] else "; its NLL is lower, so this does not count"
        print(line)


def _spread(figures: dict[str, Any]) -> str:
    return f"{figures['median']:.2f} ({figures['min']:.2f} to {figures['max']:.2f}, n = {figures['n']})"


if __name__ == "__main__":
    main()
