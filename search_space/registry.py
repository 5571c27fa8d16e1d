"""What all kinds of plug-ins have in common: a name, an origin, and one registry for each kind.

Each kind (token mixers, data sets, samplers, ...) has one `Registry`. An entry is registered where it is defined, by a
decorator; the contract tests of a kind read its registry, so every registered entry is tested. An unknown name may
belong to an installed plug-in (`search_space.plugins`), so these are imported before the name is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from search_space.errors import ConfigError, NasError, allowed, brief
from search_space.plugins import load_installed, loading

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(Mapping[str, T], Generic[T]):
    """The entries of one kind by name, in order of registration.

    Example:
        >>> mixers: Registry[type] = Registry("token mixer")
        >>> @mixers.register("pool")
        ... class Pool: ...
        >>> mixers.find("pol")
        Traceback (most recent call last):
        search_space.errors.ConfigError: there is no token mixer named 'pol'; allowed: pool; did you mean 'pool'?

    Args:
        kind: What an entry is, in words, such as ``"data set"``.
        error: Raised by `find`.
    """

    def __init__(self, kind: str, error: type[NasError] = ConfigError) -> None:
        self.kind = kind
        self._error = error
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator that registers a class (or function) as `name`.

        Raises:
            ValueError: If the name is taken.
        """

        def decorate(entry: Registered) -> Registered:
            self.add(name, entry)  # type: ignore[arg-type]  # a decorator gives back the type that it was given
            return entry

        return decorate

    def add(self, name: str, entry: T, origin: str | None = None) -> None:
        """Register an entry as `name`.

        Args:
            name: Unique within the kind.
            entry: What to register.
            origin: The module that it comes from, by default the one that defines it; entries added by a plug-in come
                from the plug-in.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self._entries:
            taken = self._origins[name]
            raise ValueError(f"the {self.kind} {name!r} is already registered, by {taken}")
        self._entries[name] = entry
        self._origins[name] = origin or _module_of(entry)
        one = loading()
        if one is not None:
            self._origins[name] = one.plugin.name
            one.record(self.kind, name, lambda: self.discard(name))

    def find(self, name: str) -> T:
        """The entry with this name.

        Raises:
            NasError: (of the registry's error type) If there is none.
        """
        if name not in self:
            raise self._error(f"there is no {self.kind} named {brief(name)}; {allowed(name, self._entries)}")
        return self._entries[name]

    def origin(self, name: str) -> str:
        """The module or plug-in that an entry comes from."""
        return self._origins[name]

    def discard(self, name: str) -> None:
        """Remove an entry, together with the plug-in that it came from."""
        del self._entries[name], self._origins[name]

    def __contains__(self, name: object) -> bool:
        """Whether an entry has this name; installed plug-ins are imported for a name that is unknown otherwise."""
        return isinstance(name, str) and super().__contains__(name)

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            load_installed()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _module_of(entry: Any) -> str:
    found = getattr(entry, "__module__", None)
    return str(found) if found else type(entry).__module__
