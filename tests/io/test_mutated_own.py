"""What our own writers and zarr wrote, damaged anywhere: a right table, an image, or one sentence.

``fuzz.py`` mutates the formats of images in processes of their own; here are those that are folders
or tables, in this process, each within five seconds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from fuzz import mutate

import napari_atomlens as al
from napari_atomlens.graphs.library import entries_of
from napari_atomlens.io.projects.window import SavedLayer, read_window, write_window

LIMIT_S = 5.0
IMAGE, TRUTH = al.simulate("honeycomb", (64, 64), 10.0, dopants=0.05, seed=1)
ATOMS = TRUTH.atoms().assign(y_nm=TRUTH.y / 50, x_nm=TRUTH.x / 50)


def _table(kind: str) -> Callable[[Path], Path]:
    return lambda folder: al.write_atoms(folder / f"a.{kind}", ATOMS)


def _window(folder: Path) -> Path:
    made = folder / "a.atomlens"
    made.mkdir()
    layers = [
        SavedLayer(IMAGE.astype(np.float32), {"name": "scan"}, "image"),
        SavedLayer(np.zeros((99, 2)), {"name": "atoms", "features": ATOMS}, "points"),
    ]
    write_window(made, layers, {"seen": list(range(100))})
    return made


def _project(folder: Path) -> Path:
    return al.analyze(IMAGE, spacing_px=10.0).save(folder / "a")


def _zarr(folder: Path) -> Path:
    root = zarr.open_group(folder / "a.zarr", mode="w")
    array = root.create_array("frame", shape=(3, 64, 64), chunks=(1, 64, 64), dtype="f4")
    array[:] = np.broadcast_to(IMAGE, (3, 64, 64))
    root.attrs["pixel_size_nm"] = [0.02, 0.02]
    return folder / "a.zarr"


def _library(folder: Path) -> Path:
    graph = al.bond(ATOMS, "graphene-si")
    with al.DefectLibrary(folder / "a.defects") as found:
        found.add(entries_of(graph, al.find_defects(graph).iloc[:2], IMAGE))
    return folder / "a.defects"


def _rules(folder: Path) -> Path:
    return al.preset("graphene-si").save(folder / "a.toml")


def look_into(path: Path) -> None:
    with al.DefectLibrary(path) as found:
        for number in found.table()["id"]:
            found.similar(found.get(number))


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object], int]] = {
    "csv": (_table("csv"), al.read_atoms, 60), "parquet": (_table("parquet"), al.read_atoms, 60),
    "xyz": (_table("xyz"), al.read_atoms, 30), "cif": (_table("cif"), al.read_atoms, 30),
    "window": (_window, read_window, 40), "project": (_project, al.load, 16),
    "zarr": (_zarr, al.read, 60), "library": (_library, look_into, 30),
    "rules": (_rules, al.Rules.load, 60),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_of_our_own(tmp_path: Path, kind: str) -> None:
    make, look, times = KINDS[kind]
    if kind in ("xyz", "cif"):
        pytest.importorskip("ase")
    whole = make(tmp_path)
    look(whole)
    rng = np.random.default_rng(sum(kind.encode()))
    spare = tmp_path / "spare"
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, spare)
    for k in range(times):
        if whole.is_dir():
            shutil.rmtree(whole)
            shutil.copytree(spare, whole)
            files = sorted(p for p in whole.rglob("*") if p.is_file())
            target = files[k % len(files)]
        else:
            target = whole
            shutil.copy(spare, whole)
        target.write_bytes(mutate(target.read_bytes() or b"\0", rng))
        begun = time.monotonic()
        try:
            found = look(whole)
        except al.AtomLensError as error:
            assert "\n" not in str(error) and len(str(error)) < 500, str(error)
        else:
            if isinstance(found, pd.DataFrame):
                assert {"y_px", "x_px"} <= set(found) or {"y_nm", "x_nm"} <= set(found)
        assert time.monotonic() - begun < LIMIT_S, (kind, k, target.name)
