"""PoolFormer's token mixer (MetaFormer, https://arxiv.org/abs/2111.11418, section 3.3) as a plug-in in one file."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from nas import Cost, Mix, Mixer, Op, TokenShape, register_layer, register_mixer, register_op
from search_space.errors import ArchitectureError
from search_space.ops.mixer import setting


@register_op("pool")
@dataclass(frozen=True)
class Pool(Op):
    """The mean of a window of tokens, without the token itself, which the residual connection adds again."""

    examples = ({"size": 3}, {"size": 5})
    fixed_input_size = False
    size: int

    def check(self, shape: TokenShape) -> None:
        if shape.class_token:
            raise ArchitectureError("pool needs a grid of tokens, so it cannot be used with a class token")

    def cost(self, shape: TokenShape) -> Cost:
        return Cost(0, 0)  # it has no parameters, and adds without multiplying

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        return (f"mean of {self.size} x {self.size} tokens", "minus the token")


@register_mixer("pool")
@dataclass(frozen=True)
class PoolMixer(Mixer):
    """Pooling over windows of `size` x `size` tokens."""

    examples = ({"size": 3},)
    size: int = setting(lambda value: value in (3, 5, 7), "3, 5, 7")

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Pool(self.size))


@register_layer(Pool)
class PoolLayer(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, op: Pool, shape: TokenShape) -> None:
        super().__init__()
        self.size, self.proportions = op.size, shape.height / shape.width

    def forward(self, x: Tensor) -> Tensor:
        rows = round((x.shape[1] * self.proportions) ** 0.5)
        grid = x.transpose(1, 2).unflatten(2, (rows, -1))
        mean = functional.avg_pool2d(grid, self.size, stride=1, padding=self.size // 2, count_include_pad=False)
        return (mean - grid).flatten(2).transpose(1, 2)
