"""Writes the tables and drawings of the documentation anew, from the code and the measurements they speak of.

python docs/generate.py           write them
python docs/generate.py --check   fail if what stands there is not what would be written

A block stands between ``<!-- NAME -->`` and ``<!-- end -->``; its name is a function below, and its arguments.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reference import commands, settings  # noqa: F401 (blocks of reference.md)
from wrap import PAGES, wrap

from search_space import Architecture, Attention, Dense, Gating, Permute, RepMLP, zoo
from search_space.diagram import diagram
from search_space.ops import Op, TokenShape
from search_space.units import format_count

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
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


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are figures, to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


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
    """Where ours are not what was published, and why."""
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
    """GMLP-S/16's gating unit as published, and as it would be with the split along the tokens."""
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


def pooling_measured() -> str:
    """Validation results of both on digits, from `benchmarks/results/pooling.json`."""
    figures = _results("pooling")
    runs = {(run["pooling"], run["lr"]): run for run in figures["runs"]}
    rates = list(dict.fromkeys(run["lr"] for run in figures["runs"]))

    def cell(pooling: str, lr: float) -> str:
        run = runs[pooling, lr]
        return f"{run['nll']['mean']:.3f} ± {run['nll']['sd']:.3f} ({100 * run['accuracy']['mean']:.1f} %)"

    header = [f"validation NLL (accuracy), {figures['seeds']} seeds", *(f"lr {rate:g}" for rate in rates)]
    return table(header, [[pooling, *(cell(pooling, rate) for rate in rates)] for pooling in ("class token", "gap")])


def reached(name: str = "search") -> str:
    """FTE that every strategy needs for what random search reaches with 200, from `benchmarks/results/NAME.json`."""
    bands = _bands(name)
    rows = []
    for strategy in next(iter(bands.values()))["strategies"]:
        found = [band["strategies"][strategy]["fte_to_random_200"] for band in bands.values()]
        cells = [f"{_fte(it['value'])} ({_fte(it['low'])} to {_fte(it['high'])})" for it in found]
        rows.append([f"`{strategy}`", *cells])
    header = [f"{data} {band}" + (", held out" if it["held_out"] else "") for (data, band), it in bands.items()]
    return table(["FTE (95 % interval)", *header], rows)


def regrets(place: str) -> str:
    """True regret by budget over a band, such as "digits 200k", from `benchmarks/results/search.json`."""
    name, _, band = place.partition(" ")
    strategies = _bands()[name, band]["strategies"]
    budgets = [budget for budget in next(iter(strategies.values()))["regret"] if float(budget) <= 128]
    rows = []
    for strategy, it in strategies.items():
        cells = [
            f"{1000 * r['mean']:.1f} ± {1000 * (r['high'] - r['mean']):.1f}" for r in map(it["regret"].get, budgets)
        ]
        stopped, ratio = it["wrongly_stopped"]["32"]["share"], it["cost_ratio"]["32"]
        tail = ["" if stopped is None else f"{100 * stopped:.0f} %", "" if ratio is None else f"{ratio:.2f}"]
        rows.append([f"`{strategy}`", *cells, f"{1000 * it['auc']['mean']:.0f}", *tail])
    return table(["0.001 nats, by FTE", *budgets, "area", "wrongly stopped", "cost ratio"], rows)


def proxies() -> str:
    """Size-matched rank correlations of the proxies, from `benchmarks/results/proxies.json`."""
    reports = _results("proxies")
    overall = [next(i for i, group in enumerate(report["groups"]) if group["kind"] == "all") for report in reports]
    rows: list[list[str]] = [
        ["another training", *(_tau(r["groups"][i]["retest"]) for r, i in zip(reports, overall, strict=True)), "1"]
    ]
    by_name = [{proxy["name"]: proxy for proxy in report["proxies"]} for report in reports]
    for name in sorted(by_name[0], key=lambda name: -by_name[0][name]["taus"][overall[0]]["tau"]):
        taus = [_tau(found[name]["taus"][i]) for found, i in zip(by_name, overall, strict=True)]
        rows.append([f"`{name}`", *taus, " / ".join(f"{found[name]['fte']:.3f}" for found in by_name)])
    return table(["Kendall's tau (95 % interval)", *(report["table"] for report in reports), "FTE"], rows)


