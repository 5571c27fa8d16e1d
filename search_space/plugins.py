"""Modules that add to the registries, and how every process of the program imports the same ones.

A plug-in is a module whose import registers something. An installed distribution names its plug-ins under the entry
point group ``nas.plugins``; these are imported when a name is looked up that is not registered yet. Others are named by
the user, as a module or as a file. A `Plugin` that is unpickled in another process is imported there (a file travels
with its content), so that later objects in the pickle may use its classes.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from search_space.errors import ConfigError, NasError, brief, printable
from search_space.paths import user_path

GROUP = "nas.plugins"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_MOST_OF_A_REASON = 300
_SHA256 = "sha256:"


@dataclass(frozen=True)
class Plugin:
    """A module that registers something.

    Attributes:
        name: The name shown to users: its entry point, module or file.
        module: The module that is imported.
        version: "DISTRIBUTION VERSION", or "sha256:DIGEST" of its source if it is in no distribution.
        source: Content of a single file, which other processes need not have; None for a module that they import
            themselves.
        problem: Why it could not be imported in the process that it was sent to; "" if it could.
    """

    name: str
    module: str
    version: str
    source: bytes | None = field(default=None, repr=False)
    problem: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[Callable[..., Plugin], tuple[str, str, str, bytes | None]]:
        return _arrived, (self.name, self.module, self.version, self.source)


@dataclass
class Loaded:
    """A plug-in that this process has imported.

    Attributes:
        plugin: The plug-in.
        entries: What it registered, as (kind, name).
    """

    plugin: Plugin
    entries: list[tuple[str, str]] = field(default_factory=list)
    _undo: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def record(self, kind: str, name: str, undo: Callable[[], None]) -> None:
        """Record an entry and how to undo its registration."""
        self.entries.append((kind, name))
        self.on_unregister(undo)

    def on_unregister(self, undo: Callable[[], object]) -> None:
        """Call `undo` when the plug-in is removed."""
        self._undo.append(undo)

    def unregister(self) -> None:
        """Remove its entries and the module, so that it can be imported again."""
        for undo in reversed(self._undo):
            undo()
        sys.modules.pop(self.plugin.module, None)
        _loaded.pop(self.plugin.name, None)


_loaded: dict[str, Loaded] = {}
_loading: list[Loaded] = []
_looked = False


def loaded() -> tuple[Loaded, ...]:
    """The plug-ins that this process has imported, in order of import."""
    return tuple(_loaded.values())


def loading() -> Loaded | None:
    """The plug-in that is being imported; None if there is none."""
    return _loading[-1] if _loading else None


def provider(kind: str, name: str) -> Loaded | None:
    """The plug-in that registered an entry; None for a built-in entry."""
    return next((one for one in _loaded.values() if (kind, name) in one.entries), None)


def not_imported(recorded: Mapping[str, str]) -> list[str]:
    """Those of a study's plug-ins, versions by name, that this process has not imported, in words for a message."""
    load_installed()
    return [f"{name} ({version})" for name, version in recorded.items() if name not in _loaded]


def load(name: str) -> Plugin:
    """Import a plug-in named by the user; if its content has changed, it replaces the earlier import.

    Args:
        name: A module, or the path of a ``.py`` file.

    Raises:
        ConfigError: If it does not exist or cannot be imported; names the line at fault.
    """
    is_file = name.endswith(".py") or "/" in name
    if not is_file and name in _loaded:
        return _loaded[name].plugin
    plugin = _of_file(name) if is_file else _of_module(name)
    return _import(plugin, from_source=is_file).plugin


def load_installed() -> None:
    """Import the plug-ins of installed distributions, once.

    Raises:
        ConfigError: If one of them cannot be imported.
    """
    global _looked
    if _looked:
        return
    _looked = True
    from importlib.metadata import entry_points  # the slowest step here

    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        distribution = point.dist
        version = f"{distribution.name} {distribution.version}" if distribution else "unknown"
        _import(Plugin(point.name, point.module, version), from_source=False)


def _of_file(name: str) -> Plugin:
    """The plug-in in a file, not imported yet."""
    path = user_path(name, "--import")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--import is {brief(name)}; it cannot be read ({error.strerror or error})") from None
    stem = re.sub(r"\W", "_", path.stem)
    version = _digest(source)
    return Plugin(path.name, f"nas_plugin_{stem}_{version.removeprefix(_SHA256)[:12]}", version, source)


