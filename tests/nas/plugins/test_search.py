"""A search with a plug-in in a file: in this process and in workers that do not have the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.api import search
from nas.config import SearchConfig
from nas.reading import open_study
from search_space.errors import ConfigError, StudyError
from search_space.plugins import forgotten

OWN = Path(__file__).with_name("own.py")
Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The plug-in, in a folder that is on no path."""
    file = tmp_path / "elsewhere" / "own.py"
    file.parent.mkdir()
    file.write_bytes(OWN.read_bytes())
    return file


@pytest.fixture
def ours(settings: Settings, plugin: Path) -> Settings:
    return {
        **settings,
        "imports": (str(plugin),),
        "data": "stripes",
        "strategy": "random",
        "sampler": "quasi_random",
        "pruner": "patient",
        "ranker": "shallow",
        "families": False,
        "epochs": 2,
        "budget": 3,
        "finalists": 1,
        "seeds": 1,
    }


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.xdist_group("ray")
def test_a_search_on_ray_finds_what_one_in_this_process_finds(ours: Settings, plugin: Path) -> None:
    here = search(**ours)
    assert here.winner is not None
    assert here.evaluated == 3

    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    plugin.rename(plugin.with_name("moved.py"))
    (plugin.parent / "own.py").symlink_to("moved.py")
    try:
        there = search(**{**ours, "runner": "ray", "study": "on-ray"})
    finally:
        ray.shutdown()

    assert there.winner is not None
    assert (there.winner.hash, there.winner.mean_nll, there.winner.test_nll) == (
        here.winner.hash,
        here.winner.mean_nll,
        here.winner.test_nll,
    )
    first, second = (open_study(name, out=ours["out"]).trials for name in ("study", "on-ray"))
    assert {(one.architecture, one.nll) for one in first} == {(one.architecture, one.nll) for one in second}


def test_a_study_is_continued_with_the_plug_in_it_was_begun_with(ours: Settings, plugin: Path) -> None:
    short = {**ours, "ranker": "none", "finalists": 0, "seeds": 2, "pruner": "none", "epochs": 1, "budget": 1}
    search(**short)
    search(**{**short, "budget": 2})
    moved = plugin.parent.parent / plugin.name
    plugin.rename(moved)
    search(**{**short, "imports": (str(moved),), "budget": 3})

    moved.write_text(moved.read_text() + "\n# another version\n")
    with pytest.raises(StudyError, match=r"plugins\.own\.py was sha256:[0-9a-f]{64} and is now sha256:[0-9a-f]{64}"):
        search(**{**short, "imports": (str(moved),), "budget": 4})
    assert len(open_study("study", out=ours["out"]).trials) == 3


def test_a_plug_in_is_part_of_a_study_from_its_begin_or_not_at_all(settings: Settings, run: Any, plugin: Path) -> None:
    run(budget=1)
    with pytest.raises(StudyError, match=r"plugins\.own\.py was None and is now sha256:"):
        run(budget=2, imports=(str(plugin),))
    run(budget=2)


def test_what_a_plug_in_registers_is_known_to_flags_and_files(
    nas: Callable[..., Any], tmp_path: Path, plugin: Path
) -> None:
    for keys in (f"imports: {plugin}\nsampler: quasi_random\n", f"pruner: patient\nimports: [{plugin}]\n"):
        file = tmp_path / "search.yaml"
        file.write_text(keys)
        assert SearchConfig().with_file(file).imports == (str(plugin),)
    assert SearchConfig.make(imports=str(plugin), proxies="shallow", strategy="auto").proxies == ("shallow",)
    with pytest.raises(ConfigError, match=r"--import is 3; allowed: names of modules, or paths of \.py files"):
        SearchConfig.make(imports=3)


def test_a_sampler_that_cannot_be_made_leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the sampler optuna.samplers:PartialFixedSampler cannot be made"):
        search(**settings, sampler="optuna.samplers:PartialFixedSampler")
    assert list(tmp_path.iterdir()) == []


def test_any_sampler_of_optunas_searches(run: Any) -> None:
    assert run(sampler="optuna.samplers:QMCSampler", budget=2, finalists=0).evaluated == 2
