"""The measured tables of the documentation, from `benchmarks/results/`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are right-aligned figures."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def performance() -> str:
    """Measurements of the whole program, and the machine."""
    machine = _results("live")["machine"]
    versions = ", ".join(f"{name} {_minor(machine[name.lower()])}" for name in ("Python", "torch", "Optuna", "Ray"))
    text = table(["", ""], [*_live_rows(), *_search_rows(), *_model_rows()]).replace("---:", "---")  # no bare figures
    return f"On {machine['cores']} cores of an {machine['cpu']}, without a GPU; {versions}:\n\n{text}"


def _live_rows() -> Iterable[Sequence[str]]:
    figures = _results("live")
    winners, difference = figures["winners"], figures["winners_minus_best_family"]
    seeds, fte = [row["seed"] for row in winners], [row["fte"] for row in winners]
    params, nll = [row["params"] for row in winners], [row["test_nll"]["mean"] for row in winners]
    families = sum(row["proposed_by"] == "families" for row in winners)
    best, fresh = figures["best_family"], len(figures["fresh_seeds"])
    yield (
        f"the default search, 200 trials on digits, finalists included, seeds {min(seeds)} to {max(seeds)} "
        f"({min(fte):.0f} to {max(fte):.0f} FTE)",
        ", ".join(_minutes(row["wall_time_s"]) for row in winners),
    )
    yield (
        f"their winners, {min(params) / 1000:.1f}k to {max(params) / 1000:.1f}k parameters of 50k allowed, "
        f"{fresh} fresh seeds each",
        f"mean test NLL {statistics.fmean(nll):.4f} ({min(nll):.4f} to {max(nll):.4f}); "
        f"{families} of {len(winners)} are hand-designed families",
    )
    yield (
        f"the best hand-designed family at the same limit (`{best}`), the same fresh seeds",
        f"mean test NLL {figures['families'][best]['mean']:.4f}; the winners minus that: {difference['mean']:+.4f} "
        f"(95 % interval {difference['low']:+.4f} to {difference['high']:+.4f})",
    )


def _search_rows() -> Iterable[Sequence[str]]:
    overhead, chaos, sharing = (_results(name) for name in ("overhead", "chaos", "sharing"))
    ours, tune = ([overhead[trials][name] for trials in ("200", "1000")] for name in ("nas", "tune_alone"))
    yield (
        f"search, Ray and database around an evaluation that does nothing, {overhead['slots']} slots",
        f"{ours[0]:.0f} ms a trial at 200 trials, {ours[1]:.0f} ms at 1,000 "
        f"(Ray Tune alone: {tune[0]:.0f} and {tune[1]:.0f} ms)",
    )
    for run in chaos["runs"]:
        assert run["budget_exact"]
        assert run["same_winner"]
        yield (
            f"{chaos['trials']} trials on {chaos['nodes']} Ray nodes and PostgreSQL, {run['faults']} faults "
            "(`make chaos`: workers, nodes, driver, database, checkpoints, disk)",
            f"{run['lost']} lost, {run['trained_twice']} trained twice, {run['running_left']} left running, "
            "budget exact, the same winner as without faults",
        )
    ratio = sharing["throughput_ratio"]
    yield (
        f"two drivers on one study in PostgreSQL over one, evaluations that sleep (median of {ratio['n']} pairs, "
        f"{ratio['min']} to {ratio['max']})",
        f"{ratio['median']} times the throughput, {sharing['doubled']} architectures trained twice",
    )
    scale = _results("scale")
    for run in scale["runs"].values():
        ask, each = run["ask_ms"], run["overhead_ms_a_trial"]
        yield (
            f"{run['trials']:,} trials that do nothing, {scale['slots']} at a time, strategy `{scale['strategy']}`, "
            "SQLite ([curve](docs/cluster.md#what-the-search-itself-costs))",
            f"an ask {ask['median']} ms at the median (p99 {ask['p99']}), {each['median']} ms a trial "
            f"(p99 {each['p99']}), driver {run['driver_mib']} MiB, database {run['database_mib']} MiB",
        )


def _model_rows() -> Iterable[Sequence[str]]:
    startup, cost, peer, memory = (_results(name) for name in ("startup", "cost", "peer", "build_memory"))
    commands = {"nas_help": "`nas --help`", "nas_spaces": "`nas spaces`", "nas_zoo": "`nas zoo`"}
    yield ", ".join(commands.values()), ", ".join(f"{startup[name]['median']:.2f} s" for name in commands)
    rate = round(cost["checked_and_costed"]["median"], -3)
    yield "architectures checked and costed in closed form, one core", f"{rate:,.0f} a second"
    models = {"vit_s16": "ViT-S/16", "mixer_s16": "Mixer-S/16", "resmlp_s12": "ResMLP-S12", "gmlp_s16": "gMLP-S/16"}
    ratios = [peer["float32"][name]["ratio_of_pairs"] for name in models]
    yield (
        f"forward and backward pass over timm {peer['timm']}'s, batch 16, median ± sd of {ratios[0]['n']} pairs: "
        + ", ".join(models.values()),
        ", ".join(f"{ratio['median']:.2f} ± {ratio['sd']:.2f}" for ratio in ratios),
    )
    largest = memory["vit_h14"]
    yield (
        f"building the largest model of the zoo (ViT-H/14, {largest['weights_mib'] / 1024:.1f} GiB of weights), "
        "peak memory over weights",
        f"{largest['median']:.2f}",
    )
    fashion = _results("fashion_mnist")
    yield (
        "Fashion-MNIST, 10,000 training images, 12 trials of 3 epochs, at most 50k parameters (one run, before "
        "RepMLPNet was in the space)",
        f"winner of {fashion['winner']['params'] / 1000:.1f}k parameters, mixer `{fashion['winner']['mixers']}`: "
        f"{100 * fashion['winner']['test_accuracy']:.2f} % test accuracy, in {_minutes(fashion['wall_time_s'])}",
    )


def _minor(version: str) -> str:
    """The first two parts of a version."""
    return ".".join(version.split(".")[:2])


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
    """FTE to reach the quality of random search with 200, from `benchmarks/results/NAME.json`."""
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
    """Winners of real searches and the hand-designed families, from `benchmarks/results/live.json`."""
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


def ingredients() -> str:
    """What each ingredient of a recipe brings, if measured."""
    if not (RESULTS / "recipes.json").exists():
        return "Not measured yet."
    return "\n\n".join(_ingredients(one) for one in _results("recipes")["tables"])


def _ingredients(measured: dict[str, Any]) -> str:
    families = list(measured["base"])
    rows: list[list[object]] = [["base: NLL", *(f"{measured['base'][family]:.4f}" for family in families), ""]]
    for row in sorted(measured["rows"], key=lambda row: row["median"]):
        if row["ingredient"] != "base":
            ratios = [f"{row['ratios'][family]:.3f}" if family in row["ratios"] else "" for family in families]
            rows.append([row["ingredient"], *ratios, f"{row['median']:.3f}"])
    seeds = min(row["seeds"] for row in measured["rows"])
    size = f"{measured['max_params']:,} parameters, {measured['epochs']} epochs, {seeds} seeds"
    return table([f"{measured['data']}, {size}", *families, "median"], rows)


def augmentation() -> str:
    """Batched augmentation against torchvision's, from `benchmarks/results/augmentation.json`."""
    figures = _results("augmentation")
    rows = []
    for row in figures["rows"]:
        ratio = row["ratio"]
        times = [f"{row[name]:.1f}" for name in ("us_per_image", "torchvision_us_per_image")]
        rows.append(
            [row["what"], row["images"], *times, f"{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})"]
        )
    return table(["", "images", "us", "torchvision, us", f"ratio (n = {figures['runs']})"], rows)


def chaos() -> str:
    """The effect of faults on a search, from `benchmarks/results/chaos.json`."""
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
    """The cost of the search itself at every tenth of its trials, from `benchmarks/results/NAME.json`."""
    figures = _results(name)
    rows = []
    for trials, run in figures["runs"].items():
        for point in run["curve"]:
            ask = point["ask_ms"]
            rows.append([trials, f"{point['trials']:,}", f"{ask['median']}", f"{ask['p99']}", f"{point['driver_mib']}"])
        if "ask_ms" not in run:  # it was stopped early
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
