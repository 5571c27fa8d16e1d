"""A token mixer in a file: searched with, shown, exported, and rebuilt where the file is not."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.reading import open_study
from nas.testing import CONTRACTS
from runners.protocol import DataSpec, Job
from runners.recipe import Recipe
from search_space.architecture import Architecture
from search_space.errors import StudyError
from search_space.models.layers import LAYERS
from search_space.ops import EXAMPLE_SHAPE, MIXERS, OPS
from search_space.plugins import forgotten, load

HERE = Path(__file__).parent
Nas = Callable[..., Any]
POOLED = """\
image_size: 8
patch: 2
in_channels: 1
classes: 10
stages:
- depth: 1
  dim: 8
  block:
  - {op: pool, size: 3}
  - {op: dense, axis: channel, hidden: 16}
"""


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-in, its space, and a study of three trials, made by the command line."""
    folder = tmp_path_factory.mktemp("pooled")
    for name in ("pool.py", "pooled.yaml"):
        shutil.copy(HERE / name, folder)
    words = "search --import pool.py --space pooled.yaml --runner inline --strategy random --budget 3 --epochs 1"
    words += " --finalists 1 --seeds 1"
    program = "import sys; from nas.__main__ import main; sys.argv[0] = 'nas'; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "nas export pooled-digits --import pool.py --best -o exported/" in done.stdout
    return folder


@pytest.fixture
def study(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, which is the current one."""
    folder = tmp_path / "copy"
    shutil.copytree(searched, folder)
    monkeypatch.chdir(folder)
    return folder


def test_the_mixer_keeps_its_contracts() -> None:
    load(str(HERE / "pool.py"))
    for kind, promises in (("op", 10), ("token mixer", 3)):
        findings = list(CONTRACTS[kind].check("pool"))
        assert [finding.problem or finding.skipped for finding in findings] == [""] * promises


def test_nothing_of_the_mixer_is_left_when_it_is_forgotten() -> None:
    before = dict(LAYERS), list(OPS), list(MIXERS)
    with forgotten():
        load(str(HERE / "pool.py"))
        assert len(LAYERS) == len(before[0]) + 1
    assert (dict(LAYERS), list(OPS), list(MIXERS)) == before


def test_pooling_by_hand() -> None:
    """In the corner of a grid the window of 3 x 3 has 4 tokens; the mean is theirs, minus the token."""
    from search_space.models.layers import make_layer

    load(str(HERE / "pool.py"))
    tokens = torch.arange(16.0).view(1, 16, 1)
    pooled = make_layer(MIXERS["pool"](size=3).mix(EXAMPLE_SHAPE).op, EXAMPLE_SHAPE)(tokens)
    assert pooled[0, 0, 0] == (0 + 1 + 4 + 5) / 4 - 0
    assert pooled[0, 5, 0] == 0  # the mean of a 3 x 3 square of a linear ramp is its middle


@pytest.mark.parametrize("line", ["results", "studies", "gc", "results --json"])
def test_figures_need_no_plug_in(study: Path, nas: Nas, line: str) -> None:
    plain, imported = nas(*line.split()), nas(*line.split(), "--import", "pool.py")
    assert (plain.code, imported.code) == (0, 0)
    assert plain.out == imported.out
    assert "pool" in plain.out


@pytest.mark.parametrize(
    "line", ["export --best -o bundle", "profile pooled-digits#0 --closed-form", "compare pooled-digits#0 mixer_s16"]
)
def test_architectures_need_it_and_it_is_never_imported_by_itself(study: Path, nas: Nas, line: str) -> None:
    ran = nas(*line.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    known = load("pool.py").version
    assert ran.err == (
        "nas: the token mixer pool of the study 'pooled-digits' is not known here; "
        f"import its plug-in pool.py ({known}) with --import\n"
    )
    assert not (study / "bundle").exists()


def test_architectures_with_it(study: Path, nas: Nas) -> None:
    ran = nas("profile", "pooled-digits#0", "--closed-form", "--json", "--import", "pool.py")
    assert ran.code == 0
    (pooling,) = [part for part in json.loads(ran.out)["branches"] if part["kind"] == "pool"]
    assert pooling["macs"] == 0


def test_from_python(study: Path) -> None:
    with pytest.raises(StudyError, match=r"the token mixer pool .* import its plug-in pool\.py"):
        open_study()
    load("pool.py")
    assert [trial.architecture.stages[0].block[0].op.kind for trial in open_study().trials] == ["pool"] * 3


def test_a_check_of_the_database_says_what_it_could_not_read(study: Path, nas: Nas) -> None:
    ran = nas("db", "check")
    assert ran.code == 1
    assert "3 architectures have ops that are not known here; needed is one of the plug-ins pool.py (sha256:" in ran.out
    assert nas("db", "check", "--import", "pool.py").code == 0


def test_a_bundle_holds_the_plug_in_that_it_needs(study: Path, nas: Nas, tmp_path: Path) -> None:
    ran = nas("export", "--best", "-o", "bundle", "--import", "pool.py")
    assert (ran.code, ran.err) == (0, "")
    bundle = (study / "bundle").rename(tmp_path / "bundle")
    assert (bundle / "plugin-pool.py").read_bytes() == (HERE / "pool.py").read_bytes()
    plugins = json.loads((bundle / "provenance.json").read_text())["plugins"]
    assert list(plugins) == ["pool.py"]

    program = "from load import load; model, mean, std = load(); print(model.architecture.stages[0].block[0].op)"
    run = [sys.executable, "-c", program]
    alone = subprocess.run(run, cwd=bundle, capture_output=True, text=True, check=True)
    assert alone.stdout.startswith("Pool(size=")

    with (bundle / "plugin-pool.py").open("a") as file:
        file.write("# changed\n")
    changed = subprocess.run(run, cwd=bundle, capture_output=True, text=True, check=False)
    assert "ConfigError: the plug-in pool.py was changed: its content is sha256:" in changed.stderr


def test_another_version_of_the_plug_in_exports_nothing(study: Path, nas: Nas) -> None:
    """Its layer may compute something else than what was trained."""
    with (study / "pool.py").open("a") as file:
        file.write("# another version\n")
    ran = nas("export", "--best", "-o", "bundle", "--import", "pool.py")
    assert (ran.code, ran.out) == (2, "")
    assert "nas: the study was trained with the plug-in pool.py (sha256:" in ran.err
    assert not (study / "bundle").exists()


def test_a_job_with_its_architecture_reaches_a_process_that_has_no_file() -> None:
    plugin = load(str(HERE / "pool.py"))
    job = Job("trial-0000", Architecture.from_yaml(POOLED), DataSpec("digits"), Recipe(epochs=1), seed=0)
    sent = pickle.dumps((plugin, job))
    program = (
        "import pickle, sys; plugin, job = pickle.load(sys.stdin.buffer)\n"
        "from search_space import build\n"
        "print(plugin.problem or type(build(job.architecture).stages[0][0]).__name__, job.architecture.hash)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split()[-1] == job.architecture.hash
    assert OPS["pool"].__module__ == plugin.module
