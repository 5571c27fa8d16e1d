"""Rules for the cells of our tables besides their types, for single columns and combinations."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from results.database.names import evaluation_key, file_name
from results.database.objectives import OBJECTIVES, qualities
from results.database.schema import (
    ArchitectureRow,
    DriverRow,
    DriverState,
    EpochRow,
    EvaluationRow,
    FinalistRow,
    Role,
    ScoreRow,
    State,
    StudyRow,
)
from search_space.errors import NasError, allowed, brief
from search_space.space import mixers_of

Rule = Callable[[Any], str | None]
"""What is wrong with a value of the right type; None if nothing is."""
LATENCY = {
    **{"device": str, "threads": int, "batch_size": int, "precision": str, "warm_up": int, "repeats": int},
    **{"median_ms": (int, float), "lower_ms": (int, float), "upper_ms": (int, float)},
}
"""The keys of a stored latency; see `runners.protocol.Latency`."""
IDENTITY = ("space", "data", "objective", "max_params", "max_macs", "max_latency_ms", "recipe", "seed")


def _one_of(*names: str) -> Rule:
    return lambda value: None if value in names else f"{brief(value)} is unknown; {allowed(value, names)}"


def _at_least(least: int) -> Rule:
    return lambda value: None if value >= least else f"{brief(value)} is less than {least}"


def _share(value: float) -> str | None:
    return None if 0 <= value <= 1 else f"{value} is not from 0 to 1"


def _seconds(value: float) -> str | None:
    return None if math.isfinite(value) and value >= 0 else f"{value} is not a duration"


def _digits(count: int) -> Rule:
    pattern = re.compile(f"[0-9a-f]{{{count}}}")
    return lambda value: None if pattern.fullmatch(value) else f"{brief(value)} is not {count} hexadecimal digits"


def _an_object(value: object) -> str | None:
    return None if isinstance(value, dict) else f"{brief(value)} is not a JSON object"


def _identity(value: object) -> str | None:
    if not isinstance(value, dict) or not value:  # a study with an empty identity can still be listed
        return _an_object(value)
    for name in IDENTITY:
        if name not in value:
            return f"it lacks {name!r}"
    for name in ("space", "data"):
        part = value[name]
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            return f"its {name!r} is {brief(part)}, which has no name"
    if not isinstance(value["recipe"], dict):
        return f"its 'recipe' is {brief(value['recipe'])}"
    for name in ("max_params", "max_macs", "max_latency_ms"):
        limit = value[name]
        if limit is not None and (not isinstance(limit, (int, float)) or isinstance(limit, bool)):
            return f"its {name!r} is {brief(limit)}, which is not a number"
    return None


def _config(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return _an_object(value)
    budget, place = value.get("budget", 1), value.get("checkpoint_dir")
    if not isinstance(budget, int) or isinstance(budget, bool):
        return f"its 'budget' is {brief(budget)}, which is not a whole number"
    if place is not None and not isinstance(place, str):
        return f"its 'checkpoint_dir' is {brief(place)}, which is not a location"
    return None


def _objectives(value: object) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        return f"{brief(value)} is not a list of objectives; allowed: {', '.join(OBJECTIVES)}"
    return None


def _reference(value: object) -> str | None:
    if not isinstance(value, dict):
        return _an_object(value)
    for name, worst in value.items():
        number = isinstance(worst, (int, float)) and not isinstance(worst, bool) and math.isfinite(worst)
        if not number or (name in OBJECTIVES and worst == OBJECTIVES[name].ideal):
            return f"{brief(worst)} is not a reference for {brief(name)}"
    return None


def _latency(value: object) -> str | None:
    if not isinstance(value, dict):
        return _an_object(value)
    for name, kinds in LATENCY.items():
        if not isinstance(value.get(name), kinds):  # type: ignore[arg-type]  # of isinstance
            return f"its {name!r} is {brief(value.get(name))}"
    unknown = [name for name in value if name not in LATENCY]
    return f"{brief(unknown[0])} is unknown" if unknown else None


def _choices(value: object) -> str | None:
    if not isinstance(value, dict) or not value:  # proxies have none
        return _an_object(value)
    try:
        mixers_of(value)
    except (LookupError, TypeError):
        return "it does not say what each stage mixes its tokens with"
    return None


def _key(value: str) -> str | None:
    try:
        file_name(value, "evaluation")
    except NasError as error:
        return str(error)
    return None


def _process(value: str) -> str | None:
    parts = value.split(" ")
    sound = len(parts) == 3 and parts[1].isdecimal() and len(parts[1]) < 10
    return None if sound else f"{brief(value)} names no process"


_METRICS: dict[str, Rule] = dict.fromkeys(("balanced_accuracy", "macro_f1", "calibration_error"), _share)
RULES: dict[str, dict[str, Rule]] = {
    StudyRow.__tablename__: {
        "uid": lambda value: None if value == "" else _digits(32)(value),
        "identity": _identity,
        "config": _config,
        "objectives": _objectives,
        "reference": _reference,
    },
    DriverRow.__tablename__: {"process": _process, "state": _one_of(*DriverState)},
    ArchitectureRow.__tablename__: {"params": _at_least(0), "macs": _at_least(0)},
    EvaluationRow.__tablename__: {
        "key": _key,
        "role": _one_of(*Role),
        "number": _at_least(0),
        "choices": _choices,
        "state": _one_of(*State),
        "epochs_planned": _at_least(0),
        "epochs_trained": _at_least(0),
        "epochs_run": _at_least(0),
        "latency": _latency,
        "micro_batch": _at_least(1),
        "seconds": _seconds,
        "attempts": _at_least(1),
        "versions": _an_object,
        "weights_sha256": _digits(64),
        **_METRICS,
    },
    EpochRow.__tablename__: {"epoch": _at_least(1), "seconds": _seconds, **_METRICS},
    FinalistRow.__tablename__: {
        "number": _at_least(0),
        "seeds": _at_least(0),
        "rank": _at_least(1),
        **{prefix + name: rule for prefix in ("mean_", "test_") for name, rule in _METRICS.items()},
    },
    ScoreRow.__tablename__: {"seconds": _seconds},
}


def _key_fits(key: str, role: str, number: int) -> tuple[str, str] | None:
    named = evaluation_key(role, number)
    if key == named or key.startswith(f"{named}-"):
        return None
    return "key", f"{brief(key)} is not that of a {role} of number {number}"


def _has_epochs(role: str, epochs_planned: int) -> tuple[str, str] | None:
    sound = epochs_planned >= 1 or role == Role.PROXIES
    return None if sound else ("epochs_planned", f"{epochs_planned} is less than 1")


def _has_nll(role: str, state: str, nll: float | None) -> tuple[str, str] | None:
    ended = state == State.COMPLETE and role != Role.PROXIES
    return _missing("nll", nll, "what is complete") if ended else None


def _has_accuracy(role: str, state: str, accuracy: float | None) -> tuple[str, str] | None:
    ended = state == State.COMPLETE and role != Role.PROXIES
    return _missing("accuracy", accuracy, "what is complete") if ended else None


def _has_choices(role: str, choices: Mapping[str, Any]) -> tuple[str, str] | None:
    return None if choices or role == Role.PROXIES else ("choices", "they are missing")


def _refers_to_objectives(reference: Mapping[str, float] | None, objectives: list[str]) -> tuple[str, str] | None:
    if reference is None or set(reference) == set(objectives):
        return None
    return "reference", f"it is for {', '.join(reference)}, not for {', '.join(objectives)}"


def _begins_with_quality(objectives: list[str], identity: Mapping[str, Any]) -> tuple[str, str] | None:
    """A plug-in that has not been imported may define it."""
    if objectives[0] in qualities() or (objectives[0] not in OBJECTIVES and identity.get("plugins")):
        return None
    return "objectives", f"the first of {brief(objectives)} is none of {', '.join(qualities())}"


def _has_mean(rank: int | None, seeds: int, mean_nll: float | None) -> tuple[str, str] | None:
    is_retrained = rank is not None and seeds > 0  # a winner without finalists has no seeds
    return _missing("mean_nll", mean_nll, "a finalist with a rank") if is_retrained else None


def _tested_in_full(test_nll: float | None, test_accuracy: float | None) -> tuple[str, str] | None:
    return None if test_accuracy is None else _missing("test_nll", test_nll, "a test with an accuracy")


def _missing(column: str, value: float | None, where: str) -> tuple[str, str] | None:
    return (column, f"it is missing, though {where} has one") if value is None else None


TOGETHER: dict[str, list[Callable[..., tuple[str, str] | None]]] = {
    StudyRow.__tablename__: [_refers_to_objectives, _begins_with_quality],
    EvaluationRow.__tablename__: [_key_fits, _has_epochs, _has_nll],
    FinalistRow.__tablename__: [_has_mean, _tested_in_full],
}
"""Rules for combinations of columns; the parameters are named after the columns."""
WANTED: dict[str, list[Callable[..., tuple[str, str] | None]]] = {
    EvaluationRow.__tablename__: [_has_accuracy, _has_choices],
}
"""Columns that may be missing until they are needed, for example in a listing."""
COLUMNS = {
    rule: signature(rule).parameters.keys() for rules in (*TOGETHER.values(), *WANTED.values()) for rule in rules
}