def proxies_by_family(name: str) -> str:
    """The same by mixer family for one table."""
    report = next(report for report in _results("proxies") if report["table"] == name)
    families = [
        (index, group)
        for index, group in enumerate(report["groups"])
        if group["kind"] == "family" and group["retest"]["tau"] is not None
    ]
    rows = [["another training", *(f"{group['retest']['tau']:.2f}" for _, group in families)]]
    for proxy in report["proxies"]:
        taus = [proxy["taus"][index]["tau"] for index, _ in families]
        rows.append([f"`{proxy['name']}`", *("" if tau is None else f"{tau:.2f}" for tau in taus)])
    return table([name, *(f"{group['name']} ({group['retest']['n']})" for _, group in families)], rows)


def live() -> str:
    """Winners of live searches beside the hand-designed families, from `benchmarks/results/live.json`."""
    figures = _results("live")
    rows = [
        [
            f"search, seed {row['seed']}: {row['mixers']}",
            f"{row['params']:,}",
            _interval(row["test_nll"]),
            f"{row['fte']:.0f}",
            _minutes(row["wall_time_s"]),
        ]
        for row in figures["winners"]
    ]
    for name, nll in sorted(figures["families"].items(), key=lambda item: item[1]["mean"]):
        rows.append([f"`{name}`, hand-designed", "", _interval(nll), "", ""])
    header = [f"digits, {len(figures['fresh_seeds'])} fresh seeds each", "parameters", "test NLL", "FTE", "wall time"]
    return table(header, rows)


def chaos() -> str:
    """What faults did to a search, from `benchmarks/results/chaos.json`."""
    runs = _results("chaos")["runs"]
    columns = {
        "faults": "faults",
        "trials_finished": "trials finished",
        "lost": "lost",
        "trained_twice": "trained twice",
        "running_left": "left running",
        "workers_lost": "workers lost",
        "driver_lives": "starts of the driver",
    }
    rows = [
        [
            str(run["seed"]),
            *(str(run[name]) for name in columns),
            *(_yes(run[n]) for n in ("budget_exact", "same_winner")),
        ]
        for run in runs
    ]
    return table(["seed", *columns.values(), "budget exact", "same winner"], rows)


def scale(name: str) -> str:
    """What the search itself costs at every tenth of its trials, from `benchmarks/results/NAME.json`."""
    figures = _results(name)
    rows = []
    for trials, run in figures["runs"].items():
        for point in run["curve"]:
            ask = point["ask_ms"]
            rows.append([trials, f"{point['trials']:,}", f"{ask['median']}", f"{ask['p99']}", f"{point['driver_mib']}"])
        if "ask_ms" not in run:  # it was stopped before its end
            continue
        ask, overhead = run["ask_ms"], run["overhead_ms_a_trial"]
        total = f"in all {overhead['median']} ms a trial, p99 {overhead['p99']}; database {run['database_mib']} MiB"
        rows.append([trials, total, f"{ask['median']}", f"{ask['p99']}", f"{run['driver_mib']}"])
    return table(["budget", "trials so far", "an ask, median ms", "p99", "driver, MiB"], rows)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _bands(comparison: str = "search") -> dict[tuple[str, str], Any]:
    """The bands of a comparison, those held out last."""
    tables = _results(comparison)["tables"]
    bands = {(name, band): it for name, bands in tables.items() for band, it in bands.items()}
    return dict(sorted(bands.items(), key=lambda item: item[1]["held_out"]))


def _results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _fte(value: float | None) -> str:
    return ">128" if value is None else f"{value:.3g}"


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds // 60)} min {seconds % 60:.0f} s"


def _tau(figure: dict[str, Any]) -> str:
    return f"{figure['tau']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"


def render(text: str) -> str:
    """A page with every block written anew."""

    def block(match: re.Match[str]) -> str:
        name, _, argument = match["call"].partition(" ")
        body = globals()[name](argument) if argument else globals()[name]()
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
