"""Architecture search over the MLP family of vision models.

`search` is `nas search` for Python, `open_study` reads a study, and `baselines` returns the hand-designed architectures
to compare with. The functions `register_...` are for plug-ins, as are the classes beside them. Nothing heavy is
imported until it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import search
    from nas.config import SearchConfig
    from nas.reading import Study, open_study
    from nas.strategy.axes import suggest
    from nas.strategy.pruners import Halving, Pruner, register_pruner
    from nas.strategy.samplers.registry import SamplerSettings, register_sampler
    from nas.strategy.samplers.surrogate import SurrogateSampler
    from results.database.objectives import Figures, Objective, register_objective
    from results.export import Exporter, Trained, register_exporter
    from results.report.report import Report
    from runners.data import Augmentation, Dataset, DatasetInfo, Split, register_dataset
    from runners.measuring.targets import LatencyTarget, register_latency_target
    from runners.protocol import DataSpec, EpochResult, Evaluator, Job, Latency, Measured, Outcome, Runner, TrialSource
    from runners.proxies import register_proxy
    from runners.proxies.material import Material
    from runners.registry import RunnerSettings, register_runner
    from search_space import (
        Architecture,
        Branch,
        Cost,
        Limits,
        Mix,
        Mixer,
        Op,
        SearchSpace,
        Stage,
        TokenShape,
        build,
        list_spaces,
        load_space,
        register_layer,
        register_mixer,
        register_op,
    )
    from search_space.errors import NasError
    from search_space.zoo.baselines import baselines

_HOMES = {
    "nas.api": ("search",),
    "nas.config": ("SearchConfig",),
    "nas.reading": ("Study", "open_study"),
    "nas.strategy.axes": ("suggest",),
    "nas.strategy.pruners": ("Halving", "Pruner", "register_pruner"),
    "nas.strategy.samplers.registry": ("SamplerSettings", "register_sampler"),
    "nas.strategy.samplers.surrogate": ("SurrogateSampler",),
    "results.database.objectives": ("Figures", "Objective", "register_objective"),
    "results.export": ("Exporter", "Trained", "register_exporter"),
    "results.report.report": ("Report",),
    "runners.data": ("Augmentation", "Dataset", "DatasetInfo", "Split", "register_dataset"),
    "runners.measuring.targets": ("LatencyTarget", "register_latency_target"),
    "runners.protocol": (
        "DataSpec",
        "EpochResult",
        "Evaluator",
        "Job",
        "Latency",
        "Measured",
        "Outcome",
        "Runner",
        "TrialSource",
    ),
    "runners.proxies": ("register_proxy",),
    "runners.proxies.material": ("Material",),
    "runners.registry": ("RunnerSettings", "register_runner"),
    "search_space": (
        "Architecture",
        "Branch",
        "Cost",
        "Limits",
        "Mix",
        "Mixer",
        "Op",
        "SearchSpace",
        "Stage",
        "TokenShape",
        "build",
        "list_spaces",
        "load_space",
        "register_layer",
        "register_mixer",
        "register_op",
    ),
    "search_space.errors": ("NasError",),
    "search_space.zoo.baselines": ("baselines",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "Architecture",
    "Augmentation",
    "Branch",
    "Cost",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "EpochResult",
    "Evaluator",
    "Exporter",
    "Figures",
    "Halving",
    "Job",
    "Latency",
    "LatencyTarget",
    "Limits",
    "Material",
    "Measured",
    "Mix",
    "Mixer",
    "NasError",
    "Objective",
    "Op",
    "Outcome",
    "Pruner",
    "Report",
    "Runner",
    "RunnerSettings",
    "SamplerSettings",
    "SearchConfig",
    "SearchSpace",
    "Split",
    "Stage",
    "Study",
    "SurrogateSampler",
    "TokenShape",
    "Trained",
    "TrialSource",
    "baselines",
    "build",
    "list_spaces",
    "load_space",
    "open_study",
    "register_dataset",
    "register_exporter",
    "register_latency_target",
    "register_layer",
    "register_mixer",
    "register_objective",
    "register_op",
    "register_proxy",
    "register_pruner",
    "register_runner",
    "register_sampler",
    "search",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    _check_neighbours()
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]


def _check_neighbours() -> None:
    """Check that Python finds the packages next to this one, not modules of the user with the same names.

    Raises:
        ImportError: If not.
    """
    for name in ("search_space", "runners", "results"):
        beside, spec = Path(__file__).parents[1] / name / "__init__.py", importlib.util.find_spec(name)
        found = spec.origin if spec else None
        if found and beside.exists() and not beside.samefile(found):
            raise ImportError(
                f"{found} hides the package {name!r} of mlp-nas; rename it, or run Python elsewhere or as python -P"
            )
