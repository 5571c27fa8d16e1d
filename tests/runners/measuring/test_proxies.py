"""Proxies: a contract that every one of them keeps, and figures worked by hand for tiny models."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from nas.bench.proxy_report import report
from nas.bench.tabular import Entry, Table, Training
from nas.strategy.features import family_of
from runners.measuring.proxies import PROXIES, evaluate, find_proxies, register_proxy, score
from runners.measuring.proxies.activations import GATES, RECTIFIERS, Activations
from runners.measuring.proxies.base import NEEDS
from runners.measuring.proxies.entropy import mean_block_entropy, spectral_entropy
from runners.measuring.proxies.grad_norm import sum_of_norms
from runners.measuring.proxies.images import BATCH, BATCHES, load_images
from runners.measuring.proxies.material import Material, loss_gradients, settled, weights
from runners.measuring.proxies.naswot import agreement, log_determinant
from runners.measuring.proxies.snip import connection_sensitivity
from runners.measuring.proxies.synflow import log_flow
from runners.measuring.proxies.zico import log_inverse_variation
from runners.protocol import DataSpec, Evaluation, Job, Score
from runners.recipe import recipe_for
from search_space import Architecture, Branch, Dense, Stage
from search_space.errors import ConfigError, DataError
from search_space.models.building import build
from search_space.ops import Attention, Gating, Permute, RepMLP

DIGITS, RECIPE, CPU = DataSpec("digits"), recipe_for("digits"), torch.device("cpu")
CHANNEL = Dense("channel", 16)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make(*ops, norm="layernorm", depth=2, **changes):
    stages = (Stage(depth, 8, tuple(Branch(op, norm=norm) for op in ops)),)
    return Architecture(**{"image_size": 8, "patch": 2, "in_channels": 1, "classes": 10, "stages": stages, **changes})


ARCHITECTURES = {
    "attention": make(Attention(2), CHANNEL, class_token=True, pooling="class_token", position="learned"),
    "mlp": make(Dense("token", 8), CHANNEL, norm="affine"),
    "linear": make(Dense("token", None), norm="none", final_norm="none"),
    "gating": make(Gating(32), drop_path=0.2),
    "permute": make(Permute(4, weighted=True), CHANNEL),
    "repmlp": make(RepMLP(4), CHANNEL, norm="batchnorm", stem="conv_bn_relu"),
    "stages": make(
        stages=(
            Stage(1, 8, (Branch(Dense("token", 8)),)),
            Stage(2, 16, (Branch(Attention(2)), Branch(CHANNEL)), downsample="conv2"),
        )
    ),
}


@pytest.fixture
def material():
    """The material of an architecture by name; a new one each time."""

    def prepare(name="mlp", kind=Material, seed=0):
        return kind(ARCHITECTURES[name], load_images(DIGITS, seed, CPU), RECIPE, seed)

    return prepare


# What every proxy has to keep.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_proxy_scores_every_family_or_says_that_it_cannot(architecture):
    (scores,) = score([ARCHITECTURES[architecture]], list(PROXIES), DIGITS, RECIPE, 0, "cpu")
    assert list(scores) == list(PROXIES)
    for name, found in scores.items():
        assert found.seconds >= 0
        if (architecture, name) == ("linear", "naswot"):
            assert found.value is None  # there is no activation in it
        else:
            assert math.isfinite(found.value), name


@pytest.mark.parametrize("name", PROXIES)
def test_scores_depend_on_architecture_and_seed_alone(name):
    """Whatever was scored before, and whatever the global generator is at."""
    every = list(ARCHITECTURES.values())
    together = score(every, list(PROXIES), DIGITS, RECIPE, 0, "cpu")
    torch.manual_seed(99)
    for architecture, expected in list(zip(every, together, strict=True))[::-1]:
        (alone,) = score([architecture], [name], DIGITS, RECIPE, 0, "cpu")
        assert alone[name].value == expected[name].value


@pytest.mark.parametrize("name", [name for name, proxy in PROXIES.items() if proxy.needs])
def test_another_seed_gives_another_score(name):
    first, second = (score([ARCHITECTURES["mlp"]], [name], DIGITS, RECIPE, seed, "cpu")[0][name] for seed in (0, 1))
    assert first.value != second.value


@pytest.mark.parametrize("architecture", ["gating", "repmlp"])
@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_leaves_the_material_as_it_was(material, name, architecture):
    own, untouched = material(architecture), material(architecture)
    state, before = torch.get_rng_state(), {need: getattr(own, need) for need in NEEDS}
    PROXIES[name].compute(own)
    assert torch.equal(torch.get_rng_state(), state)
    for need in ("model", "trained"):
        assert getattr(own, need) is before[need]
        now, then = getattr(own, need).state_dict(), getattr(untouched, need).state_dict()
        assert all(torch.equal(now[key], then[key]) for key in then)
        assert all(parameter.grad is None for parameter in getattr(own, need).parameters())
        assert not any(module._forward_hooks for module in getattr(own, need).modules())
        modes = ([module.training for module in model.modules()] for model in (getattr(own, need), untouched.model))
        assert next(modes) == next(modes)
    for now, then in zip(own.gradients, untouched.gradients, strict=True):
        assert all(torch.equal(now[key], then[key]) for key in then)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_reads_nothing_but_what_it_declares(material, name):
    declared = PROXIES[name].needs

    class Strict(Material):
        def __getattribute__(self, attribute):
            assert attribute not in NEEDS or attribute in declared, f"{name} reads {attribute}"
            return super().__getattribute__(attribute)

    PROXIES[name].compute(material(kind=Strict))


def test_neither_validation_nor_test_images_are_looked_at(material, monkeypatch):
    def refuse(self, spec):
        raise AssertionError("the test split was loaded")

    monkeypatch.setattr("runners.data.digits.Digits.load_test", refuse)
    images = load_images(DIGITS, 0, CPU)
    blind = replace(images, splits=replace(images.splits, validation=None))
    own = Material(ARCHITECTURES["mlp"], blind, RECIPE, 0)
    assert all(math.isfinite(proxy.compute(own)) for proxy in PROXIES.values())


def test_a_second_proxy_of_a_name_is_refused():
    with pytest.raises(ValueError, match="'snip' is registered already"):
        register_proxy("snip")(lambda material: 0.0)


def test_an_unknown_proxy_is_named_with_its_nearest():
    with pytest.raises(ConfigError, match=r"no proxy named 'entropi'; allowed: .*did you mean 'entropy'\?"):
        find_proxies(["entropi"])


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="the architecture has classes 7, but the data set 10"):
        score([replace(ARCHITECTURES["mlp"], classes=7)], ["l2"], DIGITS, RECIPE, 0, "cpu")


def test_as_a_job():
    batch = (ARCHITECTURES["mlp"], ARCHITECTURES["gating"])
    job = Job(
        "score-0001", batch[0], DIGITS, RECIPE, 0, task="score", batch=batch, proxies=("l2", "macs"), device="cpu"
    )
    epochs, outcome = Evaluation(job, evaluate).advance()
    assert (epochs, outcome.status) == ([], "complete")
    assert [scores["macs"].value for scores in outcome.measured.scores] == [one.macs for one in batch]


# What they are computed from.


def test_batches_are_large_enough_for_batchnorm(material):
    images = load_images(DIGITS, 0, CPU)
    assert [len(labels) for _, labels in images.batches] == [64, 64] == [BATCH] * BATCHES
    assert material().images.shape == (128, 1, 8, 8)
    assert images.whole[0].mean().abs() < 0.2  # normalised


def test_batchnorm_uses_the_batch_and_keeps_nothing(material):
    own = material("repmlp")
    norm = own.model.stem.norm
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        own.model(own.images)
    assert seen[0].mean(dim=(0, 2, 3)) == pytest.approx(torch.zeros(8), abs=1e-5)
    assert torch.equal(norm.running_mean, torch.zeros(8))


def test_stochastic_depth_drops_nothing(material):
    own = material("gating")
    with torch.no_grad():
        assert torch.equal(own.model(own.images), own.model(own.images))
        assert torch.equal(own.model(own.images), build(own.architecture).eval()(own.images))


def test_the_training_form_of_repmlp_is_scored(material):
    assert any("local" in name for name, _ in material("repmlp").model.named_parameters())


def test_weights_are_those_of_linear_maps(material):
    names = set(weights(material("attention").model))
    assert {"stem.weight", "head.weight"} <= names
    assert not {"class_token", "position", "head.bias", "norm.weight"} & names
    assert any(name.endswith("op.weight") for name in weights(material("repmlp").model))


def test_a_few_steps_wake_the_gates(material):
    def gates(model):
        return max(p.abs().max() for name, p in model.named_parameters() if name.endswith("spatial.weight"))

    own = material("gating")
    assert gates(own.model) < 1e-5
    assert gates(own.trained) > 1e-3


def test_the_first_steps_are_those_of_a_training_even_beyond_its_end():
    """A recipe of fewer than 20 steps ends at its last learning rate."""
    short = recipe_for("digits", epochs=1, batch_size=512)
    (scores,) = score([ARCHITECTURES["mlp"]], ["entropy", "entropy_20"], DIGITS, short, 0, "cpu")
    assert scores["entropy_20"].value != scores["entropy"].value


# Figures worked by hand.


def test_spectral_entropy_by_hand():
    axes = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # variances 9 to 1
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert spectral_entropy(axes) == pytest.approx(expected)
    assert spectral_entropy(5 * axes + 7) == pytest.approx(expected)  # neither scale nor mean counts
    angle = torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    assert spectral_entropy(axes @ angle) == pytest.approx(expected, rel=1e-5)


def test_spectral_entropy_of_a_ball_a_line_and_a_point():
    assert spectral_entropy(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(math.log(4))
    assert spectral_entropy(torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])) == pytest.approx(0, abs=1e-6)
    assert math.isnan(spectral_entropy(torch.ones(5, 3)))
    assert math.isnan(spectral_entropy(torch.tensor([[math.inf, 0.0], [0.0, 1.0]])))


def test_block_entropy_is_the_mean_over_blocks_and_not_over_downsampling(material):
    own = material("stages")
    model, x = own.model, own.model.stem(own.images).flatten(2).transpose(1, 2)
    (first,), (down, second, third) = model.stages
    found = []
    with torch.no_grad():
        for layer in (first, down, second, third):
            x = layer(x)
            if layer is not down:
                found.append(spectral_entropy(x.flatten(0, 1)))
    assert mean_block_entropy(model, own.images) == pytest.approx(sum(found) / 3)


def test_gradients_of_a_linear_classifier_by_hand():
    """With W = 0 both classes have probability 1/2, so that dL/dW is (p - y) x^T, a row of -x / 2 and one of x / 2."""
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    gradients = loss_gradients(model, torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    assert gradients["weight"].tolist() == [[-1.5, -2.0], [1.5, 2.0]]
    assert list(gradients) == ["weight"]
    assert sum_of_norms(gradients) == pytest.approx(math.sqrt(2 * (1.5**2 + 2**2)))
    own = {"weight": torch.tensor([[1.0, -1.0], [2.0, 0.0]])}
    assert connection_sensitivity(own, gradients) == pytest.approx(1.5 + 2 + 3)
    assert model.weight.grad is None


def test_norms_are_added_layer_by_layer():
    assert sum_of_norms({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[2.0]])}) == pytest.approx(7)


def test_zico_by_hand():
    first = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([-1.0]), "c": torch.zeros(2)}
    second = {"a": torch.tensor([3.0, 3.0]), "b": torch.tensor([3.0]), "c": torch.zeros(2)}
    # a: mean 2 over deviation 1, and a weight that does not differ; b: mean of absolutes 2 over deviation 2; c: nothing
    assert log_inverse_variation([first, second]) == pytest.approx(math.log(2) + math.log(1))
    assert math.isnan(log_inverse_variation([{"a": torch.tensor([math.nan, 1.0])}, {"a": torch.tensor([1.0, 2.0])}]))


def test_naswot_by_hand():
    """Codes 110 and 100 agree with themselves in 3 units and with each other in 2: the determinant is 9 - 4."""
    kernel = agreement(torch.tensor([[0.5, 2.0, -1.0], [1.0, -3.0, 0.0]]))
    assert kernel.tolist() == [[3, 2], [2, 3]]
    assert log_determinant(kernel.double()) == pytest.approx(math.log(5))
    assert math.isnan(log_determinant(agreement(torch.ones(2, 3)).double()))


@pytest.mark.parametrize(
    ("architecture", "per_block", "besides"),
    [("attention", 1, 0), ("mlp", 2, 0), ("gating", 1, 0), ("permute", 2, 0), ("repmlp", 3, 1), ("linear", 0, 0)],
)
def test_every_activation_is_seen(material, architecture, per_block, besides):
    """One in every MLP and in permute's weighting; ReLU and sigmoid in the gate of repmlp, and a ReLU in this stem."""
    own, seen = material(architecture), []

    def look(x, activation):
        seen.append(x.shape[0])
        return activation(x)

    with torch.no_grad(), Activations(RECTIFIERS | GATES, look):
        output = own.model(own.images)
    assert seen == [128] * (2 * per_block + besides)
    assert torch.equal(output, own.model(own.images).detach())


