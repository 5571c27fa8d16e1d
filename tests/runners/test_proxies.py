"""Proxies: a contract that every one of them keeps, and figures worked by hand for tiny models."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from runners.data import recipe_for
from runners.execution import Execution
from runners.protocol import DataSpec, Job
from runners.proxies import PROXIES, find_proxies, register_proxy
from runners.proxies.activations import GATES, RECTIFIERS, Activations
from runners.proxies.entropy import mean_block_entropy, spectral_entropy
from runners.proxies.grad_norm import sum_of_norms
from runners.proxies.images import BATCH, BATCHES, load_images
from runners.proxies.material import Material, loss_gradients, settled, weights
from runners.proxies.naswot import agreement, log_determinant
from runners.proxies.scoring import evaluate, score
from runners.proxies.snip import connection_sensitivity
from runners.proxies.synflow import log_flow
from runners.proxies.zico import log_inverse_variation
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


# What every proxy of ours keeps, besides the contract of `nas.testing`.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_proxy_scores_every_family_or_says_that_it_cannot(architecture):
    (scores,) = score([ARCHITECTURES[architecture]], list(PROXIES), DIGITS, RECIPE, 0, "cpu")
    assert list(scores) == list(PROXIES)
    for name, found in scores.items():
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


def test_neither_validation_nor_test_images_are_used(material, monkeypatch):
    def refuse(self, spec):
        raise AssertionError("the test split was loaded")

    monkeypatch.setattr("runners.data.digits.Digits.load_test", refuse)
    images = load_images(DIGITS, 0, CPU)
    blind = replace(images, splits=replace(images.splits, validation=None))
    own = Material(ARCHITECTURES["mlp"], blind, RECIPE, 0)
    assert all(math.isfinite(proxy.compute(own)) for proxy in PROXIES.values())


def test_a_second_proxy_of_a_name_is_refused():
    with pytest.raises(ValueError, match="'snip' is already registered"):
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
    epochs, outcome = Execution(job, evaluate).advance()
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


def test_a_few_steps_activate_the_gates(material):
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
