"""How well proxies rank the architectures of a tabular benchmark; loads no torch, as everything has been computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from nas.rank_correlation import Tau, Vector, rank_correlation
from runners.tabular import ANY_SIZE, Table
from search_space.architecture import Architecture
from search_space.breakdown import label
from search_space.errors import ConfigError, DataError

MATCHED = "size-matched"
"""The group of all architectures that belong to a band of equal size."""
NO_MIXER = "none"


@dataclass(frozen=True)
class Group:
    """Architectures that share a correlation.

    Attributes:
        kind: "all", "band" or "family".
        name: What they share.
        strata: Their places in the table; only those of one stratum are compared with each other.
    """

    kind: str
    name: str
    strata: tuple[tuple[int, ...], ...]


def family_of(architecture: Architecture) -> str:
    """The token mixer of most blocks, as `search_space.breakdown.label` calls it; between equals the earlier one."""
    blocks: Counter[str] = Counter()
    for stage in architecture.stages:
        mixers = [label(branch.op) for branch in stage.block if branch.op.mixes_tokens]
        blocks[mixers[0] if mixers else NO_MIXER] += stage.depth
    return blocks.most_common(1)[0][0]


def report(table: Table, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """Rank correlation of every proxy with what became of the architectures when they were trained.

    Args:
        table: The table.
        seeds: Search seeds whose mean validation NLL stands for the truth; then bands that are held out stay unseen.
            Without any, the truth is the mean test NLL over the truth seeds.

    Returns:
        Plain data. A good proxy has a positive tau; its cost is in seconds and in FTE, shares of a mean full training.

    Raises:
        ConfigError: If a seed is no search seed.
        DataError: If the table lacks trainings or scores.
    """
    definition = table.definition
    strangers = [seed for seed in seeds if seed not in definition.search_seeds]
    if strangers:
        raise ConfigError(f"--seeds names {strangers[0]}; allowed: {', '.join(map(str, definition.search_seeds))}")
    hidden = {band.name for band in definition.bands if band.held_out} if seeds else set()
    names = [name for name, entry in table.entries.items() if entry.band not in hidden]
    quality = -_quality(table, names, seeds)
    groups = _groups(table, names)
    trained = [training.seconds for training in table.trainings.values() if training.cause is None]
    return {
        "table": table.name,
        "data": definition.data,
        "judged_by": _judge(seeds, "validation") if seeds else _judge(definition.truth_seeds, "test"),
        "is_truth": not seeds,
        "architectures": len(names),
        "ranked": int(np.isfinite(quality).sum()),
        "held_out": sorted(hidden),
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


def _judge(seeds: Sequence[int], split: str) -> str:
    which = f"mean {split} NLL over the seeds {', '.join(map(str, seeds))}"
    return which if len(seeds) > 1 else f"{split} NLL of the seed {seeds[0]}"


def _quality(table: Table, names: Sequence[str], seeds: Sequence[int]) -> Vector:
    """Mean NLL of every architecture; NaN where a training failed, or with given `seeds` is missing."""
    wanted = seeds or table.definition.truth_seeds
    missing = sum((name, seed) not in table.trainings for name in names for seed in wanted)
    if missing and not seeds:
        raise DataError(
            f"{table.folder} lacks {missing:,} of the {len(names) * len(wanted):,} trainings with the truth seeds "
            f"{', '.join(map(str, wanted))}; train them with: python -m benchmarks.table {table.name}; or judge by "
            f"search seeds: --seeds {','.join(map(str, table.definition.search_seeds))}"
        )
    if missing == len(names) * len(wanted):
        raise DataError(f"{table.folder} has no training with the seeds {', '.join(map(str, wanted))}")
    columns = [_nlls(table, names, seed, "validation" if seeds else "test") for seed in wanted]
    quality: Vector = np.mean(columns, axis=0)
    return quality


def _nlls(table: Table, names: Sequence[str], seed: int, split: str) -> Vector:
    """(names,): the NLL at the end of a training; NaN where there is none."""
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
    """All architectures of one size or another, every band, and every family within the bands."""
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
    """Tau between the validation NLLs of two search seeds: how far one training predicts the next.

    With more than two search seeds it is that of the first two, with a single one None.
    """
    if len(table.definition.search_seeds) < 2:
        return {"retest": None}
    first, second = (_nlls(table, names, seed, "validation") for seed in table.definition.search_seeds[:2])
    return {"retest": asdict(rank_correlation(first, second, group.strata))}
