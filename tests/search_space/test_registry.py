"""The registry that every kind of plug-in shares."""

from __future__ import annotations

import pytest

from search_space.errors import DataError
from search_space.registry import Registry


def test_entries_are_found_by_name_in_the_order_of_registration() -> None:
    registry: Registry[type] = Registry("mixer")

    @registry.register("b")
    class B: ...

    registry.add("a", int)
    assert list(registry) == ["b", "a"]
    assert len(registry) == 2
    assert "a" in registry
    assert ["a"] not in registry  # as a YAML file may have it
    assert registry["b"] is registry.find("b") is B


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    registry: Registry[type] = Registry("data set", DataError)
    registry.add("digits", int)
    with pytest.raises(DataError, match="there is no data set named 'digit'; allowed: digits; did you mean 'digits'"):
        registry.find("digit")


def test_a_name_is_given_once_and_says_where_it_came_from() -> None:
    registry: Registry[object] = Registry("proxy")
    registry.add("size", int)
    registry.add("other", 3, origin="somewhere")
    assert registry.origin("size") == "builtins"
    assert registry.origin("other") == "somewhere"
    with pytest.raises(ValueError, match="the proxy 'size' is already registered, by builtins"):
        registry.add("size", float)
