"""Weights that were published elsewhere, by timm or by the authors of a family, in models of ours."""

from search_space.models.published.loading import load_published
from search_space.models.published.report import LoadReport, Mismatch, MismatchError

__all__ = ["LoadReport", "Mismatch", "MismatchError", "load_published"]
