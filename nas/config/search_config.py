"""All settings of a search, and checks across them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.config.setting import flag, setting, settings_of
from nas.config.values import (
    LEAST_RESERVED,
    MAX_SEED,
    MOST_RESERVED,
    Kind,
    NamesNow,
    choice,
    count,
    gpus,
    location,
    name_list,
    number,
    output_path,
    path,
    plugins,
    study_name,
    switch,
    text,
    whole,
)
from nas.strategy.presets import STRATEGIES, SURROGATE, Strategy, ranker_names, ranker_problem
from nas.strategy.pruners import PRUNERS, pruner_problem
from nas.strategy.samplers.registry import SAMPLERS, sampler_problem
from results.database.objectives import OBJECTIVES, Objective, parse_objectives
from runners.measuring.targets import LATENCY_TARGETS
from runners.protocol import IMAGE_CACHES
from runners.proxies import PROXIES
from runners.registry import RUNNERS
from search_space.errors import ConfigError, allowed, brief
from search_space.extras import check_installed
from search_space.space import Limits
from search_space.yaml_source import Source, read_yaml_file


def _unknown_proxy(names: tuple[str, ...]) -> str | None:
    unknown = [name for name in names if name not in PROXIES]
    return allowed(unknown[0], PROXIES) if unknown else None


@dataclass(frozen=True)
class SearchConfig:
    """All settings of `nas search`; None means a default that depends on others."""

    # What is searched, and for what.
    imports: tuple[str, ...] = setting(  # first, since others may name what plug-ins register
        (), plugins(), "MODULE|FILE", "Plug-in to import, in every worker too; repeatable", otherwise="installed ones"
    )
    space: str = setting("mlp_family", path(), "NAME|FILE", "Search space, one that ships or a YAML file")
    data: str = setting("digits", text(), "NAME", "Data set, such as digits, fashion_mnist, cifar10, imagefolder:PATH")
    budget: int = setting(
        200, whole(1), "N", "Distinct architectures to evaluate, over all runs of the study", unit="architectures"
    )
    max_fte: float | None = setting(
        None,
        number(0, 1e9),
        "X",
        "Compute to spend, in full-training equivalents, finalists included",
        otherwise="no limit",
        unit="full trainings",
    )
    objective: tuple[str, ...] = setting(
        ("nll",),
        name_list("objectives", OBJECTIVES, lambda names: None, repeatable=True),  # `objectives` has the better message
        "NAME",
        "Objective, repeatable; the first is the quality searched for",
    )
    max_params: int | None = setting(
        None,
        count(0, 10**13),
        "COUNT",
        "Limit on parameters, such as 50k; 0 for none",
        otherwise="that of the space for this size of images",
        unit="parameters",
    )
    max_macs: int | None = setting(
        None, count(1, 10**16), "COUNT", "Limit on MACs for one image, such as 5M", otherwise="no limit", unit="MACs"
    )
    max_latency_ms: float | None = setting(
        None, number(0, 1e9), "MS", "Limit on the measured latency of one image", otherwise="no limit", unit="ms"
    )
    latency_target: str = setting(
        "device", choice(LATENCY_TARGETS), "NAME", "What measures the latency, by default the device of the trial"
    )
    trial_timeout: float | None = setting(
        None,
        number(0, 1e9),
        "SECONDS",
        "Time limit for one attempt at a training; an architecture that takes longer is infeasible",
        otherwise="no limit",
        unit="s",
    )
    # How it is searched.
    strategy: str = setting("auto", choice(STRATEGIES), "NAME", "Strategy (the next six flags replace parts of it)")
    sampler: str | None = setting(
        None,
        Kind("name", sampler_problem, choices=SAMPLERS),
        "NAME|MODULE:CLASS",
        "Sampler that proposes architectures, or the class of an Optuna sampler",
        otherwise="by strategy",
    )
    ranker: str | None = setting(
        None,
        Kind("name", ranker_problem, choices=NamesNow(ranker_names)),
        "NAME",
        "What chooses among the proposals",
        otherwise="by strategy",
    )
    proxies: tuple[str, ...] | None = setting(
        None,
        name_list("proxies", PROXIES, _unknown_proxy, or_none=True),
        "NAMES",
        "Proxies that the surrogate sees in addition to the architecture, separated by commas; or none",
        otherwise="by strategy",
    )
    pruner: str | None = setting(
        None,
        Kind("name", pruner_problem, choices=PRUNERS),
        "NAME",
        "Pruner that stops trials early",
        otherwise="by strategy",
    )
    families: bool | None = setting(
        None, switch(), "", "Whether the hand-designed families are tried first", otherwise="by strategy"
    )
    local: bool | None = setting(
        None,
        switch(),
        "",
        "Whether neighbours of the best architectures are candidates of the surrogate, too",
        otherwise="by strategy",
    )
    control: str | None = setting(
        None,
        choice(("random",)),
        "NAME",
        "Strategy to compare with, which searches afterwards with equal compute",
        otherwise="no control",
    )
    # How every architecture is trained.
    epochs: int | None = setting(
        None, whole(1, 100_000), "E", "Epochs of a full training", otherwise="by data set", unit="epochs"
    )
    batch_size: int | None = setting(
        None, whole(1, 1_000_000), "B", "Images in a training step", otherwise="by data set", unit="images"
    )
    lr: float | None = setting(None, number(0, 1e9), "LR", "Peak learning rate", otherwise="by data set")
    seed: int = setting(0, whole(0, MAX_SEED), "K", "Seed of the search, and of the training of its trials")
    finalists: int | None = setting(
        None,
        whole(0, 1000),
        "K",
        "How many of the best trials are trained again at the end; 0 for none",
        otherwise="3, or fewer where --max-fte is small",
    )
    seeds: int = setting(2, whole(1, 1000), "S", "Number of fresh seeds with which every finalist is trained")
    # Where it runs.
    runner: str = setting("ray", choice(RUNNERS), "NAME", "What executes trials")
    address: str | None = setting(
        None,
        text(),
        "ADDRESS",
        "Ray cluster: auto, HOST:PORT, ray://HOST:PORT",
        otherwise="$RAY_ADDRESS, else Ray on this machine",
    )
    cpus_per_trial: float = setting(
        1.0,
        number(LEAST_RESERVED, MOST_RESERVED, include=True),
        "X",
        "CPU cores that a trial reserves; it runs as many threads",
        otherwise="1",
        unit="cores",
    )
    gpus_per_trial: float | None = setting(
        None,
        gpus(),
        "X",
        "GPUs that a trial reserves, such as 0.25; several share every batch",
        otherwise="1 if there are GPUs, else 0",
        unit="GPUs",
    )
    device: str = setting("auto", text(), "NAME", "Device that trains: auto, cpu, cuda, cuda:1")
    data_dir: str | None = setting(
        None, path(), "DIR", "Folder in which data sets are cached", otherwise="$NAS_DATA_DIR, else ~/.cache/nas"
    )
    image_size: int | None = setting(
        None, whole(1, 1024), "PIXELS", "Side to which images of a folder are resized", otherwise="64", unit="pixels"
    )
    image_cache: str = setting(
        "auto", choice(IMAGE_CACHES), "NAME", "Decode images of a folder once (disk) or every epoch (none)"
    )
    # What is kept.
    storage: str | None = setting(
        None,
        text(),
        "URL",
        "Database: sqlite:///FILE or postgresql+psycopg://...",
        otherwise="$NAS_STORAGE, else a SQLite file under --out",
        secret=True,
    )
    study: str | None = setting(None, study_name(), "NAME", "Name of the study", otherwise="SPACE-DATA")
    out: str = setting("nas-runs", output_path(), "DIR", "Folder for everything the search writes")
    checkpoint_dir: str | None = setting(
        None,
        location(),
        "DIR|URL",
        "Folder for checkpoints and weights: a path, s3://..., gs://...",
        otherwise="that of --out",
    )

    def __post_init__(self) -> None:
        for name, known in settings_of(self).items():
            value = getattr(self, name)
            problem = None if value is None and known.default is None else known.kind.problem(value)
            if problem:
                shown = "not usable" if known.secret and not isinstance(value, (int, float)) else brief(value)
                raise ConfigError(f"{known.flag} is {shown}; {problem}")
        objectives = self.objectives  # checks them too
        sampler = self.parts.sampler
        if len(objectives) > 1 and sampler in SAMPLERS and not SAMPLERS[sampler].several_objectives:
            others = ", ".join(name for name, entry in SAMPLERS.items() if entry.several_objectives)
            raise ConfigError(f"the sampler {sampler} handles one objective only; allowed with several: {others}")
        if sampler == "cmaes":
            check_installed("cmaes", "the sampler cmaes")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse a setting that has no effect because of another one.

        Raises:
            ConfigError: If there is one.
        """
        for name in ("proxies", "local"):
            if getattr(self, name) and not self.parts.has_surrogate:
                sampler = self.parts.sampler
                raise ConfigError(f"{flag(name)} is for the sampler {SURROGATE!r}; the sampler is {sampler!r}")
        if self.latency_target != SearchConfig.latency_target and not self.measures_latency:
            raise ConfigError(
                f"--latency-target is {brief(self.latency_target)}, but no latency is measured; allowed with "
                "--objective latency or --max-latency-ms"
            )
        if self.finalists == 0 and self.seeds != SearchConfig.seeds:
            raise ConfigError(f"--seeds is {self.seeds}, but --finalists is 0, and only finalists have several seeds")
        if self.address is not None and self.runner != "ray":
            raise ConfigError(f"--address is {brief(self.address)}, but the runner is {self.runner!r}; allowed: ray")
        if self.gpus_per_trial == 0 and self.device not in ("auto", "cpu"):
            raise ConfigError(f"--device is {brief(self.device)}, but --gpus-per-trial is 0; allowed then: auto, cpu")
        if self.gpus_per_trial and self.device == "cpu":
            raise ConfigError(f"--gpus-per-trial is {self.gpus_per_trial:g}, but --device is 'cpu'; allowed then: 0")

    @classmethod
    def make(cls, **settings: Any) -> SearchConfig:
        """Return a configuration from loosely typed settings; see `with_settings`."""
        return cls().with_settings(**settings)

    def with_settings(self, **settings: Any) -> SearchConfig:
        """Return a copy with other settings; counts such as "50k" and a single objective may be strings.

        Raises:
            ConfigError: If a name is unknown or a value not allowed.
        """
        for name in settings:
            if name not in SETTINGS:
                raise ConfigError(f"there is no setting {brief(name)}; {allowed(name, SETTINGS)}")
        return replace(self, **{name: _convert(name, value) for name, value in settings.items()})

    def with_file(self, path: Path) -> SearchConfig:
        """Return a copy with the settings of a YAML file.

        Raises:
            ConfigError: If the file cannot be read, or a key or value is not allowed, with the line.
        """
        source = read_yaml_file(path, ConfigError)
        return self if source.data is None else replace(self, **_read(source))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, the quality first."""
        return parse_objectives(self.objective)

    @property
    def measures_latency(self) -> bool:
        """Whether the latency of every trial is measured."""
        return self.max_latency_ms is not None or any(one.measure == "latency" for one in self.objectives)

    @property
    def parts(self) -> Strategy:
        """The parts of the strategy, replaced by their own settings if given."""
        strategy = STRATEGIES[self.strategy]
        own = {field.name: getattr(self, field.name) for field in fields(strategy) if field.name != "summary"}
        given = {name: value for name, value in own.items() if value is not None}
        return strategy.with_parts(given)

    @property
    def study_name(self) -> str:
        """Name of the study."""
        if self.study is not None:
            return self.study
        data = "imagefolder-" + Path(self.data.partition(":")[2]).name if ":" in self.data else self.data
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{Path(self.space).stem}-{data}")[:100]

    @property
    def training_device(self) -> str:
        """The device that trains: without a GPU to reserve, "auto" means the CPU."""
        return "cpu" if self.gpus_per_trial == 0 else self.device

    def limits(self, default: Limits) -> Limits:
        """Return the limits that are computed, not measured; `default` are those of the space."""
        max_params = default.max_params if self.max_params is None else (self.max_params or None)
        return Limits(max_params, self.max_macs)


SETTINGS = settings_of(SearchConfig)
"""All settings by name, in the order of the help text."""
SearchConfig.__doc__ = f"{SearchConfig.__doc__}\n\n    Attributes:\n" + "".join(
    f"        {name}: {known.help}\n" for name, known in SETTINGS.items()
)


def _read(source: Source) -> dict[str, Any]:
    """The settings in a file, converted and checked one by one."""
    settings: dict[str, Any] = {}
    names = source.keys((), list(SETTINGS))
    for name in sorted(names, key=lambda name: name != "imports"):  # the others may name what plug-ins register
        if source.at((name,)) is None:
            continue
        settings[name] = source.convert((name,), partial(_convert, name))
        source.convert((name,), partial(_check, name, settings[name]))
    return settings


def _convert(name: str, value: Any) -> Any:
    """Loose input as a value of the setting."""
    return None if value is None else SETTINGS[name].kind.convert(value, flag(name))


def _check(name: str, value: Any, _: Any) -> None:
    """Raise ConfigError unless the value is allowed."""
    SearchConfig(**{name: value})
