"""YAML read safely, with the line of every key kept, so that an error can point at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_space.errors import NasError, allowed


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but 1e-6 is a number, as in YAML 1.2 and JSON, not a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)

KeyPath = tuple[str | int, ...]
_MAX_DEPTH = 40


@dataclass(frozen=True)
class Source:
    """Parsed YAML: plain `data`, and where each key of it stands.

    Attributes:
        data: Mappings, lists and scalars as `yaml.safe_load` gives them.
        name: File name (or ``<text>``) for messages.
        error: The exception class that a fault in this text raises.
    """

    data: Any
    name: str
    error: type[NasError]
    _lines: Mapping[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """``file.yaml:12: stage.depth`` for the key at `path` (or its nearest parent)."""
        line = next((self._lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._lines), 1)
        dotted = ".".join(str(part) for part in path)
        return f"{self.name}:{line}: {dotted}" if dotted else f"{self.name}:{line}"

    def fail(self, path: KeyPath, problem: str) -> NasError:
        """The error to raise for the key at `path`."""
        return self.error(f"{self.where(path)} {problem}" if path else f"{self.where(path)}: {problem}")

    def keys(self, path: KeyPath, known: Iterable[str], required: Iterable[str] = ()) -> dict[str, Any]:
        """The mapping at `path`, with no unknown key in it and every required one."""
        value = self.at(path)
        if value is None and not path:
            raise self.error(f"{self.name} is empty; allowed: a mapping")
        if not isinstance(value, dict):
            raise self.fail(path, f"is {_show(value)}; allowed: a mapping")
        known = list(known)
        for key in value:
            if key not in known:
                raise self.fail((*path, str(key)), f"is an unknown key; {allowed(key, known)}")
        for key in required:
            if key not in value:
                raise self.fail(path, f"lacks the key {key!r}")
        return value

    def at(self, path: KeyPath) -> Any:
        """The value at `path`."""
        value = self.data
        for part in path:
            value = value[part]
        return value

    def typed(self, path: KeyPath, kind: type | tuple[type, ...], describe: str) -> Any:
        """The value at `path` if it is of `kind` (a bool is no int here).

        Raises:
            NasError: Otherwise, saying that `describe` is allowed.
        """
        value = self.at(path)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            raise self.fail(path, f"is {_show(value)}; allowed: {describe}")
        return value

    def convert(self, path: KeyPath, make: Callable[[Any], Any]) -> Any:
        """`make(value)`, with any error of ours placed at `path`."""
        try:
            return make(self.at(path))
        except NasError as error:
            raise self.fail(path, f"is not usable: {error}") from None


def read_yaml(text: str, name: str, error: type[NasError]) -> Source:
    """Parse YAML text.

    Args:
        text: The document; anchors' aliases and duplicate keys are refused.
        name: What to call it in messages.
        error: The exception class to raise.

    Raises:
        NasError: (of class `error`) If it is not valid YAML.
    """
    lines: dict[KeyPath, int] = {}
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise error(f"{name}:{line}: aliases (*{event.anchor}) are not supported")
        root = yaml.compose(text, Loader=_Loader)
        data = None if root is None else _construct(root, (), lines, name, error)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or "cannot be read"
        raise error(f"{name}{place}: not valid YAML: {problem}") from None
    except (RecursionError, ValueError) as fault:
        raise error(f"{name}: not valid YAML: {type(fault).__name__}") from None
    return Source(data=data, name=name, error=error, _lines=lines)


def read_yaml_file(path: Path, error: type[NasError]) -> Source:
    """Read and parse a YAML file.

    Raises:
        NasError: (of class `error`) If it cannot be read or is not valid YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{path} is not a text file in UTF-8") from None
    return read_yaml(text, str(path), error)


def _construct(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str, error: type[NasError]) -> Any:
    """Plain data from a node, noting the line of every key on the way."""
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _MAX_DEPTH:
        raise error(f"{name}:{node.start_mark.line + 1}: nested deeper than {_MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise error(f"{name}:{line}: a key has to be a plain word")
            key = key_node.value
            if key in mapping:
                raise error(f"{name}:{line}: the key {key!r} stands here twice")
            lines[(*path, key)] = line
            mapping[key] = _construct(value_node, (*path, key), lines, name, error)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*path, index), lines, name, error) for index, child in enumerate(node.value)]
    return _Loader("").construct_object(node)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
