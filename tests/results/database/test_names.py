"""What names in the database say: keys of evaluations, and the origin of a trial."""

from __future__ import annotations

import pytest

from results.database.names import (
    evaluation_key,
    family_of,
    family_origin,
    is_evaluation_key,
    training_key,
)
from results.database.names import test_key as key_of_test
from results.database.schema import Role


@pytest.mark.parametrize(
    ("role", "number", "seed", "key"),
    [
        (Role.TRIAL, 12, None, "trial-0012"),
        (Role.TRIAL, 12345, None, "trial-12345"),
        (Role.FINALIST, 3, 1, "finalist-0003-seed-1"),
        (Role.TEST, 3, 12, "test-0003-seed-12"),
        (Role.PROXIES, 0, None, "proxies-0000"),
    ],
)
def test_keys_say_role_number_and_seed(role, number, seed, key):
    assert evaluation_key(role, number, seed) == key
    assert is_evaluation_key(key)


def test_a_test_goes_with_its_training():
    training = evaluation_key(Role.FINALIST, 7, 2)
    assert key_of_test(training) == evaluation_key(Role.TEST, 7, 2)
    assert training_key(key_of_test(training)) == training


def test_an_origin_is_a_family_or_a_sampler():
    assert family_origin("vit") == "family:vit"  # as databases of all versions have it
    assert (family_of("family:vit"), family_of("tpe")) == ("vit", None)
