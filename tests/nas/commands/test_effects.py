"""No flag is accepted and ignored: each one changes what a command does or writes, or is refused.

For every flag there is a command line without it, and the arguments to add. A new flag without an entry fails the test.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nas.api import make_runner, search
from nas.config import SearchConfig
from runners.protocol import Job
from runners.synthetic import synthetic
from search_space import Architecture, Branch, Dense, Stage
from search_space.plugins import forgotten
from tests.nas.commands.test_flags import FLAGS

SEARCH = "search --space tiny.yaml --runner inline --strategy random --epochs 4 --budget 2 --finalists 1 --seeds 1 "
SMALL = SEARCH + "--space small.yaml --budget 6 "
PHOTOS = SEARCH + "--data imagefolder:photos --image-size 8 "
TABLES = Path(__file__).parents[3] / "benchmarks" / "tables"
PLUGINS = [Path(__file__).parents[1] / "plugins" / name for name in ("board.py", "pool.py", "pooled.yaml")]
MIXER = Architecture(
    image_size=8,
    patch=2,
    in_channels=1,
    classes=3,
    stages=(Stage(2, 8, (Branch(Dense("token", 4)), Branch(Dense("channel", 16)))),),
)
MEASURED = "mixer.yaml --device cpu --no-timing "

EFFECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("search", "--space"): (SEARCH, "--space small.yaml"),
    ("search", "--data"): (SEARCH, "--data imagefolder:photos --image-size 8"),
    ("search", "--budget"): (SEARCH, "--budget 3"),
    ("search", "--max-fte"): (SEARCH, "--max-fte 2"),
    ("search", "--objective"): (SEARCH, "--objective nll --objective params"),
    ("search", "--max-params"): (SEARCH, "--max-params 2k"),
    ("search", "--max-macs"): (SEARCH, "--max-macs 1G"),
    ("search", "--max-latency-ms"): (SEARCH, "--max-latency-ms 5"),
    ("search", "--latency-target"): (SEARCH + "--max-latency-ms 5 --import board.py ", "--latency-target board"),
    ("search", "--import"): (SEARCH, "--import board.py --max-latency-ms 5 --latency-target board"),
    ("search", "--trial-timeout"): (SEARCH, "--trial-timeout 9"),
    ("search", "--strategy"): (SMALL, "--strategy largest"),
    ("search", "--sampler"): (SMALL, "--sampler local"),
    ("search", "--ranker"): (SMALL, "--ranker params"),
    ("search", "--proxies"): (SMALL, "--proxies zico"),  # refused without the ranker 'model'
    ("search", "--pruner"): (SMALL, "--pruner halving"),
    ("search", "--families"): (SMALL, "--families"),
    ("search", "--local"): (SMALL, "--local"),  # refused without the ranker 'model'
    ("search", "--control"): (SEARCH, "--control random"),
    ("search", "--epochs"): (SEARCH, "--epochs 5"),
    ("search", "--batch-size"): (SEARCH, "--batch-size 7"),
    ("search", "--lr"): (SEARCH, "--lr 0.5"),
    ("search", "--recipe"): (SEARCH, "--recipe plain"),
    ("search", "--weight-decay"): (SEARCH, "--weight-decay 0.3"),
    ("search", "--warmup"): (SEARCH, "--warmup 0.4"),
    ("search", "--final-lr"): (SEARCH, "--final-lr 0.3"),
    ("search", "--label-smoothing"): (SEARCH, "--label-smoothing 0"),
    ("search", "--clip-norm"): (SEARCH, "--clip-norm 0"),
    ("search", "--precision"): (SEARCH, "--precision fp32"),
    ("search", "--optimizer"): (SEARCH, "--optimizer sgd"),
    ("search", "--schedule"): (SEARCH, "--schedule linear"),
    ("search", "--mixup"): (SEARCH, "--mixup 0.2"),
    ("search", "--cutmix"): (SEARCH, "--cutmix 1"),
    ("search", "--rand-augment"): (SEARCH, "--rand-augment 9"),
    ("search", "--trivial-augment"): (SEARCH, "--trivial-augment"),
    ("search", "--erasing"): (SEARCH, "--erasing 0.25"),
    ("search", "--crop"): (SEARCH, "--crop 0.5"),
    ("search", "--repeats"): (SEARCH, "--repeats 3"),
    ("search", "--ema"): (SEARCH, "--ema 0.99"),
    ("search", "--patience"): (SEARCH, "--patience 2"),
    ("search", "--teacher"): (SEARCH, "--teacher nowhere"),
    ("search", "--distillation"): (SEARCH, "--distillation hard"),  # refused without a teacher
    ("search", "--teacher-weight"): (SEARCH, "--teacher-weight 0.9"),  # likewise
    ("search", "--class-weights"): (SEARCH, "--class-weights balanced"),
    ("search", "--temperature"): (SEARCH, "--temperature 2"),  # likewise
    ("search", "--tune"): (SEARCH, "--tune lr"),
    ("search", "--seed"): (SMALL, "--seed 1"),
    ("search", "--finalists"): (SEARCH, "--finalists 0"),
    ("search", "--seeds"): (SEARCH, "--seeds 2"),
    ("search", "--runner"): (SEARCH.replace("--runner inline ", "--runner nowhere "), "--runner inline"),
    ("search", "--address"): (SEARCH, "--address auto"),
    ("search", "--cpus-per-trial"): (SEARCH, "--cpus-per-trial 2"),
    ("search", "--gpus-per-trial"): (SEARCH, "--gpus-per-trial 0"),
    ("search", "--device"): (SEARCH, "--device cpu"),
    ("search", "--data-dir"): (PHOTOS, "--data-dir cache"),
    ("search", "--channels"): (PHOTOS, "--channels 1"),
    ("search", "--image-size"): (PHOTOS, "--image-size 4"),
    ("search", "--image-cache"): (PHOTOS + "--data-dir cache ", "--image-cache none"),
    ("search", "--storage"): (SEARCH, "--storage sqlite:///other.db"),
    ("search", "--study"): (SEARCH, "--study other"),
    ("search", "--out"): (SEARCH, "--out elsewhere"),
    ("search", "--checkpoint-dir"): (SEARCH, "--checkpoint-dir elsewhere"),
    ("search", "--config"): (SEARCH, "--config search.yaml"),
    ("search", "--json"): (SEARCH, "--json"),
    ("results", "--import"): ("results mine", "--import none.py"),
    ("results", "--storage"): ("results mine", "--storage sqlite:///none.db"),
    ("results", "--out"): ("results mine", "--out elsewhere"),
    ("results", "--json"): ("results mine", "--json"),
    ("results", "--csv"): ("results mine", "--csv"),
    ("results", "--top"): ("results mine", "--top 1"),
    ("studies", "--import"): ("studies", "--import none.py"),
    ("studies", "--storage"): ("studies", "--storage sqlite:///none.db"),
    ("studies", "--out"): ("studies", "--out elsewhere"),
    ("studies", "--json"): ("studies", "--json"),
    ("studies delete", "--import"): ("studies delete mine --yes", "--import none.py"),
    ("studies delete", "--storage"): ("studies delete mine --yes", "--storage sqlite:///none.db"),
    ("studies delete", "--out"): ("studies delete mine --yes", "--out elsewhere"),
    ("studies delete", "--checkpoint-dir"): ("studies delete far --yes", "--checkpoint-dir kept"),
    ("studies delete", "--yes"): ("studies delete mine", "--yes"),
    ("studies rename", "--import"): ("studies rename mine yours", "--import none.py"),
    ("studies rename", "--storage"): ("studies rename mine yours", "--storage sqlite:///none.db"),
    ("studies rename", "--out"): ("studies rename mine yours", "--out elsewhere"),
    ("studies rename", "--checkpoint-dir"): ("studies rename far near", "--checkpoint-dir kept"),
    ("dashboard", "--import"): ("dashboard --port 0", "--import none.py"),
    ("dashboard", "--storage"): ("dashboard --port 0", "--storage sqlite:///none.db"),
    ("dashboard", "--out"): ("dashboard --port 0", "--out elsewhere"),
    ("dashboard", "--host"): ("dashboard --port 0", "--host 192.0.2.1"),  # an address that no machine has (RFC 5737)
    ("dashboard", "--port"): ("dashboard --port 0", "--port 99999"),
    ("export", "--storage"): ("export mine --best -o bundle", "--storage sqlite:///none.db"),
    ("export", "--out"): ("export mine --best -o bundle", "--out elsewhere"),
    ("export", "--import"): ("export mine --best -o bundle", "--import none.py"),
    ("export", "--format"): ("export mine --best -o bundle", "--format none"),
    ("export", "--best"): ("export mine -o bundle", "--best"),
    ("export", "--trial"): ("export mine -o bundle", "--trial 77"),
    ("export", "--output"): ("export mine --best", "--output bundle"),
    ("db check", "--import"): ("db check", "--import none.py"),
    ("db check", "--storage"): ("db check", "--storage sqlite:///none.db"),
    ("db check", "--out"): ("db check", "--out elsewhere"),
    ("db check", "--json"): ("db check", "--json"),
    ("db upgrade", "--import"): ("db upgrade", "--import none.py"),
    ("db upgrade", "--storage"): ("db upgrade", "--storage sqlite:///none.db"),
    ("db upgrade", "--out"): ("db upgrade", "--out elsewhere"),
    ("gc", "--import"): ("gc", "--import none.py"),
    ("gc", "--storage"): ("gc", "--storage sqlite:///none.db"),
    ("gc", "--out"): ("gc", "--out elsewhere"),
    ("gc", "--checkpoint-dir"): ("gc far", "--checkpoint-dir kept"),
    ("gc", "--delete"): ("gc mine", "--delete"),
    ("spaces check", "--import"): ("spaces check pooled.yaml", "--import pool.py"),
    ("spaces check", "--data"): ("spaces check tiny.yaml", "--data digits"),
    ("spaces check", "--image-size"): ("spaces check tiny.yaml", "--image-size 64"),
    ("spaces show", "--import"): ("spaces show pooled.yaml", "--import pool.py"),
    ("spaces show", "--data"): ("spaces show tiny.yaml", "--data nonsense"),
    ("spaces show", "--image-size"): ("spaces show tiny.yaml", "--image-size 4"),
    ("recipes show", "--data"): ("recipes show deit", "--data digits"),
    ("recipes show", "--import"): ("recipes show --data board", "--import none.py"),
    ("profile", "--deploy"): ("profile repmlpnet_t224 --closed-form", "--deploy"),
    ("profile", "--image-sizes"): ("profile mixer_s16 --closed-form", "--image-sizes 112,224"),
    ("profile", "--device"): ("profile " + MEASURED, "--device abacus"),
    ("profile", "--dtype"): ("profile " + MEASURED, "--dtype bfloat16"),
    ("profile", "--batch"): ("profile " + MEASURED, "--batch 2"),
    ("profile", "--threads"): ("profile " + MEASURED + "--threads 1", "--threads 2"),
    ("profile", "--closed-form"): ("profile mixer.yaml --no-timing", "--timing --closed-form"),
    ("profile", "--timing"): ("profile " + MEASURED, "--timing --seconds 1e-9"),
    ("profile", "--seconds"): ("profile " + MEASURED, "--seconds 1"),
    ("profile", "--import"): ("profile mine#0 --closed-form", "--import none.py"),
    ("profile", "--storage"): ("profile mine#0 --closed-form", "--storage sqlite:///none.db"),
    ("profile", "--out"): ("profile mine#0 --closed-form", "--out elsewhere"),
    ("profile", "--json"): ("profile mixer.yaml --closed-form", "--json"),
    ("compare", "--deploy"): ("compare repmlpnet_t224 vit_s16 --closed-form", "--deploy"),
    ("compare", "--device"): ("compare mixer.yaml " + MEASURED, "--device abacus"),
    ("compare", "--dtype"): ("compare mixer.yaml " + MEASURED, "--dtype bfloat16"),
    ("compare", "--batch"): ("compare mixer.yaml " + MEASURED, "--batch 2"),
    ("compare", "--threads"): ("compare mixer.yaml " + MEASURED + "--threads 1", "--threads 2"),
    ("compare", "--closed-form"): ("compare mixer.yaml mixer.yaml --no-timing", "--timing --closed-form"),
    ("compare", "--timing"): ("compare mixer.yaml " + MEASURED, "--timing --seconds 1e-9"),
    ("compare", "--seconds"): ("compare mixer.yaml " + MEASURED, "--seconds 1"),
    ("compare", "--import"): ("compare mine#0 mixer.yaml --closed-form", "--import none.py"),
    ("compare", "--storage"): ("compare mine#0 mixer.yaml --closed-form", "--storage sqlite:///none.db"),
    ("compare", "--out"): ("compare mine#0 mixer.yaml --closed-form", "--out elsewhere"),
    ("compare", "--json"): ("compare mixer.yaml mixer.yaml --closed-form", "--json"),
    ("bench", "--table"): ("bench", "--table missing"),
    ("bench", "--runs"): ("bench", "--runs 7"),
    ("bench", "--strategies"): ("bench", "--strategies tpe"),
    ("bench", "--bands"): ("bench", "--bands any"),
    ("bench", "--design"): ("bench", "--design"),
    ("bench", "--jobs"): ("bench --jobs 1", "--jobs 3"),
    ("bench", "--cache"): ("bench", "--cache elsewhere"),
    ("bench", "--json"): ("bench", "--json"),
    ("bench", "--out"): ("bench", "--out picture.svg"),
    ("proxies", "--table"): ("proxies --json", "--table missing"),
    ("proxies", "--data"): ("proxies --json", "--data digits"),
    ("proxies", "--seeds"): ("proxies --json", "--seeds 1"),
    ("proxies", "--design"): ("proxies --json", "--design"),
    ("proxies", "--json"): ("proxies", "--json"),
    ("plugins", "--import"): ("plugins", "--import board.py"),
    ("plugins", "--json"): ("plugins", "--json"),
    ("zoo", "--family"): ("zoo", "--family mixer"),
    ("zoo", "--json"): ("zoo mixer_b16", "--json"),
    ("zoo", "--yaml"): ("zoo mixer_b16", "--yaml"),
}


def test_every_flag_has_an_entry():
    assert set(EFFECTS) == set(FLAGS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, space_files: dict[str, Path]) -> Path:
    """A folder with two studies, one of them with checkpoints elsewhere, spaces, an architecture and photos."""
    folder = tmp_path_factory.mktemp("home")
    for name, file in space_files.items():
        shutil.copy(file, folder / f"{name}.yaml")
    for file in PLUGINS:
        shutil.copy(file, folder)
    (folder / "search.yaml").write_text("epochs: 2\nlr: 0.25\n")
    for kind in ("cat", "dog"):
        for number in range(10):
            (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "photos" / kind / f"{number}.png")
    common: dict[str, Any] = {"space": str(folder / "tiny.yaml"), "strategy": "random", "runner": "inline", "epochs": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        search(evaluator=synthetic, budget=2, finalists=1, study="mine", **common)
        search(evaluator=synthetic, budget=1, finalists=0, study="far", checkpoint_dir="kept", **common)
    for weights in (folder / "kept" / "far" / "weights").iterdir():
        weights.write_bytes(bytes(2000))
    (folder / "mixer.yaml").write_text(MIXER.to_yaml())
    return folder


@pytest.fixture
def observe(
    nas: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[object, ...]]]:
    """Run a command line in a fresh copy of `home`: what it writes, does and leaves.

    Searches train with the synthetic evaluator; nothing serves, and nothing simulates.
    """
    usual = torch.get_num_threads()
    calls: list[str] = []
    jobs: list[str] = []

    def evaluate(job: Job) -> Any:
        own = (job.architecture.hash, job.data, job.recipe, job.seed, job.rungs, job.task, job.checkpoint, job.device)
        jobs.append(repr((job.key, *own, job.latency_target, job.max_latency_ms, job.timeout_s)))
        return synthetic(job)

    def compare(contests: Any, arms: Any, scale: Any, *, jobs: int, cache_folder: Path, on_progress: Any) -> Any:
        shown = [(contest.table.name, contest.band.name, contest.design) for contest in contests]
        calls.append(repr((shown, arms, scale, jobs, cache_folder)))
        return type("Comparison", (), {"to_dict": lambda self: {}})()

    def report(table: Any, seeds: Any, *, design: bool) -> dict[str, Any]:
        calls.append(repr((table.name, seeds, design)))
        return {"called": True}

    monkeypatch.setattr("nas.api.search", partial(search, evaluator=evaluate))
    monkeypatch.setattr("nas.commands.bench.committed_tables", lambda: [TABLES / "fashion_mnist"])
    monkeypatch.setattr("nas.commands.proxies.committed_tables", lambda: [TABLES / "fashion_mnist"])
    monkeypatch.setattr("results.dashboard.Dashboard.serve_forever", lambda self: None)
    monkeypatch.setattr("nas.bench.comparison.compare", compare)
    monkeypatch.setattr("nas.commands.bench_text.render", lambda comparison: "a comparison")
    monkeypatch.setattr("nas.bench.picture.draw", lambda comparison, out: out.touch())
    monkeypatch.setattr("nas.bench.proxy_report.report", report)
    monkeypatch.setattr("nas.commands.proxies._lines", lambda record: ["a report"])
    monkeypatch.delenv("NAS_STORAGE", raising=False)

    def run(line: str) -> tuple[object, ...]:
        here = home.with_name("here")
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(home, here)
        monkeypatch.chdir(here)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        calls.clear()
        jobs.clear()
        torch.set_num_threads(1)
        with forgotten():
            ran = nas(*line.split())
        files = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.suffix not in (".db-wal",))
        seconds = re.compile(r'\d+(\.\d+)? s\b|("\w*(seconds|time|created)\w*": [^,]*)')
        said = seconds.sub("", ran.out)
        return ran.code, said, ran.err if ran.code else "", list(jobs), list(calls), torch.get_num_threads(), files

    yield run
    torch.set_num_threads(usual)


WITHOUT: dict[str, tuple[object, ...]] = {}
"""Results of commands without the flags: many flags start from the same command."""


@pytest.mark.parametrize(("name", "flag"), EFFECTS)
def test_a_flag_changes_something_or_is_refused(observe, name, flag):
    line, added = EFFECTS[name, flag]
    assert flag in added
    if line not in WITHOUT:
        WITHOUT[line] = observe(line)
    assert observe(f"{line} {added}") != WITHOUT[line]


@pytest.mark.parametrize("line", [SEARCH, PHOTOS, "results mine", "studies", "gc", "profile " + MEASURED, "bench"])
def test_the_same_command_does_the_same(observe, line):
    assert observe(line) == observe(line)


def test_runner_and_address_name_what_executes():
    inline, ray, cluster = (
        make_runner(SearchConfig.make(**settings))
        for settings in ({"runner": "inline"}, {}, {"address": "ray://head:10001"})
    )
    assert type(inline) is not type(ray)
    assert vars(ray) != vars(cluster)
