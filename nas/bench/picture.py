"""A comparison as a picture: true regret against compute, one panel for each band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.bench.comparison import RANDOM, BandResult, Comparison
from nas.bench.contest import BUDGETS
from nas.bench.definition import ANY_SIZE
from search_space.errors import ConfigError, StorageError, allowed
from search_space.extras import check_installed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png", ".pdf")
FEATURED = {"auto": "#d1245b", RANDOM: "#222222"}
"""Colours of the most important strategies, which are drawn with thicker lines."""
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#8c564b", "#56b4e9", "#7b5cc4", "#999933", "#cc79a7", "#777777")
LEAST = 0.0005
"""Smaller regrets, in nats, are drawn at this value: the truth is not more precise, and the axis is logarithmic."""
LABEL_GAP = 0.055
"""Minimum distance of two labels, as a share of the panel's height."""


def check(path: Path) -> None:
    """Check that a picture can be written to this path, before hours of simulation.

    Raises:
        ConfigError: If it cannot.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out is {str(path)!r}, which ends in {path.suffix!r}; {allowed(path.suffix, FORMATS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--out is {str(path)!r}; there is no folder {path.parent}")
    check_installed("matplotlib", "--out")


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture.

    Raises:
        StorageError: If the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bands = sorted(comparison.bands, key=lambda band: band.held_out)
    columns = min(2, len(bands))
    rows = -(-len(bands) // columns)
    style: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "nas", "axes.spines.top": False}
    with rc_context({**style, "axes.spines.right": False, "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"]}):
        figure = Figure(figsize=(5.6 * columns, 3.9 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for band, panel in zip(bands, panels, strict=False):
            _panel(panel, band)
        for panel in panels[len(bands) :]:
            panel.set_visible(False)
        try:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from None


def _panel(panel: Axes, band: BandResult) -> None:
    colours = _colours(list(band.strategies))
    ends: list[tuple[float, str]] = []
    for name, result in band.strategies.items():
        figures = [result.regret[budget] for budget in BUDGETS]
        means = [max(LEAST, figure.mean) for figure in figures]
        featured = name in FEATURED
        if featured:
            lows = [max(LEAST, figure.low) for figure in figures]
            highs = [max(LEAST, figure.high) for figure in figures]
            panel.fill_between(BUDGETS, lows, highs, color=colours[name], alpha=0.15, linewidth=0)
        panel.plot(BUDGETS, means, color=colours[name], linewidth=2.4 if featured else 1.2, zorder=3 if featured else 2)
        ends.append((means[-1], name))
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_ylim(bottom=LEAST)
    panel.set_xlim(BUDGETS[0], BUDGETS[-1])
    panel.set_xticks(BUDGETS, [f"{budget:g}" for budget in BUDGETS])
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    panel.grid(which="major", color="#e6e6e6", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("compute of the search, in full trainings")
    panel.set_ylabel("true regret (nats)")
    aside = ", held out" if band.held_out else ""
    size = "any size" if band.band == ANY_SIZE else f"{band.band} MACs"
    panel.set_title(f"{band.table}, {size}{aside}: {band.architectures} architectures", loc="left")
    _label(panel, ends, colours)


def _label(panel: Axes, ends: Sequence[tuple[float, str]], colours: dict[str, str]) -> None:
    """Label the curves at their right ends, moved apart if they would overlap."""
    to_axes = panel.transData + panel.transAxes.inverted()
    heights: list[tuple[float, str]] = sorted((float(to_axes.transform((1.0, y))[1]), name) for y, name in ends)
    places = [height for height, _ in heights]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + LABEL_GAP)
    over = max(0.0, places[-1] - 1.0)
    places[-1] -= over
    for index in range(len(places) - 2, -1, -1):  # push labels that left the panel back down
        places[index] = min(places[index], places[index + 1] - LABEL_GAP)
    for place, (height, name) in zip(places, heights, strict=True):
        panel.annotate(
            name,
            xy=(1.0, height),
            xytext=(1.04, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colours[name],
            va="center",
            fontsize=8.5,
            fontweight="bold" if name in FEATURED else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colours[name],
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
            annotation_clip=False,
        )


def _colours(names: Sequence[str]) -> dict[str, str]:
    others = [name for name in names if name not in FEATURED]
    return {**FEATURED, **{name: COLOURS[index % len(COLOURS)] for index, name in enumerate(others)}}
