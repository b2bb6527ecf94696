"""The benchmark scripts still run: a small version of each."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["scaling.py", "--small"], "grows as pixels"),
        (["fit.py", "--columns", "60", "--only", "dumbbells"], "| 4.0 | 10000 |"),
        (["large.py", "--small"], "near seams"),
        (["runs/batch.py", "scaling", "--frames", "4", "--side", "96"], "| 4 threads |"),
        (["correct.py", "--frames", "--journal", "200"], "memory of 200 mixed edits"),
        (["decomposition.py", "--steps", "2", "--frames", "2", "--threads", "1"], "2 steps in"),
        (
            ["adapt.py", "--steps", "2", "--frames", "1", "--known", "1", "--threads", "1"],
            "2 steps",
        ),
        (["against_peers.py", "--lattices", "graphene", "--counts", "3000"], "napari-atomlens"),
    ],
)
def test_small_version(command: list[str], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / command[0]), *command[1:]],
        capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert told in done.stdout
