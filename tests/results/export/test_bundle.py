"""Bundles: complete, verified, without private data; and nothing is left behind if one cannot be made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from results.export.writing import export
from results.store.store import Ending, EpochRecord, NewEvaluation, Role, State, StudyStore
from runners.training.weights import save_weights
from search_space import Architecture, Attention, Branch, Dense, Stage, build, load_space
from search_space.errors import ExportError
from search_space.models import deployment
from search_space.space import SearchSpace
from search_space.zoo.scaled import family_points

FILES = {"README.md", "architecture.yaml", "load.py", "model.safetensors", "provenance.json"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The folder that holds bundles, and nothing else."""
    folder = tmp_path / "exported"
    folder.mkdir()
    return folder


@pytest.fixture
def study(sqlite_store, make_study, add_evaluation, architectures, weights) -> StudyStore:
    """A study with trials 0 and 1 complete (1 is better), 2 pruned and 3 failed; untrained weights for 0 to 2."""
    made = make_study(sqlite_store)
    add_evaluation(made, 0, architectures[0], nll=0.5, accuracy=0.75)
    add_evaluation(made, 1, architectures[1], nll=0.25, accuracy=0.875)
    add_evaluation(made, 2, architectures[2], nll=0.125, state=State.PRUNED, epochs=1)
    add_evaluation(made, 3, architectures[3], state=State.FAILED, cause="diverged", epochs=0)
    for number in range(3):
        save(architectures[number], weights / f"trial-{number:04d}.safetensors", seed=number)
    return made


