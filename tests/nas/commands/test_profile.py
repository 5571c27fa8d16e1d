"""`nas profile` and `nas compare`: sums, exponents, growth, names of models, and every mistake in one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from nas.commands.tables import format_number
from results.database.schema import Role
from search_space import Architecture, Attention, Branch, Dense, Gating, Permute, RepMLP, Stage, zoo

KEYS = {
    "name",
    "hash",
    "image_size",
    "fixed_input_size",
    "params",
    "macs",
    "macs_per_param",
    "activation_bytes",
    "branches",
    "parts",
    "latency",
    "throughput",
    "image_sizes",
    "exponents",
    "deployed",
    "reasons",
}
BRANCH_KEYS = {"stage", "branch", "op", "kind", "tokens", "dim", "depth", "params", "macs", "activation_bytes"}
QUICK = ("--device", "cpu", "--seconds", 1e-9, "--batch", 2, "--threads", 1)
CHANNEL = Branch(Dense("channel", 16))


def net(*stages: Stage, **changes) -> Architecture:
    return Architecture(**{"image_size": 8, "patch": 2, "in_channels": 1, "classes": 3, "stages": stages, **changes})


MIXER = net(Stage(2, 8, (Branch(Dense("token", 4)), CHANNEL)))
VIT = net(Stage(2, 8, (Branch(Attention(2)), CHANNEL)), class_token=True, pooling="class_token")
REPMLP = net(Stage(1, 8, (Branch(RepMLP(2), "batchnorm"), CHANNEL)), stem="conv_bn_relu")
VIP = net(Stage(1, 12, (Branch(Permute(4)), CHANNEL)))
MIXED = net(
    Stage(2, 8, (Branch(Gating(16)),)),
    Stage(1, 8, (Branch(Attention(2)), CHANNEL)),
    Stage(1, 16, (Branch(Dense("token"), "affine", layer_scale=0.1),), "conv2_bn_relu"),
    position="learned",
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, Path]:
    """Files of the architectures above, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    found = {"mixer": MIXER, "vit": VIT, "repmlp": REPMLP, "vip": VIP, "mixed": MIXED}
    for name, architecture in found.items():
        Path(f"{name}.yaml").write_text(architecture.to_yaml())
    return {name: Path(f"{name}.yaml") for name in found}


@pytest.fixture
def record(nas):
    """What a command writes as JSON."""

    def run_json(*arguments):
        ran = nas(*arguments, "--json")
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return run_json


# Profile.


@pytest.mark.parametrize("name", ["mixer", "vit", "repmlp", "vip", "mixed"])
def test_the_parts_add_up(record, files, name):
    profile = record("profile", files[name], "--no-timing", "--device", "cpu")
    architecture = Architecture.from_yaml_file(files[name])
    assert set(profile) >= KEYS
    assert all(set(branch) >= BRANCH_KEYS for branch in profile["branches"])
    for key in ("params", "macs", "activation_bytes"):
        assert sum(row[key] for row in profile["parts"] + profile["branches"]) == profile[key] > 0
    assert (profile["params"], profile["macs"]) == architecture.cost
    assert profile["macs_per_param"] == architecture.macs / architecture.params
    assert (profile["name"], profile["hash"]) == (f"{name}.yaml", architecture.hash)
    assert (profile["latency"], profile["throughput"], profile["reasons"]) == (None, None, {})
    assert [branch["kind"] for branch in profile["branches"]] == [
        branch.op.kind for stage in architecture.stages for branch in stage.block
    ]


def test_timings(record, files):
    profile = record("profile", files["mixed"], *QUICK)
    for what, batch in (("latency", 1), ("throughput", 2)):
        timing = profile[what]
        assert (timing["batch"], timing["dtype"], timing["threads"], timing["passes"]) == (batch, "float32", 1, 5)
        assert timing["device"].endswith(", 1 thread")
        assert timing["warm_up"] >= 1
        assert timing["quartiles_ms"][0] <= timing["median_ms"] <= timing["quartiles_ms"][1]
    assert profile["throughput"]["images_per_s"] == pytest.approx(2000 / profile["throughput"]["median_ms"])
    assert sum(row["time_share"] for row in profile["parts"] + profile["branches"]) == pytest.approx(1)


