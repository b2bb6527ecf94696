"""One reader of atoms: files of every kind, projects of every version, folders of results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import FormatError, TableError
from napari_atomlens.io.projects.atoms import holds_atoms, in_pixels, pixel_size_in, read_atoms


def atoms(n: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    y, x = rng.uniform(5, 90, (2, n))
    return tables.make(
        "atoms",
        {"frame": 2, "atom_id": np.arange(n), "y_px": y, "x_px": x, "y_nm": y * 0.1,
         "x_nm": x * 0.2, "species": "Si"}, n,
    )  # fmt: skip


def result() -> al.Result:
    none = np.zeros((0, 0, 0), np.float16)
    return al.Result(atoms(), tables.empty("contours"), {}, none[None], none, (), [], {}, [], {})


@pytest.mark.parametrize("kind", ["csv", "parquet", "xyz", "atomlens"])
def test_what_was_written_is_read(kind: str, tmp_path: Path) -> None:
    if kind == "xyz":
        pytest.importorskip("ase")
    path = tmp_path / f"a.{kind}"
    path = result().save(path) if kind == "atomlens" else al.write_atoms(path, atoms())
    found = read_atoms(path)
    assert holds_atoms(path) and found["frame"].tolist() == [2] * 12
    assert found["species"].tolist() == ["Si"] * 12
    np.testing.assert_allclose(found[["y_nm", "x_nm"]], atoms()[["y_nm", "x_nm"]], atol=1e-6)


def test_a_table_without_frames_is_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("y_px,x_px\n1,2\n3,4\n")
    assert read_atoms(tmp_path / "a.csv")["frame"].tolist() == [0, 0]


def test_images_and_other_folders_hold_no_atoms(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 8)))
    assert not holds_atoms(tmp_path / "a.npy") and not holds_atoms(tmp_path)
    with pytest.raises(FormatError, match="not an AtomLens project"):
        read_atoms(tmp_path)
    with pytest.raises(FormatError, match="does not exist"):
        read_atoms(tmp_path / "b.atomlens")


def test_pixel_sizes_come_from_the_positions() -> None:
    assert pixel_size_in(atoms()) == pytest.approx((0.1, 0.2))
    assert pixel_size_in(atoms().drop(columns="y_nm")) is None
    assert pixel_size_in(atoms().assign(x_nm=np.nan)) is None


def test_positions_in_pixels() -> None:
    given = atoms()
    assert in_pixels(given, None) is given
    bare = given.drop(columns=["y_px", "x_px"])
    found = in_pixels(bare, (0.1, 0.2))
    np.testing.assert_allclose(found[["y_px", "x_px"]], given[["y_px", "x_px"]])
    with pytest.raises(TableError, match="pixel size must be given"):
        in_pixels(bare, None)