@pytest.mark.parametrize("activation", [functional.gelu, nn.GELU(), nn.ReLU(), torch.relu, torch.sigmoid, nn.Sigmoid()])
def test_activations_are_seen_however_they_are_called(activation):
    seen = []
    with Activations(RECTIFIERS | GATES, lambda x, function: seen.append(function(x)) or 2 * x):
        assert activation(torch.tensor([3.0])) == 6
    assert seen == [activation(torch.tensor([3.0]))]


class Chain(nn.Module):
    """Two linear maps with a norm and a functional activation between them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(2, 3, bias=False), nn.LayerNorm(3), nn.Linear(3, 1, bias=False)

    def forward(self, x):
        return self.second(functional.gelu(self.norm(self.first(x))))


def test_synflow_of_a_chain_is_twice_the_product():
    """1^T |W2| |W1| 1 flows through either layer: |W1| 1 = (3, 7, 1), weighted by (1, 2, 3) that is 20."""
    chain = Chain()
    with torch.no_grad():
        chain.first.weight.copy_(torch.tensor([[1.0, -2.0], [-3.0, -4.0], [0.5, 0.5]]))
        chain.second.weight.copy_(torch.tensor([[-1.0, 2.0, 3.0]]))
        chain.norm.weight.fill_(100)
    assert log_flow(chain, torch.full((1, 2), -5.0)) == pytest.approx(math.log(40), rel=1e-12)


def test_synflow_neither_overflows_where_float32_would_nor_invents_a_figure():
    wide = nn.Sequential(*(nn.Linear(10, 10, bias=False) for _ in range(20)))
    for layer in wide:
        nn.init.constant_(layer.weight, 100)
    # The sum of the outputs is 10 * 1000 ** 20, and there are 20 layers of it.
    assert log_flow(wide, torch.ones(1, 10)) == pytest.approx(math.log(20) + math.log(10) + 20 * math.log(1000))
    for layer in wide:
        nn.init.constant_(layer.weight, 1e20)
    assert not math.isfinite(log_flow(wide, torch.ones(1, 10)))
    for layer in wide:
        nn.init.zeros_(layer.weight)
    assert math.isnan(log_flow(wide, torch.ones(1, 10)))


def test_sizes_are_those_of_the_form_that_is_shipped():
    architecture = ARCHITECTURES["repmlp"]
    (scores,) = score([architecture], ["params", "macs"], DIGITS, RECIPE, 0, "cpu")
    assert scores["params"].value == architecture.deployed.params
    assert scores["macs"].value == architecture.deployed.macs < architecture.macs


def test_settled_returns_the_model_itself():
    model = build(ARCHITECTURES["repmlp"])
    assert settled(model) is model


# How they are judged.


@pytest.mark.parametrize(
    ("depths", "expected"), [((3, 1), "token mlp"), ((1, 3), "attention"), ((2, 2), "token mlp"), ((1, 1), "token mlp")]
)
def test_a_family_is_the_mixer_of_most_blocks(depths, expected):
    first = Stage(depths[0], 8, (Branch(Dense("token", 8)), Branch(CHANNEL)))
    second = Stage(depths[1], 8, (Branch(Attention(2)),), downsample="conv2")
    assert family_of(make(stages=(first, second))) == expected


def test_a_network_without_a_mixer_is_a_family_too():
    assert family_of(make(CHANNEL)) == "none"


DEFINITION = """\
space: {space}
data: digits
recipe: {{epochs: 2}}
search_seeds: [0, 1]
design_seeds: [3]
truth_seeds: [2]
draw_seed: 0
any_size: {size}
bands:
  - {{name: small, macs: 50k, architectures: {size}}}
  - {{name: large, macs: 90k, architectures: {size}, held_out: true}}
