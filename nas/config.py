"""Settings of a search: the same names as flags, as keys of a ``--config`` file, and as arguments in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.strategy.presets import PROXY_NAMES, RANKERS, STRATEGIES, Strategy
from nas.strategy.pruners import PRUNERS
from nas.strategy.samplers.registry import SAMPLERS
from results.report.objectives import Objective, parse_objectives
from runners.remote import ALLOWED, locate
from search_space.errors import ConfigError, StorageError, allowed, brief
from search_space.paths import output_problem, path_problem, text_problem
from search_space.space import Limits
from search_space.units import parse_count
from search_space.yaml_source import Source, read_yaml_file

RUNNERS = ("ray", "inline")
MAX_SEED = 2**63 - 1 - 1000
"""Seeds are BIGINTs in databases, and those of finalists are up to a thousand larger."""
LEAST_RESERVED, MOST_RESERVED = 0.0001, 100_000
"""CPU cores or GPUs for a trial: Ray counts in ten-thousandths, and no machine has more."""
_NUMBERS = ("max_fte", "lr", "max_latency_ms", "trial_timeout", "cpus_per_trial", "gpus_per_trial")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class SearchConfig:
    """All settings of `nas search`; None means a default that depends on others.

    Attributes:
        space: Name of a shipped search space, or path of a YAML file.
        data: Name of a data set, or ``imagefolder:PATH``.
        data_dir: Where data sets are cached; None for ``NAS_DATA_DIR``, else the user's cache folder.
        image_size: Side to which an image folder is resized, in pixels.
        budget: Distinct architectures to evaluate, over all runs of the study.
        max_fte: Compute to spend, in full-training equivalents, finalists included; None for no limit besides `budget`.
        objective: Names of the objectives; the first is the quality.
        strategy: Which parts of a search work together; see `nas.strategy.presets`. The next six are its parts, None
            for what the strategy says.
        sampler: Which sampler proposes.
        ranker: Who chooses among proposals: "none", "model", or a proxy by its name.
        proxies: Proxies that the model sees beside the architecture; needs the ranker "model".
        pruner: Which pruner stops trials early.
        families: Whether the hand-designed families are tried first.
        local: Whether the neighbours of the best are candidates too; needs the ranker "model".
        control: Strategy that searches afterwards with equal compute, for comparison; None for none.
        max_params: Limit on parameters; None for the space's own limit for this size of images, 0 for none.
        max_macs: Limit on MACs for one image.
        max_latency_ms: Limit on the measured latency of one image.
        trial_timeout: Seconds that one attempt at a training may compute; what takes longer is infeasible.
        epochs: Epochs of a full training; None for the data set's recipe. So too for batch_size and lr.
        seed: Seed of the search, and of the training of all its trials.
        finalists: How many of the best are retrained; 0 for none. None for 3, or fewer where `max_fte` is short.
        seeds: With how many seeds each.
        runner: "ray" or "inline".
        address: Address of a Ray cluster; None for ``RAY_ADDRESS``, else to start Ray on this machine.
        cpus_per_trial: CPU cores a trial reserves; it runs as many threads.
        gpus_per_trial: GPUs a trial reserves, such as 0.25; None for 1 if there is one, else 0. Several share
            every batch of a training.
        device: "auto", "cpu", "cuda", ...
        storage: Database URL; None for a SQLite file in `out`.
        study: Name of the study; None for SPACE-DATA.
        out: Folder for everything the search writes.
        checkpoint_dir: Where checkpoints and weights lie, a path or ``s3://``, ``gs://``; None for `out`.
    """

    space: str = "mlp_family"
    data: str = "digits"
    data_dir: str | None = None
    image_size: int | None = None
    budget: int = 200
    max_fte: float | None = None
    objective: tuple[str, ...] = ("nll",)
    strategy: str = "auto"
    sampler: str | None = None
    ranker: str | None = None
    proxies: tuple[str, ...] | None = None
    pruner: str | None = None
    families: bool | None = None
    local: bool | None = None
    control: str | None = None
    max_params: int | None = None
    max_macs: int | None = None
    max_latency_ms: float | None = None
    trial_timeout: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0
    finalists: int | None = None
    seeds: int = 2
    runner: str = "ray"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    device: str = "auto"
    storage: str | None = field(default=None, repr=False)
    study: str | None = None
    out: str = "nas-runs"
    checkpoint_dir: str | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            problem = None if value is None and _optional(name) else check(value)
            if problem:
                secret = name == "storage" and not isinstance(value, (int, float))  # it may hold a password
                shown = "not usable" if secret else brief(value)
                raise ConfigError(f"{flag(name)} is {shown}; {problem}")
        objectives = self.objectives  # checks them too
        if self.parts.sampler == "cmaes" and len(objectives) > 1:
            others = ", ".join(name for name in SAMPLERS if name != "cmaes")
            raise ConfigError(f"the sampler cmaes handles one objective only; allowed with several: {others}")
        for name in ("proxies", "local"):
            if getattr(self, name) and self.parts.ranker != "model":
                raise ConfigError(f"{flag(name)} is for the ranker 'model'; the ranker is {self.parts.ranker!r}")

    @classmethod
    def make(cls, **settings: Any) -> SearchConfig:
        """A configuration from loosely typed settings; see `with_settings`."""
        return cls().with_settings(**settings)

    def with_settings(self, **settings: Any) -> SearchConfig:
        """This configuration with loosely typed settings put in: counts such as "50k", one objective as a word.

        Raises:
            ConfigError: If a name is unknown or a value not allowed.
        """
        known = [setting.name for setting in fields(self)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"there is no setting {brief(name)}; {allowed(name, known)}")
        return replace(self, **{name: _convert(name, value) for name, value in settings.items()})

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, the quality first."""
        return parse_objectives(self.objective)

    @property
    def parts(self) -> Strategy:
        """The strategy's parts, with those put in that are set on their own."""
        strategy = STRATEGIES[self.strategy]
        own = {field.name: getattr(self, field.name) for field in fields(strategy) if field.name != "summary"}
        given = {name: value for name, value in own.items() if value is not None}
        if given.get("ranker", strategy.ranker) != "model":  # what serves the model goes with it
            given = {"local": False, "proxies": (), **given}
        return replace(strategy, **given)

    @property
    def study_name(self) -> str:
        """Name of the study."""
        if self.study is not None:
            return self.study
        data = "imagefolder-" + Path(self.data.partition(":")[2]).name if ":" in self.data else self.data
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{Path(self.space).stem}-{data}")[:100]

    def limits(self, default: Limits) -> Limits:
        """The limits that can be computed, `default` being the space's own."""
        max_params = default.max_params if self.max_params is None else (self.max_params or None)
        return Limits(max_params, self.max_macs)

    def check_compute(self) -> None:
        """See whether the limit on compute lets a single trial be trained. Simulations ask for less, too.

        Raises:
            ConfigError: If not.
        """
        # Unless they are set, there are fewer finalists where compute is short.
        reserved = (self.finalists or 0) * self.seeds
        if self.max_fte is not None and self.max_fte + 1e-9 < reserved + 1:
            finals = f" and {self.finalists} finalists with {self.seeds} seeds {reserved}" if reserved else ""
            least = f"allowed: numbers from {reserved + 1}, as one full training takes 1{finals}"
            raise ConfigError(f"--max-fte is {self.max_fte:g}; {least}")

    def with_file(self, path: Path) -> SearchConfig:
        """This configuration with the keys of a YAML file put in.

        Raises:
            ConfigError: If the file cannot be read, or a key or value is not allowed, with the line.
        """
        source = read_yaml_file(path, ConfigError)
        if source.data is None:
            return self
        return replace(self, **read_settings(source))


