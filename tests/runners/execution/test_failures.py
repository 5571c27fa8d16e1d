from __future__ import annotations

import torch

from runners.execution.failures import classify
from runners.protocol import Cause
from search_space.errors import DataError


def test_a_failed_cpu_allocation_is_out_of_memory() -> None:
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        cause, message = classify(error)

    assert cause is Cause.OUT_OF_MEMORY
    assert message.startswith("out of memory: ")
    assert "\n" not in message


def test_other_kinds_of_no_memory() -> None:
    assert classify(torch.cuda.OutOfMemoryError("CUDA out of memory"))[0] is Cause.OUT_OF_MEMORY
    assert classify(MemoryError()) == (Cause.OUT_OF_MEMORY, "out of memory")


def test_data_errors_keep_their_sentence() -> None:
    assert classify(DataError("no such folder")) == (Cause.DATA, "no such folder")


def test_anything_else_is_a_bug_with_its_place() -> None:
    def plug_in() -> None:
        raise ZeroDivisionError("by nothing")

    try:
        plug_in()
    except ZeroDivisionError as error:
        cause, message = classify(error)

    assert cause is Cause.BUG
    assert message.startswith("ZeroDivisionError: by nothing\n")
    assert "in plug_in" in message
