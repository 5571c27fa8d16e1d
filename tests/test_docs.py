"""The generated parts of the documentation are what the code says today, and its paragraphs are wrapped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("program", ["generate.py", "wrap.py"])
def test_the_documentation_is_current(program: str) -> None:
    command = [sys.executable, ROOT / "docs" / program, "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (0, "")
