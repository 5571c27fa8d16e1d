"""Trained architectures as files that need neither the study nor its database: one exporter for each format.

`writing.export` chooses what is exported, and has it written, verified and put in place. A format is a class
(`exporter.Exporter`); the one that ships is `bundle.Bundle`.
"""

from results.export.bundle import Bundle
from results.export.exporter import EXPORTERS, Exporter, Trained, register_exporter

__all__ = ["EXPORTERS", "Bundle", "Exporter", "Trained", "register_exporter"]