def test_a_smaller_dtype_keeps_less(record, files):
    wide, narrow = (
        record("profile", files["mixer"], "--no-timing", "--device", "cpu", "--dtype", dtype)
        for dtype in ("float32", "bfloat16")
    )
    assert wide["measured_on"]["dtype"] == "float32"
    assert narrow["measured_on"]["dtype"] == "bfloat16"
    assert narrow["activation_bytes"] < 0.6 * wide["activation_bytes"]
    assert narrow["params"] == wide["params"]


def test_the_deployed_form(nas, record, files):
    options = ("--no-timing", "--device", "cpu")
    trained, deployed = (
        record("profile", files["repmlp"], *options),
        record("profile", files["repmlp"], "--deploy", *options),
    )
    assert trained["deployed"] == deployed["deployed"] == {name: deployed[name] for name in ("params", "macs")}
    assert deployed["macs"] == REPMLP.deployed.macs < trained["macs"]
    assert "training branches merged (--deploy)" in " ".join(nas("profile", files["repmlp"], *options).out.split())
    assert "--deploy" not in nas("profile", files["repmlp"], "--deploy", *options).out


def test_growth_with_the_image_size(record, files):
    profile = record("profile", files["mixer"], "--no-timing", "--image-sizes", "8, 16,9,16")
    same, larger, none = profile["image_sizes"]
    assert (same["image_size"], same["tokens"], same["params"], same["macs"]) == (8, 16, *MIXER.cost)
    assert (larger["tokens"], larger["params"], larger["macs"]) == (64, *MIXER.at(16).cost)
    assert same["resized_weights"] == []
    assert larger["resized_weights"][0] == {
        "name": "stages.0.*.0.op.fc1.weight",
        "before": [4, 16],
        "after": [4, 64],
        "blocks": 2,
    }
    assert none["macs"] is None
    assert none["reason"] == "the patch must divide the image; image_size is 9, patch is 2"
    assert {kind: round(power, 9) for kind, power in profile["exponents"].items() if kind != "total"} == {
        "token mlp": 1,
        "channel mlp": 1,
    }


def test_latencies_grow_along(record, files):
    profile = record("profile", files["vit"], *QUICK, "--image-sizes", "8,16")
    assert all(row["latency"]["median_ms"] > 0 and row["latency"]["batch"] == 1 for row in profile["image_sizes"])


def test_growth_in_words(nas, files):
    out = nas("profile", files["mixer"], "--no-timing", "--image-sizes", "8,16,9").out
    assert "stages.0.*.0.op.fc1.weight (4, 16) -> (4, 64), in 2 blocks" in out
    assert "9 x 9  the patch must divide the image" in out
    out = nas("profile", files["vit"], "--no-timing", "--image-sizes", "8,16").out
    assert "The same weights serve all of these sizes." in out
    out = nas("profile", files["vip"], "--no-timing", "--image-sizes", "8,24").out
    assert "No weight changes its size, but" in out
    out = nas("profile", files["mixer"], "--no-timing", "--image-sizes", "9").out
    assert "MACs grow" not in out


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["vit", "mixed", "repmlp"])
def test_a_profile_fits_the_terminal(nas, files, monkeypatch, name, width):
    monkeypatch.setenv("COLUMNS", str(width))
    ran = nas("profile", files[name], *QUICK, "--image-sizes", "8,16,9")
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= width
    architecture = Architecture.from_yaml_file(files[name])
    assert f"({architecture.params:,})" in ran.out
    (row,) = (line.split() for line in ran.out.splitlines() if line.startswith("all "))
    assert row[3] == row[-1] == "100.0"


def test_what_does_not_fit_into_memory_is_said(record, nas, files):
    large = net(Stage(1, 4, (CHANNEL,)), image_size=1024, patch=1024)
    Path("large.yaml").write_text(large.to_yaml())
    arguments = ("profile", "large.yaml", "--device", "cpu", "--seconds", 1e-9, "--batch", 2**31 - 1)
    profile = record(*arguments)
    assert profile["latency"] is not None
    assert profile["throughput"] is None
    assert profile["reasons"] == {"throughput": "cpu ran out of memory for a batch of 2147483647 in float32"}
    assert "not measured: cpu ran out of memory" in nas(*arguments).out
    Path("huge.yaml").write_text(net(Stage(1, 10**7, (CHANNEL, Branch(Dense("channel"))))).to_yaml())
    ran = nas("profile", "huge.yaml", "--device", "cpu", "--no-timing")
    assert (ran.code, ran.err) == (2, "nas: cpu ran out of memory for the weights of huge.yaml\n")


