"""Paths as users type them on the command line, and commands that are printed for copying."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nas.commands.search import command_line, next_steps
from nas.config import SearchConfig
from nas.study.files import storage_url
from nas.study.spec import make_spec
from search_space.errors import ConfigError

ROOT = Path(__file__).parents[3]
NOT_UTF8 = os.fsdecode(b"n\xffn")
TELLTALE = "50%20off q?x=1#{y} 'ü'"


def test_an_output_folder_may_have_any_name(nas, run, settings, tmp_path, monkeypatch):
    """The database is in it, and the commands that are printed for copying find it there."""
    monkeypatch.chdir(tmp_path)
    report = run(out=TELLTALE)
    assert [file.name for file in tmp_path.iterdir()] == [TELLTALE]
    assert (tmp_path / TELLTALE / "nas.db").is_file()
    assert (tmp_path / TELLTALE / "study" / "report.txt").is_file()
    config = SearchConfig.make(**settings | {"out": TELLTALE})
    *_, dashboard, _, results = next_steps(config, report, False).splitlines()
    assert dashboard.split()[:3] == ["nas", "dashboard", "--out"]
    ran = nas(*shlex.split(results)[1:])
    assert (ran.code, "6 of 6 architectures" in ran.out) == (0, True)
    for command in ("studies", "gc", "db check", "db upgrade"):
        assert nas(*command.split(), "--out", TELLTALE).code == 0
    named = ["--storage", storage_url(None, TELLTALE)]
    assert nas("gc", *named, "--out", TELLTALE).code == 0  # which is no other database than that of the folder
    assert nas("results", *named, "--json").out == nas("results", "--out", TELLTALE, "--json").out


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_command_to_continue_can_be_pasted(encoding, monkeypatch, tmp_path):
    words = ["search", "--out", TELLTALE, "--space", f"{NOT_UTF8}.yaml"]
    monkeypatch.setattr(sys, "argv", ["nas", *words])
    with (tmp_path / "terminal").open("w", encoding=encoding) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        shown = command_line(SearchConfig())
        monkeypatch.undo()
    assert shown.isprintable()
    shown.encode(encoding)
    script = f"nas() {{ printf '%s\\0' \"$@\"; }}; {shown}"
    pasted = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert pasted.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


# The home folder.


def test_home_is_meant_wherever_a_path_is_typed(nas, run, space_files, monkeypatch, tmp_path):
    """Shells expand a ``~`` at the beginning of a word only: not in --out=~/x, in a URL, or in a file."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    home.mkdir()
    (home / "tiny.yaml").write_bytes(space_files["tiny"].read_bytes())
    keys = {"space": "~/tiny.yaml", "out": "~/runs", "checkpoint_dir": "~/weights", "data_dir": "~/data"}
    (home / "search.yaml").write_text(json.dumps({**keys, "storage": "sqlite:///~/own.db"}))
    config = SearchConfig().with_file(Path("~/search.yaml"))
    spec = make_spec(config)
    assert (spec.space.name, spec.data.directory) == ("tiny", str(home / "data"))
    run(**keys, storage="sqlite:///~/own.db")
    assert [file.name for file in tmp_path.iterdir()] == ["home"]
    assert {file.name for file in home.iterdir()} >= {"own.db", "runs", "weights"}
    assert (home / "weights" / "study" / "checkpoints").is_dir()
    assert (home / "runs" / "study" / "report.txt").is_file()
    monkeypatch.setenv("NAS_STORAGE", "sqlite:///~/own.db")
    assert nas("results", "--out=~/runs").code == 0
    assert nas("spaces", "check", "~/tiny.yaml").code == 0
    assert f"{home}/none" in nas("bench", "--table=~/none").err
    assert f"{home}/none" in nas("proxies", "--table=~/none").err
    assert f"{home}/none.yaml" in nas("profile", "~/none.yaml").err
    assert f"{home}/none" in nas("search", "--data=imagefolder:~/none").err
    assert [file.name for file in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--out=~nobodyx/y"),
        ("search", "--space=~nobodyx/y"),
        ("search", "--data=imagefolder:~nobodyx/y"),
        ("search", "--data-dir=~nobodyx/y"),
        ("search", "--checkpoint-dir=~nobodyx/y"),
        ("search", "--config=~nobodyx/y"),
        ("search", "--storage=sqlite:///~nobodyx/y", "--runner=inline"),
        ("results", "--out=~nobodyx/y"),
        ("export", "--best", "-o", "~nobodyx/y"),
        ("spaces", "check", "~nobodyx/y.yaml"),
        ("profile", "~nobodyx/y.yaml"),
        ("bench", "--table=~nobodyx/y"),
        ("bench", "--cache=~nobodyx/y"),
        ("proxies", "--table=~nobodyx/y"),
        ("db", "copy", "sqlite:///~nobodyx/y", "sqlite:///x"),
    ],
)
def test_an_unknown_home_is_one_sentence(nas, arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ran = nas(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "~nobodyx/y" in ran.err
    assert "there is no user 'nobodyx' on this machine" in ran.err
    assert list(tmp_path.iterdir()) == []


# What cannot be a folder.


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("", "--out is ''; allowed: a path"),
        ("-", "--out is '-'; allowed: a path, such as ./-"),
        ("a\nb", r"--out is 'a\nb'; allowed: up to 4,096 characters, none of them a control character"),
        ("\x1b[2J", r"--out is '\x1b[2J'; allowed: "),
        ("n" * 300, "its name is too long for a file"),
        (NOT_UTF8, r"--out is 'n\udcffn'; its name is not UTF-8"),
        ("/dev/null", "/dev/null"),
        ("/dev/null/x", "/dev/null/x"),
        ("file", "/file"),
        ("file/", "/file"),
    ],
)
@pytest.mark.parametrize("command", ["search", "studies", "export"])
def test_a_path_that_is_not_a_folder_is_one_sentence(nas, settings, command, out, problem, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    more = {"search": ["--space", settings["space"], "--runner", "inline"], "export": ["--best", "-o", "x"]}
    ran = nas(command, "--out", out, *more.get(command, []))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert problem in ran.err
    assert ran.err[:-1].isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_whose_name_begins_with_a_dash(nas, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run(out="-x")
    assert nas("studies", "--out", "-x").code == 0
    assert nas("studies", "--out", "./-x/").code == 0


@pytest.mark.parametrize("name", ["out", "data_dir", "checkpoint_dir", "space"])
def test_the_same_holds_in_python_and_in_files(name, tmp_path):
    for value in ("", "-", "a\nb", "~nobodyx/y", 3):
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is "):
            SearchConfig(**{name: value})
    (tmp_path / "search.yaml").write_text(f"{name}: ~nobodyx/y\n")
    with pytest.raises(ConfigError, match=r"search.yaml:1: .*there is no user 'nobodyx'"):
        SearchConfig().with_file(tmp_path / "search.yaml")


# The home folder, temporary files and the locale of a process.


def _nas(*arguments: object, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "nas", *map(str, arguments)],
        env=kept | {"PYTHONPATH": str(ROOT)} | env,
        cwd=cwd,
        capture_output=True,
        check=False,
    )


def test_ray_without_a_place_is_refused_before_a_study_is_made(nas, space_files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for env, remedy in (
        ({"HOME": "/dev/null/x", "RAY_AUTH_MODE": "token"}, "set HOME to a folder"),
        ({"RAY_TMPDIR": f"{tmp_path}/{'x' * 100}"}, "set RAY_TMPDIR to a folder"),
    ):
        with monkeypatch.context() as changed:
            for name, value in env.items():
                changed.setenv(name, value)
            ran = nas("search", "--space", space_files["tiny"])
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert remedy in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}], ids=["C", "ASCII"]
)
def test_a_locale_without_umlauts(env, tmp_path, run, settings):
    """Everything can be read; a path that such a process cannot name is refused."""
    run(out=str(tmp_path / "ü"), study="study", budget=2)
    ran = _nas("results", "--out", "ü", env=env, cwd=tmp_path)
    if "PYTHONUTF8" in env:
        assert (ran.returncode, ran.stdout) == (2, b"")
        assert b"its name is not UTF-8 in this locale" in ran.stderr
        (tmp_path / "ü").rename(tmp_path / "u")
        ran = _nas("results", "--out", "u", env=env, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"2 of 2 architectures" in ran.stdout
    assert ran.stdout.decode("ascii" if "PYTHONIOENCODING" in env else "utf-8")
