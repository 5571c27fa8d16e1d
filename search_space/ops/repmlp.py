"""RepMLPNet's token mixer (https://arxiv.org/abs/2112.11081, section 3): trained in branches, shipped as one matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require
from search_space.ops.mixer import Mix, Mixer, register_mixer, whole


@register_op("repmlp")
@dataclass(frozen=True)
class RepMLP(Op):
    """(BN(W x) + sum over k of BN(depthwise conv_k(x))) * sigmoid(fc(ReLU(fc(mean of x over tokens)))).

    W is an N x N matrix over the tokens for each of S sets of channels: channel c uses set c mod S, and so do the
    convolutions. The deployed form has one matrix and bias per set, and computes the same function.

    Attributes:
        sharesets: S, the number of sets; divides C.
        kernels: Sizes of the convolutions, odd; () for none.
        reduction: C divided by the hidden width of the gate.
        deploy: Whether this is the deployed form; its kernels are ().
    """

    examples = (
        {"sharesets": 1},
        {"sharesets": 2, "kernels": ()},
        {"sharesets": 4, "kernels": (3, 5)},
        {"sharesets": 8, "reduction": 2},
        {"sharesets": 2, "deploy": True},
    )
    sharesets: int
    kernels: tuple[int, ...] = (1, 3)
    reduction: int = 4
    deploy: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernels", () if self.deploy else tuple(sorted(self.kernels)))

    def check(self, shape: TokenShape) -> None:
        require(not shape.class_token, "repmlp needs a grid of tokens, so it cannot be used with a class token")
        require(self.sharesets >= 1, f"repmlp needs at least one set of channels; sharesets is {self.sharesets}")
        require(
            shape.dim % self.sharesets == 0,
            f"repmlp needs C divisible by its sharesets; C is {shape.dim}, sharesets is {self.sharesets}",
        )
        require(
            all(kernel >= 1 and kernel % 2 == 1 for kernel in self.kernels)
            and len(set(self.kernels)) == len(self.kernels),
            f"the kernels of repmlp must be odd and different; they are {list(self.kernels)}",
        )
        require(
            1 <= self.reduction <= shape.dim,
            f"the reduction of repmlp must be between 1 and C; it is {self.reduction}, C is {shape.dim}",
        )

    def cost(self, shape: TokenShape) -> Cost:
        n, c, s = shape.tokens, shape.dim, self.sharesets
        gate = linear(c, c // self.reduction, 1).plus(linear(c // self.reduction, c, 1))
        if self.deploy:
            return gate.plus(Cost(s * (n * n + n), c * n * n))
        matrix = Cost(s * n * n + 2 * s, c * n * n)
        return gate.plus(matrix, *(Cost(s * kernel**2 + 2 * s, n * c * kernel**2) for kernel in self.kernels))

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        n, c, inner = shape.tokens, shape.dim, shape.dim // self.reduction
        matrix = f"Linear {n} -> {n} over tokens, S = {self.sharesets}"
        convs = tuple(f"+ BN(conv {kernel} x {kernel})" for kernel in self.kernels)
        gate = f"* sigmoid(fc {c} -> {inner} -> {c} of the mean)"
        return (matrix if self.deploy else f"BN({matrix})", *convs, gate)

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        if self.deploy:
            del settings["kernels"]
        return settings

    @property
    def deployed(self) -> RepMLP:
        return self if self.deploy else replace(self, deploy=True)


@register_mixer("repmlp")
@dataclass(frozen=True)
class RepMLPMixer(Mixer):
    """RepMLPNet's token mixer; its norms have an epsilon of 1e-5."""

    examples = ({"sharesets": 1}, {"sharesets": 8})
    sharesets: int = whole(1)

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(RepMLP(self.sharesets), eps=1e-5)