def save(architecture: Architecture, path: Path, seed: int) -> None:
    """Random weights, biases and statistics included, so that none is at its initial value by chance."""
    model, draws = build(architecture), torch.Generator().manual_seed(seed)
    state = {name: torch.rand(value.shape, generator=draws) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    save_weights(model, path, (0.25,), (0.5,))


def outputs(bundle: Path, elsewhere: Path, images: torch.Tensor) -> torch.Tensor:
    """What the bundle computes in a fresh interpreter, moved to another place first."""
    moved = shutil.copytree(bundle, elsewhere / "moved")
    torch.save(images, moved / "images.pt")
    program = (
        "import torch\nfrom load import load\nmodel, mean, std = load()\nimages = torch.load('images.pt')\n"
        "with torch.inference_mode():\n    torch.save(model((images - mean) / std), 'scores.pt')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=moved, check=True)
    return torch.load(moved / "scores.pt")


def test_the_winner_in_a_fresh_process(study, weights, target, tmp_path, architectures):
    exported = export(study, weights, target / "bundle")
    assert exported.folder == target / "bundle"
    assert exported.contender.trial == 1
    assert exported.difference <= 1e-6
    bundle = target / "bundle"
    assert {path.name for path in target.iterdir()} == {"bundle"}
    assert Architecture.from_yaml_file(bundle / "architecture.yaml") == architectures[1]

    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = build(architectures[1]).eval()
    model.load_state_dict(load_file(weights / "trial-0001.safetensors"))
    with torch.inference_mode():
        expected = model((images - 0.25) / 0.5)
    torch.testing.assert_close(outputs(bundle, tmp_path, images), expected, rtol=0, atol=0)


def test_a_bundle_holds_five_files_and_nothing_else(study, weights, target, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # which an environment may have set, and hide a leftover
    export(study, weights, target / "bundle")
    assert {str(path.relative_to(target / "bundle")) for path in (target / "bundle").rglob("*")} == FILES


def test_provenance_and_card_say_where_it_comes_from(study, weights, target, architectures):
    export(study, weights, target / "bundle", trial=0)
    provenance = json.loads((target / "bundle" / "provenance.json").read_text())
    assert provenance["architecture"] == architectures[0].hash
    assert (provenance["study"], provenance["trial"], provenance["weights_of"]) == ("study", 0, "trial-0000")
    assert provenance["validation"] == {"nll": 0.5, "accuracy": 0.75}
    assert (provenance["space"], provenance["data"]["name"]) == ("small", "digits")
    assert provenance["recipe"] == {"epochs": 2}
    card = (target / "bundle" / "README.md").read_text()
    assert f"| parameters | {architectures[0].params:,} |" in card
    assert "| validation accuracy of these weights | 75.00 % |" in card


def test_the_card_has_all_metrics_of_the_test(study, weights, target, architectures):
    """Those that were measured: earlier versions knew accuracy alone."""
    figures = {"rank": 1, "mean_nll": 0.5, "mean_accuracy": 0.5, "test_nll": 0.5, "test_accuracy": 0.75}
    more = {"test_balanced_accuracy": 0.625, "test_macro_f1": 0.5, "test_calibration_error": 0.0625}
    study.driver.put_finalist(0, architectures[0], 2, **figures, **more)
    export(study, weights, target / "bundle", trial=0)
    card = (target / "bundle" / "README.md").read_text()
    assert "| test accuracy, mean of 2 seeds | 75.00 % |" in card
    assert "| test balanced accuracy, mean of 2 seeds | 62.50 % |" in card
    assert "| test macro F1, mean of 2 seeds | 50.00 % |" in card
    assert "| test calibration error, mean of 2 seeds | 0.0625 |" in card
    provenance = json.loads((target / "bundle" / "provenance.json").read_text())
    assert provenance["mean_over_seeds"]["test_macro_f1"] == 0.5


def test_of_a_finalist_the_best_seed_is_exported(study, weights, target, add_evaluation, architectures):
    for seed, nll in ((1, 0.5), (2, 0.375), (3, 0.625)):
        key = f"finalist-0000-seed-{seed}"
        add_evaluation(study, 0, architectures[0], key=key, role=Role.FINALIST, seed=seed, nll=nll)
        save(architectures[0], weights / f"{key}.safetensors", seed=seed)
    study.driver.put_finalist(0, architectures[0], 3, rank=1, mean_nll=0.5, sd_nll=0.125, mean_accuracy=0.5)
    exported = export(study, weights, target / "bundle")
    assert exported.contender.trial == 0
    provenance = json.loads((target / "bundle" / "provenance.json").read_text())
    assert (provenance["weights_of"], provenance["seed"]) == ("finalist-0000-seed-2", 2)
    assert provenance["mean_over_seeds"]["mean_nll"] == 0.5
    assert (
        "| validation NLL, mean of 3 seeds | 0.5000 (standard deviation 0.1250) |"
        in (target / "bundle" / "README.md").read_text()
    )


def test_nothing_private_is_in_a_bundle(
    sqlite_store, make_study, add_evaluation, architectures, weights, target, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    pictures = {"name": "imagefolder:/home/somebody/pictures", "split_seed": 0, "image_size": 8}
    study = make_study(sqlite_store, data=pictures)
    study.update_config({"budget": 8, "storage": "postgresql://me:geheim@host/db", "out": str(tmp_path)})
    add_evaluation(study, 0, architectures[0])
    save(architectures[0], weights / "trial-0000.safetensors", seed=0)
    export(study, weights, target / "bundle")
    for path in (target / "bundle").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (b"geheim", b"/home/somebody", str(tmp_path).encode()):
            assert secret not in content, path.name


def test_an_empty_folder_is_taken(study, weights, target):
    export(study, weights, target)
    assert {path.name for path in target.iterdir()} == FILES


def test_the_current_folder_is_taken_if_it_is_empty(study, weights, target, monkeypatch):
    monkeypatch.chdir(target)
    export(study, weights, Path())
    assert {path.name for path in target.iterdir()} == FILES


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(b"no weights at all" * 100)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_trial(path: Path) -> None:
    shutil.copyfile(path.with_name("trial-0002.safetensors"), path)


def without_normalisation(path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file(load_file(path), path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "not at"),
        (empty, "could not be loaded back"),
        (garbled, "could not be loaded back"),
        (cut, "could not be loaded back"),
        (of_another_trial, "could not be loaded back"),
        (without_normalisation, "could not be loaded back"),
    ],
)
def test_unusable_weights_are_refused(study, weights, target, damage: Callable[[Path], Any], reason):
    damage(weights / "trial-0001.safetensors")
    with pytest.raises(ExportError, match=reason) as caught:
        export(study, weights, target / "bundle")
    assert "\n" not in str(caught.value)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (9, "has no trial 9; complete ones: 0, 1$"),
        (2, "trial 2 is PRUNED after 1 of 2 epochs.*complete ones: 0, 1$"),
        (3, "trial 3 is FAILED after 0 of 2 epochs"),
    ],
)
def test_a_trial_without_full_training_is_refused(study, weights, target, trial, reason):
    with pytest.raises(ExportError, match=reason):
        export(study, weights, target / "bundle", trial=trial)
    assert list(target.iterdir()) == []


def test_a_study_without_complete_trials_is_refused(sqlite_store, make_study, weights, target):
    with pytest.raises(ExportError, match="no trial has been trained in full"):
        export(make_study(sqlite_store), weights, target / "bundle")
    assert list(target.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(study, weights, target):
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not empty"):
        export(study, weights, target)
    with pytest.raises(ExportError, match=r"thesis\.txt exists"):
        export(study, weights, target / "thesis.txt")
    with pytest.raises(ExportError, match=r"was not written: .*thesis\.txt: "):
        export(study, weights, target / "thesis.txt" / "bundle")
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("thesis.txt", "years of work")]


# Training branches.


@pytest.fixture
def whole_space() -> SearchSpace:
    return load_space("mlp_family", image_size=8, in_channels=1, classes=10)


@pytest.fixture
def repmlp(whole_space) -> Architecture:
    """RepMLPNet scaled to digits."""
    return family_points(whole_space, whole_space.limits)["repmlp"]


@pytest.fixture
def repmlp_study(sqlite_store, make_study, weights, whole_space, repmlp) -> StudyStore:
    """A study with one complete trial, of RepMLPNet."""
    made = make_study(sqlite_store)
    settings = {
        "role": Role.TRIAL,
        "origin": "family:repmlp",
        "seed": 0,
        "epochs_planned": 1,
        "choices": whole_space.encode(repmlp),
    }
    made.driver.start(
        NewEvaluation("trial-0000", number=0, architecture=repmlp, **settings),
        {axis.name: axis for axis in whole_space.axes},
    )
    made.driver.add_epochs("trial-0000", [EpochRecord(1, 1.0, 1.0, 0.5, 0.1)], {})
    made.driver.finish("trial-0000", Ending(State.COMPLETE, 1.0, None, values=[1.0]))
    save(repmlp, weights / "trial-0000.safetensors", seed=0)
    return made


def test_branches_for_training_are_merged(repmlp_study, weights, target, tmp_path, repmlp):
    """The bundle is the deployed form; it computes what the trained model does, and its size is the reported one."""
    exported = export(repmlp_study, weights, target / "bundle")
    bundled = Architecture.from_yaml_file(exported.folder / "architecture.yaml")
    assert bundled == repmlp.deployed != repmlp
    tensors = load_file(exported.folder / "model.safetensors")
    assert {name.rpartition("op.")[2] for name in tensors if ".0.op." in name} == {
        *("weight", "bias", "gate1.weight", "gate1.bias", "gate2.weight", "gate2.bias")
    }
    (row,) = repmlp_study.evaluations()
    assert (row.architecture.params, row.architecture.macs) == bundled.cost != repmlp.cost
    assert row.architecture.hash == repmlp.hash
    provenance = json.loads((exported.folder / "provenance.json").read_text())
    assert (provenance["architecture"], provenance["trained_as"]) == (bundled.hash, repmlp.hash)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    original = build(repmlp).eval()
    original.load_state_dict(load_file(weights / "trial-0000.safetensors"))
    with torch.inference_mode():
        expected = original((images - 0.25) / 0.5)
    torch.testing.assert_close(outputs(exported.folder, tmp_path, images), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_cannot_be_merged_are_refused(repmlp_study, weights, target):
    cut(weights / "trial-0000.safetensors")
    with pytest.raises(ExportError, match="could not be converted to the deployed form"):
        export(repmlp_study, weights, target / "bundle")
    assert list(target.iterdir()) == []


def test_a_merged_form_that_computes_something_else_is_refused(repmlp_study, weights, target, monkeypatch):
    merge = deployment.reparameterize

    def merge_badly(model):
        merged = merge(model)
        with torch.no_grad():
            merged.head.weight *= 1.001
        return merged

    monkeypatch.setattr(deployment, "reparameterize", merge_badly)
    with pytest.raises(ExportError, match="the export's outputs differ by"):
        export(repmlp_study, weights, target / "bundle")
    assert list(target.iterdir()) == []


def test_a_bundle_that_computes_something_else_is_refused(study, weights, target, architectures, monkeypatch):
    def copy_badly(source, destination):
        save(architectures[1], destination, seed=9)

    monkeypatch.setattr(shutil, "copyfile", copy_badly)
    with pytest.raises(ExportError, match="the export's outputs differ by"):
        export(study, weights, target / "bundle")
    assert list(target.iterdir()) == []


def test_the_card_of_the_deployed_form(repmlp_study, weights, target, repmlp):
    export(repmlp_study, weights, target / "bundle")
    card = (target / "bundle" / "README.md").read_text()
    assert f"| parameters | {repmlp.deployed.params:,} |" in card
    assert repmlp.deployed.params != repmlp.params


@pytest.mark.parametrize(("position", "words"), [("none", "other sizes too"), ("learned", "of this size only")])
def test_the_card_says_whether_other_image_sizes_work(
    sqlite_store, make_study, add_evaluation, weights, target, position, words
):
    """Attention takes any grid, but learned positions have the size of theirs."""
    stage = Stage(1, 16, (Branch(Attention(2)), Branch(Dense("channel", 32))))
    architecture = Architecture(8, 2, (stage,), in_channels=1, classes=10, position=position)
    made = make_study(sqlite_store)
    add_evaluation(made, 0, architecture)
    save(architecture, weights / "trial-0000.safetensors", seed=0)
    export(made, weights, target / "bundle")
    assert words in (target / "bundle" / "README.md").read_text()
