"""The format "bundle": a folder of plain files, with code that rebuilds the model from them.

    architecture.yaml   the architecture, in its deployed form
    model.safetensors   its weights; the metadata holds the normalisation of its images
    provenance.json     its provenance: study, trial, data, recipe, seed, figures, versions
    load.py             rebuilds the model; needs mlp-nas (its package search_space), torch and safetensors
    plugin-NAME.py      a copy of each plug-in file that its ops come from, imported by load.py
    README.md           a model card

Branches that are used only in training (RepMLP's) are merged.
"""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from results.export.card import make_card
from results.export.exporter import Exporter, Trained, register_exporter
from search_space.architecture import Architecture
from search_space.errors import ExportError
from search_space.plugins import Plugin

LOAD_PY = '''"""Rebuilds the exported model.

Needs the package mlp-nas (module search_space), torch and safetensors{needs}.

    model, mean, std = load()
    scores = model((images - mean) / std)  # images: (B, {channels}, {height}, {width}), pixels from 0 to 1
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from search_space import Architecture, build
{imports}

def load(folder=Path(__file__).parent):
    """The model in eval mode, and mean and standard deviation of its images, each (C, 1, 1)."""
{plugins}    model = build(Architecture.from_yaml_file(Path(folder) / "architecture.yaml"))
    with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
        model.load_state_dict({{name: file.get_tensor(name) for name in file.keys()}})
        normalisation = json.loads(file.metadata()["normalisation"])
    mean, std = (torch.tensor(normalisation[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return model.eval(), mean, std
'''


@register_exporter("bundle")
class Bundle(Exporter):
    """Architecture, weights, provenance, model card, and code that loads them."""

    files: ClassVar = (
        "architecture.yaml",
        "model.safetensors",
        "provenance.json",
        "load.py",
        "plugin-*.py",
        "README.md",
    )
    keeps_weights: ClassVar = True

    def write(self, trained: Trained, folder: Path) -> None:
        architecture, deployed = trained.architecture, trained.architecture.deployed
        (folder / "architecture.yaml").write_text(deployed.to_yaml(), encoding="utf-8")
        if deployed is architecture:
            shutil.copyfile(trained.weights, folder / "model.safetensors")
        else:
            _deploy(architecture, trained.weights, folder / "model.safetensors")
        provenance = json.dumps(trained.provenance, indent=2)
        (folder / "provenance.json").write_text(provenance + "\n", encoding="utf-8")
        for plugin in trained.plugins:
            if plugin.source is not None:
                (folder / _copy_of(plugin)).write_bytes(plugin.source)
        (folder / "load.py").write_text(_load_py(trained), encoding="utf-8")
        card = make_card(deployed, trained.contender, trained.provenance)
        (folder / "README.md").write_text(card, encoding="utf-8")

    def load(self, folder: Path) -> tuple[Callable[[Any], Any], Any, Any]:
        loaded: tuple[Callable[[Any], Any], Any, Any] = runpy.run_path(str(folder / "load.py"))["load"](folder)
        return loaded


def _deploy(architecture: Architecture, weights: Path, output: Path) -> None:
    """Write the weights of the deployed form."""
    from search_space.models.weights_files import deploy_file  # loads torch

    try:
        deploy_file(architecture, weights, output)
    except Exception as error:  # weights that are damaged or not finite
        raise ExportError(f"{weights} could not be converted to the deployed form: {error}") from error


def _load_py(trained: Trained) -> str:
    """The code that rebuilds the model, its plug-ins imported first."""
    calls = []
    for plugin in trained.plugins:
        known = [json.dumps(text) for text in (plugin.name, plugin.module, plugin.version)]
        if plugin.source is not None:
            known.append(f"(Path(folder) / {json.dumps(_copy_of(plugin))}).read_bytes()")
        calls += ["    import_exactly(\n", *(f"        {argument},\n" for argument in known), "    )\n"]
    installed = [f"{one.name} ({one.version})" for one in trained.plugins if one.source is None]
    needs = f", and the plug-ins {', '.join(installed)}" if installed else ""
    channels, height, width = trained.architecture.input_shape
    return LOAD_PY.format(
        channels=channels,
        height=height,
        width=width,
        needs=needs,
        imports="from search_space.plugins import import_exactly\n" if calls else "",
        plugins="".join(calls),
    )


def _copy_of(plugin: Plugin) -> str:
    """Name of the copy of a plug-in's file."""
    return f"plugin-{plugin.name.removesuffix('.py')}.py"
