"""Activations against arithmetic by hand, and timings in the order that they promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runners.measuring import latency
from runners.measuring.device import describe_device
from runners.measuring.latency import MIN_PASSES, measure_latency, time_in_turn
from runners.measuring.profile import (
    ResizedWeight,
    activation_bytes,
    clear_device_errors,
    make_images,
    make_model,
    resized_weights,
    time_shares,
)
from search_space import Architecture, Attention, Branch, Dense, Gating, Permute, RepMLP, Stage
from search_space.breakdown import breakdown
from search_space.errors import RunnerError

CPU = torch.device("cpu")
N, C, H = 4, 8, 12  # tokens, channels, hidden width
IMAGE, POOLED = 4 * 8 * 8, 4 * C


@pytest.fixture
def tiny() -> Callable[..., Architecture]:
    """One branch on a 2 x 2 grid of 8 channels without any norm; keywords change branch and architecture."""

    def make(op: Any, depth: int = 1, branch: dict[str, Any] | None = None, **changes: Any) -> Architecture:
        stages = (Stage(depth, C, (Branch(op, **{"norm": "none", **(branch or {})}),)),)
        settings = {"image_size": 8, "patch": 4, "in_channels": 1, "classes": 3, "final_norm": "none", **changes}
        return Architecture(stages=stages, **settings)

    return make


def kept(architecture: Architecture, dtype: torch.dtype = torch.float32) -> dict[str, int]:
    return activation_bytes(make_model(architecture, CPU, dtype))


# Activations: what a linear layer keeps is its input; float32 has 4 bytes.


@pytest.mark.parametrize(
    ("op", "branch", "values"),
    [
        (Dense("channel"), {}, N * C),
        (Dense("token"), {}, N * C),
        (Dense("channel", H), {}, N * C + 2 * N * H),  # GELU keeps its input too
        (Dense("token", H), {}, N * C + 2 * C * H),
        (Dense("channel"), {"norm": "layernorm"}, 2 * N * C + 2 * N),  # the norm keeps its input, mean and deviation
        (Dense("channel"), {"norm": "affine"}, 2 * N * C),
        (Dense("channel"), {"norm": "batchnorm"}, 2 * N * C),  # its statistics do not grow with the batch
        (Dense("channel"), {"layer_scale": 0.5}, 2 * N * C),
    ],
    ids=str,
)
def test_activations_by_hand(tiny, op, branch, values):
    expected = {"stem": IMAGE, "stages.0.branches.0": 4 * values, "head": POOLED}
    assert kept(tiny(op, branch=branch)) == expected


def test_activations_of_attention_by_hand(tiny):
    # x; q, k and v; a logarithm for each head and token; the output by heads; and the same with heads side by side,
    # which is a view or a copy of it, as torch likes.
    heads = 2
    values = N * C + 3 * N * C + heads * N + N * C
    found = kept(tiny(Attention(heads)))
    assert found["stages.0.branches.0"] in (4 * values, 4 * (values + N * C))


def test_equal_blocks_add_up(tiny):
    assert kept(tiny(Dense("channel"), depth=5))["stages.0.branches.0"] == 5 * 4 * N * C


def test_half_as_wide_numbers_take_half_the_memory(tiny):
    expected = {"stem": IMAGE // 2, "stages.0.branches.0": 2 * N * C, "head": POOLED // 2}
    assert kept(tiny(Dense("channel")), torch.bfloat16) == expected


def test_a_batch_norm_over_a_single_token_can_be_measured(tiny):
    architecture = tiny(Dense("channel", H, batchnorm=True), branch={"norm": "batchnorm"}, patch=8)
    assert kept(architecture)["stages.0.branches.0"] == 4 * (2 * C + 3 * H + C)


@pytest.fixture
def everything() -> Architecture:
    """Every op, a downsampling, batch norms and stochastic depth."""
    channel = Branch(Dense("channel", 8))
    stages = (
        Stage(2, 8, (Branch(Gating(8, attention_dim=2)), channel)),
        Stage(1, 8, (Branch(RepMLP(2), "batchnorm"), Branch(Attention(2)), channel)),
        Stage(2, 16, (Branch(Permute(2)), Branch(Dense("token"), "affine", layer_scale=0.1)), "conv2_bn_relu"),
    )
    return Architecture(8, 2, stages, 1, 10, "conv_bn_relu", position="learned", drop_path=0.5)


def test_activations_and_times_have_the_keys_of_the_breakdown(everything):
    model = make_model(everything, CPU, torch.float32)
    before = torch.get_rng_state()
    keys = {row.key for row in breakdown(everything)}
    assert set(activation_bytes(model)) == keys - {"position"}
    shares = time_shares(model, make_images(model, 2), 1e-9)
    assert set(shares) == keys - {"position"}
    assert sum(shares.values()) == pytest.approx(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


# Timing.


def test_things_are_timed_in_turn():
    calls = []
    timings = time_in_turn([lambda: calls.append("a"), lambda: calls.append("b")], CPU, 1e-9)
    assert "".join(calls) == "ab" + MIN_PASSES * "ab"
    for timing in timings:
        assert (timing.passes, timing.warm_up) == (MIN_PASSES, 1)
        assert timing.quartiles_ms[0] <= timing.median_ms <= timing.quartiles_ms[1]


def test_models_are_timed_in_inference_mode(tiny):
    model, seen = make_model(tiny(Dense("channel")), CPU, torch.float32), []
    images = make_images(model, 3)
    time_in_turn([lambda: seen.append(model(images))], CPU, 1e-9)
    assert all(scores.is_inference() and scores.shape == (3, 3) for scores in seen)


@pytest.mark.parametrize("training", [True, False])
def test_a_latency_leaves_the_model_in_its_mode(tiny, training):
    model = make_model(tiny(Dense("channel")), CPU, torch.float32).train(training)
    assert measure_latency(model, CPU).median_ms > 0
    assert model.training == training


# Weights that follow the image size.


def test_weights_with_the_number_of_tokens_in_them_change(make_architecture):
    design = make_architecture(position="learned")
    assert resized_weights(design, design.at(16)) == [
        ResizedWeight("position", (1, 16, 8), (1, 64, 8), 1),
        ResizedWeight("stages.0.*.0.op.fc1.weight", (4, 16), (4, 64), 2),
        ResizedWeight("stages.0.*.0.op.fc2.weight", (16, 4), (64, 4), 2),
        ResizedWeight("stages.0.*.0.op.fc2.bias", (16,), (64,), 2),
    ]


def test_no_other_weight_changes(tiny):
    design = tiny(Attention(2), depth=3)
    assert resized_weights(design, design.at(32)) == []
    assert resized_weights(design, tiny(Attention(2), depth=3)) == []


def test_weights_that_only_one_of_both_has_are_named(tiny):
    design = tiny(Dense("channel"))
    other = replace(design, position="learned")
    assert resized_weights(design, other) == [ResizedWeight("position", None, (1, 4, 8), 1)]
    assert resized_weights(other, design) == [ResizedWeight("position", (1, 4, 8), None, 1)]


# What goes wrong.


def test_running_out_of_memory_is_one_sentence(tiny):
    model = make_model(tiny(Dense("channel"), image_size=1024, patch=1024), CPU, torch.float32)
    message = r"^cpu ran out of memory for a large batch$"
    with pytest.raises(RunnerError, match=message), clear_device_errors("a large batch", CPU):
        make_images(model, 2**31)  # 9 PB


def test_what_is_not_implemented_is_one_sentence():
    message = r"^cpu cannot compute integers: .*not implemented for"
    with pytest.raises(RunnerError, match=message), clear_device_errors("integers", CPU):
        torch.nn.functional.gelu(torch.zeros(2, dtype=torch.int32))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), clear_device_errors("anything", CPU):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_a_latency_says_how_it_was_measured(tiny, monkeypatch):
    """50 passes: 13 of 1 ms, 24 of 2 ms and 13 of 500 ms, so that the quartiles are on the steps between them."""
    times = iter([0.001] * 13 + [0.002] * 24 + [0.5] * 13)
    monkeypatch.setattr(latency, "_seconds", lambda one, device: next(times))
    measured = measure_latency(make_model(tiny(Dense("channel")), CPU, torch.float32), CPU)
    assert (measured.lower_ms, measured.median_ms, measured.upper_ms) == (1.25, 2, 375.5)
    assert (measured.warm_up, measured.repeats, measured.batch_size, measured.precision) == (10, 50, 1, "fp32")
    assert measured.threads == torch.get_num_threads()
    assert measured.device == describe_device(CPU)


def test_every_thing_has_its_seconds(monkeypatch):
    """Passes of 1 s, 100 s for each of two: 10 passes warm up, then 160 s are shared."""
    now = [0.0]

    def wait() -> None:
        now[0] += 1

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    for timing in time_in_turn([wait, wait], CPU, 100):
        assert (timing.median_ms, timing.quartiles_ms, timing.warm_up) == (1000, (1000, 1000), 10)
        assert 80 <= timing.passes <= 81


def test_activations_leave_no_generator_behind(everything):
    model = make_model(everything, CPU, torch.float32)
    activation_bytes(model)
    assert {module.generator for module in model.modules() if hasattr(module, "generator")} == {None}
