"""What the cells of our tables may hold: every row is held to it when it is read.

A file that was cut off, or edited by hand, must not end in a traceback somewhere else. So a row that cannot be right is
refused where it is read, by a sentence that names its table, its id and its column; `results.database.cells` looks
through all rows for the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event

from results.database.names import file_name
from results.database.schema import (
    ArchitectureRow,
    Base,
    DriverRow,
    DriverState,
    EpochRow,
    EvaluationRow,
    FinalistRow,
    Role,
    ScoreRow,
    State,
    StudyRow,
    damaged,
)
from results.report.hypervolume import IDEAL
from search_space.architecture import Architecture
from search_space.errors import NasError, allowed, brief
from search_space.space import mixers_of

Rule = Callable[[Any], str | None]
"""What is wrong with a value of the right type; None if nothing is."""
LATENCY = {
    **{"device": str, "threads": int, "batch_size": int, "precision": str, "warm_up": int, "repeats": int},
    **{"median_ms": (int, float), "lower_ms": (int, float), "upper_ms": (int, float)},
}
"""What is said of a latency; see `runners.protocol.Latency`."""
IDENTITY = ("space", "data", "objective", "max_params", "max_macs", "max_latency_ms", "recipe", "seed")
_LARGEST = 2**63
_WHOLE = (int,)


def architecture_of(row: ArchitectureRow) -> Architecture:
    """The architecture that a row holds.

    Raises:
        StorageError: If its YAML is no architecture, or another one than its hash says.
    """
    try:
        found = Architecture.from_yaml(row.yaml)
    except NasError as error:
        raise damaged(row.__tablename__, f"id {row.id}", "yaml", f"it is no architecture: {error}") from None
    if found.hash != row.hash:
        reason = f"it gives the hash {found.hash}, and the row says {row.hash}"
        raise damaged(row.__tablename__, f"id {row.id}", "yaml", reason)
    return found


def problems(table: sa.Table, values: Mapping[str, Any], *, strictly: bool = False) -> Iterator[tuple[str, str]]:
    """What is wrong with a row.

    Args:
        table: One of ours.
        values: Values of its columns, or of some of them, as SQLAlchemy gives them.
        strictly: Whether to tell what is missing and not always needed, too.

    Yields:
        A column, and why its value cannot be right.
    """
    kinds, rules = kinds_of(table), _RULES.get(table.name, {})
    sound: dict[str, Any] = {}
    for name, value in values.items():
        reason = type_problem(kinds[name], value)
        if reason is None and value is not None and name in rules:
            reason = rules[name](value)
        if reason is None:
            sound[name] = value
        else:
            yield name, reason
    for rule in (*_TOGETHER.get(table.name, ()), *(_WANTED.get(table.name, ()) if strictly else ())):
        names = _COLUMNS[rule]
        if names <= sound.keys():
            found = rule(**{name: sound[name] for name in names})
            if found is not None:
                yield found


class Kind(NamedTuple):
    """What a column may hold.

    Attributes:
        nullable: Whether NULL is one of it.
        types: The types of other values; none for JSON and enumerations, which have been read by then.
        words: The same in words.
    """

    nullable: bool
    types: tuple[type, ...]
    words: str


@cache
def kinds_of(table: sa.Table) -> dict[str, Kind]:
    """What every column of a table may hold."""
    return {column.name: Kind(bool(column.nullable), *_types(column.type)) for column in table.columns}


def type_problem(kind: Kind, value: Any) -> str | None:
    """Why a value is not what its column may hold; None if it is."""
    nullable, types, words = kind
    if value is None:
        return None if nullable else "it is missing"
    if types and (not isinstance(value, types) or isinstance(value, bool)):
        return f"{brief(value)} is not {words}"
    if types is _WHOLE and not -_LARGEST <= value < _LARGEST:
        return f"{brief(value)} does not fit into 64 bits"
    return None


def _types(column: sa.types.TypeEngine[Any]) -> tuple[tuple[type, ...], str]:
    if isinstance(column, sa.Integer):
        return _WHOLE, "a whole number"
    if isinstance(column, (sa.Numeric, sa.Float)):
        return (int, float), "a number"
    if isinstance(column, sa.DateTime):
        return (datetime,), "a time"
    if isinstance(column, sa.String) and not isinstance(column, sa.Enum):
        return (str,), "text"
    return (), ""


@event.listens_for(Base, "load", propagate=True)
def _hold(row: Base, _: object) -> None:
    """Hold a row to the rules; what was not loaded of it is left out."""
    table, loaded = row.__table__, row.__dict__
    assert isinstance(table, sa.Table)
    values = {name: loaded[name] for name in kinds_of(table) if name in loaded}
    for column, reason in problems(table, values):
        raise damaged(table.name, row_name(table, values), column, reason)


def row_name(table: sa.Table, values: Mapping[str, Any]) -> str:
    """How a row is called in a message: by its primary key, and by what else it goes by."""
    names = [column.name for column in table.primary_key.columns if column.name in values]
    parts = [f"{name} {brief(values[name])}" for name in names]
    for name in ("key", "name", "hash"):
        if isinstance(values.get(name), str):
            parts.append(f"({brief(values[name])})")
            break
    return " ".join(parts)


# The rules.


def _one_of(*names: str) -> Rule:
    return lambda value: None if value in names else f"{brief(value)} is unknown; {allowed(value, names)}"


def _at_least(least: int) -> Rule:
    return lambda value: None if value >= least else f"{brief(value)} is less than {least}"


def _seconds(value: float) -> str | None:
    return None if math.isfinite(value) and value >= 0 else f"{value} is no duration"


def _digits(count: int) -> Rule:
    pattern = re.compile(f"[0-9a-f]{{{count}}}")
    return lambda value: None if pattern.fullmatch(value) else f"{brief(value)} is not {count} hexadecimal digits"


def _an_object(value: object) -> str | None:
    return None if isinstance(value, dict) else f"{brief(value)} is not a JSON object"


def _identity(value: object) -> str | None:
    if not isinstance(value, dict) or not value:  # a study that says nothing of itself can be listed
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
            return f"its {name!r} is {brief(limit)}, which is no number"
    return None


def _config(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return _an_object(value)
    budget, place = value.get("budget", 1), value.get("checkpoint_dir")
    if not isinstance(budget, int) or isinstance(budget, bool):
        return f"its 'budget' is {brief(budget)}, which is no whole number"
    if place is not None and not isinstance(place, str):
        return f"its 'checkpoint_dir' is {brief(place)}, which is no place"
    return None


def _objectives(value: object) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name in IDEAL for name in value):
        return f"{brief(value)} is not a list of objectives; allowed: {', '.join(IDEAL)}"
    return None if value[0] in ("nll", "accuracy") else f"the first of {brief(value)} is neither nll nor accuracy"


def _reference(value: object) -> str | None:
    if not isinstance(value, dict):
        return _an_object(value)
    for name, worst in value.items():
        number = isinstance(worst, (int, float)) and not isinstance(worst, bool) and math.isfinite(worst)
        if name not in IDEAL or not number or worst == IDEAL[name]:
            return f"{brief(worst)} is no reference for {brief(name)}"
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


_RULES: dict[str, dict[str, Rule]] = {
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
    },
    EpochRow.__tablename__: {"epoch": _at_least(1), "seconds": _seconds},
    FinalistRow.__tablename__: {"number": _at_least(0), "seeds": _at_least(0), "rank": _at_least(1)},
    ScoreRow.__tablename__: {"seconds": _seconds},
}


def _key_fits(key: str, role: str, number: int) -> tuple[str, str] | None:
    named = f"{role}-{number:04d}"
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


def _has_mean(rank: int | None, mean_nll: float | None) -> tuple[str, str] | None:
    return None if rank is None else _missing("mean_nll", mean_nll, "a finalist with a rank")


def _tested_in_full(test_nll: float | None, test_accuracy: float | None) -> tuple[str, str] | None:
    return None if test_accuracy is None else _missing("test_nll", test_nll, "a test with an accuracy")


def _missing(column: str, value: float | None, where: str) -> tuple[str, str] | None:
    return (column, f"it is missing, though {where} has one") if value is None else None


_TOGETHER: dict[str, list[Callable[..., tuple[str, str] | None]]] = {
    StudyRow.__tablename__: [_refers_to_objectives],
    EvaluationRow.__tablename__: [_key_fits, _has_epochs, _has_nll],
    FinalistRow.__tablename__: [_has_mean, _tested_in_full],
}
"""What columns have to be together; the parameters are those columns."""
_WANTED: dict[str, list[Callable[..., tuple[str, str] | None]]] = {
    EvaluationRow.__tablename__: [_has_accuracy, _has_choices],
}
"""What can be done without until it is asked for, such as in a listing."""
_COLUMNS = {
    rule: signature(rule).parameters.keys() for rules in (*_TOGETHER.values(), *_WANTED.values()) for rule in rules
}
