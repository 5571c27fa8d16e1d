"""A study is shown as Optuna's dashboard itself shows it, from trials that are read in bulk and written quickly."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from results.dashboard import studies
from results.dashboard.reading import ReadingStorage
from results.dashboard.studies import with_quick_studies
from search_space.errors import StorageError

DISTRIBUTIONS = {
    "mixer": CategoricalDistribution(["mlp", "linear", None, 2, 0.5, True]),
    "dim": IntDistribution(16, 64, step=8),
    "lr": FloatDistribution(1e-5, 1.0, log=True),
}

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is the same once the trials have been read."""


def random_trial(rng: random.Random, objectives: int):
    """A trial as our studies or others may have it: unfinished, failed, without figures that are finite."""
    state = rng.choice([TrialState.COMPLETE] * 4 + [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING])
    names = rng.sample(list(DISTRIBUTIONS), rng.randint(0, 3))
    distributions = {name: DISTRIBUTIONS[name] for name in names}
    if "dim" in names and rng.random() < 0.3:
        distributions["dim"] = IntDistribution(8, 96, step=8)
    draws = {
        "mixer": rng.choice(DISTRIBUTIONS["mixer"].choices),
        "dim": rng.randrange(16, 65, 8),
        "lr": rng.uniform(0.1, 1),
    }
    figures = [rng.random(), math.inf, -math.inf]
    attrs = {"origin": "tpe", "params": rng.randrange(9), "ok": True, "mixed": rng.choice(["x", 3]), "list": [1] * 900}
    return create_trial(
        state=state,
        values=rng.choices(figures, [9, 1, 1], k=objectives) if state == TrialState.COMPLETE else None,
        params={name: draws[name] for name in names},
        distributions=distributions,
        user_attrs={key: attrs[key] for key in rng.sample(list(attrs), 3)},
        system_attrs={"fixed_params": {"dim": 16}} if rng.random() < 0.1 else {},
        intermediate_values={
            step: rng.choice([*figures, math.nan]) for step in rng.sample(range(1, 40), rng.randint(0, 9))
        },
    )


@pytest.fixture
def make_optuna_study(store):
    """An Optuna study in a database, of random trials, with notes."""

    storages: list[optuna.storages.RDBStorage] = []

    def make(*directions: str, seed: int = 0) -> optuna.Study:
        from optuna_dashboard import save_note

        storage = optuna.storages.RDBStorage(store.url)
        storages.append(storage)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(study_name=f"s{seed}", storage=storage, directions=directions)
            study.set_metric_names([f"metric {index}" for index in range(len(directions))])
        rng = random.Random(seed)
        study.add_trials([random_trial(rng, len(directions)) for _ in range(30)])
        study.set_user_attr("space", {"a": 1})
        save_note(study, "of the study")
        save_note(optuna.trial.Trial(study, study.trials[3]._trial_id), "of a trial")
        return study

    yield make
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture
def read(store) -> Iterator[Callable[[], ReadingStorage]]:
    """The same database, as the dashboard reads it; its tables are there once it has a study."""
    opened: list[ReadingStorage] = []

    def make() -> ReadingStorage:
        opened.append(ReadingStorage(store.url))
        return opened[0]

    yield make
    for reading in opened:
        reading.engine.dispose()


def ask(application: Any, path: str, query: str = "") -> Any:
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_ACCEPT_ENCODING": ""}
    setup_testing_defaults(environ)
    status: list[str] = []
    body = b"".join(application(environ, lambda *answer: status.append(answer[0])))
    return status[0][:3], json.loads(body)


def in_order(detail: dict[str, Any]) -> dict[str, Any]:
    """Without the order of what has none."""
    for space in ("union_search_space", "intersection_search_space"):
        for param in detail[space]:
            param["distribution"].get("choices", []).sort(key=json.dumps)
    for owner in (detail, *detail["trials"], *detail["best_trials"]):
        owner["user_attrs"].sort(key=json.dumps)
    detail["union_user_attrs"].sort(key=json.dumps)
    return detail


@pytest.mark.parametrize(
    ("database_url", "directions"),
    [
        ("sqlite", ("minimize",)),
        ("sqlite", ("maximize",)),
        ("sqlite", ("minimize",) * 3),
        ("postgresql", ("minimize", "maximize")),
    ],
    indirect=["database_url"],
)
def test_all_is_said_as_optunas_dashboard_says_it(make_optuna_study, store, read, directions):
    from optuna_dashboard import wsgi

    study = make_optuna_study(*directions, seed=len(directions))
    storage = read()
    path = f"/api/studies/{study._study_id}"
    for after in (0, 7, 30, 1000):
        status, ours = ask(with_quick_studies(storage), path, f"after={after}")
        assert status == "200"
        expected = ask(wsgi(study._storage._backend), path, f"after={after}")[1]
        assert in_order(ours) == in_order(expected)


