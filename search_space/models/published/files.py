"""Reading published weights without running code from the file."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from search_space.errors import MOST_SHOWN, WeightsError, printable
from search_space.paths import user_path

_NESTINGS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_DEEPEST = 3
MOST_OF_A_PATH, _MOST_OF_A_REASON = 300, 200
"""Maximum length of a path, and of a library's message, in a message."""
_PREFIXES = ("module.", "_orig_mod.")
_PREFIX = re.compile(r"^(module|_orig_mod)\.")
_ZIP = b"PK\x03\x04"
_DAMAGE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError, ValueError, TypeError),
    *(LookupError, AttributeError, ArithmeticError, AssertionError, MemoryError),
)
"""What torch.load raises for damaged or foreign files, depending on their bytes."""


def read_weights(weights: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """The state dict in a file or a checkpoint.

    A file that ends in ``.safetensors`` is read as such, any other with torch.load(weights_only=True). Both are
    memory-mapped where the format allows it. A state dict may be nested under ``state_dict_ema``, ``model_ema``,
    ``state_dict``, ``model_state_dict`` or ``model`` (the first of these), and all its names may begin with ``module.``
    (DataParallel) or ``_orig_mod.`` (torch.compile).

    Returns:
        Values by name, some perhaps not tensors; their origin, for messages; and notes on choices that were made.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything but weights.
    """
    origin = "the mapping given" if isinstance(weights, Mapping) else printable(str(weights), MOST_OF_A_PATH)
    content = (
        weights if isinstance(weights, Mapping) else _read(user_path(weights, "the file of weights", WeightsError))
    )
    notes: list[str] = []
    for _ in range(_DEEPEST):
        found = [name for name in _NESTINGS if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)]
        content = content[found[0]] if found else content
        notes += [f"of {' and '.join(found)}, {found[0]} was loaded"] if len(found) > 1 else []
    if not isinstance(content, Mapping):
        raise WeightsError(f"{origin} does not hold weights: a {type(content).__name__}, not tensors by name")
    state = {str(name): value for name, value in content.items()}
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{origin} does not hold weights: there is no tensor among its {len(state)} entries")
    for name, value in state.items():
        if isinstance(value, Tensor) and (value.is_nested or value.layout != torch.strided):
            raise WeightsError(f"{origin} was not loaded: {printable(name, MOST_SHOWN)} is a sparse or nested tensor")
    while any(all(name.startswith(prefix) for name in state) for prefix in _PREFIXES):
        state = {re.sub(_PREFIX, "", name): value for name, value in state.items()}
    return state, origin, notes


def _read(path: Path) -> Any:
    """The content of a file."""
    shown = printable(str(path), MOST_OF_A_PATH)
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except FileNotFoundError:
        raise WeightsError(f"there are no weights at {shown}") from None
    except IsADirectoryError:
        raise WeightsError(f"{shown} is a folder, not a file of weights") from None
    except OSError as error:
        raise WeightsError(f"{shown} cannot be read: {error.strerror}") from error
    if not start:
        raise WeightsError(f"{shown} is empty")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True, mmap=start == _ZIP)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{shown} is damaged, or not a safetensors file: {_first_sentence(error)}") from error
    except _DAMAGE as error:
        raise WeightsError(f"{shown} {_what_is_wrong(error)}") from None  # torch advises to let the file run code


def _what_is_wrong(error: BaseException) -> str:
    """Why torch.load refuses a file, without its advice."""
    text = str(error)
    code = re.search(r"GLOBAL (\S+)", text)
    if code:
        objects = printable(code[1], MOST_SHOWN)
        return f"was not loaded: it holds Python objects ({objects}), which could run code; only tensors are read"
    if "TorchScript" in text:
        return "was not loaded: it is a TorchScript archive, which is code; allowed: a saved state_dict"
    # Only torch's RuntimeErrors name a cause.
    known = isinstance(error, RuntimeError) and "weights_only" not in text
    return f"is damaged, or not a file of weights: {_first_sentence(error) if known else 'not what torch.save writes'}"


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return printable(text, _MOST_OF_A_REASON) or type(error).__name__
