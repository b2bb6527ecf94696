"""Finding and importing the plugin costs nothing; heavy things load when they are needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
HEAVY = ("torch", "numpy", "pandas", "scipy", "skimage", "napari", "qtpy", "PySide6", "PyQt6")


def fresh(code: str) -> dict:
    """Run code in a new interpreter; it prints one JSON object last."""
    head = f"import sys, json, time; sys.path.insert(0, {str(SOURCE)!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", head + code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOADED = f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"


def test_import_loads_nothing_heavy() -> None:
    assert fresh(f"import napari_atomlens\n{LOADED}") == []


def test_import_takes_no_time() -> None:
    code = (
        "a = time.process_time(); import napari_atomlens\n"
        "print(json.dumps({'seconds': time.process_time() - a}))"
    )
    # CPU time, and the best of three: other processes must not decide. It takes about 1 ms.
    assert min(fresh(code)["seconds"] for _ in range(3)) <= 0.05


def test_analysis_loads_without_torch() -> None:
    found = fresh(f"import napari_atomlens as al; al.AnalysisParams; al.list_models()\n{LOADED}")
    assert not {"torch", "napari", "qtpy", "PySide6"} & set(found)


def test_command_line_starts_without_torch_and_numpy() -> None:
    assert fresh(f"import napari_atomlens.cli\n{LOADED}") == []


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["paint"]])
def test_help_of_the_command_line_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "from typer.testing import CliRunner; from napari_atomlens.cli import app\n"
        f"done = CliRunner().invoke(app, {arguments!r}); assert done.output, done.exception\n"
    )
    assert fresh(code + LOADED) == []


def test_napari_reads_the_manifest_without_importing_the_package() -> None:
    code = (
        "from npe2 import PluginManifest\n"
        "PluginManifest.from_file("
        f"{str(SOURCE / 'napari_atomlens' / 'napari.yaml')!r})\n"
        "import importlib.util; importlib.util.find_spec('napari_atomlens')\n"
        "print(json.dumps([m for m in sys.modules if m.startswith('napari_atomlens')]))"
    )
    assert fresh(code) == []


DOCKS = (
    "batch", "calibrate", "chemistry.dock", "correct.dock", "explore.dock", "find_atoms.dock",
    "measure.dock", "movie.dock", "stm.dock", "watch", "open_save.project",
)  # fmt: skip


@pytest.mark.parametrize("dock", DOCKS)
def test_docks_load_without_torch(dock: str) -> None:
    found = fresh(f"import napari_atomlens.widgets.{dock}\n{LOADED}")
    assert "torch" not in found


def test_the_docks_are_those_of_the_manifest() -> None:
    text = (SOURCE / "napari_atomlens" / "napari.yaml").read_text(encoding="utf-8")
    named = re.findall(r"napari_atomlens\.widgets\.([\w.]+):\w+Widget", text)
    assert {*named, "open_save.project"} == set(DOCKS)


#: Of scipy: about 0.35 s of CPU time, which the first job takes, not the dock.
SLOW = ("torch", "skimage.measure", "scipy.ndimage", "scipy.sparse", "scipy.spatial")


@pytest.mark.parametrize("dock", [d for d in DOCKS if d not in ("stm.dock", "watch")])
def test_docks_load_without_scipy(dock: str) -> None:
    # napari loads some of it itself: what it has not loaded, a dock does not load either
    code = (
        "import napari.layers, magicgui.widgets, superqt\n"
        f"slow = [m for m in {SLOW!r} if m not in sys.modules]; assert len(slow) >= 4, slow\n"
        f"import napari_atomlens.widgets.{dock}\n"
        "print(json.dumps([m for m in slow if m in sys.modules]))"
    )
    assert fresh(code) == []


def test_the_first_use_loads_nothing_where_nothing_was_left() -> None:
    code = (
        "import os; os.environ['ATOMLENS_AUTOSAVE'] = 'nowhere'\n"
        "from napari_atomlens.widgets.first_use import on_activate; on_activate(None)\n"
    )
    assert fresh(code + LOADED) == []


def test_asking_the_reader_loads_no_pandas() -> None:
    # napari asks every reader before it opens a file
    code = (
        "from napari_atomlens.widgets.open_save.chooser import get_reader\n"
        "from napari_atomlens.widgets.open_save.reader import get_atoms_reader\n"
        "get_reader('nothing.txt'), get_reader('a.tif'), get_atoms_reader('nothing.png')\n"
    )
    assert not {"torch", "pandas", "scipy", "napari", "qtpy"} & set(fresh(code + LOADED))