# Names of models.


def test_a_model_of_the_zoo(record):
    profile = record("profile", "vit_ti16", "--no-timing", "--device", "cpu")
    assert (profile["params"], profile["macs"]) == zoo.get("vit_ti16").cost


def test_a_trial_of_a_study(record, nas, run, stored, settings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    report = run()
    options = ("--out", settings["out"], "--no-timing", "--device", "cpu")
    rows = {row.number: row for row in stored().evaluations(Role.TRIAL)}
    for trial in (0, 3):
        profile = record("profile", f"study#{trial}", *options)
        assert (profile["name"], profile["hash"]) == (f"study#{trial}", rows[trial].architecture.hash)
    assert report.winner is not None
    assert record("profile", "study#best", *options)["hash"] == report.winner.hash
    compared = record("compare", "study#best", "study#1", *options)["architectures"]
    assert [row["hash"] for row in compared] == [report.winner.hash, rows[1].architecture.hash]
    for name, message in (
        ("study#99", "nas: the study 'study' has no trial 99; allowed: 0 to 5\n"),
        ("studie#1", "did you mean 'study'?\n"),
        ("study#first", "study#first is not a trial; allowed: STUDY#NUMBER, such as study#12, and STUDY#best\n"),
    ):
        ran = nas("profile", name, *options)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.endswith(message)
        assert len(ran.err.splitlines()) == 1


def test_a_study_without_a_winner_says_so(nas, open_search, settings):
    open_search()
    ran = nas("profile", "study#best", "--out", settings["out"])
    assert (ran.code, ran.err) == (2, "nas: the study 'study' has no winner yet; name a trial, such as study#0\n")
    ran = nas("profile", "study#0", "--out", settings["out"])
    assert (ran.code, ran.err) == (2, "nas: the study 'study' has no trial 0; it holds none yet\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile"], "ARCH"),
        (["profile", "mixr_b16"], "no architecture 'mixr_b16'.*allowed: .*did you mean 'mixer_b16'"),
        (["profile", "missing.yaml"], "missing.yaml cannot be read"),
        (["profile", "broken.yaml"], "broken.yaml:2: not valid YAML"),
        (["profile", "wrong.yaml"], "wrong.yaml:.*'atention'.*did you mean 'attention'"),
        (["profile", "study#1"], "there is no database at"),
        (["profile", "mixer.yaml", "--image-sizes", "8,large"], "--image-sizes is '8,large'; allowed: .*112,224,448"),
        (["profile", "mixer.yaml", "--image-sizes", "8,0"], "--image-sizes is '8,0'"),
        (["profile", "mixer.yaml", "--image-sizes", ""], "--image-sizes is ''"),
        (["profile", "mixer.yaml", "--device", "cuda:99"], "cuda:99"),
        (["profile", "mixer.yaml", "--device", "abacus"], "no device named 'abacus'; allowed: auto, cpu"),
        (["profile", "mixer.yaml", "--dtype", "float8"], "float8"),
        (["profile", "mixer.yaml", "--batch", "0"], "--batch"),
        (["profile", "mixer.yaml", "--threads", "0"], "--threads"),
        (["profile", "mixer.yaml", "--seconds", "0"], "--seconds"),
        (["compare"], "two or more architectures"),
        (["compare", "mixer.yaml"], "two or more architectures"),
        (["compare", "mixer.yaml", "mixr_b16"], "did you mean 'mixer_b16'"),
        (["compare", "mixer.yaml", "vit.yaml", "--device", "abacus"], "no device named 'abacus'"),
    ],
)
def test_a_mistake_is_answered_in_one_line(nas, files, arguments, message):
    Path("broken.yaml").write_text("stages: [\n")
    Path("wrong.yaml").write_text(VIT.to_yaml().replace("op: attention", "op: atention"))
    ran = nas(*arguments)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("nas: ")
    assert pytest.RaisesExc(ValueError, match=message).matches(ValueError(line)), line


# Compare.


