"""All settings of a search, and checks across them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.config.place_settings import PlaceSettings
from nas.config.problem_settings import ProblemSettings
from nas.config.setting import flag, settings_of
from nas.config.strategy_settings import StrategySettings
from nas.config.training_settings import TrainingSettings
from nas.strategy.presets import STRATEGIES, SURROGATE, Strategy
from nas.strategy.samplers.registry import SAMPLERS
from results.database.objectives import Objective, parse_objectives
from search_space.errors import ConfigError, allowed, brief
from search_space.extras import check_installed
from search_space.space import Limits
from search_space.yaml_source import Source, read_yaml_file


# Fields are collected from the last base to the first: in this order they are listed and documented.
@dataclass(frozen=True)
class SearchConfig(PlaceSettings, TrainingSettings, StrategySettings, ProblemSettings):
    """All settings of `nas search`; None means a default that depends on others."""

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
