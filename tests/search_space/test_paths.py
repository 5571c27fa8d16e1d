"""Paths as users type them, and foreign text."""

from __future__ import annotations

import os
import subprocess
import sys
from io import TextIOWrapper
from pathlib import Path

import pytest

from search_space.architecture import Architecture
from search_space.errors import ArchitectureError, ConfigError, SpaceError, WeightsError, escaped
from search_space.models.published.files import read_weights
from search_space.paths import output_problem, path_problem, shell_word, user_path
from search_space.space.definition import load_definition

NOT_UTF8 = os.fsdecode(b"n\xffn")


def test_home_folders_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a b") == tmp_path / "a b"
    assert user_path(Path("~")) == tmp_path
    assert user_path("~root/x") == Path("/root/x")
    assert user_path("a/~") == Path("a/~")
    monkeypatch.chdir(tmp_path)
    assert user_path(user_path("./~x")) == tmp_path / "~x"


def test_an_unknown_home_folder_is_one_sentence(monkeypatch):
    with pytest.raises(
        ConfigError, match=r"^--out is '~nobodyx/y'; there is no user 'nobodyx' on this machine; allowed:"
    ):
        user_path("~nobodyx/y", "--out")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(
        "os.getuid", lambda: 2**31 - 7
    )  # a container may run as a user without an entry in the password file
    with pytest.raises(ConfigError, match="there is no home folder; set HOME, or name it in full"):
        user_path("~/x")


def test_files_of_this_package_may_be_in_the_home_folder(monkeypatch, tmp_path, space_files):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_bytes(space_files["tiny"].read_bytes())
    assert load_definition("~/own.yaml").name == "tiny"
    with pytest.raises(SpaceError, match="cannot be read: No such file"):
        load_definition("~/other.yaml")
    with pytest.raises(ArchitectureError, match="cannot be read: No such file"):
        Architecture.from_yaml_file("~/net.yaml")
    with pytest.raises(ArchitectureError, match="there is no user"):
        Architecture.from_yaml_file("~nobodyx/net.yaml")
    with pytest.raises(WeightsError, match=f"there are no weights at {tmp_path}/none.safetensors"):
        read_weights("~/none.safetensors")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "allowed: a path"),
        ("-", "such as ./-"),
        ("a\nb", "none of them a control character"),
        ("\x1b[2J", "none of them a control character"),
        ("x" * 300, "too long for a file"),
        ("~nobodyx", "no user 'nobodyx'"),
    ],
)
def test_what_cannot_be_a_path(text, problem):
    for found in (path_problem(text), output_problem(text)):
        assert found is not None
        assert problem in found


@pytest.mark.parametrize("text", ["-x", "./-", "a b", "50%20off", "q?x=1", "#", "'", "nas-runs/", "ü", "~"])
def test_what_can(text):
    assert output_problem(text) is None


def test_folders_for_output_are_utf8():
    assert path_problem(NOT_UTF8) is None
    assert "not UTF-8" in (output_problem(NOT_UTF8) or "")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_shown_word_is_the_same_when_pasted(encoding, monkeypatch, tmp_path):
    words = [
        "a b",
        "50%20off",
        "q?x=1",
        "it's",
        '"',
        "$HOME",
        "ü",
        "a\nb",
        "a\x1b[2Jb",
        "\u202eb",
        "\\x41",
        NOT_UTF8,
        "",
    ]
    with (tmp_path / "out").open("w", encoding=encoding) as stream:
        assert isinstance(stream, TextIOWrapper)
        monkeypatch.setattr(sys, "stdout", stream)
        typed = [shell_word(word) for word in words]
        monkeypatch.undo()
    assert all(word.isprintable() for word in typed)
    assert typed[0] == "'a b'"
    if encoding == "ascii":
        assert all(word.isascii() for word in typed)
    pasted = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(typed)}"], capture_output=True, check=True)
    assert pasted.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü…", "plain ü…"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\x7f\x9b", r"\x7f\x9b"),
        (NOT_UTF8, r"n\udcffn"),
    ],
)
def test_escaped(text, shown):
    assert escaped(text) == shown
    assert shown.isprintable()
