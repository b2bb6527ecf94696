"""A small version of benchmarks/faults.py: kills, power cuts and full disks lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "faults.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed")


def attack(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--json", os.devnull],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_nothing_is_lost_and_nothing_ends() -> None:
    code, said = attack("--small")
    (line,) = [x for x in said.splitlines() if x.startswith("| all |")]
    tries, held, lost, ended = (int(v) for v in line.split("|")[2:6])
    assert (code, lost, ended) == (0, 0, 0), said
    assert tries == 28 and held > 100, said


def test_what_is_lost_is_found(tmp_path: Path) -> None:
    """The attack finds a writer that does not wait for the disk."""
    planted = (
        "import napari_atomlens.files as files, os\n"
        "files.sync_file = files.sync_tree = lambda *_: None\n"
    )
    (tmp_path / "sitecustomize.py").write_text(planted)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--case", "adapt", "--kills", "0", "--full", "0",
         "--cuts", "1", "--simulate", "--json", os.devnull],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(
            [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])},
    )  # fmt: skip
    assert done.returncode == 1 and "mine-0" in done.stderr, done.stdout + done.stderr
