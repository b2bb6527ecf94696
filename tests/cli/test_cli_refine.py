"""``atomlens refine``: positions of another program on the pixels of an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from command import run

import napari_atomlens as al


def test_refine_writes_the_atoms_and_where_they_come_from(tmp_path: Path) -> None:
    image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    atoms = al.analyze(image, spacing_px=10.0, model="universal").atoms
    np.save(tmp_path / "image.npy", image)
    one_based = np.round(atoms[["x_px", "y_px"]].to_numpy()) + 1
    np.savetxt(tmp_path / "guess.txt", one_based)
    done = run(
        "refine", tmp_path / "image.npy", tmp_path / "guess.txt", "--first-pixel", 1,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert f"of {len(atoms)} positions refined" in done.output
    found = pd.read_csv(tmp_path / "out" / "atoms.csv")
    off = found[["y_px", "x_px"]].to_numpy() - atoms[["y_px", "x_px"]].to_numpy()
    assert np.median(np.hypot(*off.T)) < 0.05
    note = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert note["atoms"] == "guess.txt" and note["positions"]["first_pixel"] == 1


def test_refine_says_what_is_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.eye(64, dtype=np.float32))
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    done = run(
        "refine", tmp_path / "image.npy", tmp_path / "a.csv", "--out", tmp_path / "o", code=2
    )
    assert "needs columns x and y" in done.output
