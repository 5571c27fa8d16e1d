"""A setting is defined once: flags, keys of ``--config`` files and the reference page are generated from its field."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from nas.config.values import Kind


@dataclass(frozen=True)
class Setting:
    """The definition of a setting; `setting` attaches it to the field that holds the value.

    Attributes:
        name: Name of the field and of the key in a file.
        kind: The kind of its value.
        summary: Its meaning, without a full stop.
        metavar: The placeholder of the value in help; "" for a switch.
        default: The default; None if it depends on something else.
        otherwise: A description of the default; the default itself unless it is None.
        unit: Unit of the value, such as "epochs".
        secret: Whether the value may hold a password.
    """

    name: str
    kind: Kind
    summary: str
    metavar: str
    default: Any
    otherwise: str
    unit: str
    secret: bool

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return flag(self.name)

    @property
    def flags(self) -> str:
        """The flag for `click.option`, with both forms of a switch."""
        return f"{self.flag}/--no-{self.flag.removeprefix('--')}" if self.kind.word is bool else self.flag

    @property
    def help(self) -> str:
        """The help of its flag: its meaning, the choices, and the default in brackets."""
        choices = f": {', '.join(self.kind.choices)}" if self.kind.choices else ""
        default = f" [{self.otherwise}]" if self.otherwise else ""
        return f"{self.summary}{choices}{default}."


def setting(
    default: Any,
    kind: Kind,
    metavar: str,
    summary: str,
    *,
    otherwise: str = "",
    unit: str = "",
    secret: bool = False,
) -> Any:
    """Define a field of a dataclass of settings.

    Args:
        default: The default; None for one that depends on something else, or for none.
        kind: The kind of its value.
        metavar: The placeholder of the value in help; "" for a switch.
        summary: Its meaning, without a full stop; choices and default are appended.
        otherwise: A description of the default; "" to show the default itself.
        unit: Unit of the value.
        secret: Whether the value may hold a password; if so, it is never shown.
    """
    known = {"kind": kind, "metavar": metavar, "summary": summary, "unit": unit, "secret": secret}
    words = otherwise or ("" if default is None else ",".join(default) if isinstance(default, tuple) else str(default))
    return field(default=default, repr=not secret, metadata={**known, "otherwise": words})


def settings_of(config: Any) -> dict[str, Setting]:
    """All settings of a dataclass or its instance, by name."""
    return {each.name: _setting_of(each) for each in fields(config)}


def flag(name: str) -> str:
    """How a setting is written on the command line."""
    return "--import" if name == "imports" else "--" + name.replace("_", "-")


def _setting_of(each: Field[Any]) -> Setting:
    return Setting(name=each.name, default=each.default, **each.metadata)
