"""Exports a trained architecture as a folder that no longer needs the study or its database.

    architecture.yaml   the architecture, in its deployed form
    model.safetensors   its weights; the metadata holds the normalisation of its images
    provenance.json     its provenance: study, trial, data, recipe, seed, figures, versions
    load.py             rebuilds the model; needs mlp-nas (its package search_space), torch and safetensors
    README.md           a model card

Branches that are used only in training (RepMLP's) are merged. The bundle is written beside its destination, loaded back
through its own `load.py`, compared with the original model, and only then moved into place by one rename.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.database.damage import architecture_of
from results.database.names import file_name
from results.database.schema import EvaluationRow
from results.drafts import draft, put, sweep
from results.export.card import make_card, make_provenance
from results.export.choice import choose
from results.report.report import Contender
from results.store.store import StudyStore
from search_space.architecture import Architecture
from search_space.errors import ExportError

FILES = ("architecture.yaml", "model.safetensors", "provenance.json", "load.py", "README.md")
LOAD_PY = '''"""Rebuilds the exported model. Needs the package mlp-nas (module search_space), torch and safetensors.

    model, mean, std = load()
    scores = model((images - mean) / std)  # images: (B, {channels}, {size}, {size}), pixels from 0 to 1
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from search_space import Architecture, build


def load(folder=Path(__file__).parent):
    """The model in eval mode, and mean and standard deviation of its images, each (C, 1, 1)."""
    model = build(Architecture.from_yaml_file(Path(folder) / "architecture.yaml"))
    with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
        model.load_state_dict({{name: file.get_tensor(name) for name in file.keys()}})
        normalisation = json.loads(file.metadata()["normalisation"])
    mean, std = (torch.tensor(normalisation[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return model.eval(), mean, std
'''


SAME = 1e-6
"""Maximum difference of outputs if the weights are those that were trained: rounding in float32. Arbitrary."""
MERGED = 1e-4
"""Maximum difference if branches were merged, relative to the largest output; verified more tightly in float64.
Arbitrary."""


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folder: The folder of the bundle.
        contender: The architecture and its figures.
        difference: Largest difference between outputs of the bundle and of the original model.
    """

    folder: Path
    contender: Contender
    difference: float


def export(study: StudyStore, weights_folder: Path, output: Path, *, trial: int | None = None) -> Exported:
    """Write and verify a bundle.

    Args:
        study: The study.
        weights_folder: The folder of its weights.
        output: The folder to create; it must be empty or not exist yet.
        trial: Number of the trial to export; None for the winner.

    Raises:
        ExportError: If there is no such trial, it has no weights, the folder is not empty, or the bundle gives other
            outputs.
    """
    output = output.resolve()
    sweep(output, "export", FILES)
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
    provenance = make_provenance(study, evaluation, contender, architecture)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with draft(output, "export", FILES) as folder:
            _write(folder, architecture, contender, provenance, weights)
            difference = _verify(folder, architecture, weights)
            if output.exists():  # an existing folder keeps its permissions
                folder.chmod(stat.S_IMODE(output.stat().st_mode))
            put(folder, output)
    except OSError as error:
        place = error.filename or output.parent
        raise ExportError(f"{output} was not written: {place}: {error.strerror or error}") from None
    return Exported(output, contender, difference)


def _write(
    folder: Path, architecture: Architecture, contender: Contender, provenance: Mapping[str, Any], weights: Path
) -> None:
    """Write the files of a bundle."""
    deployed = architecture.deployed
    (folder / "architecture.yaml").write_text(deployed.to_yaml(), encoding="utf-8")
    if deployed is architecture:
        shutil.copyfile(weights, folder / "model.safetensors")
    else:
        _deploy(architecture, weights, folder / "model.safetensors")
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    size, channels = architecture.image_size, architecture.in_channels
    (folder / "load.py").write_text(LOAD_PY.format(size=size, channels=channels), encoding="utf-8")
    (folder / "README.md").write_text(make_card(deployed, contender, provenance), encoding="utf-8")


def _check_digest(weights: Path, evaluation: EvaluationRow) -> None:
    """Refuse weights other than those that were trained; older versions recorded no digest."""
    if evaluation.weights_sha256 is None:
        return
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != evaluation.weights_sha256:
        raise ExportError(
            f"{weights} is damaged: its SHA-256 is {found}, and was {evaluation.weights_sha256} when {evaluation.key} "
            "was trained; restore the file, or choose another --trial"
        )


def _deploy(architecture: Architecture, weights: Path, output: Path) -> None:
    """Write the weights of the deployed form."""
    from search_space.models.weights_files import deploy_file  # loads torch

    try:
        deploy_file(architecture, weights, output)
    except Exception as error:  # weights that are damaged or not finite
        raise ExportError(f"{weights} could not be converted to the deployed form: {error}") from error


def _verify(folder: Path, architecture: Architecture, weights: Path) -> float:
    """Load the bundle by its own `load.py`, and compare its outputs with those of the original model."""
    from search_space.models.weights_files import compare_outputs  # loads torch

    try:
        difference, largest = compare_outputs(
            architecture, weights, lambda: runpy.run_path(str(folder / "load.py"))["load"](folder)
        )
    except Exception as error:  # a bundle with any problem must not be delivered
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"the export could not be loaded back, so it was not written: {reason}") from error
    tolerance = SAME if architecture.deployed is architecture else MERGED * max(1.0, largest)
    if not difference <= tolerance:  # also true for NaN
        raise ExportError(f"the export's outputs differ by {difference:.3g}, so it was not written")
    return difference
