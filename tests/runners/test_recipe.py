from __future__ import annotations

import pytest

from runners.data import DATASETS, recipe_for


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_recipe(name: str) -> None:
    assert recipe_for(name).epochs >= 8


def test_a_path_does_not_matter_and_overrides_do() -> None:
    assert recipe_for("imagefolder:/some/where", lr=0.5) == recipe_for("imagefolder", lr=0.5)
    assert recipe_for("digits", epochs=3).epochs == 3
    assert recipe_for("of a plug-in").epochs > 0
