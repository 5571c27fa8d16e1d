"""Trainings that have been done already: a table of learning curves, and the evaluator that replays it.

A table is a folder of plain text:

    definition.yaml        what it was built from: space, data set, recipe, seeds, bands of equal size
    architectures.jsonl    a line an architecture: its band and its choices
    trainings.jsonl        a line a training: the curve on the validation split, figures on the test split, CPU time
    scores.jsonl           a line an architecture: what the training-free proxies say of it, and their CPU time

Every seed has one role. A search sees the validation curves of the search seeds; what it found is judged by the mean
test NLL over the truth seeds, which it never sees. While strategies are designed, the design seeds judge instead.
`Replay` is an evaluator, so that a whole search, with its samplers and pruners, runs over a table as over a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from runners.data import describe_dataset
from runners.protocol import Cause, DataSpec, EpochResult, EvaluationError, Job, Measured, Score
from runners.recipe import Recipe, recipe_for
from search_space.architecture import Architecture
from search_space.errors import DataError
from search_space.space import SearchSpace, load_space
from search_space.units import parse_count
from search_space.yaml_source import Source, read_yaml_file

Made = TypeVar("Made")

BAND_WIDTH = 0.1
"""Relative distance from a band's MACs that its architectures may have."""
ANY_SIZE = "any"
"""The name of the band without a size."""


@dataclass(frozen=True)
class Band:
    """Architectures of about equal size.

    Attributes:
        name: Its name.
        macs: MACs in its middle; None for any size.
        architectures: How many were drawn.
        held_out: Whether it was kept aside while strategies were designed.
    """

    name: str
    macs: int | None
    architectures: int
    held_out: bool = False

    def holds(self, macs: int) -> bool:
        """Whether an architecture of so many MACs belongs to it."""
        return self.macs is None or abs(macs - self.macs) <= BAND_WIDTH * self.macs


@dataclass(frozen=True)
class Definition:
    """What a table is built from.

    Attributes:
        space: Name of the search space.
        data: Name of the data set.
        recipe: Fields of the recipe that differ from the data set's own.
        search_seeds: Seeds whose validation curves a search may see.
        design_seeds: Seeds whose test figures judge while strategies are designed; not of held-out bands.
        truth_seeds: Seeds whose test figures are the truth.
        draw_seed: Seed of the draw of the architectures.
        bands: The bands, that of any size included.
    """

    space: str
    data: str
    recipe: Mapping[str, Any]
    search_seeds: tuple[int, ...]
    design_seeds: tuple[int, ...]
    truth_seeds: tuple[int, ...]
    draw_seed: int
    bands: tuple[Band, ...]

    def seeds(self, band: str) -> tuple[int, ...]:
        """All seeds with which the architectures of a band are trained."""
        kept_aside = any(each.held_out or each.macs is None for each in self.bands if each.name == band)
        return (*self.search_seeds, *(() if kept_aside else self.design_seeds), *self.truth_seeds)

    @property
    def full_recipe(self) -> Recipe:
        """The recipe of every training."""
        return recipe_for(self.data, **self.recipe)

    def load_space(self) -> SearchSpace:
        """The space, bound to the images."""
        info = describe_dataset(DataSpec(self.data))
        return load_space(self.space, image_size=info.image_size, in_channels=info.in_channels, classes=info.classes)


@dataclass(frozen=True)
class Training:
    """One training of the table.

    Attributes:
        architecture: Hash of the architecture.
        seed: Seed of the training.
        seconds: CPU time of the whole training.
        train_loss: After every epoch.
        nll: On the validation split, in nats, after every epoch.
        accuracy: On the validation split, 0 to 1, after every epoch.
        test_nll: On the test split at the end; None if the training failed.
        test_accuracy: The same.
        cause: Why it failed; None if it did not.
    """

    architecture: str
    seed: int
    seconds: float
    train_loss: list[float] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    test_nll: float | None = None
    test_accuracy: float | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Entry:
    """One architecture of the table.

    Attributes:
        architecture: It.
        band: Name of its band.
        choices: Its parameters in the space.
        origin: "drawn", or "family:NAME" for a hand-designed one.
    """

    architecture: Architecture
    band: str
    choices: Mapping[str, Any]
    origin: str


