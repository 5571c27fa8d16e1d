"""The dashboard's response for a study, built in a fraction of the time.

Optuna's dashboard processes all trials once to summarise the study, and again to serialise each of them. Here it
summarises a few representative trials, and `_Writer` serialises them all; the response is the same, as
`tests/results/dashboard/test_studies.py` checks. In studies with very many curves, most are left out.
"""

from __future__ import annotations

import copy
import json
import math
import numbers
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs
from wsgiref.util import setup_testing_defaults

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from results.dashboard.guard import Application
from results.dashboard.reading import ReadingStorage, Selection
from results.report.pareto import pareto_front

MANY_POINTS, CURVES, POINTS = 20_000, 200, 100
"""If all curves together have more than MANY_POINTS, only CURVES of them are shown (of the best, the unfinished and the
newest trials), with at most POINTS each: a browser takes minutes to draw 5,000 curves."""
_STUDY = re.compile(r"/api/studies/([0-9]{1,18})/?\Z")
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_LONGEST_ATTR = 1024


def with_quick_studies(storage: ReadingStorage) -> Application:
    """Optuna's dashboard on a storage, with fast responses for studies."""
    from optuna_dashboard import wsgi

    whole: Application = wsgi(storage)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        study = _STUDY.match(environ.get("PATH_INFO", ""))
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        if study is None or not _NUMBER.match(after):
            return whole(environ, start_response)
        try:
            body, status = _study(storage, int(study[1]), int(after)), "200 OK"
        except SQLAlchemyError as error:  # the server or the file is not available
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            body, status = json.dumps({"reason": f"the database cannot be read: {reason}"}).encode(), "503 Unavailable"
        if body is None:
            return whole(environ, start_response)
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application


def _study(storage: ReadingStorage, study_id: int, after: int) -> bytes | None:
    """The response for a study and its trials from the index `after`; None to leave it to Optuna's dashboard."""
    from optuna_dashboard import wsgi

    try:
        trials = storage.get_all_trials(study_id)
        attrs = storage.get_study_system_attrs(study_id)
    except KeyError:
        return None
    mentioned = {int(number) for key in attrs for number in re.findall(r":([0-9]+)(?=:)", key)}  # notes, artifacts
    special = [trial for trial in trials if trial._system_attrs or trial._trial_id in mentioned]
    shapes = _shapes(trials)
    view = Selection(storage, [*shapes, *special])
    head = _ask(wsgi(view), f"/api/studies/{study_id}", f"after={len(shapes)}")
    if head.get("is_preferential", True) or any(key.startswith("preference:") for key in attrs):
        return None
    head.pop("best_trials")
    directions = storage.get_study_directions(study_id)
    best = _best(trials, directions)
    written = {trial["trial_id"]: trial for trial in head.pop("trials")}
    write = _Writer(study_id, written, _with_curves(trials, directions[0]))
    parts = [json.dumps(head)[:-1], f'"trials": [{write.all(trials[after:])}]', f'"best_trials": [{write.all(best)}]}}']
    return ", ".join(parts).encode()


