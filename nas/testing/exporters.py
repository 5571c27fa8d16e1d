"""What an exporter promises, on the published families scaled down to 20,000 parameters, with random weights."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.export import EXPORTERS, Exporter, Trained
from results.export.writing import deviation
from results.report.report import Contender
from search_space.architecture import Architecture
from search_space.breakdown import token_mixers
from search_space.contract import Contract, holds
from search_space.zoo.baselines import baselines

PROVENANCE = {
    "study": "contract",
    "trial": 0,
    "space": "mlp_family",
    "data": {"name": "digits"},
    "validation": {"nll": 0.5, "accuracy": 0.75},
}


class ExporterContract(Contract):
    """An exporter writes files that give the scores of the trained model, wherever they are."""

    def test_it_writes_the_files_that_it_names(self, name: str) -> None:
        """It writes files, none of them empty, whose names `files` has patterns of; a draft is deleted by these."""
        for exporter, trained, folder in _exported(name):
            written = list(folder.iterdir())
            holds(written, "it writes nothing")
            for path in written:
                named = any(fnmatch.fnmatchcase(path.name, pattern) for pattern in exporter.files)
                holds(path.is_file() and path.stat().st_size, f"{path.name} is no file, or empty")
                holds(named, f"it writes {path.name}, and `files` is {exporter.files}")
            holds(trained.weights.is_file(), "it deletes the weights of the study")

    def test_it_computes_the_same(self, name: str) -> None:
        """Loaded back from another folder, it gives the scores of the trained model."""
        for exporter, trained, folder in _exported(name):
            moved = folder.rename(folder.with_name("moved"))
            largest, allowed = deviation(exporter, moved, trained)
            family = trained.provenance["study"]
            holds(largest <= allowed, f"for {family}, the scores differ by {largest:.3g}, and {allowed:.3g} is allowed")


def _exported(name: str) -> Iterator[tuple[Exporter, Trained, Path]]:
    """Each example, exported into a folder of its own."""
    exporter = EXPORTERS.find(name)()
    families = baselines("20k", image_size=8, in_channels=1, classes=10)
    for family in exporter.examples or families:
        with _trained(family, families[family]) as trained:
            folder = trained.weights.with_name("exported")
            folder.mkdir()
            exporter.write(trained, folder)
            yield exporter, trained, folder


@contextmanager
def _trained(family: str, architecture: Architecture) -> Iterator[Trained]:
    """An architecture with random weights, in a folder that is deleted afterwards."""
    import torch

    from runners.training.weights import save_weights
    from search_space.models.building import build

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        draws = torch.Generator().manual_seed(0)
        model = build(architecture, generator=draws)
        with torch.no_grad():
            for tensor in model.state_dict().values():  # no bias or gate stays at the value that it begins with
                if tensor.is_floating_point():
                    tensor += 0.1 * torch.rand(tensor.shape, generator=draws)
        save_weights(model, weights, (0.25,), (0.5,))
        yield Trained(architecture, weights, _contender(architecture), {**PROVENANCE, "study": family})


def _contender(architecture: Architecture) -> Contender:
    deployed = architecture.deployed
    mixers = token_mixers(deployed)
    return Contender(0, "contract", mixers, architecture.hash, deployed.params, deployed.macs, nll=0.5, accuracy=0.75)