class Table:
    """A tabular benchmark.

    Args:
        folder: Where it lies.

    Raises:
        DataError: If it is none, or a line of it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.definition = read_definition(folder)
        self.recipe = self.definition.full_recipe

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, bound to the images."""
        return self.definition.load_space()

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The architectures by hash, in the order they were drawn."""
        entries = _read_lines(self.folder / "architectures.jsonl", self._entry)
        return {entry.architecture.hash: entry for entry in entries}

    def _entry(self, line: dict[str, Any]) -> Entry:
        architecture = self.space.decode(line["choices"])
        if architecture.hash != line["hash"]:
            raise DataError(f"{self.folder}: {line['hash']} has become another architecture; build the table anew")
        return Entry(architecture, line["band"], line["choices"], line["origin"])

    @cached_property
    def trainings(self) -> dict[tuple[str, int], Training]:
        """The trainings by architecture and seed."""
        trainings = _read_lines(self.folder / "trainings.jsonl", lambda line: Training(**line))
        return {(training.architecture, training.seed): training for training in trainings}

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """The scores by architecture and proxy, none before anything is scored; later lines add to earlier ones."""
        path, found = self.folder / "scores.jsonl", dict[str, dict[str, Score]]()
        for name, scores in _read_lines(path, _named_scores) if path.exists() else ():
            found.setdefault(name, {}).update(scores)
        return found

    def visible(self) -> Table:
        """This table with nothing in it that a search must not see: no truth seeds, and no test figures at all."""
        copy = object.__new__(Table)
        copy.__dict__.update(self.__dict__, space=self.space, entries=self.entries, scores=self.scores)
        copy.__dict__["trainings"] = {
            (name, seed): replace(training, test_nll=None, test_accuracy=None)
            for (name, seed), training in self.trainings.items()
            if seed in self.definition.search_seeds
        }
        return copy

    def band(self, name: str) -> list[Entry]:
        """The architectures of a band."""
        return [entry for entry in self.entries.values() if entry.band == name]

    def write_architectures(self, entries: list[Entry]) -> None:
        """Write the architectures of a new table."""
        lines = (
            {
                "hash": entry.architecture.hash,
                "band": entry.band,
                "origin": entry.origin,
                "params": entry.architecture.deployed.params,
                "macs": entry.architecture.deployed.macs,
                "choices": dict(entry.choices),
            }
            for entry in entries
        )
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / "architectures.jsonl").write_text(text, encoding="utf-8")

    def add(self, training: Training) -> None:
        """Append a training, at once and for good."""
        line = {name: value for name, value in asdict(training).items() if value is not None}
        with (self.folder / "trainings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def add_scores(self, architecture: str, scores: Mapping[str, Score]) -> None:
        """Append the scores of an architecture, at once and for good."""
        with (self.folder / "scores.jsonl").open("a", encoding="utf-8") as file:
            file.write(_scores_line(architecture, scores))

    def tidy_scores(self) -> None:
        """Write the scores anew: a line an architecture, in the order of the architectures."""
        path = self.folder / "scores.jsonl"
        lines = (_scores_line(name, self.scores[name]) for name in self.entries if name in self.scores)
        new = path.with_suffix(".new")
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(path)


@dataclass(frozen=True)
class Replay:
    """The evaluator that reads a table instead of training.

    A job's seed decides which training it sees: the seed `first` stands for `seeds[0]`, the next for `seeds[1]`,
    and so on in a circle.

    Attributes:
        table: The table.
        seeds: Seeds of the table to show, none of them a truth seed.
        first: Seed of a job that sees the first of them.
    """

    table: Table
    seeds: tuple[int, ...]
    first: int = 0

    def __post_init__(self) -> None:
        hidden = set(self.seeds) - set(self.table.definition.search_seeds)
        if hidden or not self.seeds:
            raise DataError(f"a search may see the seeds {self.table.definition.search_seeds}, not {self.seeds}")

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        """Yield the curve, for a "test" job the test figures; for a "score" job return the scores.

        Raises:
            DataError: If the table lacks the training or a score.
            EvaluationError: If the training failed when the table was built.
        """
        if job.task == "score":
            scores = tuple(self._scores(architecture, job.proxies) for architecture in job.batch)
            return Measured(device=f"replayed from {self.table.name}", scores=scores)
        seed = self.seeds[(job.seed - self.first) % len(self.seeds)]
        training = self.table.trainings.get((job.architecture.hash, seed))
        if training is None:
            raise DataError(f"{self.table.folder} has no training of {job.architecture.hash} with seed {seed}")
        epochs = len(training.nll)
        seconds = training.seconds / max(1, epochs)
        if job.task == "test" and training.test_nll is not None and training.test_accuracy is not None:
            yield EpochResult(epochs, 0.0, training.test_nll, training.test_accuracy, 0.0)
            return Measured()
        for index in range(job.reported, epochs):
            loss, nll, accuracy = training.train_loss[index], training.nll[index], training.accuracy[index]
            yield EpochResult(index + 1, loss, nll, accuracy, seconds)
        if training.cause is not None:
            raise EvaluationError(Cause(training.cause), "it failed when the table was built")
        return Measured(device=f"replayed from {self.table.name}")

    def _scores(self, architecture: Architecture, proxies: Sequence[str]) -> dict[str, Score]:
        known = self.table.scores.get(architecture.hash, {})
        missing = [name for name in proxies if name not in known]
        if missing:
            raise DataError(f"{self.table.folder} has no score of {architecture.hash} by {', '.join(missing)}")
        return {name: known[name] for name in proxies}


def read_definition(folder: Path) -> Definition:
    """Read what a table is built from.

    Raises:
        DataError: If that cannot be read.
    """
    source = read_yaml_file(folder / "definition.yaml", DataError)
    names = ["space", "data", "recipe", "search_seeds", "design_seeds", "truth_seeds", "draw_seed", "any_size", "bands"]
    data = source.keys((), names, required=names)
    source.keys(("recipe",), Recipe.__dataclass_fields__)
    bands = [_band(source, index) for index in range(len(source.typed(("bands",), list, "a list of bands")))]
    if source.typed(("any_size",), int, "a number of architectures"):
        bands.append(Band(ANY_SIZE, None, data["any_size"]))
    roles = {name: _seeds(source, name) for name in ("search_seeds", "design_seeds", "truth_seeds")}
    for name in ("search_seeds", "truth_seeds"):
        if not roles[name]:
            raise source.fail((name,), "is empty; allowed: a list of seeds")
    for one, other in combinations(roles, 2):
        if both := set(roles[one]) & set(roles[other]):
            raise source.fail((other,), f"has the seed {min(both)}, as {one} has; every seed has one role")
    return Definition(
        source.typed(("space",), str, "the name of a space"),
        source.typed(("data",), str, "the name of a data set"),
        data["recipe"],
        roles["search_seeds"],
        roles["design_seeds"],
        roles["truth_seeds"],
        source.typed(("draw_seed",), int, "a whole number"),
        tuple(bands),
    )


def _seeds(source: Source, name: str) -> tuple[int, ...]:
    seeds = source.typed((name,), list, "a list of seeds")
    return tuple(source.typed((name, index), int, "a whole number") for index in range(len(seeds)))


def _band(source: Source, index: int) -> Band:
    path = ("bands", index)
    band = source.keys(path, ["name", "macs", "architectures", "held_out"], required=["name", "macs", "architectures"])
    return Band(
        source.typed((*path, "name"), str, "a name"),
        source.convert((*path, "macs"), parse_count),
        source.typed((*path, "architectures"), int, "a number of architectures"),
        "held_out" in band and source.typed((*path, "held_out"), bool, "true or false"),
    )


def _scores_line(architecture: str, scores: Mapping[str, Score]) -> str:
    line = {
        "hash": architecture,
        "values": {name: score.value for name, score in scores.items()},
        "seconds": {name: round(score.seconds, 6) for name, score in scores.items()},
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def _named_scores(line: dict[str, Any]) -> tuple[str, dict[str, Score]]:
    return line["hash"], {name: Score(value, line["seconds"][name]) for name, value in line["values"].items()}


def _read_lines(path: Path, make: Callable[[dict[str, Any]], Made]) -> Iterator[Made]:
    """What `make` makes of every line of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield make(json.loads(line))
        except ValueError:
            raise DataError(f"{path}, line {number} is no JSON; a build that was cut off may have left it") from None
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number} is no line of a table: {type(error).__name__} {error}") from None