def _ask(application: Application, path: str, query: str) -> dict[str, Any]:
    """The JSON response of an application."""
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    found: dict[str, Any] = json.loads(b"".join(application(environ, lambda *answer: None)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _shapes(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """A few trials, without results, that represent all: they have every parameter, attribute and gap that occurs.

    The dashboard's tables and axes follow from these; the best trials are found separately.
    """
    found, seen = list[FrozenTrial](), set[object]()
    common: set[str] | None = None
    for trial in reversed(trials):
        failed = trial.state == TrialState.FAIL  # the dashboard ignores parameters and curves of failed trials
        has: set[object] = {("attr", name, _is_number(value)) for name, value in trial.user_attrs.items()}
        names = common
        if not failed:
            has |= {(name, id(distribution)) for name, distribution in trial.distributions.items()}
            has |= {"curve"} if trial.intermediate_values else set()
            names = set(trial.params) if common is None else common & trial.params.keys()
        if has <= seen and names == common:
            continue
        seen, common = seen | has, names
        shape = copy.copy(trial)
        shape.state = TrialState.FAIL if failed else TrialState.PRUNED
        found.append(shape)
    return found[::-1]


def _best(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The best trial, or the Pareto front."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    signs = [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in directions]
    points = [[sign * value for sign, value in zip(signs, trial.values, strict=True)] for trial in complete]
    if len(signs) == 1:
        return [min(zip(points, complete, strict=True), key=lambda pair: pair[0])[1]] if complete else []
    return [complete[index] for index in pareto_front(points)]


def _with_curves(trials: Sequence[FrozenTrial], direction: StudyDirection) -> set[int] | None:
    """Numbers of the trials whose curves are shown; None for all."""
    if sum(len(trial.intermediate_values) for trial in trials) <= MANY_POINTS:
        return None
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    complete.sort(key=lambda trial: trial.values[0], reverse=direction == StudyDirection.MAXIMIZE)
    unfinished = [trial for trial in trials if not trial.state.is_finished()]
    order = dict.fromkeys(trial.number for trial in (*complete[: CURVES // 2], *unfinished, *reversed(trials)))
    return set(list(order)[:CURVES])


class _Writer:
    """Trials as JSON.

    Args:
        study_id: The id in Optuna's tables.
        written: Trials serialised by Optuna's dashboard, by id: those with notes, artifacts or its own attributes.
        with_curves: See `_with_curves`.
    """

    def __init__(self, study_id: int, written: Mapping[int, Any], with_curves: Container[int] | None) -> None:
        self._study_id, self._written, self._with_curves = study_id, written, with_curves
        self._params: dict[object, str] = {}

    def all(self, trials: Iterable[FrozenTrial]) -> str:
        return ", ".join(map(self._one, trials))

    def _one(self, trial: FrozenTrial) -> str:
        if trial._trial_id in self._written:
            return json.dumps(self._written[trial._trial_id])
        found: dict[str, Any] = {
            "trial_id": trial._trial_id,
            "study_id": self._study_id,
            "number": trial.number,
            "state": trial.state.name.capitalize(),
            "fixed_params": [],
            "user_attrs": [{"key": key, "value": _attr(value)} for key, value in trial.user_attrs.items()],
            "note": {"version": 0, "body": ""},
            "artifacts": [],
            "constraints": [],
            "intermediate_values": [{"step": step, "value": _figure(value)} for step, value in self._curve(trial)],
        }
        if trial.values is not None:
            found["values"] = [_figure(value) for value in trial.values]
        if trial.datetime_start is not None:
            found["datetime_start"] = trial.datetime_start.isoformat()
        if trial.datetime_complete is not None:
            found["datetime_complete"] = trial.datetime_complete.isoformat()
        params = ", ".join(self._param(name, value, trial.distributions[name]) for name, value in trial.params.items())
        return f'{json.dumps(found)[:-1]}, "params": [{params}]}}'

    def _curve(self, trial: FrozenTrial) -> list[tuple[int, float]]:
        """All points, or evenly spaced ones including the first and the last, or none."""
        points = sorted(trial.intermediate_values.items())
        if self._with_curves is None:
            return points
        if trial.number not in self._with_curves:
            return []
        if len(points) <= POINTS:
            return points
        return [points[index * (len(points) - 1) // (POINTS - 1)] for index in range(POINTS)]

    def _param(self, name: str, value: Any, distribution: BaseDistribution) -> str:
        """A parameter as JSON, serialised once per distinct value: parameters make up most of a study's size."""
        key = name, id(distribution), type(value), value
        if key not in self._params:
            param = {
                "name": name,
                "param_internal_value": distribution.to_internal_repr(value),
                "param_external_value": str(value),
                "param_external_pytyp": str(type(value)),
                "distribution": _distribution(distribution),
            }
            self._params[key] = json.dumps(param)
        return self._params[key]


def _distribution(distribution: BaseDistribution) -> dict[str, Any]:
    if isinstance(distribution, CategoricalDistribution):
        choices = [{"pytype": str(type(choice)), "value": str(choice)} for choice in distribution.choices]
        return {"type": "CategoricalDistribution", "choices": choices}
    settings = {name: getattr(distribution, name) for name in ("low", "high", "step", "log")}
    return {"type": type(distribution).__name__, **settings}


def _attr(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, numbers.Real) else json.dumps(value)[:_LONGEST_ATTR]


def _figure(value: float) -> float | str:
    """A number in a form that JSON allows: text if it is not finite."""
    return value if math.isfinite(value) else str(value)
