"""What exports a trained architecture in one format, and the formats there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from search_space.architecture import Architecture
from search_space.plugins import Plugin
from search_space.registry import Registry

if TYPE_CHECKING:  # it loads SQLAlchemy, which the names of the formats do not need
    from results.report.report import Contender


@dataclass(frozen=True)
class Trained:
    """A trained architecture, to be exported.

    Attributes:
        architecture: As it was trained; `Architecture.deployed` is the form that is exported.
        weights: Its safetensors file. The entry "normalisation" of its metadata is JSON with mean and standard
            deviation of its images.
        contender: Its figures.
        provenance: Where it comes from, as plain data.
        plugins: The plug-ins that its ops come from.
    """

    architecture: Architecture
    weights: Path
    contender: Contender
    provenance: Mapping[str, Any]
    plugins: tuple[Plugin, ...] = ()


class Exporter(ABC):
    """One format. What it writes is loaded back and compared with the trained model before it is delivered.

    Attributes:
        files: Patterns of the names of its files, such as "model.onnx" or "part-*.bin"; it writes no folders.
        keeps_weights: Whether weights stay as they were trained, so that outputs may differ by rounding alone.
        examples: Names of the families in `nas.baselines` that its contract exports; none for all.
    """

    files: ClassVar[tuple[str, ...]]
    keeps_weights: ClassVar[bool] = False
    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, trained: Trained, folder: Path) -> None:
        """Write all files into an empty folder.

        Raises:
            ExportError: If the format cannot hold this architecture, or its weights are damaged.
        """

    @abstractmethod
    def load(self, folder: Path) -> tuple[Callable[[Any], Any], Any, Any]:
        """What was written, as a user of it would load it.

        Returns:
            A function from normalised images, float32 (B, C, H, W), to scores, (B, classes); and the mean and the
            standard deviation of its images, each (C, 1, 1).
        """


EXPORTERS: Registry[type[Exporter]] = Registry("exporter")
"""All formats by name."""
_ExporterClass = TypeVar("_ExporterClass", bound=type[Exporter])


def register_exporter(name: str) -> Callable[[_ExporterClass], _ExporterClass]:
    """Decorator: this class, made without arguments, exports the format `name`, as in ``--format``.

    Raises:
        ValueError: If the name is taken.
    """
    return EXPORTERS.register(name)
