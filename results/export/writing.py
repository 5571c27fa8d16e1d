"""Exporting a trained architecture: it is chosen, written, verified, and put in place.

What is exported is written beside its destination, loaded back, compared with the model that it was made from, and only
then put in place, by one rename.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.database.damage import architecture_of
from results.database.names import file_name
from results.database.schema import EvaluationRow
from results.drafts import draft, put, sweep
from results.export.card import make_provenance
from results.export.choice import choose
from results.export.exporter import EXPORTERS, Exporter, Trained
from results.report.report import Contender
from results.store.store import StudyStore
from search_space.architecture import Architecture
from search_space.errors import ExportError, allowed, brief
from search_space.plugins import Plugin, provider

SAME = 1e-6
"""Largest difference of outputs where the weights are as they were trained: rounding in float32. Arbitrary."""
MERGED = 1e-4
"""Where they are not, relative to the largest output: what float32 leaves of a proof in float64. Arbitrary."""


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it is.
        contender: The architecture and its figures.
        difference: Largest difference between outputs of what was exported and of the model it was made from.
    """

    folder: Path
    contender: Contender
    difference: float


def find_exporter(name: str) -> Exporter:
    """What exports a format.

    Raises:
        ExportError: If there is no such format.
    """
    if name not in EXPORTERS:
        raise ExportError(f"--format is {brief(name)}; {allowed(name, EXPORTERS)}")
    return EXPORTERS[name]()


def export(
    study: StudyStore, weights_folder: Path, output: Path, *, trial: int | None = None, exporter: Exporter | None = None
) -> Exported:
    """Export an architecture of a study.

    Args:
        study: The study.
        weights_folder: Where its weights are.
        output: The folder to create; it must not exist yet, or be empty.
        trial: Number of the trial to export; None for the winner.
        exporter: What writes it; None for a bundle.

    Raises:
        ExportError: If there is no such trial, it has no weights, the folder is taken, the study was trained with
            another version of a plug-in, or what was written does not give the same outputs.
    """
    output, exporter = output.resolve(), exporter or find_exporter("bundle")
    sweep(output, "export", exporter.files)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ExportError(f"{output} exists and is not empty; choose another folder with -o")
    evaluation, contender = choose(study, trial)
    weights = weights_folder / f"{file_name(evaluation.key, 'evaluation')}.safetensors"
    if not weights.is_file():
        raise ExportError(
            f"the weights of trial {contender.trial} are not at {weights}; the weights of the best trials and of the "
            "finalists are kept, under the --out folder of the search"
        )
    _check_digest(weights, evaluation)
    architecture = architecture_of(evaluation.architecture)
    plugins = _plugins_of(architecture, study.row.identity.get("plugins", {}))
    provenance = make_provenance(study, evaluation, contender, architecture, plugins)
    trained = Trained(architecture, weights, contender, provenance, plugins)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with draft(output, "export", exporter.files) as folder:
            exporter.write(trained, folder)
            difference = _verify(exporter, folder, trained)
            if output.exists():  # it keeps its permissions
                folder.chmod(stat.S_IMODE(output.stat().st_mode))
            put(folder, output)
    except OSError as error:
        place = error.filename or output.parent
        raise ExportError(f"{output} was not written: {place}: {error.strerror or error}") from None
    return Exported(output, contender, difference)


def _plugins_of(architecture: Architecture, recorded: Mapping[str, Any]) -> tuple[Plugin, ...]:
    """The plug-ins that the ops of an architecture come from, in the versions that the study was trained with."""
    kinds = dict.fromkeys(branch.op.kind for stage in architecture.stages for branch in stage.block)
    found = dict.fromkeys(one.plugin for kind in kinds if (one := provider("op", kind)))
    for plugin in found:
        version = recorded.get(plugin.name)
        if version != plugin.version:
            raise ExportError(
                f"the study was trained with the plug-in {plugin.name} ({version}), and this is {plugin.version}; "
                "name the version of the study with --import"
            )
    return tuple(found)


def _check_digest(weights: Path, evaluation: EvaluationRow) -> None:
    """Refuse weights that are not those that were trained; those of older versions have no digest."""
    if evaluation.weights_sha256 is None:
        return
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != evaluation.weights_sha256:
        raise ExportError(
            f"{weights} is damaged: its SHA-256 is {found}, and was {evaluation.weights_sha256} when {evaluation.key} "
            "was trained; restore the file, or choose another --trial"
        )


def deviation(exporter: Exporter, folder: Path, trained: Trained) -> tuple[float, float]:
    """Load what was written, and compare its outputs with those of the model that it was made from.

    Returns:
        The largest difference, NaN if some outputs are not finite; and how large it may be.
    """
    from search_space.models.weights_files import compare_outputs  # loads torch

    architecture = trained.architecture
    difference, largest = compare_outputs(architecture, trained.weights, lambda: exporter.load(folder))
    is_same = exporter.keeps_weights and architecture.deployed is architecture
    return difference, SAME if is_same else MERGED * max(1.0, largest)


def _verify(exporter: Exporter, folder: Path, trained: Trained) -> float:
    """The difference of outputs; ExportError if it is too large, or if what was written cannot be loaded."""
    try:
        difference, tolerance = deviation(exporter, folder, trained)
    except Exception as error:  # whatever is wrong with it, it must not be delivered
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"the export could not be loaded back, so it was not written: {reason}") from error
    if not difference <= tolerance:  # or it is not a number
        raise ExportError(f"the export's outputs differ by {difference:.3g}, so it was not written")
    return difference
