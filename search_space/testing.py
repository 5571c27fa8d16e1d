"""Contract tests for ops and token mixers, which authors of plug-ins can run on their own.

With pytest, a subclass that names the entries to test is enough::

    class TestPool(MixerContract):
        names = ("pool",)
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Architecture, Branch, Stage
from search_space.contract import Contract
from search_space.diagram import diagram
from search_space.errors import ArchitectureError
from search_space.models.building import build
from search_space.models.deployment import reparameterize
from search_space.models.layers import make_layer
from search_space.models.model import VisionModel
from search_space.ops import EXAMPLE_SHAPE, MIXERS, OPS, Dense, Op, TokenShape
from search_space.space import SearchSpace, parse_space

SPACE = """
name: contract
net: {{patch: [2], pooling: [gap, class_token], position: [none], norm: [layernorm, batchnorm],
      layer_scale: [none, 0.1], drop_path: [0.0], stages: [1, 2]}}
stage: {{downsample: [none, conv2], mixer: {{{mixer}: {choices}, none: {{}}}}, channel_ratio: [0, 2],
        order: [token_first]}}
scales: [{{image_size: 8, tokens: [4, 16], dim: [8], depth: [1, 2], max_params: 1M}}]
"""


class Case(NamedTuple):
    """The name of an op or mixer, and settings of it."""

    name: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name} {dict(self.settings)}"


class OpContract(Contract):
    """What an op promises, together with its layer."""

    parameter: ClassVar[str] = "case"

    @classmethod
    def cases(cls, name: str) -> list[Case]:
        """The examples of an op."""
        return [Case(name, example) for example in OPS.find(name).examples]

    def test_cost_is_exact(self, case: Case) -> None:
        """Its parameters are those of the layer, its MACs half the FLOPs that torch counts, and the shape is kept."""
        op = _op(case)
        for class_token in (False, True):
            shape = EXAMPLE_SHAPE._replace(class_token=class_token)
            if class_token and not _allowed(op, shape):
                continue
            with torch.device("meta"):
                layer, x = make_layer(op, shape).eval(), torch.empty(1, shape.tokens, shape.dim)
            with FlopCounterMode(display=False) as counter:
                assert layer(x).shape == x.shape, "the layer keeps the shape (B, N, C)"
            params = sum(parameter.numel() for parameter in layer.parameters())
            assert op.cost(shape).params == params, f"cost says {op.cost(shape).params} parameters, not {params}"
            flops = counter.get_total_flops()
            assert 2 * op.cost(shape).macs == flops, f"cost says {op.cost(shape).macs} MACs, torch {flops / 2:g}"

    def test_it_is_a_value_described_by_its_settings(self, case: Case) -> None:
        """It is a frozen dataclass, and equal settings give an equal op."""
        op = _op(case)
        again = type(op)(**op.settings())
        assert again == op
        assert hash(again) == hash(op)
        assert OPS[op.kind] is type(op)
        defaults = {field.name: field.default for field in dataclasses.fields(op)}
        assert all(value != defaults[name] for name, value in op.settings().items()), "defaults are left out"
        for field in dataclasses.fields(op)[:1]:
            try:
                setattr(op, field.name, getattr(op, field.name))
            except dataclasses.FrozenInstanceError:
                continue
            raise AssertionError("an op is a frozen dataclass")

    def test_it_is_written_and_read(self, case: Case) -> None:
        """An architecture with it survives YAML and JSON, and so does its hash."""
        architecture = _network(_op(case))
        data = json.loads(json.dumps(architecture.to_dict()))
        for again in (Architecture.from_yaml(architecture.to_yaml()), Architecture.from_dict(data)):
            assert again == architecture
            assert again.hash == architecture.hash

    def test_fixed_input_size_says_whether_it_suits_one_grid_only(self, case: Case) -> None:
        """`fixed_input_size` says whether another grid needs tensors of other shapes, or other settings."""
        op, smaller = _op(case), EXAMPLE_SHAPE._replace(grid=2)
        assert op.at(EXAMPLE_SHAPE, EXAMPLE_SHAPE) == op
        other = op.at(EXAMPLE_SHAPE, smaller)
        with torch.device("meta"):
            here, there = make_layer(op, EXAMPLE_SHAPE).state_dict(), make_layer(other, smaller).state_dict()
        assert here.keys() == there.keys()
        moved = other != op or any(here[name].shape != there[name].shape for name in here)
        assert op.fixed_input_size == moved

    def test_mixes_tokens_says_whether_a_token_sees_the_others(self, case: Case) -> None:
        """A change of one token reaches the others if and only if `mixes_tokens` says so."""
        op = _op(case)
        layer, x = _scrambled(make_layer(op, EXAMPLE_SHAPE)), _images(1, EXAMPLE_SHAPE.tokens, EXAMPLE_SHAPE.dim)
        changed = x.clone()
        changed[0, 5] += 1
        others = [token for token in range(EXAMPLE_SHAPE.tokens) if token != 5]
        assert op.mixes_tokens != torch.equal(layer(x)[0, others], layer(changed)[0, others])

    def test_images_are_kept_apart(self, case: Case) -> None:
        """The output for an image does not depend on the others of its batch."""
        layer = _scrambled(make_layer(_op(case), EXAMPLE_SHAPE))
        x = _images(3, EXAMPLE_SHAPE.tokens, EXAMPLE_SHAPE.dim)
        torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]), rtol=1e-10, atol=1e-12)

    def test_the_seed_decides_every_tensor(self, case: Case) -> None:
        """Equal seeds give equal weights, whatever memory held before; the global generator is not used."""
        architecture, before = _network(_op(case)), torch.get_rng_state()
        one, two = (build(architecture, generator=torch.Generator().manual_seed(3)).state_dict() for _ in range(2))
        assert torch.equal(torch.get_rng_state(), before)
        for name, tensor in one.items():
            assert torch.isfinite(tensor).all(), f"{name} is not initialised"
            assert torch.equal(tensor, two[name]), f"{name} does not come from the generator"

    def test_gradients_reach_every_parameter(self, case: Case) -> None:
        """Each parameter of its layer has a finite gradient that is not 0."""
        model = build(_network(_op(case))).train()
        model(_images(4, 3, 8, 8).float()).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name

    def test_the_deployed_form_computes_the_same_function(self, case: Case) -> None:
        """Its deployed form computes the same function."""
        op = _op(case)
        assert op.deployed.deployed == op.deployed
        model = VisionModel(_network(op))
        _scrambled(model)
        deployed = reparameterize(model)  # compares the outputs, and raises WeightsError if they differ
        assert sum(parameter.numel() for parameter in deployed.parameters()) == _network(op).deployed.params

    def test_it_can_be_drawn(self, case: Case) -> None:
        """Its steps are short texts that fit into a diagram of 100 columns."""
        steps = _op(case).steps(EXAMPLE_SHAPE)
        assert steps, "an op has at least one step"
        assert all(isinstance(step, str) and step for step in steps)
        drawn = diagram(_network(_op(case)))
        assert all(step in drawn for step in steps)
        assert max(map(len, drawn.splitlines())) <= 100


class MixerContract(Contract):
    """What a token mixer promises besides what its op does."""

    parameter: ClassVar[str] = "case"

    @classmethod
    def cases(cls, name: str) -> list[Case]:
        """The examples of a token mixer."""
        return [Case(name, example) for example in MIXERS.find(name).examples]

    def test_its_examples_are_among_its_choices(self, case: Case) -> None:
        """Each example is a choice that a space may offer."""
        name, example = case
        settings = MIXERS[name].settings()
        assert set(example) <= set(settings)
        assert {key for key, setting in settings.items() if setting.required} <= set(example)
        for key, value in example.items():
            assert settings[key].valid(value), f"{key} is {value!r}; allowed: {settings[key].describe}"
            assert not settings[key].valid([value]), f"{key} takes a list"  # type: ignore[arg-type]

    def test_it_makes_a_branch_that_mixes_tokens(self, case: Case) -> None:
        """It makes a branch of a registered op that mixes tokens."""
        name, example = case
        mix = MIXERS[name](**example).mix(EXAMPLE_SHAPE)
        mix.op.check(EXAMPLE_SHAPE)
        assert mix.op.mixes_tokens
        assert type(mix.op) in OPS.values(), f"{type(mix.op).__name__} is not decorated with register_op"
        assert 0 < mix.eps <= 1e-4

    def test_a_space_can_name_it(self, case: Case) -> None:
        """A space that names it is counted and drawn from; its architectures are encoded, costed and built."""
        space, rng = _space(case), random.Random(0)
        assert space.size > 0
        least, most = space.cost_range()
        drawn = {space.sample(rng) for _ in range(20)}
        assert any(case[0] == space.encode(found)["stage1.mixer"] for found in drawn)
        for found in drawn:
            assert space.decode(space.encode(found)) == found
            assert least.params <= found.deployed.params <= most.params
            assert space.mutate(found, rng) in space
        found = min(drawn, key=lambda found: (case[0] != space.encode(found)["stage1.mixer"], found.params))
        assert sum(parameter.numel() for parameter in build(found).parameters()) == found.params


def _op(case: Case) -> Op:
    kind, settings = case
    op = OPS[kind](**settings)
    op.check(EXAMPLE_SHAPE)
    return op


def _allowed(op: Op, shape: TokenShape) -> bool:
    try:
        op.check(shape)
    except ArchitectureError:
        return False
    return True


def _network(op: Op) -> Architecture:
    """A network for 3 x 8 x 8 images: one block of this op and a channel MLP, at EXAMPLE_SHAPE."""
    block = (Branch(op, "batchnorm", layer_scale=0.5), Branch(Dense("channel", 16)))
    return Architecture(8, 2, (Stage(1, EXAMPLE_SHAPE.dim, block),), classes=5)


def _space(case: Case) -> SearchSpace:
    name, example = case
    choices = json.dumps({key: [value] for key, value in example.items()})
    return parse_space(SPACE.format(mixer=name, choices=choices), image_size=8, classes=5)


def _images(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _scrambled(module: torch.nn.Module) -> torch.nn.Module:
    """The module in float64 and eval mode, with every parameter and buffer drawn at random (variances positive)."""
    generator = torch.Generator().manual_seed(1)
    module = module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
                tensor.copy_(drawn.exp() if name.endswith("running_var") else drawn)
    return module
