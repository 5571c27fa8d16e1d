"""Loading weights published by timm or by the authors of a family."""

from search_space.models.published.loading import load_published
from search_space.models.published.report import LoadReport, Mismatch, MismatchError

__all__ = ["LoadReport", "Mismatch", "MismatchError", "load_published"]
