"""Writes the tables and drawings of the documentation from the code and the measurements.

python docs/generate.py           write them
python docs/generate.py --check   fail if any of them is out of date

A block is between ``<!-- NAME -->`` and ``<!-- end -->``; NAME is a function, here or in `measured.py`, and its
argument.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import measured  # next to this file
from measured import table
from reference import commands, settings  # noqa: F401 (blocks of reference.md)
from wrap import PAGES, wrap

from runners.data import DATASETS, recipe_for
from runners.recipe_files import list_recipes, load_recipe
from search_space import Architecture, Attention, Dense, Gating, Permute, RepMLP, zoo
from search_space.diagram import diagram
from search_space.ops import Op, TokenShape
from search_space.units import format_count

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- (?P<call>[a-z_]+(?: [\w ()]+)?) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)

WIDTH, GRIDS = 384, (16, 32)
"""The width and the two grids at which mixers are compared: N is 256 and 1024."""
MIXERS: dict[str, Callable[[TokenShape], Op]] = {
    "attention (ViT)": lambda shape: Attention(6),
    "token MLP, C/2 (MLP-Mixer)": lambda shape: Dense("token", shape.dim // 2),
    "token MLP, 4N (FF-only)": lambda shape: Dense("token", 4 * shape.tokens),
    "token linear (ResMLP)": lambda shape: Dense("token"),
    "spatial gating, 6C (gMLP)": lambda shape: Gating(6 * shape.dim),
    "permute-MLP, weighted (ViP)": lambda shape: Permute(shape.grid),
    "permute-MLP, unweighted": lambda shape: Permute(shape.grid, weighted=False),
    "RepMLP, S = 16, deployed": lambda shape: RepMLP(16, deploy=True),
    "channel MLP, 4C": lambda shape: Dense("channel", 4 * shape.dim),
}


def drawing(name: str) -> str:
    """A model, drawn."""
    return f"```text\n{name}\n\n{diagram(zoo.get(name))}\n```"


def models() -> str:
    """Every model of the zoo."""
    rows: list[Sequence[object]] = []
    for entry in zoo.entries():
        published = entry.published
        figures = ["" if value is None else value for value in (published.params_m, published.gflops, published.top1)]
        size = [f"{entry.architecture.params:,}", format_count(entry.architecture.macs)]
        rows.append([entry.name, entry.architecture.image_size, *size, f"{entry.macs_per_param:.0f}", *figures])
    header = ["model", "image", "parameters", "MACs", "MACs/par", "published M", "GFLOPs", "top-1"]
    return table(header, rows)


def differences() -> str:
    """Models whose counts differ from the published ones, and why."""
    return "\n".join(
        f"- **{entry.name}**: {'; '.join(entry.differences())}: {entry.note}."
        for entry in zoo.entries()
        if entry.differences()
    )


def mixers() -> str:
    """Cost of one token mixer of each kind, without its norm, and how it grows."""
    small, large = (TokenShape(grid, WIDTH) for grid in GRIDS)
    rows = []
    for name, make in MIXERS.items():
        here, there = make(small).cost(small), make(large).cost(large)
        growth = [f"x {there.params / here.params:.2f}", f"x {there.macs / here.macs:.2f}"]
        size = [f"{here.params:,}", format_count(here.macs), f"{here.macs / here.params:.0f}"]
        rows.append([name, *size, *growth])
    more = f"N {small.tokens} to {large.tokens}"
    return table(["C = 384, N = 256", "parameters", "MACs", "MACs/par", f"parameters, {more}", f"MACs, {more}"], rows)


def per_parameter() -> str:
    """MACs per parameter of single mixers and of whole networks."""
    shape = TokenShape(GRIDS[0], WIDTH)
    rows: list[Sequence[object]] = []
    for name in ("attention (ViT)", "permute-MLP, unweighted", "permute-MLP, weighted (ViP)"):
        cost = MIXERS[name](shape).cost(shape)
        rows.append([f"{name}, C = {shape.dim}, N = {shape.tokens}", f"{cost.macs / cost.params:.0f}"])
    rows += [[name, f"{zoo.entry(name).macs_per_param:.0f}"] for name in ("vit_s16", "vit_b16", "vip_s14", "vip_s7")]
    return table(["", "MACs per parameter"], rows)


def growth() -> str:
    """Whole networks at twice the image size."""
    rows = []
    for name in ("vit_b16", "mixer_b16", "ff_only_b16", "resmlp_b24_16", "gmlp_b16", "vip_s14", "repmlpnet_b224"):
        rows.append([name, *_growth(zoo.get(name), zoo.get(name, image_size=448))])
    mixer = zoo.get("mixer_b16", image_size=448)
    hidden = (Dense("token", 4 * 384), Dense("channel", 4 * 768))
    block = tuple(replace(branch, op=op) for branch, op in zip(mixer.stages[0].block, hidden, strict=True))
    scaled = replace(mixer, stages=(replace(mixer.stages[0], block=block),))
    rows.append(["mixer_b16 with D_S x 4", *_growth(zoo.get("mixer_b16"), scaled)])
    return table(["", "MACs at 224", "MACs at 448", "growth", "parameters at 224", "parameters at 448"], rows)


def _growth(small: Architecture, large: Architecture) -> list[str]:
    macs = [format_count(small.macs), format_count(large.macs), f"x {large.macs / small.macs:.3f}"]
    return [*macs, f"{small.params:,}", f"{large.params:,}"]


def gate() -> str:
    """GMLP-S/16's gating unit as published, and with a hypothetical split along the tokens."""
    architecture = zoo.get("gmlp_s16")
    ((stage, shape),) = architecture.shapes()
    n, c, hidden = shape.tokens, stage.dim, 6 * stage.dim
    along_channels = architecture.params
    one = c * hidden + hidden + hidden * c + c  # both projections see all 6C channels
    half = n // 2
    block = one + 2 * hidden + half * half + half + 2 * c  # LayerNorm over 6C, a matrix over N / 2, the block's norm
    outside = architecture.params - stage.depth * sum(branch.cost(shape).params for branch in stage.block)
    along_tokens = outside + stage.depth * block
    return table(
        ["gmlp_s16", "u and v", "spatial matrix", "LayerNorm in the gate", "parameters"],
        [
            [
                "split along channels (published)",
                f"{n} x {hidden // 2}",
                f"{n} x {n}",
                hidden // 2,
                f"{along_channels:,}",
            ],
            ["if it were along tokens", f"{half} x {hidden}", f"{half} x {half}", hidden, f"{along_tokens:,}"],
        ],
    )


