"""Search spaces: which architectures are possible, how many there are, and how to sample and change them.

Start with `load_space`. A `SearchSpace` is composed of parts that can be read on their own: the file (`definition`),
the blocks that a stage may have (`options`), parameters and architectures (`codec`), exact counts and uniform samples
(`counting`), the range of cost (`extremes`), and steps from one architecture to another (`moves`).
"""

from search_space.space.axes import Axis, Limits, Params, Range, Value
from search_space.space.space import SearchSpace, list_spaces, load_space, mixers_of, parse_space

__all__ = [
    "Axis",
    "Limits",
    "Params",
    "Range",
    "SearchSpace",
    "Value",
    "list_spaces",
    "load_space",
    "mixers_of",
    "parse_space",
]
