"""The file format of a tabular benchmark: architectures, their learning curves, and scores of proxies.

A table is a folder of plain text:

    definition.yaml space, data set, recipe, seeds, bands (`nas.bench.definition`)
    architectures.jsonl    a line for each architecture: its band and its choices
    trainings.jsonl        a line for each training: curve on the validation split, figures on the test split, CPU time
    scores.jsonl           a line for each architecture: scores of the training-free proxies, and their CPU time

`nas.bench.replay` evaluates jobs from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nas.bench.definition import read_definition
from runners.protocol import Score
from search_space.architecture import Architecture
from search_space.errors import DataError
from search_space.space import SearchSpace

Made = TypeVar("Made")


@dataclass(frozen=True)
class Training:
    """One training of the table.

    Attributes:
        architecture: Hash of the architecture.
        seed: Seed of the training.
        seconds: CPU time of the whole training.
        train_loss: Training loss after every epoch.
        nll: Validation NLL in nats after every epoch.
        accuracy: Validation accuracy, 0 to 1, after every epoch.
        test_nll: Test NLL at the end; None if the training failed.
        test_accuracy: Test accuracy at the end; None likewise.
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
        architecture: The architecture.
        band: Name of its band.
        choices: Its choices in the space.
        origin: "drawn", or "family:NAME" for a hand-designed one.
    """

    architecture: Architecture
    band: str
    choices: Mapping[str, Any]
    origin: str


class Table:
    """A tabular benchmark. Its files are read when they are first needed.

    Args:
        folder: Its folder.
        for_search: Whether to read only what a search may see: the trainings with search seeds, without test figures.

    Raises:
        DataError: If the folder is not a table, or a line cannot be read.
    """

    def __init__(self, folder: Path, *, for_search: bool = False) -> None:
        self.folder, self.for_search = folder, for_search
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
            raise DataError(f"{self.folder}: {line['hash']} is another architecture in this version; rebuild the table")
        return Entry(architecture, line["band"], line["choices"], line["origin"])

    @cached_property
    def trainings(self) -> dict[tuple[str, int], Training]:
        """The trainings by architecture and seed."""
        trainings = _read_lines(self.folder / "trainings.jsonl", lambda line: Training(**line))
        if self.for_search:
            seeds = self.definition.search_seeds
            trainings = (replace(one, test_nll=None, test_accuracy=None) for one in trainings if one.seed in seeds)
        return {(training.architecture, training.seed): training for training in trainings}

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """The scores by architecture and proxy, empty before any scoring; later lines add to earlier ones."""
        path, found = self.folder / "scores.jsonl", dict[str, dict[str, Score]]()
        for name, scores in _read_lines(path, _named_scores) if path.exists() else ():
            found.setdefault(name, {}).update(scores)
        return found

    def visible(self) -> Table:
        """This table as a search may see it: only search seeds, and no test figures."""
        return Table(self.folder, for_search=True)

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
        """Append a training to the file."""
        line = {name: value for name, value in asdict(training).items() if value is not None}
        with (self.folder / "trainings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def add_scores(self, architecture: str, scores: Mapping[str, Score]) -> None:
        """Append the scores of an architecture to the file."""
        with (self.folder / "scores.jsonl").open("a", encoding="utf-8") as file:
            file.write(_scores_line(architecture, scores))

    def tidy_scores(self) -> None:
        """Rewrite the scores: one line for each architecture, in the order of the architectures."""
        path = self.folder / "scores.jsonl"
        lines = (_scores_line(name, self.scores[name]) for name in self.entries if name in self.scores)
        new = path.with_suffix(".new")
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(path)


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
    """Make an object from every line of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield make(json.loads(line))
        except ValueError:
            raise DataError(f"{path}, line {number} is not JSON; an interrupted build may have left it") from None
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number} is not a line of a table: {type(error).__name__} {error}") from None
