"""Exporting a trained architecture as a folder that stands on its own.

    architecture.yaml   what it is, in the form it is deployed in
    model.safetensors   its weights; the metadata holds the normalisation of its images
    provenance.json     where it comes from: study, trial, data, recipe, seed, figures, versions
    load.py             rebuilds the model, ready to be copied into a project
    README.md           a model card

Branches that serve training only (RepMLP's) are merged. The bundle is written beside its destination, loaded back
through its own `load.py`, compared with the model it was made from, and only then put in place, by one rename.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from results.database.damage import architecture_of
from results.database.names import file_name
from results.database.schema import EvaluationRow, Role, State
from results.export.drafts import draft, put, sweep
from results.report.report import Contender, make_report
from results.store.store import StudyStore
from search_space.architecture import Architecture
from search_space.errors import ExportError, escaped
from search_space.units import format_count

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


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it lies.
        contender: The architecture and its figures.
        difference: Largest difference between outputs of the bundle and of the model it was made from.
    """

    folder: Path
    contender: Contender
    difference: float


def export(study: StudyStore, weights_folder: Path, output: Path, *, trial: int | None = None) -> Exported:
    """Write and verify a bundle.

    Args:
        study: The study.
        weights_folder: Where its weights lie.
        output: The folder to make; it must not exist yet, or be empty.
        trial: Number of the trial to export; None for the winner.

    Raises:
        ExportError: If there is no such trial, it has no weights, the folder is taken, or the bundle does not give the
            same outputs.
    """
    output = output.resolve()
    sweep(output, "export", FILES)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ExportError(f"{output} exists and is not empty; choose another folder with -o")
    evaluation, contender = _choose(study, trial)
    weights = weights_folder / f"{file_name(evaluation.key, 'evaluation')}.safetensors"
    if not weights.is_file():
        raise ExportError(
            f"the weights of trial {contender.trial} are not at {weights}; the weights of the best trials and of the "
            "finalists are kept, under the --out folder of the search"
        )
    _check_digest(weights, evaluation)
    architecture = architecture_of(evaluation.architecture)
    provenance = _provenance(study, evaluation, contender, architecture)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with draft(output, "export", FILES) as folder:
            _write(folder, architecture, contender, provenance, weights)
            difference = _verify(folder, architecture, weights)
            if output.exists():  # it keeps the permissions that it has
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
        _merge(architecture, weights, folder / "model.safetensors")
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    size, channels = architecture.image_size, architecture.in_channels
    (folder / "load.py").write_text(LOAD_PY.format(size=size, channels=channels), encoding="utf-8")
    (folder / "README.md").write_text(_card(deployed, contender, provenance), encoding="utf-8")


def exported_key(study: StudyStore, trial: int | None) -> str:
    """Key of the evaluation whose weights `export` needs.

    Raises:
        ExportError: If there is no such trial, or it has no weights.
    """
    return file_name(_choose(study, trial)[0].key, "evaluation")


def _choose(study: StudyStore, trial: int | None) -> tuple[EvaluationRow, Contender]:
    """The evaluation whose weights are exported, and its figures."""
    report = make_report(study)
    rows = study.evaluations()
    if trial is None:
        if report.winner is None:
            raise ExportError(f"the study {study.name!r} has no winner to export: {report.lack}")
        contender = report.winner
    else:
        numbers = [row.number for row in rows if row.role == Role.TRIAL and row.state == State.COMPLETE]
        found = next((row for row in rows if row.role == Role.TRIAL and row.number == trial), None)
        if found is None:
            raise ExportError(f"the study {study.name!r} has no trial {trial}; complete ones: {_listed(numbers)}")
        if found.state != State.COMPLETE:
            raise ExportError(
                f"trial {trial} is {found.state} after {found.epochs_trained} of {found.epochs_planned} epochs, so it "
                f"has no weights worth exporting; complete ones: {_listed(numbers)}"
            )
        contender = next(
            (finalist for finalist in report.finalists if finalist.trial == trial), Contender.of_trial(found)
        )
    runs = [
        row
        for row in rows
        if row.number == contender.trial and row.role == Role.FINALIST and row.state == State.COMPLETE
    ]
    if runs:
        return min(runs, key=lambda row: row.nll if row.nll is not None else float("inf")), contender
    return next(row for row in rows if row.number == contender.trial and row.role == Role.TRIAL), contender


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


def _provenance(
    study: StudyStore, evaluation: EvaluationRow, contender: Contender, architecture: Architecture
) -> dict[str, Any]:
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
        "recipe": identity["recipe"],
        "seed": evaluation.seed,
        "validation": dict(zip(("nll", "accuracy"), evaluation.quality, strict=True)),
        "mean_over_seeds": {
            key: getattr(contender, key)
            for key in ("seeds", "mean_nll", "sd_nll", "mean_accuracy", "test_nll", "test_accuracy")
        },
        "trained": {
            "device": evaluation.device,
            "seconds": evaluation.seconds,
            "finished_at": evaluation.finished_at.isoformat() if evaluation.finished_at else None,
            "versions": evaluation.versions,
        },
        "exported_by": f"mlp-nas {version('mlp-nas')}",
    }


def _without_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the data set, with the name of a folder in place of its path."""
    name, colon, path = data["name"].partition(":")
    return {**data, "name": f"{name}{colon}{Path(path).name}"}


def _card(architecture: Architecture, contender: Contender, provenance: Mapping[str, Any]) -> str:
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
        f"| input | {architecture.in_channels} x {architecture.image_size} x {architecture.image_size}, normalised |",
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


def _merge(architecture: Architecture, weights: Path, output: Path) -> None:
    """Write the weights of the deployed form."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from search_space.models.building import build
    from search_space.models.deployment import reparameterize

    model = build(architecture)
    try:
        model.load_state_dict(load_file(weights))
        merged = reparameterize(model)
        with safe_open(weights, framework="pt") as file:
            save_file(merged.state_dict(), output, file.metadata())
    except Exception as error:  # damaged weights, or some that are not finite
        raise ExportError(f"{weights} could not be brought into its deployed form: {error}") from error


def _verify(folder: Path, architecture: Architecture, weights: Path) -> float:
    """Load the bundle by its own `load.py` and compare its outputs with those of the model it was made from."""
    import torch
    from safetensors.torch import load_file

    from search_space.models.building import build

    original = build(architecture).eval()
    shape = (4, architecture.in_channels, architecture.image_size, architecture.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    try:
        loaded, mean, std = runpy.run_path(str(folder / "load.py"))["load"](folder)
        original.load_state_dict(load_file(weights))
        with torch.inference_mode():
            expected = original((images - mean) / std)
            difference = (loaded((images - mean) / std) - expected).abs().max().item()
    except Exception as error:  # whatever is wrong with the bundle, it is not to be delivered
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"the export could not be loaded back, so it was not written: {reason}") from error
    # Merged branches are proved equal in float64; here stands what float32 leaves of that.
    tolerance = 1e-6 if architecture.deployed is architecture else 1e-4 * max(1.0, expected.abs().max().item())
    if not difference <= tolerance:
        raise ExportError(f"the export's outputs differ by {difference:.3g}, so it was not written")
    return float(difference)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return f"{shown}, ..." if len(numbers) > 20 else shown or "none"
