"""How well proxies rank the architectures of a tabular benchmark, from its scores and trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np

from nas.bench.definition import ANY_SIZE
from nas.bench.rank_correlation import Tau, Vector, rank_correlation
from nas.bench.table import Table
from nas.strategy.features import family_of
from search_space.errors import ConfigError, DataError

MATCHED = "size-matched"
"""The group of all architectures in a band of equal size."""


@dataclass(frozen=True)
class Group:
    """Architectures over which a correlation is computed.

    Attributes:
        kind: "all", "band" or "family".
        name: What they share.
        strata: Their indices in the table; only architectures of one stratum are compared with each other.
    """

    kind: str
    name: str
    strata: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Criterion:
    """The measure of an architecture's quality: its mean NLL over some seeds.

    Attributes:
        split: The split it is measured on.
        seeds: The seeds.
        is_truth: Whether these are the truth seeds.
        unread: Bands that are not read.
    """

    split: Literal["validation", "test"]
    seeds: tuple[int, ...]
    is_truth: bool = False
    unread: tuple[str, ...] = ()

    def __str__(self) -> str:
        which = f"mean {self.split} NLL over the seeds {', '.join(map(str, self.seeds))}"
        return which if len(self.seeds) > 1 else f"{self.split} NLL of the seed {self.seeds[0]}"


def report(table: Table, seeds: Sequence[int] = (), *, design: bool = False) -> dict[str, Any]:
    """Rank correlation of every proxy with the quality of the trained architectures.

    The truth is the mean test NLL over the truth seeds. While a search is designed, another measure replaces it:

    Args:
        table: The table.
        seeds: Search seeds, to use their mean validation NLL; held-out bands are not read.
        design: Whether to use the mean test NLL over the design seeds; bands without any are not read.

    Returns:
        Plain data. A good proxy has a positive tau; its cost is in seconds and in FTE, shares of a mean full training.

    Raises:
        ConfigError: If a seed is not a search seed, or both `seeds` and `design` are given.
        DataError: If the table lacks trainings or scores.
    """
    criterion = _criterion(table, tuple(seeds), design)
    names = [name for name, entry in table.entries.items() if entry.band not in criterion.unread]
    quality = -_quality(table, names, criterion)
    groups = _groups(table, names)
    trained = [training.seconds for training in table.trainings.values() if training.cause is None]
    return {
        "table": table.name,
        "data": table.definition.data,
        "judged_by": str(criterion),
        "is_truth": criterion.is_truth,
        "architectures": len(names),
        "ranked": int(np.isfinite(quality).sum()),
        "spared": sorted(criterion.unread),
        "training_seconds": fmean(trained),
        "groups": [{"kind": group.kind, "name": group.name, **_retest(table, names, group)} for group in groups],
        "proxies": [
            {
                "name": proxy,
                **_cost(table, names, proxy, fmean(trained)),
                "taus": [asdict(tau) for tau in _taus(_values(table, names, proxy), quality, groups)],
            }
            for proxy in _proxies(table, names)
        ],
    }


def _criterion(table: Table, seeds: tuple[int, ...], design: bool) -> Criterion:
    definition = table.definition
    if seeds and design:
        raise ConfigError("--seeds and --design exclude each other")
    strangers = [seed for seed in seeds if seed not in definition.search_seeds]
    if strangers:
        raise ConfigError(f"--seeds names {strangers[0]}; allowed: {', '.join(map(str, definition.search_seeds))}")
    if seeds:
        return Criterion("validation", seeds, unread=tuple(band.name for band in definition.bands if band.held_out))
    if not design:
        return Criterion("test", definition.truth_seeds, is_truth=True)
    if not definition.design_seeds:
        raise DataError(f"{table.folder} has no design seeds; use search seeds: {_instead(table)}")
    scoring = set(definition.design_seeds)
    unread = tuple(band.name for band in definition.bands if not scoring <= set(definition.seeds(band.name)))
    return Criterion("test", definition.design_seeds, unread=unread)


def _instead(table: Table) -> str:
    return f"--seeds {','.join(map(str, table.definition.search_seeds))}"


def _quality(table: Table, names: Sequence[str], criterion: Criterion) -> Vector:
    """Mean NLL of every architecture; NaN if a training failed or, unless this is the truth, is missing."""
    missing = sum((name, seed) not in table.trainings for name in names for seed in criterion.seeds)
    total, which = len(names) * len(criterion.seeds), ", ".join(map(str, criterion.seeds))
    if missing and criterion.is_truth:
        raise DataError(
            f"{table.folder} lacks {missing:,} of the {total:,} trainings with the truth seeds {which}; train them "
            f"with: python -m benchmarks.table {table.name}; or use search seeds: {_instead(table)}"
        )
    if missing == total:
        raise DataError(f"{table.folder} has no training with the seeds {which}")
    quality: Vector = np.mean([_nlls(table, names, seed, criterion.split) for seed in criterion.seeds], axis=0)
    return quality


def _nlls(table: Table, names: Sequence[str], seed: int, split: str) -> Vector:
    """(names,): the NLL at the end of a training; NaN if there is none."""
    values: list[float | None] = []
    for name in names:
        training = table.trainings.get((name, seed))
        if training is None or training.cause is not None:
            values.append(None)
        else:
            values.append(training.test_nll if split == "test" else training.nll[-1])
    return np.array(values, dtype=np.float64)


def _proxies(table: Table, names: Iterable[str]) -> list[str]:
    known = list(dict.fromkeys(proxy for name in names for proxy in table.scores.get(name, {})))
    if not known:
        raise DataError(f"{table.folder} has no scores; make them with: python -m benchmarks.score_table {table.name}")
    return known


def _values(table: Table, names: Iterable[str], proxy: str) -> Vector:
    scores = (table.scores.get(name, {}).get(proxy) for name in names)
    return np.array([score and score.value for score in scores], dtype=np.float64)


def _cost(table: Table, names: Iterable[str], proxy: str, training_seconds: float) -> dict[str, Any]:
    scores = [table.scores[name][proxy] for name in names if proxy in table.scores.get(name, {})]
    seconds = fmean(score.seconds for score in scores)
    failed = sum(score.value is None for score in scores)
    return {"seconds": seconds, "fte": seconds / training_seconds, "scored": len(scores), "without_a_value": failed}


def _groups(table: Table, names: Sequence[str]) -> list[Group]:
    """All size-matched architectures, every band, and every family within the bands."""
    bands: dict[str, list[int]] = {band.name: [] for band in table.definition.bands}
    families: dict[str, dict[str, list[int]]] = {}
    for place, name in enumerate(names):
        entry = table.entries[name]
        bands[entry.band].append(place)
        if entry.band != ANY_SIZE:
            families.setdefault(family_of(entry.architecture), {}).setdefault(entry.band, []).append(place)
    full = {name: members for name, members in bands.items() if members}
    matched = [members for name, members in full.items() if name != ANY_SIZE]
    return [
        _group("all", MATCHED, matched),
        *(_group("band", name, [members]) for name, members in full.items()),
        *(_group("family", name, own.values()) for name, own in sorted(families.items())),
    ]


def _group(kind: str, name: str, strata: Iterable[Sequence[int]]) -> Group:
    return Group(kind, name, tuple(tuple(stratum) for stratum in strata))


def _taus(values: Vector, quality: Vector, groups: Iterable[Group]) -> list[Tau]:
    return [rank_correlation(values, quality, group.strata) for group in groups]


def _retest(table: Table, names: Sequence[str], group: Group) -> Mapping[str, Any]:
    """Tau between the validation NLLs of two search seeds: how well one training predicts another.

    With more than two search seeds, that of the first two; None with a single one.
    """
    if len(table.definition.search_seeds) < 2:
        return {"retest": None}
    first, second = (_nlls(table, names, seed, "validation") for seed in table.definition.search_seeds[:2])
    return {"retest": asdict(rank_correlation(first, second, group.strata))}
