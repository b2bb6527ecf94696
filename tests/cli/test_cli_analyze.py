"""``atomlens analyze``: what reaches the analysis, what is written, what is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import run

from napari_atomlens import __version__, tables
from napari_atomlens.errors import ImageError
from napari_atomlens.io.export.tables import write_tables
from napari_atomlens.runs import analysis
from napari_atomlens.runs.params import AnalysisParams


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a quick analysis in place of the real one; returns how it was called."""
    seen: list[dict[str, Any]] = []

    def stand_in(source: str, **settings: Any) -> SimpleNamespace:
        seen.append({"source": source, **settings})
        if Path(source).name.startswith("bad"):
            raise ImageError("The image is empty.")
        atoms = tables.make("atoms", {"frame": [0, 0, 1], "atom_id": [0, 1, 2]}, 3)
        return SimpleNamespace(
            atoms=atoms,
            contours=tables.empty("contours"),
            provenance={},
            record=lambda: {"version": __version__, "model": np.float32(1.5)},
            messages=["Look at the left edge."],
            seconds={"network": 3.0, "atoms": 1.0},
        )

    monkeypatch.setattr(analysis, "analyze", stand_in)
    return seen


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.npy"
    np.save(path, np.zeros((8, 8), np.float32))
    return path


def test_defaults_are_those_of_the_dataclass(calls: list, image: Path, tmp_path: Path) -> None:
    run("analyze", image, "--out", tmp_path / "out")
    (call,) = calls
    assert call["source"] == str(image)
    assert call["params"] == AnalysisParams()
    assert call["pixel_size_nm"] is None
    assert call["frames"] is None


def test_options_reach_the_analysis(calls: list, image: Path, tmp_path: Path) -> None:
    run(
        *("analyze", image, "--model", "mine", "--spacing", "12.5", "--min-probability", "0.7"),
        *(
            "--refine",
            "off",
            "--pixel-size",
            "0.02",
            "--frames",
            "0,3-5",
            "--out",
            tmp_path / "out",
        ),
    )
    (call,) = calls
    assert call["params"] == AnalysisParams(
        model="mine", spacing_px=12.5, min_probability=0.7, refine="off"
    )
    assert call["pixel_size_nm"] == (0.02, 0.02)
    assert call["frames"] == [0, 3, 4, 5]


