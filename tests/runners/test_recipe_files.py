from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from runners.data import DATASETS, recipe_for, training_images
from runners.protocol import DataSpec
from runners.recipe import DEFAULTS, RULES, Recipe, Teacher
from runners.recipe_files import list_recipes, load_recipe, make_recipe
from search_space.errors import ConfigError, DataError

DIGITS = DataSpec("digits")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(text: str) -> str:
        (tmp_path / "mine.yaml").write_text(text)
        return str(tmp_path / "mine.yaml")

    return make


def test_rules_belong_to_fields_and_allow_their_defaults() -> None:
    hints = get_type_hints(Recipe)
    assert list(RULES) == [each.name for each in fields(Recipe)]
    for name, rule in RULES.items():
        if name in DEFAULTS and name != "teacher":
            assert rule.problem(DEFAULTS[name]) is None, name
        if rule.choices:
            assert rule.choices == get_args(hints[name])
        elif name != "teacher":
            assert rule.kind is hints[name]


@pytest.mark.parametrize("name", DATASETS)
def test_recipes_of_data_sets_follow_the_rules(name: str) -> None:
    for setting, value in asdict(recipe_for(name)).items():
        assert value is None or RULES[setting].problem(value) is None


def test_what_is_stored_of_a_recipe_is_what_was_stored_before_there_were_ingredients() -> None:
    plain = Recipe(epochs=3, lr=0.5).to_dict()

    assert plain == {
        "epochs": 3,
        "batch_size": 64,
        "lr": 0.5,
        "weight_decay": 0.05,
        "warmup": 0.1,
        "final_lr": 0.01,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "precision": "auto",
    }
    assert Recipe(epochs=3, lr=0.5, mixup=0.2).to_dict() == {**plain, "mixup": 0.2}


def test_a_teacher_is_identified_by_its_content() -> None:
    here, there = (Recipe(epochs=1, teacher=Teacher(path, "abc")) for path in ("/here", "/there"))

    assert here.to_dict() == there.to_dict()
    assert here.to_dict()["teacher"] == "abc"


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_that_ship_are_usable(name: str) -> None:
    file = load_recipe(name)

    assert file.summary
    assert not file.summary.endswith(".")
    assert file.source
    assert file.settings.items() <= asdict(make_recipe(DIGITS, file)).items()


def test_what_is_given_wins_over_the_file_and_the_file_over_the_data_set(write: Any) -> None:
    file = load_recipe(write("lr: 1e-3\nweight_decay: 0\nmixup: 1\n"))

    recipe = make_recipe(DIGITS, file, {"lr": 0.5})

    assert (recipe.lr, recipe.weight_decay, recipe.mixup, recipe.epochs) == (0.5, 0.0, 1.0, 20)
    assert isinstance(recipe.mixup, float)
    assert make_recipe(DIGITS) == recipe_for("digits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 1e-3\nmixpu: 0.2\n", r"mine.yaml:2: mixpu is an unknown key; .*did you mean 'mixup'\?"),
        ("mixup: -1\n", r"mine.yaml:1: mixup is -1; allowed: numbers from 0 to 100"),
        ("\ncrop: 0\n", r"mine.yaml:2: crop is 0; allowed: numbers above 0 to 1"),
        ("erasing: 1.5\n", r"mine.yaml:1: erasing is 1.5; allowed: numbers from 0 to 1"),
        ("optimizer: adam\n", r"optimizer is 'adam'; allowed: adamw, sgd, lion; did you mean 'adamw'\?"),
        ("trivial_augment: 1\n", "trivial_augment is 1; allowed: true, false"),
        ("epochs: 2.5\n", "epochs is 2.5; allowed: whole numbers from 1 to 100,000"),
        ("epochs: true\n", "epochs is True; allowed: whole numbers from 1 to 100,000"),
        ("lr: .nan\n", "lr is nan; allowed: numbers above 0 to 1e"),
        ("summary: 5\n", "summary is 5; allowed: a sentence"),
        ("teacher: 5\n", "teacher is 5; allowed: a path"),
        ("- 1\n", r"mine.yaml:1: is \[1\]; allowed: a mapping"),
        ("", "mine.yaml is empty; allowed: a mapping"),
    ],
)
def test_a_mistake_in_a_file_names_its_line_and_key(write: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(text))


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no recipe 'diet'; allowed: .*FILE.yaml; did you mean 'deit'\?"):
        load_recipe("diet")
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read: No such file"):
        load_recipe("none.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trivial_augment": True}, r"mine.yaml:2: rand_augment and --trivial_augment exclude each other"),
        ({"distillation": "hard"}, r"--distillation is 'hard', but there is no teacher; allowed with --teacher"),
        ({"temperature": 2.0}, r"--temperature is 2.0, but there is no teacher"),
        ({"batch_size": 1078}, r"--batch_size is 1,078, but digits has 1,077 training images; allowed: up to 1,077"),
        (
            {"teacher": "nowhere", "distillation": "hard", "temperature": 2.0},
            "only soft distillation has a temperature",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(write: Any, given: dict[str, Any], message: str) -> None:
    file = load_recipe(write("lr: 1e-3\nrand_augment: 9\n"))

    with pytest.raises(ConfigError, match=message):
        make_recipe(DIGITS, file, given, lambda name: f"--{name}")


def test_a_batch_of_the_file_must_fit_too(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"mine.yaml:1: batch_size is 9,999, but digits has 1,077"):
        make_recipe(DIGITS, load_recipe(write("batch_size: 9999\n")))


def test_sizes_of_training_splits() -> None:
    """MNIST and CIFAR have 60,000 and 50,000 training images, SVHN 73,257; a tenth or a sixth is for validation."""
    sizes = {"digits": 1077, "mnist": 50_000, "fashion_mnist_10k": 10_000, "cifar10": 45_000, "svhn": 65_932}

    assert {name: training_images(DataSpec(name)) for name in sizes} == sizes


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="there is no data set named 'digts'"):
        make_recipe(DataSpec("digts"))