@ON_SQLITE
def test_a_study_without_trials(store, read, make_study):
    from optuna_dashboard import wsgi

    study = make_study(store, "empty")
    storage = read()
    path = f"/api/studies/{study.row.optuna_study_id}"
    assert ask(with_quick_studies(storage), path) == ask(wsgi(storage), path)


def plain(trials: list[Any]) -> list[str]:
    """Trials as they can be compared, though some figures are NaN."""
    return [json.dumps(vars(trial), sort_keys=True, default=str) for trial in trials]


def test_trials_are_read_as_optuna_reads_them_and_finished_ones_once(make_optuna_study, store, read):
    study = make_optuna_study("minimize")
    storage, selects = read(), []
    assert plain(storage.get_all_trials(study._study_id)) == plain(study.get_trials())

    def note(connection, cursor, statement, parameters, *rest: object) -> None:
        selects.append(parameters.values() if isinstance(parameters, dict) else parameters)

    sa.event.listen(storage.engine, "before_cursor_execute", note)
    running = [trial for trial in study.get_trials() if trial.state == TrialState.RUNNING]
    study.tell(running[0].number, 0.25)
    study.tell(study.ask().number, 0.125)
    assert plain(storage.get_all_trials(study._study_id)) == plain(study.get_trials())
    asked = {number for parameters in selects for number in parameters}
    ends = {study.trials[-1]._trial_id, *(trial._trial_id for trial in running)}
    assert {number for number in asked if isinstance(number, int)} == {study._study_id, *ends}
    states = [TrialState.FAIL]
    assert plain(storage.get_all_trials(study._study_id, states=states)) == plain(study.get_trials(states=states))
    with pytest.raises(KeyError):
        storage.get_all_trials(99)


def test_a_trial_that_ends_a_second_time_is_read_again(make_optuna_study, store, read):
    """As a trial does that others have interrupted."""
    study = make_optuna_study("minimize")
    storage = read()
    trial = storage.get_all_trials(study._study_id)[0]
    with storage.engine.begin() as connection:
        where = f"WHERE trial_id = {trial._trial_id}"
        connection.execute(sa.text(f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL {where}"))
    assert storage.get_all_trials(study._study_id)[0].state == TrialState.RUNNING
    study.tell(0, 42.0)
    assert storage.get_all_trials(study._study_id)[0].value == 42.0


@ON_SQLITE
def test_nothing_can_be_written(store, read, make_study):
    make_study(store, "mine")
    storage = read()
    with pytest.raises(StorageError, match="the dashboard shows studies; it does not change them"):
        storage.delete_study(1)
    with pytest.raises(StorageError):
        optuna.load_study(study_name="mine", storage=storage).ask()


@ON_SQLITE
def test_of_very_many_curves_some_are_shown_and_thinned(monkeypatch, make_optuna_study, read):
    study = make_optuna_study("maximize")
    monkeypatch.setattr(studies, "MANY_POINTS", 50)
    monkeypatch.setattr(studies, "CURVES", 20)
    monkeypatch.setattr(studies, "POINTS", 3)
    _, detail = ask(with_quick_studies(read()), f"/api/studies/{study._study_id}")
    complete = sorted((t for t in study.trials if t.values), key=lambda t: -t.value)
    best, (*older, newest) = complete[:10], study.trials
    assert older
    plain = [t for t in study.trials if not t.system_attrs and t.number != 3]  # the others are as Optuna writes them
    shown = {t.number: [p["step"] for p in detail["trials"][t.number]["intermediate_values"]] for t in plain}
    for trial in plain:
        steps = sorted(trial.intermediate_values)
        thinned = steps if len(steps) <= 3 else [steps[0], steps[(len(steps) - 1) // 2], steps[-1]]
        assert shown[trial.number] in (thinned, [])
        if trial in best or trial is newest or trial.state == TrialState.RUNNING:
            assert shown[trial.number] == thinned
    assert max(map(len, shown.values())) == 3
    assert [] in [shown[t.number] for t in plain if t.intermediate_values]
    assert detail["has_intermediate_values"]
    assert detail["trials"][best[0].number]["values"] == detail["best_trials"][0]["values"]


@ON_SQLITE
def test_importances(store, read, make_study, add_evaluation, architectures):
    from optuna_dashboard import _importance, wsgi

    study = make_study(store, "mine")
    for number, architecture in enumerate(architectures):
        add_evaluation(study, number, architecture, nll=float(number))
    path = f"/api/studies/{study.row.optuna_study_id}/param_importances"
    found = []
    for application in (with_quick_studies(read()), wsgi(read())):
        _importance.param_importance_cache.clear()
        found.append(ask(application, path))
    assert found[0] == found[1]
    status, importances = found[0]
    assert status == "200"
    assert sum(param["importance"] for param in importances["param_importances"][0]) == pytest.approx(1)
