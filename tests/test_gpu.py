"""What needs a CUDA device: `pytest -m gpu`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas import search
from runners.measuring.measurement import MeasuringSettings
from runners.measuring.profiler import Profiler
from runners.protocol import DataSpec, EpochResult, Job
from runners.proxies import PROXIES
from runners.proxies.scoring import score
from runners.recipe import Recipe
from runners.training.train import train
from search_space import build, load_space, reparameterize, zoo
from search_space.zoo.scaled import family_points

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore"),
]
FAMILIES = family_points(space := load_space("mlp_family", image_size=8, in_channels=1, classes=10), space.limits)


def curve(name: str, device: str) -> list[EpochResult]:
    recipe = Recipe(epochs=3, precision="fp32")
    return list(train(Job(name, FAMILIES[name], DataSpec("digits"), recipe, seed=0, device=device)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gpu_learns_what_a_cpu_learns(name: str) -> None:
    # Not bit by bit: order and augmentation are drawn on the device.
    assert curve(name, "cuda")[-1].nll == pytest.approx(curve(name, "cpu")[-1].nll, rel=0.35)


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_trains(name: str) -> None:
    recipe = Recipe(epochs=3, precision="bf16")
    epochs = list(train(Job(name, FAMILIES[name], DataSpec("digits"), recipe, seed=0, device="cuda")))
    assert epochs[-1].nll < epochs[0].nll


@pytest.mark.parametrize(
    "policy", [{"rand_augment": 9}, {"trivial_augment": True}], ids=lambda policy: next(iter(policy))
)
def test_every_ingredient_of_a_recipe_trains(policy: dict[str, Any]) -> None:
    recipe = Recipe(
        **{"epochs": 4, "optimizer": "lion", "lr": 1e-3, "mixup": 0.2, "cutmix": 1.0, "erasing": 0.25, "crop": 0.8},
        **{"repeats": 2, "ema": 0.9, **policy},
    )
    epochs = list(train(Job("all", FAMILIES["mixer"], DataSpec("digits"), recipe, seed=0, device="cuda")))
    assert epochs[-1].nll < epochs[0].nll


@pytest.mark.parametrize("name", [next(iter(family.variants)) for family in zoo.FAMILIES.values()])
def test_published_systems_compute_on_a_gpu_what_they_do_on_a_cpu(name: str) -> None:
    model = build(zoo.get(name)).double().eval()
    size = model.architecture.image_size
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
        actual = model.cuda()(images.cuda()).cpu()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9 * expected.abs().max().item())


def test_branches_are_merged_on_a_gpu() -> None:
    deployed = reparameterize(build(zoo.get("repmlpnet_t224"), device="cuda"))
    assert {parameter.device.type for parameter in deployed.parameters()} == {"cuda"}
    assert {parameter.dtype for parameter in deployed.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_profile_on_a_gpu(dtype: str) -> None:
    profiler = Profiler(MeasuringSettings(device="cuda", dtype=dtype, batch=16, seconds=0.2))
    (measured,) = profiler.measure(["vit_ti16"], [zoo.get("vit_ti16")], shares=True)
    assert measured.reasons == {}
    assert measured.latency is not None
    assert measured.throughput is not None
    assert measured.activation_bytes is not None
    assert sum(measured.time_shares.values()) == pytest.approx(1)


def test_four_trials_share_a_gpu(tmp_path: Path) -> None:
    report = search(budget=8, epochs=2, gpus_per_trial=0.25, finalists=1, seeds=1, out=tmp_path)
    assert report.evaluated == 8
    assert report.counts["failed"] == 0
    assert report.winner is not None


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("name", ["mixer", "vip"])
def test_two_gpus_learn_what_one_learns(name: str) -> None:
    job = Job(name, FAMILIES[name], DataSpec("digits"), Recipe(epochs=3, precision="fp32"), seed=0, device="cuda")
    alone, shared = (list(train(replace(job, gpus=gpus))) for gpus in (1, 2))
    assert shared[-1].nll == pytest.approx(alone[-1].nll, rel=0.05)


def test_proxies_say_on_a_gpu_what_they_say_on_a_cpu() -> None:
    architectures, recipe, data = list(FAMILIES.values()), Recipe(epochs=3, precision="fp32"), DataSpec("digits")
    on_cpu, on_gpu = (score(architectures, list(PROXIES), data, recipe, 0, device) for device in ("cpu", "cuda"))
    for here, there in zip(on_cpu, on_gpu, strict=True):
        for name in ("entropy", "l2", "synflow", "params", "macs", "depth"):
            assert there[name].value == pytest.approx(here[name].value, rel=0.02)


def test_a_waiting_trial_resumes_from_its_checkpoint_on_a_gpu(tmp_path: Path) -> None:
    recipe = Recipe(epochs=4, precision="fp32")
    job = Job("paused", FAMILIES["mixer"], DataSpec("digits"), recipe, 0, (1,), checkpoint=tmp_path / "paused.pt")
    training = train(job)
    first = next(training)
    training.close()
    rest = list(train(replace(job, reported=1)))
    assert [epoch.epoch for epoch in rest] == [2, 3, 4]
    assert rest[-1].nll < first.nll
