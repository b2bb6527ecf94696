"""``atomlens silicon``: scans in; dimers, defects, steps, classes and verdicts out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon

pytestmark = pytest.mark.needs_model
PIXEL = 0.09


def scan(seed: int, **settings: float) -> np.ndarray:
    params = SiliconParams(
        size_px=192, pixel_size_nm=PIXEL, row_angle_rad=0.5, seed=2**33 + seed, **settings
    )
    return simulate_silicon(params).image.astype(np.float32)


def test_a_scan_equals_the_function_of_python(tmp_path: Path) -> None:
    image, out = scan(31, defects_per_nm2=0.12), tmp_path / "out"
    np.save(tmp_path / "a.npy", image)
    done = run("silicon", tmp_path / "a.npy", "--pixel-size", PIXEL, "--min-probability", "0.4",
               "--smallest", "1", "--out", out)  # fmt: skip
    assert {p.name for p in out.iterdir()} == {
        "atoms.csv", "defects.csv", "steps.csv", "groups.csv", "summary.json"
    }  # fmt: skip
    expected = al.analyze_silicon(image, PIXEL, al.SiliconAnalysisParams(min_probability=0.4))
    atoms, defects = pd.read_csv(out / "atoms.csv"), pd.read_csv(out / "defects.csv")
    assert len(atoms) == len(expected.atoms) > 100
    np.testing.assert_allclose(atoms["y_px"], expected.atoms["y_px"])
    assert defects["kind"].tolist() == expected.defects["kind"].tolist() and len(defects) > 10
    groups = pd.read_csv(out / "groups.csv")
    assert groups["count"].sum() == (defects["group"] >= 0).sum() > 0
    summary = json.loads((out / "summary.json").read_text())
    (frame,) = summary["frames"]
    assert frame["verdict"]["score"] == pytest.approx(expected.verdict.score)
    assert frame["dimers"] == len(atoms) and sum(frame["defects"].values()) == len(defects)
    assert summary["parameters"]["min_probability"] == 0.4
    assert summary["parameters"]["groups"]["smallest"] == 1
    steps = len(pd.read_csv(out / "steps.csv"))
    assert steps == len(expected.terraces.edges)
    assert f"{len(atoms)} dimers, {len(defects)} defects, {steps} steps in 1 frame" in done.stdout


def test_frames_of_a_movie_keep_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([scan(41), scan(42), scan(43)]))
    out = tmp_path / "out"
    done = run("silicon", tmp_path / "a.npy", "--pixel-size", PIXEL, "--frames", "0,2",
               "--out", out)  # fmt: skip
    atoms = pd.read_csv(out / "atoms.csv")
    assert set(atoms["frame"]) == {0, 2} and "in 2 frames" in done.stdout
    assert atoms["atom_id"].is_unique
    assert (atoms["atom_id"] // tables.IDS_PER_FRAME).equals(atoms["frame"])
    summary = json.loads((out / "summary.json").read_text())
    assert [f["frame"] for f in summary["frames"]] == [0, 2]
    done = run("silicon", tmp_path / "a.npy", "--pixel-size", PIXEL, "--frames", "3", code=2)
    assert done.stderr == "Frame 3 does not exist; the scan has 3 frames.\n"


def test_too_few_defects_for_classes_are_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", scan(51, defects_per_nm2=0.0))
    out = tmp_path / "out"
    done = run("silicon", tmp_path / "a.npy", "--pixel-size", PIXEL, "--out", out)
    assert "at least four defects" in done.stderr
    assert {p.name for p in out.iterdir()} >= {"atoms.csv", "defects.csv", "summary.json"}
    assert not (out / "groups.csv").exists()