def test_a_comparison(record, files):
    compared = record("compare", files["mixer"], files["mixed"], files["mixer"], *QUICK)
    first, mixed, again = compared["architectures"]
    assert first["name"] == again["name"] == "mixer.yaml"
    assert (mixed["tokens"], mixed["width"], mixed["depth"]) == ([16, 16, 4], [8, 8, 16], [2, 1, 1])
    assert mixed["mixers"] == "gating / attention / token linear"
    assert first["fixed_input_size"] is True
    assert 1 < mixed["macs_exponent"] < 2
    assert first["macs_exponent"] == pytest.approx(1, abs=0.01)
    assert {first["ratios"][name] for name in first["ratios"]} == {1}
    assert mixed["ratios"]["params"] == mixed["params"] / first["params"]
    assert mixed["ratios"]["latency"] == mixed["latency"]["median_ms"] / first["latency"]["median_ms"]
    assert again["activation_bytes"] == first["activation_bytes"] > 0
    assert {row["latency"]["passes"] for row in compared["architectures"]} == {5}


def test_a_design_that_cannot_grow_has_no_exponent(record, nas, files):
    compared = record("compare", files["vip"], files["vit"], "--no-timing")["architectures"]
    assert compared[0]["macs_exponent"] is None
    assert "divisible by its segments" in compared[0]["reasons"]["macs_exponent"]
    assert compared[0]["latency"] is None
    assert compared[1]["ratios"]["latency"] is None
    out = nas("compare", files["vip"], files["vit"], "--no-timing").out
    assert "vip.yaml, macs_exponent: " in out
    assert "latency" not in out


@pytest.mark.parametrize("width", [80, 120])
def test_a_comparison_fits_the_terminal(nas, files, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    Path("with_a_name_that_is_longer_than_a_column.yaml").write_text(VIT.to_yaml())
    ran = nas("compare", *files.values(), "with_a_name_that_is_longer_than_a_column.yaml", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= width
    for name in files:
        assert f"{name}.yaml" in ran.out
    assert "  …nger_than_a_column.yaml" in ran.out


def test_the_exponent_is_that_between_a_size_and_twice_that_size(record, files):
    first, _ = record("compare", files["vit"], files["mixer"], "--no-timing")["architectures"]
    assert first["macs_exponent"] == pytest.approx(math.log(VIT.at(16).macs / VIT.macs) / math.log(65 / 17))


def test_a_throughput_has_its_quartiles_and_its_passes(record, files):
    throughput = record("profile", files["mixed"], *QUICK)["throughput"]
    lower, upper = throughput["images_per_s_quartiles"]
    assert lower <= throughput["images_per_s"] <= upper
    assert throughput["warm_up"] == 2  # the pass that checks whether it works, and one more


def test_the_number_of_threads_holds_for_the_command_alone(record, files):
    assert record("profile", files["mixer"], *QUICK, "--threads", 2)["measured_on"]["threads"] == 2
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (0.9996, "1.00"), (9.996, "10.0"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1,234")],
)
def test_three_significant_digits(value, text):
    assert format_number(value) == text


def test_closed_form_builds_nothing(record, files):
    profile = record("profile", files["mixer"], "--closed-form")
    assert (profile["params"], profile["macs"]) == (MIXER.params, MIXER.macs)
    assert profile["activation_bytes"] is profile["latency"] is profile["measured_on"] is None
    compared = record("compare", files["mixer"], files["vit"], "--closed-form")
    assert [row["params"] for row in compared["architectures"]] == [MIXER.params, VIT.params]


def test_compare_shows_the_form(record, nas, files):
    text = nas("compare", files["repmlp"], files["mixer"], "--closed-form").out
    assert ["form", "in", "training", "as", "shipped"] in [line.split() for line in text.splitlines()]
    rows = record("compare", files["repmlp"], files["mixer"], "--closed-form", "--deploy")["architectures"]
    assert [row["is_deployed"] for row in rows] == [True, True]


def test_a_model_of_the_zoo_keeps_its_design_at_every_size(record):
    """FF-only has its positions on 14 x 14 whatever the image."""
    (row,) = record("profile", "ff_only_ti16", "--closed-form", "--image-sizes", "448")["image_sizes"]
    assert row["params"] == zoo.get("ff_only_ti16", image_size=448).params
    assert "position" not in {weight["name"] for weight in row["resized_weights"]}


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_seconds_are_finite(nas, files, seconds):
    ran = nas("profile", files["mixer"], "--seconds", seconds)
    assert (ran.code, ran.err) == (2, f"nas: --seconds is {seconds}; allowed: a number of seconds\n")
