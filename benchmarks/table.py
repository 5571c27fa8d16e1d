"""Build a tabular benchmark: train every architecture of its bands with every seed. A stopped build can be continued.

python -m benchmarks.table [digits | fashion_mnist] [--seeds 0,1] [--gpus-per-trial 0.1]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.common import TABLES, table_parser
from nas.bench.definition import Band, Definition
from nas.bench.table import Entry, Table, Training
from runners.data import prepare
from runners.protocol import INFEASIBLE_CAUSES, DataSpec, Decision, EpochResult, Job, Measured, Outcome
from runners.recipe import Recipe
from runners.training.train import train
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace
from search_space.zoo.scaled import family_points

HARDLY_ANY_LEFT = 1_000_000
"""Number of draws for one band before it counts as too narrow."""


def draw(definition: Definition) -> list[Entry]:
    """The architectures of a table: in every band the hand-designed families that fit, and random ones.

    Random ones are drawn as in random search: uniformly on every axis, then repaired.
    """
    space, rng = definition.load_space(), random.Random(definition.draw_seed)
    entries: dict[str, Entry] = {}
    for band in definition.bands:
        limits = Limits(space.limits.max_params, round(1.1 * band.macs) if band.macs else None)
        if band.macs:
            for name, architecture in family_points(space, limits).items():
                if band.holds(architecture.deployed.macs):
                    entries[architecture.hash] = Entry(
                        architecture, band.name, space.encode(architecture), f"family:{name}"
                    )
    wanted = {band.name: band.architectures for band in definition.bands}
    for _ in range(HARDLY_ANY_LEFT):
        open_bands = [band for band in definition.bands if wanted[band.name]]
        if not open_bands:
            return list(entries.values())
        entry = _draw_one(space, rng, open_bands)
        if entry is not None and entry.architecture.hash not in entries:
            entries[entry.architecture.hash] = entry
            wanted[entry.band] -= 1
    raise SystemExit(f"bands too narrow: {wanted} architectures are missing")


def _draw_one(space: SearchSpace, rng: random.Random, bands: Sequence[Band]) -> Entry | None:
    wish = {axis.name: rng.choice(axis.values) for axis in space.axes}
    architecture = space.complete(wish, rng, space.limits)
    band = next((band for band in bands if band.holds(architecture.deployed.macs)), None)
    return Entry(architecture, band.name, space.encode(architecture), "drawn") if band else None


def train_on_cpu_time(job: Job) -> Generator[EpochResult, None, Measured]:
    """Train; without a GPU, epochs are timed by the CPU time of this process, so that other processes do not count."""
    import torch

    training = train(job)
    if torch.cuda.is_available():
        return (yield from training)
    while True:
        began = time.process_time()
        try:
            epoch = next(training)
        except StopIteration as end:
            measured: Measured = end.value
            return measured
        yield replace(epoch, seconds=time.process_time() - began)


class Trainings:
    """A source of trainings: each is trained, then its weights are tested.

    Args:
        name: Their purpose, shown with the progress.
        todo: Pairs of architecture and seed.
        data: The images.
        recipe: How to train.
        folder: Folder for weights, until they are tested.
        add: Called with every finished training. A training that was lost with its process is left out, to be repeated
            later.
    """

    def __init__(
        self,
        name: str,
        todo: Iterable[tuple[Architecture, int]],
        data: DataSpec,
        recipe: Recipe,
        folder: Path,
        add: Callable[[Training], None],
    ) -> None:
        self.name, self.todo = name, deque(todo)
        self.data, self.recipe, self.folder, self.add = data, recipe, folder, add
        self.total, self.finished, self.started = len(self.todo), 0, time.monotonic()
        self.trained: dict[str, Training] = {}
        self.jobs: dict[str, Job] = {}
        self.tests: deque[Job] = deque()
        self.drawn_at = 0.0

    @property
    def done(self) -> bool:
        return not (self.todo or self.jobs or self.tests)

    def ask(self) -> Job | None:
        if self.tests:
            job = self.tests.popleft()
        elif self.todo:
            architecture, seed = self.todo.popleft()
            key = f"{architecture.hash}-{seed}"
            weights = self.folder / f"{key}.safetensors"
            job = Job(key, architecture, self.data, self.recipe, seed, weights=weights)
            self.trained[key] = Training(architecture.hash, seed, 0.0)
        else:
            return None
        self.jobs[job.key] = job
        return job

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        if self.jobs[key].task == "train":
            old = self.trained[key]
            self.trained[key] = replace(
                old,
                seconds=round(old.seconds + sum(epoch.seconds for epoch in epochs), 3),
                train_loss=[*old.train_loss, *(round(epoch.train_loss, 4) for epoch in epochs)],
                nll=[*old.nll, *(round(epoch.nll, 4) for epoch in epochs)],
                accuracy=[*old.accuracy, *(round(epoch.accuracy, 4) for epoch in epochs)],
            )
        else:
            origin = key.removesuffix("-test")
            test = {"test_nll": round(epochs[-1].nll, 5), "test_accuracy": round(epochs[-1].accuracy, 4)}
            self.trained[origin] = replace(self.trained[origin], **test)
        return Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        job = self.jobs.pop(key)
        if outcome.status == "complete" and job.task == "train":
            self.tests.append(replace(job, key=f"{key}-test", task="test"))
            return
        origin = key.removesuffix("-test")
        training = self.trained.pop(origin)
        if outcome.status == "failed":
            print(f"\n{key} failed: {outcome.cause}: {outcome.message}", file=sys.stderr)
            training = replace(training, cause=str(outcome.cause))
        (self.folder / f"{origin}.safetensors").unlink(missing_ok=True)
        if outcome.status == "complete" or outcome.cause in INFEASIBLE_CAUSES:
            self.add(training)
        self.finished += 1
        self.idle()

    def idle(self) -> None:
        elapsed = time.monotonic() - self.started
        if self.finished and elapsed - self.drawn_at > (0.5 if sys.stderr.isatty() else 60):
            self.drawn_at = elapsed
            left = elapsed / self.finished * (self.total - self.finished) / 60
            line = f"{self.name}: {self.finished}/{self.total} trainings, {left:.0f} min left"
            print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def build(folder: Path, seeds: Sequence[int] | None = None, gpus_per_trial: float | None = None) -> None:
    """Run the missing trainings of a table."""
    from runners.on_ray.runner import RayRunner

    table = Table(folder)
    if not (folder / "architectures.jsonl").exists():
        table.write_architectures(draw(table.definition))
    (folder / "trainings.jsonl").touch()
    prepare(DataSpec(table.definition.data))
    with tempfile.TemporaryDirectory() as scratch:
        source = missing(table, seeds or _all_seeds(table.definition), Path(scratch))
        if not source.done:
            RayRunner(gpus_per_trial=gpus_per_trial).run(source, train_on_cpu_time)
    _sort(folder)


def missing(table: Table, seeds: Sequence[int], folder: Path) -> Trainings:
    """The missing trainings of a table with these seeds."""
    todo = [
        (entry.architecture, seed)
        for seed in seeds
        for entry in table.entries.values()
        if seed in table.definition.seeds(entry.band) and (entry.architecture.hash, seed) not in table.trainings
    ]
    return Trainings(table.name, todo, DataSpec(table.definition.data), table.recipe, folder, table.add)


def _all_seeds(definition: Definition) -> list[int]:
    return sorted({seed for band in definition.bands for seed in definition.seeds(band.name)})


def _sort(folder: Path) -> None:
    """Sort the trainings by seed and architecture, regardless of the order in which they ended."""
    table = Table(folder)
    place = {name: index for index, name in enumerate(table.entries)}
    path = folder / "trainings.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    order = sorted(range(len(lines)), key=lambda n: _place(list(table.trainings)[n], place))
    new = path.with_suffix(".new")
    new.write_text("".join(lines[n] for n in order), encoding="utf-8")
    new.replace(path)


def _place(key: tuple[str, int], place: dict[str, int]) -> tuple[int, int]:
    return key[1], place[key[0]]


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--seeds", help="only these seeds, such as 0,1")
    parser.add_argument("--gpus-per-trial", type=float, help="GPUs a training reserves, such as 0.1")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")] if given.seeds else None
    build(TABLES / given.table, seeds, given.gpus_per_trial)


if __name__ == "__main__":
    main()
