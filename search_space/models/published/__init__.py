"""Loading weights that timm or the authors of a family have published."""

from search_space.models.published.loading import load_published
from search_space.models.published.report import LoadReport, Mismatch, MismatchError

__all__ = ["LoadReport", "Mismatch", "MismatchError", "load_published"]