def read_settings(source: Source) -> dict[str, Any]:
    """The settings in a configuration file, converted and checked one by one.

    Raises:
        ConfigError: If a key or value is not allowed, with the line.
    """
    settings: dict[str, Any] = {}
    for name in source.keys((), [setting.name for setting in fields(SearchConfig)]):
        if source.at((name,)) is None:
            continue
        settings[name] = source.convert((name,), partial(_convert, name))
        source.convert((name,), partial(_check, name, settings[name]))
    return settings


def flag(name: str) -> str:
    """How a setting is written on the command line."""
    return "--" + name.replace("_", "-")


def _convert(name: str, value: Any) -> Any:
    """Loosely typed input in the type of the setting."""
    if value is None:
        return None
    if name in ("max_params", "max_macs"):
        return 0 if str(value) in ("0", "none") and name == "max_params" else parse_count(value, flag(name))
    if name == "objective":
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(isinstance(item, str) for item in names):
            raise ConfigError(f"{flag(name)} is {brief(value)}; allowed: names of objectives")
        return tuple(part.strip() for item in names for part in item.split(","))
    if name == "proxies":
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(isinstance(item, str) for item in names):
            raise ConfigError(f"{flag(name)} is {brief(value)}; allowed: names of proxies")
        names = [part.strip() for item in names for part in item.split(",")]
        return tuple(name for name in names if name != "none")
    if isinstance(value, Path):
        return str(value)
    if name in _NUMBERS and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as a text
        except (ValueError, OverflowError):
            return value
    return value


