"""Tracks and dumbbells of a result: made when asked for, kept, and written by the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.io.export.tables import write_tables
from napari_atomlens.runs.result import Result, load
from napari_atomlens.simulation import movies


def result(atoms: pd.DataFrame) -> Result:
    return Result(
        atoms=atoms, contours=tables.empty("contours"), outlines={},
        probabilities=np.zeros((1, 2, 8, 8), np.float16),
        unfamiliar=np.zeros((1, 8, 8), np.float16), classes=("background", "column"),
        frames=[0], provenance={"pixel_size_nm": (0.0136, 0.0136)},
    )  # fmt: skip


def atoms() -> pd.DataFrame:
    movie = movies.silicon_110(128, 5, render=False, seed=1)
    t = movie.truth
    both = pd.concat(
        [
            pd.DataFrame(
                {"frame": t["frame"], "id": t["id"], "y_px": t[f"{e}y_px"], "x_px": t[f"{e}x_px"]}
            )
            for e in "ab"
        ]
    )
    found = movies.detections(both, 128, np.random.default_rng(0), jitter_px=0.1, false=0)
    known = {c: found[c].to_numpy() for c in found if c != "id"}
    return tables.make("atoms", known | {"fit_ok": True}, len(found))


def test_tables_are_made_once_and_survive_a_save(tmp_path: Path) -> None:
    first = result(atoms())
    assert "tracks" not in vars(first)
    assert first.tracks is first.tracks and first.dumbbells is first.dumbbells
    assert list(first.tracks.columns[: len(tables.TRACKS)]) == list(tables.TRACKS)
    assert np.nanmedian(first.dumbbells["length_nm"]) * 1000 == np.clip(
        np.nanmedian(first.dumbbells["length_nm"]) * 1000, 134, 138
    )
    assert set(first.dumbbells["atom_a"]) <= set(first.atoms["atom_id"])
    again = load(first.save(tmp_path / "movie"))
    pd.testing.assert_frame_equal(again.tracks, first.tracks)
    pd.testing.assert_frame_equal(again.dumbbells, first.dumbbells)


def test_the_command_line_writes_them(tmp_path: Path) -> None:
    names = [p.name for p in write_tables(result(atoms()), tmp_path)]
    assert {"tracks.csv", "dumbbells.csv"} <= set(names)
    assert pd.read_csv(tmp_path / "tracks.csv")["track_id"].nunique() > 40
    empty = write_tables(result(tables.empty("atoms")), tmp_path / "empty")
    assert "dumbbells.csv" in [p.name for p in empty]
    assert list(pd.read_csv(tmp_path / "empty" / "dumbbells.csv")) == list(
        result(tables.empty("atoms")).dumbbells
    )