def pooling_cost() -> str:
    """What a class token costs."""
    rows = []
    for name in ("vit_ti16", "vit_s16", "vit_b16"):
        token = zoo.get(name)
        gap = replace(token, class_token=False, pooling="gap")
        rows.append(
            [
                name,
                f"{token.params:,}",
                f"{gap.params:,}",
                f"{token.macs:,}",
                f"{gap.macs:,}",
                f"{100 * (1 - gap.macs / token.macs):.2f} %",
            ]
        )
    header = ["", "parameters, class token", "GAP", "MACs, class token", "GAP", "MACs saved"]
    return table(header, rows)


def data_set_recipes() -> str:
    """The recipe and the augmentation of every data set."""
    rows = []
    for name, entry in DATASETS.items():
        recipe, augmentation = recipe_for(name), entry.augmentation
        moves = [f"{key} {value:g}" for key, value in vars(augmentation).items() if value not in (False, True, 0, 1.0)]
        moves += ["flip"] if augmentation.flip else []
        numbers = [recipe.epochs, recipe.batch_size, f"{recipe.lr:g}", f"{recipe.weight_decay:g}", f"{recipe.warmup:g}"]
        rows.append([f"`{name}`", *numbers, f"{recipe.label_smoothing:g}", ", ".join(moves)])
    header = ["data set", "epochs", "batch", "learning rate", "weight decay", "warm-up", "smoothing", "augmentation"]
    return table(header, rows)


def shipped_recipes() -> str:
    """The recipes that ship: what they set, and where it comes from."""
    rows = []
    for name in list_recipes():
        file = load_recipe(name)
        rows.append([f"`{name}`", ", ".join(f"`{key}` {value}" for key, value in file.settings.items()), file.source])
    return table(["recipe", "settings", "source"], rows)


def plugin(name: str) -> str:
    """A plug-in of the tests, as it stands there."""
    source = (ROOT / "tests" / "nas" / "plugins" / f"{name}.py").read_text(encoding="utf-8")
    return f"```python\n# {name}.py\n{source}```"


def render(text: str) -> str:
    """A page with every block regenerated."""

    def block(match: re.Match[str]) -> str:
        name, _, argument = match["call"].partition(" ")
        function = globals().get(name) or getattr(measured, name)
        body = function(argument) if argument else function()
        return f"<!-- {match['call']} -->\n{wrap(body)}\n<!-- end -->"

    return BLOCK.sub(block, text)


def main() -> None:
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = render(old)
        if new != old and "--check" in sys.argv:
            sys.exit(f"{page.name} is out of date; write it with: python docs/generate.py")
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
