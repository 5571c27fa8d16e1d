"""One set of names for flags, YAML keys and arguments; and every bad value answered in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import click
import pytest
import yaml

from nas.commands.search import command
from nas.config import SearchConfig, flag, settings_of
from nas.config.values import choice
from nas.strategy.presets import STRATEGIES, ranker_names
from nas.strategy.pruners import PRUNERS
from nas.strategy.samplers.registry import SAMPLERS
from results.database.objectives import OBJECTIVES
from search_space.errors import ConfigError
from search_space.plugins import forgotten
from search_space.space import Limits

OWN = str(Path(__file__).parent / "plugins" / "own.py")
GOOD = {
    "imports": [OWN],
    "space": "my_space.yaml",
    "data": "imagefolder:/pictures",
    "data_dir": "/data",
    "image_size": 32,
    "image_cache": "none",
    "channels": 4,
    "budget": 7,
    "objective": ["accuracy", "params"],
    "max_fte": 12.5,
    "strategy": "random+halving",
    "sampler": "surrogate",
    "ranker": "none",
    "proxies": ["zico", "entropy"],
    "pruner": "median",
    "families": True,
    "local": False,
    "control": "random",
    "max_params": "50k",
    "max_macs": "1.2G",
    "max_latency_ms": 2.5,
    "latency_target": "device",
    "trial_timeout": 90.0,
    "epochs": 3,
    "batch_size": 16,
    "lr": 0.01,
    "recipe": "deit",
    "weight_decay": 0.1,
    "warmup": 0.2,
    "final_lr": 0.0,
    "label_smoothing": 0.2,
    "clip_norm": 5.0,
    "precision": "fp32",
    "optimizer": "sgd",
    "schedule": "linear",
    "mixup": 0.2,
    "cutmix": 1.0,
    "rand_augment": 9,
    "trivial_augment": False,
    "erasing": 0.25,
    "crop": 0.5,
    "repeats": 3,
    "ema": 0.999,
    "patience": 4,
    "teacher": "exported",
    "distillation": "hard",
    "teacher_weight": 0.9,
    "temperature": 2.0,
    "class_weights": "balanced",
    "tune": ["lr", "weight_decay"],
    "seed": 5,
    "finalists": 5,
    "seeds": 4,
    "runner": "ray",
    "address": "auto",
    "cpus_per_trial": 0.5,
    "gpus_per_trial": 0.25,
    "device": "cuda:1",
    "storage": "sqlite:///x.db",
    "study": "mine-1",
    "out": "elsewhere",
    "checkpoint_dir": "s3://bucket/checkpoints",
}
READ = GOOD | {
    "imports": (OWN,),
    "objective": ("accuracy", "params"),
    "proxies": ("zico", "entropy"),
    "tune": ("lr", "weight_decay"),
    "max_params": 50_000,
    "max_macs": 1_200_000_000,
}
BAD = {
    "imports": [3, "my-module"],
    "space": [5, ""],
    "data": [["digits"]],
    "data_dir": [1],
    "image_size": [0, 4096, 8.5, True],
    "image_cache": ["memory", 1],
    "channels": [0, 5, "two", True],
    "budget": [0, -3, 2.5, "many", 10**12],
    "objective": [["nll", "wight"], "params", [3], 4],
    "max_fte": [0, -2.0, float("nan"), "much", 1e300],
    "strategy": ["atuo", 3],
    "sampler": ["tpes", 1],
    "ranker": ["modle"],
    "proxies": [["zico", "entrpy"], "zicco", 5],
    "pruner": ["halfing"],
    "families": ["sometimes", 1],
    "local": ["no way"],
    "control": ["auto"],
    "max_params": ["50x", -1, "lots"],
    "max_macs": ["0", "5X"],
    "trial_timeout": [0, -1.0, float("nan"), float("inf"), "an hour", 1e300],
    "max_latency_ms": [0, -1.0, float("nan"), float("inf"), "fast", 1e300],
    "latency_target": ["devise", 1],
    "epochs": [0, 1.5, 10**9],
    "batch_size": [0, "big"],
    "lr": [0, -0.1, float("nan"), float("inf"), "high", 1e300],
    "recipe": [5, ""],
    "weight_decay": [-0.1, "much"],
    "warmup": [1.1, -0.1],
    "final_lr": [2.0],
    "label_smoothing": [1.0, -0.1],
    "clip_norm": [-1.0],
    "precision": ["fp16"],
    "optimizer": ["adam", 1],
    "schedule": ["cosin"],
    "mixup": [-0.2, float("nan"), "much"],
    "cutmix": [-1.0, 1000.0],
    "rand_augment": [31, -1, 2.5],
    "trivial_augment": [1, "no way"],
    "erasing": [1.5, -0.1],
    "crop": [0, 1.1, float("nan")],
    "repeats": [0, 17],
    "ema": [1.0, -0.1],
    "patience": [-1, 0.5],
    "teacher": [3, ""],
    "distillation": ["softly"],
    "teacher_weight": [0, 1.5],
    "temperature": [0, -1.0],
    "class_weights": ["equal", 1],
    "tune": [["lr", "epochs"], "wieght_decay", 5],
    "seed": [-1, 0.5, 2**63 - 1000, 2**64],
    "finalists": [-1, 1.5, 10**6],
    "seeds": [0],
    "runner": ["rey"],
    "address": [6379, ""],
    "cpus_per_trial": [0, "one", 1e9, 1e300, 1e-9],
    "gpus_per_trial": [-0.5, 1.5, 1e9, 1e-9, False],
    "device": [0],
    "storage": [1],
    "study": ["", "a b", "../x", 2024],
    "out": [""],
    "checkpoint_dir": ["", 3, "ftp://host/folder", "s3://", "gs:///folder"],
}
NAMES = [field.name for field in fields(SearchConfig)]
EACH_BAD = [(name, value) for name, values in BAD.items() for value in values]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


def options() -> dict[str, click.Option]:
    found = {option.name: option for option in command.params if isinstance(option, click.Option)}
    return {name: option for name, option in found.items() if name not in ("config", "as_json")}


def test_the_tables_of_this_file_cover_every_setting():
    assert set(GOOD) == set(BAD) == set(NAMES)


def test_flags_are_the_settings():
    assert set(options()) == set(NAMES)
    assert all(option.opts == [flag(name)] for name, option in options().items())


def test_every_flag_says_what_it_means():
    assert all(option.help and (option.metavar or option.is_flag) for option in options().values())


def test_no_flag_means_no_change():
    given = command.make_context("search", []).params
    assert {given[name] for name in NAMES} <= {None, ()}


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("strategy", STRATEGIES),
        ("sampler", SAMPLERS),
        ("ranker", ranker_names()),
        ("pruner", PRUNERS),
        ("objective", OBJECTIVES),
    ],
)
def test_the_help_of_a_flag_lists_its_choices(name, choices):
    assert all(choice in (options()[name].help or "") for choice in choices)


def test_flags_yaml_and_arguments_mean_the_same(tmp_path):
    arguments = []
    for name, value in GOOD.items():
        if isinstance(value, bool):
            arguments.append(flag(name) if value else flag(name).replace("--", "--no-", 1))
        elif name in ("proxies", "tune"):
            arguments += [flag(name), ",".join(value)]
        else:
            for item in value if isinstance(value, list) else [value]:
                arguments += [flag(name), str(item)]
    given = command.make_context("search", arguments).params
    from_flags = SearchConfig.make(**{name: given[name] for name in NAMES})
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    from_file = SearchConfig().with_file(path)
    assert from_flags == from_file == SearchConfig.make(**GOOD) == SearchConfig(**READ)


@pytest.mark.parametrize(
    "name", ["max_fte", "max_latency_ms", "trial_timeout", "lr", "cpus_per_trial", "gpus_per_trial"]
)
def test_a_number_that_no_float_can_hold_is_a_mistake_like_any_other(name):
    with pytest.raises(ConfigError, match=rf"{flag(name)} is a whole number of 1329 bits; allowed: "):
        SearchConfig.make(**{name: 10**400})


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("budget: 10\nseed: 3\nepochs:\n")
    config = SearchConfig().with_file(path).with_settings(budget=20)
    assert (config.budget, config.seed, config.epochs) == (20, 3, None)


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("# nothing yet\n")
    assert SearchConfig().with_file(path) == SearchConfig()


@pytest.mark.parametrize(("name", "value"), EACH_BAD)
def test_a_bad_argument_is_answered_in_one_sentence(name, value):
    with pytest.raises(ConfigError) as caught:
        SearchConfig.make(**{name: value})
    message = str(caught.value)
    assert flag(name) in message
    assert "allowed: " in message
    assert "\n" not in message
    named = value[-1] if isinstance(value, list) and name in ("objective", "proxies", "tune") else value
    assert str(named) in message


@pytest.mark.parametrize(("name", "value"), EACH_BAD)
def test_a_bad_value_in_a_file_is_answered_with_its_line(name, value, tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("# settings\n\n" + yaml.safe_dump({name: value}, default_flow_style=True)[1:-2] + "\n")
    with pytest.raises(ConfigError) as caught:
        SearchConfig().with_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: {name} ")
    assert "allowed: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nbugdet: 10\n", r":2: bugdet is an unknown key; allowed: .*did you mean 'budget'"),
        ("- budget\n", r":1: is \['budget'\]; allowed: a mapping"),
        ("seed: 1\nseed: 2\n", r":2: the key 'seed' is given twice"),
        ("budget: [1\n", r":\d+: not valid YAML"),
    ],
)
def test_a_bad_file(text, message, tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        SearchConfig().with_file(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read"):
        SearchConfig().with_file(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        SearchConfig().with_file(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        SearchConfig().with_file(tmp_path / "binary.yaml")


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no setting 'max_param'; allowed: .*did you mean 'max_params'"):
        SearchConfig.make(max_param=1)


@pytest.mark.parametrize(
    ("text", "count"),
    [("50k", 50_000), ("1.2G", 1_200_000_000), ("5M", 5_000_000), (48_000, 48_000), ("0", 0), ("none", 0)],
)
def test_counts(text, count):
    assert SearchConfig.make(max_params=text).max_params == count


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Limits(50_000, None)),
        ({"max_params": 0}, Limits(None, None)),
        ({"max_params": "1k", "max_macs": "1M"}, Limits(1000, 1_000_000)),
    ],
)
def test_limits_default_to_those_of_the_space(settings, expected):
    assert SearchConfig.make(**settings).limits(Limits(50_000)) == expected


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "mlp_family-digits"),
        ({"space": "spaces/my space.yaml"}, "my-space-digits"),
        ({"data": "imagefolder:/home/me/my cats"}, "mlp_family-imagefolder-my-cats"),
        ({"study": "mine"}, "mine"),
    ],
)
def test_the_name_of_a_study(settings, name):
    config = SearchConfig.make(**settings)
    assert config.study_name == name
    assert SearchConfig(study=name).study == name


def test_several_objectives_may_be_written_in_one_word():
    assert SearchConfig.make(objective="nll, params").objective == ("nll", "params")


def test_settings_are_plain_data():
    assert SearchConfig.make(**asdict(SearchConfig(**READ))) == SearchConfig(**READ)


# Parts of a strategy.


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_alone_has_its_own_parts(name):
    assert SearchConfig.make(strategy=name).parts == STRATEGIES[name]


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": "none"},
        {"families": False},
        {"local": False},
        {"proxies": "zico, entropy"},
        {"families": True, "pruner": "median"},
    ],
    ids=str,
)
def test_a_flag_replaces_one_part_and_leaves_the_others(changes):
    expected = {**changes, "proxies": ("zico", "entropy")} if "proxies" in changes else changes
    assert SearchConfig.make(**changes).parts == replace(STRATEGIES["auto"], **expected)


def test_what_serves_the_surrogate_leaves_with_it():
    parts = SearchConfig.make(sampler="tpe").parts
    assert parts == replace(STRATEGIES["auto"], sampler="tpe", local=False, proxies=())


def test_no_proxies_can_be_asked_for():
    assert SearchConfig.make(proxies="none").proxies == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "random", "local": True}, "--local is for the sampler 'surrogate'; the sampler is 'random'"),
        (
            {"strategy": "entropy", "proxies": "zico"},
            "--proxies is for the sampler 'surrogate'; the sampler is 'random'",
        ),
        ({"ranker": "params", "local": True}, "--local is for the sampler 'surrogate'; the sampler is 'random'"),
        ({"sampler": "cmaes", "objective": "nll,params"}, "cmaes handles one objective only"),
        ({"finalists": 0, "seeds": 3}, "--seeds is 3, but --finalists is 0"),
        ({"runner": "inline", "address": "auto"}, "--address is 'auto', but the runner is 'inline'; allowed: ray"),
        ({"device": "cuda", "gpus_per_trial": 0}, "--device is 'cuda', but --gpus-per-trial is 0; allowed then: auto"),
        ({"device": "cpu", "gpus_per_trial": 0.5}, "--gpus-per-trial is 0.5, but --device is 'cpu'; allowed then: 0"),
    ],
)
def test_settings_that_make_no_sense_together(settings, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig.make(**settings)


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({}, "auto"),
        ({"gpus_per_trial": 0}, "cpu"),
        ({"gpus_per_trial": 0, "device": "cpu"}, "cpu"),
        ({"gpus_per_trial": 2, "device": "cuda:1"}, "cuda:1"),
    ],
)
def test_without_a_gpu_to_reserve_the_cpu_trains(settings, device):
    assert SearchConfig.make(**settings).training_device == device


# What is generated from the fields.


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_says_what_it_means(name):
    known = settings_of(SearchConfig)[name]
    assert known.summary[0].isupper()
    assert known.help.endswith(".")
    assert known.otherwise, "what holds where it is not given"
    assert (known.metavar == "") == (known.kind.word is bool)
    assert f"        {name}: {known.help}\n" in (SearchConfig.__doc__ or "")


def test_a_choice_that_is_registered_later_is_allowed_and_in_the_help():
    names = ["one"]
    made = choice(names)
    names.append("two")
    assert (made.problem("two"), list(made.choices)) == (None, ["one", "two"])
    assert made.problem("tow") == "allowed: one, two; did you mean 'two'?"


def test_a_password_is_not_shown():
    assert "secret" not in repr(SearchConfig(storage="postgresql+psycopg://me:secret@host/db"))
    with pytest.raises(ConfigError, match="--storage is not usable; allowed: up to 4,096 characters"):
        SearchConfig(storage="postgresql+psycopg://me:secret\n@host/db")
