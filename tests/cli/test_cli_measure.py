"""``atomlens measure``: atoms or an image in; tables of the lattice and what made them out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

import napari_atomlens as al
from napari_atomlens import tables

SIZE = 0.02


def lattice_of(frames: int = 1, missing: int = 44) -> pd.DataFrame:
    """A square lattice of 100 sites, one of them vacant."""
    y, x = (10.0 * (g.ravel() + 1) for g in np.mgrid[:10, :10])
    y, x = np.delete(y, missing), np.delete(x, missing)
    one = {"y_px": y, "x_px": x, "y_nm": y * SIZE, "x_nm": x * SIZE, "species": "C",
           "probability": 0.9, "amplitude": 1.0}  # fmt: skip
    parts = [
        tables.make("atoms", {**one, "frame": f, "atom_id": np.arange(len(y)) + 10**7 * f}, len(y))
        for f in range(frames)
    ]
    return pd.concat(parts, ignore_index=True)


def write(folder: Path, kind: str) -> Path:
    """Write the atoms as a file or a project."""
    atoms = lattice_of()
    if kind == ".atomlens":
        none = np.zeros((0, 0, 0), np.float16)
        result = al.Result(
            atoms, tables.empty("contours"), {}, none[None], none, (), [], {}, [], {}
        )
        return result.save(folder / "a.atomlens")
    if kind in (".xyz", ".cif"):
        pytest.importorskip("ase")
    return al.write_atoms(folder / f"a{kind}", atoms)


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".xyz", ".cif", ".atomlens"])
def test_tables_of_every_kind(kind: str, tmp_path: Path) -> None:
    path, out = write(tmp_path, kind), tmp_path / "out"
    size = ("--pixel-size", SIZE) if kind in (".xyz", ".cif") else ()
    done = run("measure", path, *size, "--out", out)
    assert f"{path.name}: 99 atoms, 1 region (square), 1 vacant site -> {out}" in done.stdout
    found = {p.name for p in out.iterdir()}
    assert found == {"atoms.csv", "lattices.csv", "sublattices.csv", "distances.csv",
                     "provenance.json"}  # fmt: skip
    lattices = pd.read_csv(out / "lattices.csv")
    assert lattices["a_px"][0] == pytest.approx(10, abs=1e-3)
    assert lattices["a_nm"][0] == pytest.approx(10 * SIZE, abs=1e-4)
    record = json.loads((out / "provenance.json").read_text())
    assert record["atoms"] == path.name and record["lattice"]["min_atoms"] == 12
    if kind == ".csv":
        expected = al.measure_lattice(lattice_of(), pixel_size_nm=SIZE)
        atoms = pd.read_csv(out / "atoms.csv")
        np.testing.assert_allclose(atoms["y_px"], expected.atoms["y_px"])
        np.testing.assert_allclose(atoms["exx"], expected.atoms["exx"], atol=1e-9)


def test_options_reach_the_measurement(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lattice_of(frames=3).to_csv(path, index=False)
    out = tmp_path / "out"
    run("measure", path, "--frames", "1-2", "--no-vacancies", "--strain-window", "2.5",
        "--reference", "5,5,60,60", "--pixel-size", "0.1", "--out", out)  # fmt: skip
    record = json.loads((out / "provenance.json").read_text())["lattice"]
    assert record["reference"] == [[5, 5], [5, 60], [60, 60], [60, 5]] or record["reference"] == [
        5.0, 5.0, 60.0, 60.0
    ]  # fmt: skip
    assert record["strain_window"] == 2.5 and record["vacancies"] is False
    atoms = pd.read_csv(out / "atoms.csv")
    assert set(atoms["frame"]) == {1, 2} and not (atoms["source"] == "lattice").any()
    assert pd.read_csv(out / "lattices.csv")["a_nm"].tolist() == pytest.approx([1.0, 1.0])


def test_each_input_has_a_folder_and_one_that_is_damaged_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lattice_of().to_csv("a.csv", index=False)
    (tmp_path / "b.csv").write_text("one,two\n1,2\n")
    done = run("measure", "b.csv", "a.csv", code=2)
    assert done.stderr.startswith("b.csv: b.csv holds no positions: it needs columns x and y")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "a_lattice" / "lattices.csv").exists()
    assert not (tmp_path / "b_lattice").exists()


def test_what_has_no_lattice_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.uniform(0, 90, (20, 2)), columns=["y_px", "x_px"]).to_csv(path, index=False)
    done = run("measure", path, "--out", tmp_path / "out")
    assert "20 atoms, 0 regions (none), 0 vacant sites" in done.stdout
    assert "a.csv: No lattice was found" in done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "lattices.csv")) == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--reference", "1,2,3"], "reference"),
        (["--reference", "a,b,c,d"], "reference"),
        (["--frames", "x"], "frames"),
        (["--reference", "0,0,3,3"], "too few atoms"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], word: str, tmp_path: Path) -> None:
    lattice_of().to_csv(tmp_path / "a.csv", index=False)
    done = run("measure", tmp_path / "a.csv", *options, "--out", tmp_path / "out", code=2)
    assert len(done.stderr.splitlines()) == 1 and word in done.stderr
    assert not (tmp_path / "out").exists()


def test_atoms_in_nm_need_a_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lattice_of()[["y_nm", "x_nm"]].to_csv(path, index=False)
    done = run("measure", path, "--out", tmp_path / "out", code=2)
    assert done.stderr == "The atoms are in nm only; the pixel size must be given.\n"


@pytest.mark.needs_model
def test_an_image_is_analysed_first(tmp_path: Path) -> None:
    image, _ = al.simulate("square", (128, 128), 10.0, counts=3000, seed=3)
    np.save(tmp_path / "a.npy", image)
    out = tmp_path / "out"
    done = run("measure", tmp_path / "a.npy", "--pixel-size", SIZE, "--min-probability", "0.6",
               "--out", out)  # fmt: skip
    assert "(square)" in done.stdout
    record = json.loads((out / "provenance.json").read_text())
    assert record["parameters"]["min_probability"] == 0.6
    assert record["parameters"]["contours"] is False
    assert record["lattice"]["pixel_size_nm"] == [SIZE, SIZE]
    assert pd.read_csv(out / "lattices.csv")["nearest_nm"][0] == pytest.approx(0.2, rel=0.02)
