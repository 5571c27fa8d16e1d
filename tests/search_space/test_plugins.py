"""Plug-ins: their origins, how they travel between processes, and errors of imports."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_space import plugins
from search_space.errors import ConfigError, NasError
from search_space.plugins import forgotten, load, load_installed, provider
from search_space.registry import Registry

BEASTS: Registry[object] = Registry("beast")
GOOD = """\
from tests.search_space.test_plugins import BEASTS


@BEASTS.register('unicorn')
class Unicorn:
    horns = 1
"""


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "tests.search_space.test_plugins", sys.modules[__name__])
    with forgotten():
        yield
    assert list(BEASTS) == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str, name: str = "beasts.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a distribution with a plug-in on the path."""

    def install(module: str, text: str, version: str = "1.5") -> None:
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / "zoo_beasts-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zoo-beasts\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[nas.plugins]\nbeasts = {module}\n")
        (info / "top_level.txt").write_text(f"{module}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(plugins, "_looked", False)

    return install


def test_a_file_is_known_by_its_content(write: Callable[[str], str]) -> None:
    plugin = load(write(GOOD))
    assert (plugin.name, plugin.version) == ("beasts.py", f"sha256:{hashlib.sha256(GOOD.encode()).hexdigest()}")
    assert BEASTS.find("unicorn").horns == 1  # type: ignore[attr-defined]
    known = provider("beast", "unicorn")
    assert known is not None
    assert known.plugin == plugin
    assert known.entries == [("beast", "unicorn")]
    assert load(write(GOOD)) is plugin


def test_a_file_that_has_changed_replaces_what_it_was(write: Callable[[str], str]) -> None:
    before = load(write(GOOD))
    after = load(write(GOOD.replace("horns = 1", "horns = 2")))
    assert before != after
    assert BEASTS.find("unicorn").horns == 2  # type: ignore[attr-defined]
    assert list(BEASTS) == ["unicorn"]


def test_a_file_travels_with_its_content(write: Callable[[str], str], tmp_path: Path) -> None:
    """In the process that it arrives in, it is imported before what follows it in the pickle."""
    file = write("class Beast:\n    legs = 4\n")
    plugin = load(file)
    sent = pickle.dumps((plugin, sys.modules[plugin.module].Beast()))
    Path(file).unlink()
    program = "import pickle, sys; plugin, beast = pickle.load(sys.stdin.buffer); print(plugin.name, beast.legs)"
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["beasts.py", "4"]


def test_a_plug_in_that_does_not_arrive_says_why(write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = load(write("import os\nassert not os.environ.get('BROKEN'), 'no beasts here'\n"))
    sent = pickle.dumps(plugin)
    monkeypatch.setenv("BROKEN", "1")
    plugins._loaded["beasts.py"].unregister()
    arrived = pickle.loads(sent)  # noqa: S301 (our own)
    assert arrived.problem == "the plug-in beasts.py cannot be imported (line 2: AssertionError: no beasts here)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\nimport no_such_beast\n", "line 2: ModuleNotFoundError: No module named 'no_such_beast'"),
        ("def f(:\n", "line 1: SyntaxError: invalid syntax"),
        ("\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        (
            GOOD + "\n\nBEASTS.add('unicorn', 3)\n",
            "line 9: ValueError: the beast 'unicorn' is already registered, by beasts.py",
        ),
        (GOOD + "raise SystemError('a\\nb')", "line 7: SystemError: a b"),
    ],
)
def test_a_file_at_fault_is_named_with_the_line_and_leaves_nothing(
    write: Callable[[str], str], text: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(text))
    assert str(caught.value).startswith(f"the plug-in beasts.py cannot be imported ({reason}")
    assert list(BEASTS) == []
    load(write(GOOD))  # once it is fixed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/beasts.py", r"--import is 'nowhere/beasts.py'; it cannot be read \(No such file or directory\)"),
        (
            "no_such_beasts",
            r"--import is no_such_beasts; there is no such module, and a file is written with its path",
        ),
        ("no_such_beasts.unicorn", r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_beasts'\)"),
        ("no module", "allowed: a module such as my_package.plugin, or a .py file"),
    ],
)
def test_what_is_neither_a_module_nor_a_file(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(name)


def test_a_module_without_a_distribution_is_known_by_its_content(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(GOOD, "beasts_of_mine.py")
    (tmp_path / "beastly").mkdir()
    write("", "beastly/__init__.py")
    write("legs = 4\n", "beastly/horses.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    alone, package = load("beasts_of_mine"), load("beastly")
    assert alone.version == f"sha256:{hashlib.sha256(GOOD.encode()).hexdigest()}"
    assert alone.source == GOOD.encode()
    assert package.version.startswith("sha256:")
    assert package.source is None


def test_an_installed_plug_in_is_imported_when_a_name_is_unknown(install: Callable[..., None]) -> None:
    install("installed_beasts", GOOD)
    assert list(BEASTS) == []
    assert "unicorn" in BEASTS
    known = provider("beast", "unicorn")
    assert known is not None
    assert (known.plugin.name, known.plugin.version) == ("beasts", "zoo-beasts 1.5")
    with pytest.raises(ConfigError, match="there is no beast named 'dragon'; allowed: unicorn"):
        BEASTS.find("dragon")


def test_an_installed_plug_in_of_another_version_is_reported(install: Callable[..., None]) -> None:
    install("installed_beasts", GOOD)
    load_installed()
    sent = pickle.dumps(plugins._loaded["beasts"].plugin)
    plugins._loaded["beasts"].unregister()
    install("installed_beasts", GOOD, version="1.6")
    arrived = pickle.loads(sent)  # noqa: S301 (our own)
    assert arrived.problem == "the plug-in beasts is zoo-beasts 1.6 here, and 1.5 where the search runs"


def test_an_installed_plug_in_at_fault_is_a_sentence(install: Callable[..., None]) -> None:
    install("installed_beasts", "raise RuntimeError('out of hay')\n")
    with pytest.raises(NasError, match=r"the plug-in beasts cannot be imported \(line 1: RuntimeError: out of hay\)"):
        BEASTS.find("unicorn")