def _of_module(name: str) -> Plugin:
    """The plug-in in a module, not imported yet."""
    if not _MODULE.fullmatch(name):
        raise ConfigError(f"--import is {brief(name)}; allowed: a module such as my_package.plugin, or a .py file")
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:  # a parent package is imported for it
        raise ConfigError(f"the plug-in {name} cannot be imported ({_reason(error, name)})") from error
    if spec is None:
        raise ConfigError(
            f"--import is {name}; there is no such module, and a file is written with its path: ./{name}.py"
        )
    from importlib.metadata import packages_distributions, version  # as above

    distributions = packages_distributions().get(name.partition(".")[0])
    if distributions:
        return Plugin(name, name, f"{distributions[0]} {version(distributions[0])}")
    files = [Path(spec.origin)] if spec.has_location and spec.origin else []
    if spec.submodule_search_locations:
        files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py"))
    contents = [path.read_bytes() for path in files]
    if spec.submodule_search_locations or "." in name or not contents:
        return Plugin(name, name, _digest(b"".join(hashlib.sha256(content).digest() for content in contents)))
    return Plugin(name, name, _digest(contents[0]), contents[0])


def _digest(content: bytes) -> str:
    """The version of what no distribution has."""
    return f"{_SHA256}{hashlib.sha256(content).hexdigest()}"


def _import(plugin: Plugin, *, from_source: bool) -> Loaded:
    known = _loaded.get(plugin.name)
    if known is not None:
        if known.plugin == plugin:
            return known
        known.unregister()
    one = _loaded[plugin.name] = Loaded(plugin)
    _loading.append(one)
    try:
        if from_source and plugin.module not in sys.modules:
            _import_source(plugin)
        else:
            importlib.import_module(plugin.module)
    except Exception as error:  # whatever the module raises
        one.unregister()
        raise ConfigError(f"the plug-in {plugin.name} cannot be imported ({_reason(error, plugin.module)})") from error
    finally:
        _loading.pop()
    return one


class _Shipped(SourceFileLoader):
    """Loads a module from its content; without a file there is no bytecode cache."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__(plugin.module, plugin.name)
        self._source = plugin.source or b""

    def get_data(self, path: str) -> bytes:
        return self._source

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError


def _import_source(plugin: Plugin) -> None:
    spec = importlib.util.spec_from_loader(plugin.module, _Shipped(plugin), origin=plugin.name)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[plugin.module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _reason(error: BaseException, module: str) -> str:
    """An exception in words, with the line of the plug-in that raised it."""
    said = str(error) if isinstance(error, NasError) else f"{type(error).__name__}: {error}"
    said = printable(" ".join(said.split()), _MOST_OF_A_REASON)
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: SyntaxError: {error.msg}"
    import traceback  # not needed until something is wrong

    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_globals.get("__name__") == module
    ]
    return f"line {lines[-1]}: {said}" if lines else said


def _arrived(name: str, module: str, version: str, source: bytes | None) -> Plugin:
    """A plug-in in the process that it was sent to, imported there."""
    try:
        return import_exactly(name, module, version, source)
    except NasError as error:
        return Plugin(name, module, version, source, problem=str(error))


def import_exactly(name: str, module: str, version: str, source: bytes | None = None) -> Plugin:
    """Import a plug-in that was recorded elsewhere, in this version; the arguments are the attributes of `Plugin`.

    Raises:
        ConfigError: If it cannot be imported, or is here in another version.
    """
    plugin = Plugin(name, module, version, source)
    known = _loaded.get(name)
    if known is not None and known.plugin == plugin:
        return known.plugin
    if source is not None and version != _digest(source):
        raise ConfigError(f"the plug-in {name} was changed: its content is {_digest(source)}, and was {version}")
    if source is None and not version.startswith(_SHA256):
        _check_version(plugin)
    return _import(plugin, from_source=source is not None).plugin


def _check_version(plugin: Plugin) -> None:
    """Raise ConfigError unless the distribution has the same version on this machine."""
    from importlib.metadata import PackageNotFoundError, version

    distribution, _, wanted = plugin.version.rpartition(" ")
    try:
        found = version(distribution)
    except PackageNotFoundError:
        raise ConfigError(f"the plug-in {plugin.name} ({plugin.version}) is not installed here") from None
    if found != wanted:
        raise ConfigError(
            f"the plug-in {plugin.name} is {distribution} {found} here, and {wanted} where the search runs"
        )


@contextmanager
def forgotten() -> Iterator[None]:
    """Undo all imports of plug-ins inside the block at its end: for tests, and for inspecting a plug-in."""
    before = set(_loaded)
    try:
        yield
    finally:
        for one in reversed([one for name, one in _loaded.items() if name not in before]):
            one.unregister()