def test_files_of_one_input(calls: list, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("analyze", image, "--out", out)
    assert "3 atoms in 2 frames" in done.stdout
    assert "Look at the left edge." in done.stderr
    assert {p.name for p in out.iterdir()} == {"atoms.csv", "contours.csv", "provenance.json"}
    assert list(pd.read_csv(out / "atoms.csv").columns) == list(tables.ATOMS)
    assert list(pd.read_csv(out / "contours.csv").columns) == list(tables.CONTOURS)
    assert json.loads((out / "provenance.json").read_text())["version"] == __version__


def test_later_tables_are_written_where_there_are_any(tmp_path: Path) -> None:
    result = SimpleNamespace(
        atoms=tables.empty("atoms"),
        contours=tables.empty("contours"),
        bonds=pd.DataFrame({"frame": [0], "atom_a": [0], "atom_b": [1]}),
        tracks=None,
        record=dict,
    )
    out = tmp_path / "deep" / "out"
    names = [p.name for p in write_tables(result, out)]
    assert names == ["atoms.csv", "contours.csv", "bonds.csv", "provenance.json"]


def test_bonds_and_defects_are_written(tmp_path: Path) -> None:
    from napari_atomlens.runs.result import Result
    from napari_atomlens.simulation.graphene_defects import graphene_sheet

    sheet = graphene_sheet((2.4, 2.4), [("Si1C3", (1.2, 1.2))])
    n = len(sheet.places_nm)
    atoms = tables.make(
        "atoms",
        {"frame": 0, "atom_id": range(n), "y_px": 100 * sheet.places_nm[:, 0],
         "x_px": 100 * sheet.places_nm[:, 1], "y_nm": sheet.places_nm[:, 0],
         "x_nm": sheet.places_nm[:, 1], "species": sheet.species},
        n,
    )  # fmt: skip
    empty = {"contours": tables.empty("contours"), "outlines": {}, "probabilities": None,
             "unfamiliar": None, "classes": (), "frames": [0]}  # fmt: skip
    result = Result(atoms=atoms, provenance={}, **empty)
    write_tables(result, tmp_path)
    bonds, defects = (pd.read_csv(tmp_path / f"{t}.csv") for t in ("bonds", "defects"))
    assert len(bonds) == len(sheet.bonds)
    assert defects["formula"].tolist() == ["Si1C3"]
    assert len(defects["atom_ids"][0].split()) == 4
    rules = json.loads((tmp_path / "provenance.json").read_text())["rules"]
    assert rules["name"] == "graphene-si"
    twice = atoms.head(2).assign(y_px=0.0, x_px=0.0, y_nm=float("nan"), x_nm=float("nan"))
    result = Result(atoms=twice, provenance={}, **empty)
    written = write_tables(result, tmp_path / "b")
    assert {"atoms.csv", "provenance.json"} <= {p.name for p in written}


def test_each_of_several_inputs_has_a_folder(calls: list, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "image.npy"
    other.parent.mkdir()
    other.write_bytes(image.read_bytes())
    run("analyze", image, other, "--out", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"image", "image-2"}


def test_without_out_the_folder_is_named_after_the_input(
    calls: list, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("analyze", image)
    assert (tmp_path / "image_atoms" / "atoms.csv").exists()


def test_verbose_prints_the_time_by_stage(calls: list, image: Path, tmp_path: Path) -> None:
    quiet = run("analyze", image, "--out", tmp_path / "a").stdout
    loud = run("analyze", image, "--out", tmp_path / "b", "--verbose").stdout
    assert "network" not in quiet
    assert "75.0%" in loud
    assert "sum of stages" in loud


def test_one_bad_input_does_not_cost_the_others(calls: list, image: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"")
    done = run("analyze", bad, image, "--out", tmp_path / "out", code=2)
    assert done.stderr.splitlines()[0] == "bad.npy: The image is empty."
    assert (tmp_path / "out" / "image" / "atoms.csv").exists()
    assert not (tmp_path / "out" / "bad").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.tif"], "missing.tif"),
        (["missing.tif", "--frames", "1-x"], "1-x"),
        (["missing.tif", "--pixel-size", "-1"], "pixel-size"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], word: str) -> None:
    done = run("analyze", *arguments, code=2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert word in done.stderr


def test_bounds_are_checked() -> None:
    assert "min-probability" in run("analyze", "a.tif", "--min-probability", 2, code=2).stderr


@pytest.mark.needs_model
def test_analyze_end_to_end(tmp_path: Path) -> None:
    """A clean honeycomb: every atom well inside is found, where it was drawn."""
    from scipy.spatial import cKDTree

    spacing, size = 10.0, 128
    a = spacing * np.sqrt(3)
    i, j = (g.ravel() for g in np.meshgrid(np.arange(-20, 20), np.arange(-20, 20)))
    cell = np.stack([i * a + j * a / 2, j * a * np.sqrt(3) / 2], 1)
    truth = np.concatenate([cell, cell + np.array([0, spacing])])[:, ::-1] + size / 2
    truth = truth[((truth > -5) & (truth < size + 5)).all(1)]
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for row, column in truth:
        image += np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 2.6**2))
    image = np.random.default_rng(7).poisson(100 * (image + 0.2)).astype(np.float32)
    np.save(tmp_path / "graphene.npy", image)

    out = tmp_path / "out"
    done = run("analyze", tmp_path / "graphene.npy", "--pixel-size", 0.0142, "--out", out, "-v")
    assert "sum of stages" in done.stdout
    atoms = pd.read_csv(out / "atoms.csv")
    found = atoms[["y_px", "x_px"]].to_numpy()
    inside = truth[((truth > 8) & (truth < size - 9)).all(1)]
    far = cKDTree(found).query(inside)[0]
    assert np.mean(far < spacing / 4) >= 0.98
    assert np.allclose(atoms["y_nm"], atoms["y_px"] * 0.0142)
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance


@pytest.mark.needs_model
def test_every_input_is_told_its_model_and_keeps_its_frames(tmp_path: Path) -> None:
    from napari_atomlens import simulate

    paths = [tmp_path / f"{k}.npy" for k in "ab"]
    for path in paths:
        image, _ = simulate("honeycomb", (96, 96), 10.0, counts=3000)
        np.save(path, np.stack([image, image]))
    done = run("analyze", *paths, "--frames", "1", "--out", tmp_path / "out")
    for path in paths:
        assert f"{path.name}: Model universal: the pixel size is unknown" in done.output
        atoms = pd.read_csv(tmp_path / "out" / path.stem / "atoms.csv")
        assert set(atoms["frame"]) == {1}


def test_report_and_movie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageio.v3 import imread

    def stand_in(source: str, **settings: Any) -> SimpleNamespace:
        atoms = tables.make(
            "atoms", {"frame": [1, 3, 3], "y_px": [9, 5, 20], "x_px": [9, 30, 8], "species": "C"}, 3
        )
        return SimpleNamespace(
            atoms=atoms, contours=tables.empty("contours"), frames=[1, 3], spacing_px=9.0,
            provenance={"pixel_size_nm": (0.1, 0.1)}, messages=[], seconds={}, record=dict,
        )  # fmt: skip

    monkeypatch.setattr(analysis, "analyze", stand_in)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((5, 30, 40)))
    out = tmp_path / "out"
    run("analyze", tmp_path / "a.npy", "--out", out, "--report", "--movie", "gif")
    assert imread(out / "movie.gif").shape[:3] == (2, 30, 40)
    assert (out / "report.html").read_text().count("<circle") == 1
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    done = run("analyze", tmp_path / "a.npy", "--out", tmp_path / "b", "--movie", "mp4", code=2)
    assert "imageio-ffmpeg" in done.output and (tmp_path / "b" / "atoms.csv").exists()
    done = run("analyze", tmp_path / "a.npy", "--movie", "avi", code=2)
    assert "gif or mp4" in done.output


def test_the_quality_of_the_atoms_is_one_line(
    monkeypatch: pytest.MonkeyPatch, image: Path, tmp_path: Path
) -> None:
    frames = [{"short_pairs": 0.02, "gaps": 0.0, "off_maximum": 0.0, "off_peak": g} for g in (0, 1)]

    def stand_in(source: str, **settings: Any) -> SimpleNamespace:
        record = {"quality": {str(k): f for k, f in enumerate(frames)}}
        return SimpleNamespace(
            atoms=tables.make("atoms", {"frame": [0, 1], "atom_id": [0, 1]}, 2),
            contours=tables.empty("contours"), provenance=record, record=lambda: record,
            messages=[], seconds={},
        )  # fmt: skip

    monkeypatch.setattr(analysis, "analyze", stand_in)
    out = run("analyze", image, "--out", tmp_path / "out").stdout
    line = next(one for one in out.splitlines() if "Quality" in one)
    assert line.startswith("image.npy: Quality: short pairs 2.0 %, gaps in the lattice 0.0 %,")
    assert line.endswith("maxima without an atom 50.0 %.")