def _check(name: str, value: Any, _: Any) -> None:
    """Raise ConfigError unless the converted value is allowed."""
    SearchConfig(**{name: value})


def _optional(name: str) -> bool:
    return next(field for field in fields(SearchConfig) if field.name == name).default is None


def _whole(least: int, most: int = 10**9) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fine = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if fine else f"allowed: whole numbers from {least} to {most:,}"

    return check


def _number(least: float, most: float, include: bool = False) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value <= most
        fine = fine and (value >= least if include else value > least)
        return None if fine else f"allowed: numbers {'from' if include else 'above'} {least:g} to {most:g}"

    return check


def _gpus(value: Any) -> str | None:
    none = isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
    fine = none or _number(LEAST_RESERVED, MOST_RESERVED, include=True)(value) is None
    if fine and (value <= 1 or value == int(value)):
        return None
    return f"allowed: 0, numbers from {LEAST_RESERVED:g} to 1, whole numbers to {MOST_RESERVED:,}"


def _place(value: Any) -> str | None:
    problem = _output(value)
    if problem is None:
        try:
            locate(value)
        except StorageError:
            return ALLOWED
    return problem


def _one_of(*choices: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in choices else allowed(value, choices)


def _names_of_proxies(value: Any) -> str | None:
    unknown = [name for name in value if name not in PROXY_NAMES]
    return allowed(unknown[0], PROXY_NAMES) if unknown else None


def _switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else "allowed: true, false"


def _text(value: Any) -> str | None:
    return text_problem(value) if isinstance(value, str) and value else "allowed: a text"


def _path(value: Any) -> str | None:
    return path_problem(value) if isinstance(value, str) else "allowed: a path"


def _output(value: Any) -> str | None:
    return output_problem(value) if isinstance(value, str) else "allowed: a path"


def name_problem(value: Any) -> str | None:
    """What is wrong with the name of a study; None if nothing is."""
    if isinstance(value, str) and _STUDY_NAME.fullmatch(value):
        return None
    return "allowed: up to 100 letters, digits, '.', '_', '+' and '-', beginning with a letter or digit"


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "space": _path,
    "data": _text,
    "data_dir": _path,
    "image_size": _whole(1, 1024),
    "budget": _whole(1),
    "max_fte": _number(0, 1e9),
    "strategy": _one_of(*STRATEGIES),
    "sampler": _one_of(*SAMPLERS),
    "ranker": _one_of(*RANKERS),
    "proxies": _names_of_proxies,
    "pruner": _one_of(*PRUNERS),
    "control": _one_of("random"),
    "families": _switch,
    "local": _switch,
    "max_params": _whole(0, 10**13),
    "max_macs": _whole(1, 10**16),
    "max_latency_ms": _number(0, 1e9),
    "trial_timeout": _number(0, 1e9),
    "epochs": _whole(1, 100_000),
    "batch_size": _whole(1, 1_000_000),
    "lr": _number(0, 1e9),
    "seed": _whole(0, MAX_SEED),
    "finalists": _whole(0, 1000),
    "seeds": _whole(1, 1000),
    "runner": _one_of(*RUNNERS),
    "address": _text,
    "cpus_per_trial": _number(LEAST_RESERVED, MOST_RESERVED, include=True),
    "gpus_per_trial": _gpus,
    "device": _text,
    "storage": _text,
    "study": name_problem,
    "out": _output,
    "checkpoint_dir": _place,
}
