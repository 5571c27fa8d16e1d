"""The generated parts of the documentation are what the code says today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_tables_and_drawings_are_current() -> None:
    program = ROOT / "docs" / "generate.py"
    ran = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (0, "")
