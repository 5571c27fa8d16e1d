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


@pytest.mark.parametrize("directions", [("minimize",), ("maximize",), ("minimize", "maximize"), ("minimize",) * 3])
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


def test_a_study_without_trials(store, read, make_study):
    from optuna_dashboard import wsgi

    study = make_study(store, "empty")
    storage = read()
    path = f"/api/studies/{study.row.optuna_study_id}"
    assert ask(with_quick_studies(storage), path) == ask(wsgi(storage), path)


def test_trials_are_read_as_optuna_reads_them_and_finished_ones_once(make_optuna_study, store, read):
    study = make_optuna_study("minimize")
    storage, selects = read(), []
    assert storage.get_all_trials(study._study_id) == study.get_trials()
    sa.event.listen(storage.engine, "before_cursor_execute", lambda *arguments: selects.append(arguments[3]))
    running = [trial for trial in study.get_trials() if trial.state == TrialState.RUNNING]
    study.tell(running[0].number, 0.25)
    study.tell(study.ask().number, 0.125)
    assert storage.get_all_trials(study._study_id) == study.get_trials()
    asked = {number for parameters in selects for number in parameters} - {study._study_id}
    ends = {study.trials[-1]._trial_id, *(trial._trial_id for trial in running)}
    assert {number for number in asked if isinstance(number, int)} == ends
    states = [TrialState.FAIL]
    assert storage.get_all_trials(study._study_id, states=states) == study.get_trials(states=states)
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


def test_nothing_can_be_written(store, read, make_study):
    make_study(store, "mine")
    storage = read()
    with pytest.raises(StorageError, match="the dashboard shows studies; it does not change them"):
        storage.delete_study(1)
    with pytest.raises(StorageError):
        optuna.load_study(study_name="mine", storage=storage).ask()


def test_many_long_curves_are_thinned(monkeypatch, make_optuna_study, store, read):
    study = make_optuna_study("minimize")
    monkeypatch.setattr(studies, "MANY_POINTS", 50)
    monkeypatch.setattr(studies, "POINTS", 3)
    storage = read()
    _, detail = ask(with_quick_studies(storage), f"/api/studies/{study._study_id}")
    plain = [trial for trial in study.trials if not trial.system_attrs and trial.number != 3]
    for trial in plain:
        steps, shown = sorted(trial.intermediate_values), detail["trials"][trial.number]["intermediate_values"]
        assert len(shown) == min(3, len(steps))
        assert [point["step"] for point in shown] == (
            steps if len(steps) <= 3 else [steps[0], steps[(len(steps) - 1) // 2], steps[-1]]
        )
    assert max(len(trial.intermediate_values) for trial in plain) > 3


def test_importances(make_optuna_study, store, read):
    study = make_optuna_study("minimize", seed=7)
    storage, path = read(), f"/api/studies/{study._study_id}/param_importances"
    status, ours = ask(with_quick_studies(storage), path)
    assert status == "200"
    assert [set(entry) for entry in ours["param_importances"][0]] == [{"name", "importance", "distribution"}] * 3
