"""The samplers that are registered by name, and how to name others.

Names are registered without loading Optuna: it is imported when a sampler is made. A name such as
``optuna.samplers:QMCSampler`` is a class of any installed module.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from search_space.errors import ConfigError, allowed, brief
from search_space.registry import Registry

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from search_space.space import Limits, SearchSpace

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class SamplerSettings:
    """What is available to the function that makes a sampler.

    Attributes:
        space: Where architectures come from.
        distributions: The axes of the space as Optuna distributions. Samplers propose a value on every axis, those of
            absent stages included: with a fixed set of axes the models behind TPE, CMA-ES and GP cover all of them
            jointly.
        limits: Limits that architectures satisfy.
        seed: Seed of all random choices, within NumPy's range.
    """

    space: SearchSpace
    distributions: Mapping[str, BaseDistribution]
    limits: Limits
    seed: int


MakeSampler = Callable[[SamplerSettings], "BaseSampler"]
_Make = TypeVar("_Make", bound=MakeSampler)


@dataclass(frozen=True)
class SamplerEntry:
    """A registered sampler.

    Attributes:
        make: Makes the sampler.
        several_objectives: Whether it handles more than one objective.
    """

    make: MakeSampler
    several_objectives: bool = True


SAMPLERS: Registry[SamplerEntry] = Registry("sampler")


def register_sampler(name: str, *, several_objectives: bool = True) -> Callable[[_Make], _Make]:
    """Decorate a function of `SamplerSettings` that makes the sampler `name`.

    Example:
        >>> @register_sampler("quasi_random")
        ... def quasi_random(settings: SamplerSettings) -> BaseSampler:
        ...     from optuna.samplers import QMCSampler
        ...
        ...     return QMCSampler(seed=settings.seed)

    Args:
        name: As in ``--sampler``.
        several_objectives: Whether it handles more than one objective.

    Raises:
        ValueError: If the name is taken.
    """

    def register(make: _Make) -> _Make:
        SAMPLERS.add(name, SamplerEntry(make, several_objectives), origin=make.__module__)
        return make

    return register


def sampler_problem(name: object) -> str | None:
    """What is wrong with the name of a sampler; None if nothing is. A class that it names is not imported."""
    if name in SAMPLERS or (isinstance(name, str) and _CLASS.fullmatch(name)):
        return None
    return f"{allowed(name, SAMPLERS)}; or any Optuna sampler as MODULE:CLASS"


def find_sampler(name: str) -> SamplerEntry:
    """The sampler of this name, or the class that it names.

    Raises:
        ConfigError: If there is none.
    """
    if name in SAMPLERS:
        return SAMPLERS[name]
    if problem := sampler_problem(name):
        raise ConfigError(f"the sampler is {brief(name)}; {problem}")
    return SamplerEntry(_class_maker(name))


def make_sampler(
    name: str,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    limits: Limits,
    *,
    seed: int,
) -> BaseSampler:
    """The sampler of this name, or of the class that it names.

    Raises:
        ConfigError: If there is no such sampler.
    """
    return find_sampler(name).make(SamplerSettings(space, distributions, limits, seed % 2**32))


def sampler_of(name: str, space: SearchSpace, limits: Limits, *, seed: int) -> BaseSampler | None:
    """The sampler of this name over all axes of a space; None for "random", whose draws need no study.

    Raises:
        ConfigError: If there is no such sampler.
    """
    if name == "random":
        return None
    from nas.strategy.axes import distributions_of  # loads Optuna

    return make_sampler(name, space, distributions_of(space), limits, seed=seed)


def _class_maker(name: str) -> MakeSampler:
    """Return a function that makes a sampler of the class MODULE:CLASS, with a seed if its constructor takes one."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import BaseSampler

    module, _, attribute = name.partition(":")
    try:
        cls: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(f"the sampler {name} cannot be imported ({type(error).__name__}: {error})") from error
    if not (isinstance(cls, type) and issubclass(cls, BaseSampler)):
        raise ConfigError(f"the sampler {name} is {brief(cls)}; allowed: a subclass of optuna.samplers.BaseSampler")
    construct: Callable[..., BaseSampler] = cls
    takes_seed = "seed" in inspect.signature(cls).parameters

    def make(settings: SamplerSettings) -> BaseSampler:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # the user has named it
                made = construct(seed=settings.seed) if takes_seed else construct()
        except Exception as error:
            raise ConfigError(f"the sampler {name} cannot be made ({type(error).__name__}: {error})") from error
        return made

    return make
