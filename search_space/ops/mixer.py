"""Token mixers by their names in search spaces, and how a mixer declares its settings.

A mixer is a frozen dataclass whose fields are its settings. Each field says which choices a space may offer, so the
code that reads spaces needs no change for a new mixer::

    @register_mixer("pool")
    @dataclass(frozen=True)
    class PoolMixer(Mixer):
        examples = ({"size": 3},)
        size: int = whole(1)

        def mix(self, shape: TokenShape) -> Mix:
            return Mix(Pool(self.size))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from search_space.errors import NasError, SpaceError
from search_space.ops.base import Op, TokenShape
from search_space.registry import Registry

Value = int | float | str | bool | None
"""A choice on an axis; None means ``none`` on the layer_scale axis."""
LARGEST_SETTING = 10**6
"""The largest value of a whole-number setting (arbitrary)."""


class Mix(NamedTuple):
    """How the choice of a token mixer becomes a residual branch.

    Attributes:
        op: The operation.
        norm_axis: What the norm before it normalises over.
        eps: Epsilon of that norm (and of the other norms of the block) in the published code.
    """

    op: Op
    norm_axis: Literal["channel", "token"] = "channel"
    eps: float = 1e-6


@dataclass(frozen=True)
class Setting:
    """Which choices a space may offer for a setting of a mixer.

    Attributes:
        valid: Whether a value is allowed.
        describe: The allowed values in words, for messages.
        width: The widest layer that a value leads to at a token shape; None if it does not affect widths.
        required: Whether a space must give choices for it.
    """

    valid: Callable[[Value], bool]
    describe: str
    width: Callable[[Any, TokenShape], int] | None = None
    required: bool = True


@dataclass(frozen=True)
class Mixer:
    """Base of all token mixers.

    Class attributes:
        examples: Settings of a few members, which the contract tests run; they must work on EXAMPLE_SHAPE.
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def mix(self, shape: TokenShape) -> Mix:
        """The branch that this mixer makes on `shape`.

        Raises:
            ArchitectureError: If there is none.
        """
        raise NotImplementedError

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """The allowed choices by setting."""
        return {
            found.name: dataclasses.replace(found.metadata["setting"], required=found.default is MISSING)
            for found in fields(cls)
        }


MIXERS: Registry[type[Mixer]] = Registry("token mixer", SpaceError)
_MixerClass = TypeVar("_MixerClass", bound=type[Mixer])


def register_mixer(name: str) -> Callable[[_MixerClass], _MixerClass]:
    """Class decorator that registers a mixer by its name in search spaces; a name that is taken is refused."""
    return MIXERS.register(name)


def setting(
    valid: Callable[[Value], bool],
    describe: str,
    *,
    default: Any = MISSING,
    width: Callable[[Any, TokenShape], int] | None = None,
) -> Any:
    """A field of a mixer.

    Args:
        valid: Whether a value is allowed.
        describe: The allowed values in words, for messages.
        default: The value in spaces that do not name the setting; without a default, they must name it.
        width: The widest layer that a value leads to at a token shape, if it affects widths.
    """
    return field(default=default, metadata={"setting": Setting(valid, describe, width)})


def whole(least: int, **options: Any) -> Any:
    """A setting that is a whole number of at least `least`; options are those of `setting`."""
    describe = "whole numbers from 0 (none)" if least == 0 else f"whole numbers from {least}"
    return setting(lambda value: is_whole(value, least), describe, **options)


def one_of(*choices: str, **options: Any) -> Any:
    """A setting that is one of a few words."""
    return setting(lambda value: value in choices, ", ".join(choices), **options)


def switch(**options: Any) -> Any:
    """A setting that is true or false."""
    return setting(lambda value: isinstance(value, bool), "true, false", **options)


def width_of(parse: Callable[[str, TokenShape], int], describe: str) -> Any:
    """A setting that gives a width in terms of C or N, as `parse` reads it."""

    def valid(value: Value) -> bool:
        try:
            return isinstance(value, str) and parse(value, TokenShape(1, 1)) > 0
        except NasError:
            return False

    return setting(valid, describe, width=lambda value, shape: parse(str(value), shape))


def is_whole(value: Value, least: int) -> bool:
    """Whether a value is a whole number (not a bool) from `least` to LARGEST_SETTING."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST_SETTING
