"""Thousands of hostile inputs: seeded mutants of valid files, and the guards under which they are read.

`NAS_FUZZ=10` makes ten times as many mutants as the normal test run; the first tenth is the same.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

from search_space.errors import NasError

MOST_SECONDS, MOST_BYTES = 60, 4 * 2**30
"""CPU time after which a mutant counts as a hang, however busy the machine; and its memory limit."""
LONGEST = 1000
"""Maximum length of an error message."""

SCALARS: tuple[Any, ...] = (
    *(0, -1, 1, 7, 10**6, 10**7, 10**9, 10**18, 2**63, -(10**30), 10**400),
    *(0.0, -0.0, 0.5, 1e-7, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, "", " ", "none", "C/2", "999999C/1", "C/0", "0N", "\u0662C", "../../x", "/etc/passwd"),
    *("a\nb", "a\x00b", "\x1b[2J", "\ud800", "\u202e", "\U0001f600", "x" * 5000, "1_000", "1e3", "50k", "1e400"),
)
NODES: tuple[Any, ...] = ([], {}, [[]], [[[[1]]]], [None], {"a": 1}, {"from": 1, "to": 10**9}, [1, 1], list(range(300)))
RANGES: tuple[Any, ...] = ({"from": 1, "to": 900}, {"from": 1, "to": 10**6, "step": 1001}, {"from": -5, "to": 5})
TOKENS = (
    *("0x" + "f" * 5000, "9" * 5000, "0b" + "1" * 20000, "1:30:00", "190:20:30.15", "-.inf", ".nan", "1e999", "0o17"),
    *("2001-13-45", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "~", "yes", "'", '"', "|", ">", "?", "- -", "{", "]"),
    *("&a [*a, *a]", "*a", "<<: {depth: 1}", "<<: *a", "&a", "!!python/object:os.system {}", "!!python/name:os.system"),
    *("!!python/object/apply:os.mkdir ['CANARY']", "!!python/object/new:os.mkdir {args: ['CANARY']}", "!!binary x"),
    *("!!bool maybe", "!!timestamp never", "!!int ''", "!!float ''", "!!int x", "!!null x", "!!set {a, b}", "!!seq x"),
    *("!!map x", "!!omap [a: 1]", "!!pairs [a: 1]", "!own 1", "!<tag:x> 1", "%YAML 9.9", "---", "...", "\t", "\\"),
    *('"\\0"', '"\\e[2J"', '"\\ud800"', '"\\n"', "\x00", "\x07", "\x85", "\u2028", "\ufeff", "\ud800", "\U0001f600"),
    *("[" * 2000, "{a: " * 500, "- " * 1000, "x" * 20000, "? " * 300, "'" + "y" * 3000 + "'"),
    "[&a [1, 1, 1, 1], &b [*a, *a, *a, *a], &c [*b, *b, *b, *b], &d [*c, *c, *c, *c], [*d, *d, *d, *d]]",
)
KEYS = (
    "",
    "<<",
    "~",
    "dim",
    "depth",
    "name",
    "x" * 3000,
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "__class__",
    "from",
    "1",
    "true",
)


def by_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, insert, delete, duplicate or cut off some bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 4, 40)))
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4))))
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = out[at:end]
            case 4 if at < len(out):
                out[at] = rng.choice(b"\x00\x09\x0a\x1b \"'-:,[]{}#&*!|>%@`0123456789.eE~")
            case 5 if rng.random() < 0.2:
                del out[at:]
    return bytes(out)


def by_tokens(rng: random.Random, text: str, canary: Path) -> str:
    """Put hostile tokens in the place of values, keys, lines or nothing."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        token = rng.choice(TOKENS).replace("CANARY", str(canary))
        head, colon, tail = lines[at].partition(": ")
        match rng.randrange(5):
            case 0 | 1 if colon:
                lines[at] = f"{head}: {token}"
            case 2:
                words = lines[at].split(" ")
                words[rng.randrange(len(words))] = token
                lines[at] = " ".join(words)
            case 3:
                lines[at] = head[: len(head) - len(head.lstrip())] + token
            case _ if colon:
                lines[at] = f"{head}: {token} {tail}"
    return "\n".join(lines)


