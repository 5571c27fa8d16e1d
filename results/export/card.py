"""The descriptions in an export: its provenance, and a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.database.objective import QUALITY_FIGURES, SEED_FIGURES
from search_space.architecture import Architecture
from search_space.errors import escaped
from search_space.plugins import Plugin
from search_space.size import shown
from search_space.units import format_count

if TYPE_CHECKING:  # they load SQLAlchemy, which the names of the formats do not need
    from results.database.schema import EvaluationRow
    from results.report.report import Contender
    from results.store.store import StudyStore


def make_provenance(
    study: StudyStore,
    evaluation: EvaluationRow,
    contender: Contender,
    architecture: Architecture,
    plugins: Sequence[Plugin] = (),
) -> dict[str, Any]:
    """The provenance of exported weights, as plain data."""
    identity = study.row.identity
    return {
        "architecture": architecture.deployed.hash,
        "trained_as": contender.hash,
        "study": study.name,
        "trial": contender.trial,
        "weights_of": evaluation.key,
        "proposed_by": evaluation.origin,
        "space": identity["space"]["name"],
        "choices": evaluation.choices,
        "data": _without_paths(identity["data"]),
        "objective": identity["objective"],
        "limits": {key: identity[key] for key in ("max_params", "max_macs", "max_latency_ms")},
        "recipe": {**identity["recipe"], **{name: evaluation.choices[name] for name in identity.get("tune", ())}},
        "seed": evaluation.seed,
        **({"plugins": {plugin.name: plugin.version for plugin in plugins}} if plugins else {}),
        "validation": {name: value for name in QUALITY_FIGURES if (value := getattr(evaluation, name)) is not None},
        "mean_over_seeds": {name: getattr(contender, name) for name in SEED_FIGURES},
        "trained": {
            "device": evaluation.device,
            "seconds": evaluation.seconds,
            "finished_at": evaluation.finished_at.isoformat() if evaluation.finished_at else None,
            "versions": evaluation.versions,
        },
        "exported_by": f"mlp-nas {version('mlp-nas')}",
    }


def _without_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the data set, with the name of a folder in place of its path."""
    name, colon, path = data["name"].partition(":")
    return {**data, "name": f"{name}{colon}{Path(path).name}"}


def _tested(contender: Contender) -> Iterator[tuple[str, str]]:
    """The metrics of the test beyond accuracy, where they were measured."""
    for name, title in (("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro F1")):
        share = getattr(contender, f"test_{name}")
        if share is not None:
            yield title, f"{100 * share:.2f} %"
    if contender.test_calibration_error is not None:
        yield "calibration error", f"{contender.test_calibration_error:.4f}"


def make_card(architecture: Architecture, contender: Contender, provenance: Mapping[str, Any]) -> str:
    """The model card."""
    data, accuracy = provenance["data"]["name"].partition(":")[0], provenance["validation"]["accuracy"]
    lines = [
        f"# {contender.mixers} for {data}",
        "",
        f"An image classifier with {format_count(architecture.params)} parameters and "
        f"{format_count(architecture.macs)} MACs an image, found by an architecture search over the space "
        f"`{provenance['space']}` (trial {contender.trial} of the study `{provenance['study']}`).",
        "",
        "| | |",
        "|---|---|",
        f"| input | {architecture.in_channels} x {shown(architecture.image_size)}, normalised |",
        f"| classes | {architecture.classes} |",
        f"| parameters | {architecture.params:,} |",
        f"| MACs | {architecture.macs:,} |",
        f"| validation accuracy of these weights | {100 * accuracy:.2f} % |",
    ]
    if contender.seeds and contender.mean_nll is not None:
        spread = f" (standard deviation {contender.sd_nll:.4f})" if contender.sd_nll is not None else ""
        lines.append(f"| validation NLL, mean of {contender.seeds} seeds | {contender.mean_nll:.4f}{spread} |")
    if contender.test_accuracy is not None:
        lines.append(f"| test accuracy, mean of {contender.seeds} seeds | {100 * contender.test_accuracy:.2f} % |")
    lines += [f"| test {title}, mean of {contender.seeds} seeds | {shown} |" for title, shown in _tested(contender)]
    fixed = "It takes other sizes too." if architecture.any_image_size else "It takes images of this size only."
    return "\n".join(
        [
            *map(escaped, lines),
            "",
            f"{fixed} Everything about its training is in `provenance.json`.",
            "",
            "```python",
            "from load import load",
            "",
            "model, mean, std = load()",
            "scores = model((images - mean) / std)  # pixels from 0 to 1",
            "```",
            "",
        ]
    )
