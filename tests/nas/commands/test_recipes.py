"""Recipes on the command line, and in the identity of a study."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from nas.config import SearchConfig
from nas.study.spec import make_spec
from results.store.store import Store

LINE = "search --runner inline --strategy random --epochs 2 --budget 2 --finalists 1 --seeds 1 --max-params 5k"
SEARCH = LINE.split()


def identity(**settings):
    return make_spec(SearchConfig.make(**settings)).identity()


def test_recipes_are_listed_and_shown(nas):
    listed = nas("recipes")
    assert "deit: The ingredients of DeiT" in listed.out
    assert nas("recipes", "list").out == listed.out

    shown = nas("recipes", "show", "deit").out
    assert "source: https://arxiv.org/abs/2012.12877" in shown
    assert "  mixup            0.8 " in shown
    assert "epochs " not in shown.partition("source")[2]

    whole = nas("recipes", "show", "deit", "--data", "digits").out
    assert "  epochs           20 " in whole
    assert "  mixup            0.8 " in whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "name a recipe, or a data set with --data"),
        (["show", "diet"], "did you mean 'deit'?"),
        (["show", "--data", "digts"], "there is no data set named 'digts'"),
        (["shwo"], "there is no command 'shwo'; allowed: list, show"),
    ],
)
def test_what_is_unknown_is_refused(nas, arguments, message):
    ran = nas("recipes", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("added", ["--recipe mine.yaml", "--batch-size 2000", "--teacher .", "--crop 0", "--mixup -1"])
def test_a_recipe_that_cannot_be_used_leaves_nothing_behind(nas, tmp_path, monkeypatch, added):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("mixpu: 0.2\n")

    ran = nas(*SEARCH, *added.split())

    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert not Path("nas-runs").exists()


def test_a_search_with_a_recipe(nas, tmp_path, monkeypatch):
    """It is trained as the file and the flags say, continued by the same command, and refused with another recipe."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("mixup: 0.2\nema: 0.9\n")

    ran = nas(*SEARCH, "--recipe", "mine.yaml", "--erasing", "0.25", "--json")

    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["winner"]["test_accuracy"] > 0
    store = Store("sqlite:///nas-runs/nas.db", create=False)
    stored = store.study("mlp_family-digits").row.identity["recipe"]
    store.close()
    assert {"mixup": 0.2, "ema": 0.9, "erasing": 0.25, "epochs": 2}.items() <= stored.items()
    assert "cutmix" not in stored
    assert nas(*SEARCH, "--mixup", "0.2", "--ema", "0.9", "--erasing", "0.25").code == 0
    other = nas(*SEARCH, "--recipe", "mine.yaml")
    assert other.code == 2
    assert "recipe.erasing was 0.25 and is now 0.0" in other.err


def test_an_exported_winner_is_a_teacher(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert nas(*SEARCH).code == 0
    assert nas("export", "--best", "-o", "teacher").code == 0

    assert nas(*SEARCH, "--study", "taught", "--teacher", "teacher", "--distillation", "hard").code == 0
    Path("teacher").rename("moved")  # what identifies it is its content
    again = nas(*SEARCH, "--study", "taught", "--teacher", "moved", "--distillation", "hard", "--budget", "3")

    assert again.code == 0, again.err


def test_without_ingredients_a_study_is_identified_as_before():
    assert identity()["recipe"] == {
        "epochs": 20,
        "batch_size": 64,
        "lr": 8e-3,
        "weight_decay": 0.2,
        "warmup": 0.2,
        "final_lr": 0.01,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "precision": "auto",
    }
    assert identity(mixup=0.0, ema=0.0, crop=1) == identity()


def test_a_difference_names_the_default():
    spec = make_spec(SearchConfig.make(mixup=0.2))

    assert spec.differences(identity()) == ["recipe.mixup was 0.0 and is now 0.2"]
    assert make_spec(SearchConfig.make()).differences(identity(mixup=0.2)) == ["recipe.mixup was 0.2 and is now 0.0"]


def test_tuned_settings_are_stored_trained_with_and_reported(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = [*SEARCH, "--tune", "lr,weight_decay", "--weight-decay", "0.1", "--lr", "0.01"]
    ran = nas(*line, "--json")
    assert ran.code == 0, ran.err

    trials = json.loads(nas("results", "--json").out)
    values = [(trial["choices"]["lr"], trial["choices"]["weight_decay"]) for trial in trials]
    assert len(set(values)) == 2
    assert all(0.0025 <= lr <= 0.04 and 0.01 <= decay <= 1.0 for lr, decay in values)
    winner = json.loads(ran.out)["winner"]
    assert (winner["tuned"]["lr"], winner["tuned"]["weight_decay"]) == values[winner["trial"]]
    assert f"trained with lr {winner['tuned']['lr']:g}, weight_decay" in nas("results").out

    theirs = optuna.load_study(study_name="mlp_family-digits", storage="sqlite:///nas-runs/nas.db").trials
    assert [(trial.params["lr"], trial.params["weight_decay"]) for trial in theirs] == values
    assert theirs[0].distributions["lr"] == optuna.distributions.FloatDistribution(0.0025, 0.04, log=True)

    assert nas("export", "--best", "-o", "bundle").code == 0
    recipe = json.loads(Path("bundle/provenance.json").read_text())["recipe"]
    assert (recipe["lr"], recipe["weight_decay"]) == values[winner["trial"]]
    assert nas("db", "check").code == 0

    more = nas(*line, "--budget", "3")
    assert more.code == 0, more.err
    untuned = nas(*SEARCH, "--weight-decay", "0.1", "--lr", "0.01")
    assert untuned.code == 2
    assert "tune.lr was" in untuned.err


def test_finalists_are_trained_with_the_values_of_their_trial(recording, run):
    recorded = recording()

    run(recorded, strategy="random", families=False, tune="lr", budget=4, finalists=2, seeds=1)

    rates = {job.key: job.recipe.lr for job in recorded.jobs if job.task == "train"}
    finalists = {key: lr for key, lr in rates.items() if key.startswith("finalist")}
    assert len(finalists) == 2
    assert all(lr == rates[f"trial-{key.split('-')[1]}"] for key, lr in finalists.items())
    assert len(set(rates.values())) > 2


def test_a_setting_that_is_off_cannot_be_tuned(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    ran = nas(*SEARCH, "--tune", "weight_decay", "--weight-decay", "0")

    assert ran.code == 2
    assert "--tune names weight_decay, which is 0 in the recipe; allowed: settings above 0" in ran.err
    assert not Path("nas-runs").exists()
