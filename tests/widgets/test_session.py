"""A scripted session: edits, undo all, redo all, save, kill -9 in an edit, restore."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen",
        reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of other systems"),
]


def test_not_one_edit_is_lost(root: Path) -> None:
    script = root / "benchmarks" / "session.py"
    done = subprocess.run(
        [sys.executable, str(script), "--edits", "24", "--frames", "4", "--more", "3"],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| tables after the restore | equal |" in done.stdout
