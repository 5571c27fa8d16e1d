"""Safe YAML reading that keeps the line of every key, so that an error can point to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from search_space.errors import MOST_SHOWN, NasError, allowed, brief, printable
from search_space.paths import user_path

_MAX_DEPTH = 40
_MOST_CHARACTERS = 2**18
_MOST_VALUES = 10_000
"""Maximum number of mappings, lists and scalars; PyYAML takes about 50 microseconds for each, and 3 for a character."""
_MOST_BITS = 1000
"""Maximum bits of a whole number: more than any setting needs, fewer than a float or Python's `str` can hold."""
_PROBLEM = 200
"""Maximum length of a parser's message in a message."""
_NAME = 300
"""Maximum length of a file name in a message."""


class _Unsupported(yaml.YAMLError):
    """A YAML feature that plain data does not need, and its line."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem, self.line = problem, line


class _Loader(yaml.SafeLoader):
    """YAML's safe loader without aliases, tags, deep nesting and huge documents.

    These are refused before anything is built from them. As in YAML 1.2 and JSON, 1e-6 is a number rather than text,
    and 1:30:00 is text rather than a base-60 number.
    """

    _depth = 0
    _values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"aliases (*{printable(event.anchor or '', MOST_SHOWN)}) are not supported", event)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(f"tags ({printable(tag, MOST_SHOWN)}) are not supported", event)
        if self._depth > _MAX_DEPTH:
            self._refuse(f"nested deeper than {_MAX_DEPTH} levels", event)
        self._values += 1
        if self._values > _MOST_VALUES:
            self._refuse(f"more than {_MOST_VALUES:,} values", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str, event: yaml.Event) -> NoReturn:
        raise _Unsupported(problem, event.start_mark.line + 1 if event.start_mark else 1)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z
        |[-+]?[0-9]+[eE][-+]?[0-9]+\Z
        |[-+]?\.(?:inf|Inf|INF)\Z
        |\.(?:nan|NaN|NAN)\Z""",
        re.VERBOSE,
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)\Z"), list("-+0123456789")
)

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Parsed YAML: plain `data`, and the line of each key.

    Attributes:
        data: Mappings, lists and scalars as `yaml.safe_load` gives them.
        name: File name (or ``<text>``) for messages.
        error: The exception class for errors in this text.
    """

    data: Any
    name: str
    error: type[NasError]
    _lines: Mapping[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """``file.yaml:12: stage.depth`` for the key at `path` (or its nearest parent)."""
        line = next((self._lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._lines), 1)
        dotted = ".".join(printable(str(part), MOST_SHOWN) for part in path)
        return f"{self.name}:{line}: {dotted}" if dotted else f"{self.name}:{line}"

    def fail(self, path: KeyPath, problem: str) -> NasError:
        """An error for the key at `path`, to be raised."""
        return self.error(f"{self.where(path)} {problem}" if path else f"{self.where(path)}: {problem}")

    def keys(self, path: KeyPath, known: Iterable[str], required: Iterable[str] = ()) -> dict[str, Any]:
        """The mapping at `path`, checked for unknown and missing keys."""
        value = self.at(path)
        if value is None and not path:
            raise self.error(f"{self.name} is empty; allowed: a mapping")
        if not isinstance(value, dict):
            raise self.fail(path, f"is {brief(value)}; allowed: a mapping")
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
        """The value at `path`, checked to be of type `kind` (a bool does not count as an int).

        Raises:
            NasError: If it is of another type; the message gives `describe` as what is allowed.
        """
        value = self.at(path)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            raise self.fail(path, f"is {brief(value)}; allowed: {describe}")
        return value

    def convert(self, path: KeyPath, make: Callable[[Any], Any]) -> Any:
        """`make(value)`; a NasError that it raises is reported at `path`."""
        try:
            return make(self.at(path))
        except NasError as error:
            raise self.fail(path, f"is not usable: {error}") from None


def read_yaml(text: str, name: str, error: type[NasError]) -> Source:
    """Parse YAML text.

    Args:
        text: The document; aliases, tags and duplicate keys are refused.
        name: Its name in messages.
        error: The exception class to raise.

    Raises:
        NasError: (of class `error`) If the text is not valid YAML.
    """
    name = printable(name, _NAME)
    if len(text) > _MOST_CHARACTERS:
        raise error(f"{name} is not read: it has more than {_MOST_CHARACTERS:,} characters")
    lines: dict[KeyPath, int] = {}
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else _construct(root, (), lines, name, error, loader)
    except _Unsupported as fault:
        raise error(f"{name}:{fault.line}: {fault.problem}") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or "cannot be read"
        raise error(f"{name}{place}: not valid YAML: {printable(problem, _PROBLEM)}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return Source(data=data, name=name, error=error, _lines=lines)


def read_yaml_file(path: Path, error: type[NasError]) -> Source:
    """Read and parse a YAML file.

    Raises:
        NasError: (of class `error`) If the file cannot be read or is not valid YAML.
    """
    name = printable(str(path), _NAME)
    try:
        with user_path(path, error=error).open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)  # some files are endless
    except OSError as fault:
        raise error(f"{name} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{name} is not a text file in UTF-8") from None
    except ValueError:  # a NUL byte, which system calls refuse
        raise error(f"{name} cannot be read: no file has such a name") from None
    return read_yaml(text, str(path), error)


def _construct(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str, error: type[NasError], loader: _Loader
) -> Any:
    """Plain data from a node; the line of every key is recorded in `lines`."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise error(f"{name}:{line}: a key must be a plain word")
            key = key_node.value
            if key in mapping:
                raise error(f"{name}:{line}: the key {brief(key)} is given twice")
            lines[(*path, key)] = line
            mapping[key] = _construct(value_node, (*path, key), lines, name, error, loader)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*path, index), lines, name, error, loader) for index, child in enumerate(node.value)]
    at = f"{name}:{node.start_mark.line + 1}"
    try:
        value = loader.construct_object(node)
    except ValueError:
        raise error(f"{at}: {brief(node.value)} looks like a number or a date, but is neither") from None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise error(f"{at}: a whole number of {value.bit_length():,} bits is too large; allowed: 300 digits")
    return value