"""


@pytest.fixture
def make_table(space_files, space, tmp_path):
    """A table of 12 architectures in each of three bands, with trainings whose NLL is a function of their place."""

    def make(seeds=(0, 1, 2), nll=lambda place, seed: 1.0 + place, size=12):
        folder = tmp_path / "table"
        folder.mkdir()
        (folder / "trainings.jsonl").touch()
        (folder / "definition.yaml").write_text(DEFINITION.format(space=space_files["small"], size=size))
        rng, drawn = random.Random(0), {}
        while len(drawn) < 3 * size:
            wish = {axis.name: rng.choice(axis.values) for axis in space.axes}
            architecture = space.complete(wish, rng, space.limits)
            drawn[architecture.hash] = architecture
        table = Table(folder)
        bands = [name for name in ("small", "large", "any") for _ in range(size)]
        table.write_architectures(
            [Entry(one, band, space.encode(one), "drawn") for one, band in zip(drawn.values(), bands, strict=True)]
        )
        for place, name in enumerate(drawn):
            for seed in seeds:
                value = nll(place, seed)
                table.add(Training(name, seed, 10.0, [value], [value], [0.5], value, 0.5))
            table.add_scores(name, {"good": Score(-place, 0.1), "bad": Score(place, 0.2), "mute": Score(None, 0.3)})
        return Table(folder)

    return make


def test_scores_are_kept_and_tidied(make_table):
    table = make_table(size=2)
    first, second = list(table.entries)[:2]
    table.add_scores(first, {"late": Score(3.0, 0.5)})
    path = table.folder / "scores.jsonl"
    expected = Table(table.folder).scores
    assert expected[first] == {
        "good": Score(0, 0.1),
        "bad": Score(0, 0.2),
        "mute": Score(None, 0.3),
        "late": Score(3.0, 0.5),
    }
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    Table(table.folder).tidy_scores()
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()][:2] == [first, second]
    assert len(path.read_text().splitlines()) == 6
    assert Table(table.folder).scores == expected


def test_the_report_ranks_by_the_truth_with_a_good_proxy_positive(make_table):
    """The search seeds say the reverse of the truth, which must not be looked at in its stead."""
    record = report(make_table(nll=lambda place, seed: 1.0 + place if seed == 2 else 100.0 - place))
    assert (record["is_truth"], record["judged_by"], record["spared"]) == (True, "test NLL of the seed 2", [])
    names = [(group["kind"], group["name"]) for group in record["groups"]]
    assert names[:4] == [("all", "size-matched"), ("band", "small"), ("band", "large"), ("band", "any")]
    good, bad, mute = record["proxies"]
    assert [tau["tau"] for tau in good["taus"][:4]] == [1, 1, 1, 1]
    assert [tau["n"] for tau in good["taus"][:4]] == [24, 12, 12, 12]
    assert [tau["tau"] for tau in bad["taus"][:4]] == [-1, -1, -1, -1]
    assert (mute["taus"][0]["tau"], mute["without_a_value"]) == (None, 36)
    assert (good["fte"], bad["fte"]) == (pytest.approx(0.01), pytest.approx(0.02))
    assert record["groups"][0]["retest"]["tau"] == 1


def test_search_seeds_stand_in_without_the_held_out_band(make_table):
    record = report(make_table(seeds=(0, 1)), (0, 1))
    assert (record["is_truth"], record["spared"]) == (False, ["large"])
    assert [group["name"] for group in record["groups"][:3]] == ["size-matched", "small", "any"]
    assert record["proxies"][0]["taus"][0]["n"] == 12


def test_design_seeds_stand_in_for_the_bands_that_have_them(make_table):
    """Search seeds and truth say the reverse; an untrained architecture is left out, a band without these seeds is."""
    table = make_table(nll=lambda place, seed: 1.0 + place if seed == 3 else 100.0 - place, seeds=(0, 1, 2, 3))
    lines = (table.folder / "trainings.jsonl").read_text().splitlines(keepends=True)
    design = [line for line in lines if json.loads(line)["seed"] == 3]
    (table.folder / "trainings.jsonl").write_text("".join(line for line in lines if line != design[0]))
    record = report(Table(table.folder), design=True)
    assert (record["is_truth"], record["judged_by"]) == (False, "test NLL of the seed 3")
    assert record["spared"] == ["any", "large"]
    assert [group["name"] for group in record["groups"][:2]] == ["size-matched", "small"]
    assert (record["architectures"], record["ranked"]) == (12, 11)
    assert record["proxies"][0]["taus"][0]["tau"] == 1


def test_a_table_may_have_no_design_seeds(nas, make_table):
    table = make_table()
    path = table.folder / "definition.yaml"
    path.write_text(path.read_text().replace("design_seeds: [3]", "design_seeds: []"))
    ran = nas("proxies", "--table", table.folder, "--design")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "has no design seeds; judge by search seeds: --seeds 0,1" in ran.err


def test_families_are_compared_within_their_bands(make_table):
    record = report(make_table())
    families = [n for n, group in enumerate(record["groups"]) if group["kind"] == "family"]
    assert {record["groups"][n]["name"] for n in families} <= {"attention", "token mlp", "token linear"}
    assert sum(record["proxies"][0]["taus"][n]["n"] for n in families) <= 24  # the band of any size is not in them


def test_failed_trainings_are_left_out(make_table):
    table = make_table()
    name = next(iter(table.entries))
    table.add(Training(name, 2, 1.0, cause="diverged"))
    record = report(Table(table.folder))
    assert (record["architectures"], record["ranked"]) == (36, 35)


@pytest.mark.parametrize(
    ("seeds", "arguments", "message"),
    [
        ((0, 1), (), "lacks 36 of the 36 trainings with the truth seeds 2;"),
        ((), ("--seeds", "0,1"), "has no training with the seeds 0, 1"),
        ((0, 1, 2), ("--seeds", "2"), "--seeds names 2; allowed: 0, 1"),
        ((0, 1), ("--design",), "has no training with the seeds 3"),
        ((0, 1, 2), ("--design", "--seeds", "0"), "--seeds and --design are two ways to judge; give one of them"),
        ((0, 1, 2), ("--seeds", "one"), "--seeds is 'one'; allowed: search seeds such as 0,1"),
        ((0, 1, 2), ("--data", "mnist"), "no table is about the data set 'mnist'; allowed: digits"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_sentence(nas, make_table, seeds, arguments, message):
    ran = nas("proxies", "--table", make_table(seeds=seeds).folder, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_table_without_scores_says_how_to_make_them(nas, make_table):
    table = make_table()
    (table.folder / "scores.jsonl").unlink()
    ran = nas("proxies", "--table", table.folder)
    assert ran.code == 2
    assert "has no scores; make them with: python -m benchmarks.score_table table" in ran.err


def test_the_command_shows_a_line_a_proxy(nas, make_table, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ran = nas("proxies", "--table", make_table().folder)
    assert (ran.code, ran.err) == (0, "")
    assert "table: rank correlation with the test NLL of the seed 2" in ran.out
    assert "mute has no value for 36 of 36 architectures" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["n", "24", "12", "12", "12"] in rows
    good = next(row for row in rows if row[:1] == ["good"])
    assert good == ["good", *["1.00", "[1.00", "1.00]"] * 4]
    assert ["good", "1"] in rows  # a training took 10 seconds, and the proxy a tenth of one


def test_the_command_gives_everything_as_json(nas, make_table):
    table = make_table()
    ran = nas("proxies", "--table", table.folder, "--json")
    assert json.loads(ran.out) == [report(Table(table.folder))]