def by_structure(rng: random.Random, data: Any) -> Any:
    """Drop, duplicate, rename, move or replace nodes of parsed data."""
    data = copy.deepcopy(data)
    if rng.random() < 0.5:
        return by_degrees(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(data))
        if not places:
            return data
        parent, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent[key:key] = [copy.deepcopy(parent[key]) for _ in range(rng.choice((1, 2, 400)))]
            case 1:
                parent[rng.choice(KEYS)] = parent[key]
            case 2 if isinstance(parent, dict):
                parent[rng.choice(KEYS)] = parent.pop(key)
            case 3:
                parent[key] = copy.deepcopy(rng.choice(NODES + RANGES))
            case 4:
                parent[key] = [parent[key]]
            case 5:
                other, name = rng.choice(places)
                parent[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
            case _:
                parent[key] = rng.choice(SCALARS)
    return data


def by_degrees(rng: random.Random, data: Any) -> Any:
    """Replace some values by others of the same key, or by nearby ones: the result is often valid."""
    for _ in range(rng.choice((1, 2, 4))):
        places = [place for place in _places(data) if not isinstance(place[0][place[1]], (dict, list))]
        if not places:
            return data
        parent, key = rng.choice(places)
        value = parent[key]
        if isinstance(value, bool):
            parent[key] = not value
        elif isinstance(value, (int, float)):
            parent[key] = rng.choice((value * 2, value + 1, value - 1, value // 2, value * 8, value / 2, 1, 0))
        else:
            parent[key] = rng.choice([mate[name] for mate, name in places if name == key])
    return data


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield node, key
        yield from _places(child)


@pytest.fixture(scope="session")
def fuzz() -> Callable[[int], int]:
    """Number of mutants, given the number in a normal run."""
    factor = int(os.environ.get("NAS_FUZZ", "1"))
    return lambda count: count * factor


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A path that exists only if a file's content was executed."""
    return tmp_path / "canary"


@pytest.fixture
def mutants(canary: Path) -> Callable[[str, Sequence[str], int], Iterator[bytes]]:
    """Mutants of YAML texts, a third of each kind; `name` seeds them."""

    def make(name: str, seeds: Sequence[str], count: int) -> Iterator[bytes]:
        parsed = [json.dumps(yaml.load(seed, Loader=yaml.CSafeLoader)) for seed in seeds]
        for number in range(count):
            rng = random.Random(f"{name} {number}")
            index = rng.randrange(len(seeds))
            if number % 3 == 0:
                yield by_bytes(rng, seeds[index].encode())
            elif number % 3 == 1:
                yield by_tokens(rng, seeds[index], canary).encode(errors="surrogatepass")
            else:
                changed = by_structure(rng, json.loads(parsed[index]))
                text = yaml.dump(changed, Dumper=_Plain, sort_keys=False) if number % 2 else json.dumps(changed)
                yield text.encode(errors="surrogatepass")

    return make


class _Plain(yaml.SafeDumper):
    """Writes without anchors, which the reader refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.fixture
def outcome(canary: Path) -> Callable[[Callable[[], Any]], Any]:
    """The result of reading, or None if it was refused, in one sentence, at once and without side effects."""

    def run(read: Callable[[], Any]) -> Any:
        try:
            with bounded():
                result = read()
        except NasError as error:
            check_sentence(str(error))
            result = None
        assert not canary.exists(), "a file's content was run"
        return result

    return run


def check_sentence(text: str) -> None:
    """Fail unless the text can be shown to a user: one line, of reasonable length, without control characters."""
    assert 0 < len(text) <= LONGEST, f"{len(text)} characters: {text[:300]!r}"
    assert text.isprintable(), repr(text[:300])
    assert "Traceback" not in text


@contextmanager
def bounded() -> Iterator[None]:
    """Raise if something hangs or takes gigabytes of memory."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {MOST_SECONDS} s")

    before = signal.signal(signal.SIGPROF, too_long)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
