"""`nas zoo`: the list, one model, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from search_space import Architecture, zoo

KEYS = {
    *("name", "family", "params", "macs", "macs_per_param", "image_size"),
    *("published_params_m", "published_gflops", "published_top1"),
}


@pytest.fixture(scope="module")
def listed() -> list[dict]:
    command = [sys.executable, "-m", "nas", "zoo", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_list_as_json(listed) -> None:
    assert [record["name"] for record in listed] == zoo.names()
    assert all(set(record) >= KEYS for record in listed)
    records = {record["name"]: record for record in listed}
    mixer = records["mixer_b16"]
    assert (mixer["params"], mixer["macs"], mixer["image_size"]) == (59_880_472, 12_601_767_936, 224)
    assert (mixer["published_params_m"], mixer["published_gflops"], mixer["published_top1"]) == (59, 12.7, 76.44)
    assert mixer["macs_per_param"] == pytest.approx(12_601_767_936 / 59_880_472, abs=0.005)
    assert records["repmlpnet_t224 (deploy)"]["params"] == 38_331_720
    assert records["vit_s32"]["published_top1"] is None


def test_the_list_for_people(nas) -> None:
    ran = nas("zoo")
    assert (ran.code, ran.err) == (0, "")
    for family in zoo.FAMILIES.values():
        assert f"{family.title}  {family.paper}" in ran.out
    for name in zoo.names():
        assert f"\n{name} " in ran.out
    assert "73.08M parameters, published 73.4; 31.44 GFLOPs, published 31.6: timm's model" in " ".join(ran.out.split())
    for name in zoo.names():  # a note has its footnote in the row
        (row,) = (line for line in ran.out.splitlines() if line.startswith(f"{name} ".ljust(24)))
        assert row.endswith("]") == bool(zoo.entry(name).note)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal(nas, monkeypatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, nas("zoo").out.splitlines())) <= columns


def test_one_family(nas) -> None:
    ran = nas("zoo", "--family", "resmlp", "--json")
    assert [record["name"] for record in json.loads(ran.out)] == list(zoo.entry("resmlp_s12").family.variants)


@pytest.mark.parametrize("name", zoo.names())
def test_one_model_for_people(nas, name: str) -> None:
    ran = nas("zoo", name)
    assert (ran.code, ran.err) == (0, "")
    architecture = zoo.get(name)
    for text in (f"{architecture.params:,}", f"{architecture.macs:,}", architecture.hash, zoo.entry(name).family.paper):
        assert text in ran.out
    assert max(map(len, ran.out.splitlines())) <= 110


def test_one_model_as_json_and_yaml(nas) -> None:
    assert json.loads(nas("zoo", "vip_s7", "--json").out)["name"] == "vip_s7"
    assert Architecture.from_yaml(nas("zoo", "vip_s7", "--yaml").out) == zoo.get("vip_s7")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mixer_b17",), "there is no model 'mixer_b17' in the zoo; allowed: 45 names such as mixer_b16"),
        (("--family", "mixr"), "--family is 'mixr'; allowed: vit, mixer,"),
        (("--yaml",), "--yaml needs the NAME of a model"),
    ],
)
def test_mistakes_are_one_sentence(nas, arguments: tuple[str, ...], words: str) -> None:
    ran = nas("zoo", *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_a_model_with_its_note(nas) -> None:
    assert zoo.entry("resmlp_s12").note in " ".join(nas("zoo", "resmlp_s12").out.split())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_the_characters(encoding: str) -> None:
    command = [sys.executable, "-m", "nas", "zoo", "mixer_s32"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    ran = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"LayerNorm" in ran.stdout
    assert ran.stderr == b""


def test_flags_that_exclude_each_other(nas) -> None:
    for arguments in (("vip_s7", "--json", "--yaml"), ("vip_s7", "--family", "vip")):
        assert nas("zoo", *arguments).code == 2
