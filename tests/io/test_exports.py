"""Atoms for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_atomlens import tables
from napari_atomlens.errors import FormatError, TableError
from napari_atomlens.io.exports import atomai_coordinates, write_atoms_xyz, xyz_text


def atoms() -> pd.DataFrame:
    return tables.make(
        "atoms",
        {"frame": [0, 0, 1], "atom_id": [0, 1, 9], "y_px": [1.0, 2.0, 3.0],
         "x_px": [4.0, 5.0, 6.0], "species": ["Si", "bright column", ""], "probability": 0.5},
        3,
    )  # fmt: skip


def test_extended_xyz() -> None:
    lines = xyz_text(atoms(), (0.1, 0.2)).splitlines()
    assert [lines[0], lines[4]] == ["2", "1"]
    assert "pos:R:3:atom_id:I:1" in lines[1] and "unit=angstrom" in lines[1]
    assert lines[2].split()[:5] == ["Si", "8.000000", "-1.000000", "0.0", "0"]
    assert lines[3].startswith("bright_column ") and lines[6].startswith("X ")
    assert "unit=pixel" in xyz_text(atoms())
    assert xyz_text(tables.empty("atoms")) == ""
    with pytest.raises(TableError):
        xyz_text(pd.DataFrame({"a": [1]}))


def test_ase_reads_it(tmp_path: Path) -> None:
    ase_io = pytest.importorskip("ase.io")
    (path,) = write_atoms_xyz(
        tmp_path / "a", atoms()[["frame", "y_px", "x_px"]].to_numpy(),
        {"features": atoms().assign(species="Si"), "scale": (1, 0.1, 0.2),
         "units": ("pixel", "nm", "nm")},
    )  # fmt: skip
    frames = ase_io.read(path, index=":")
    assert [len(f) for f in frames] == [2, 1]
    np.testing.assert_allclose(frames[0].positions[0], [8, -1, 0])
    assert frames[0].arrays["atom_id"].tolist() == [0, 1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="could not be written"):
        write_atoms_xyz(tmp_path / "no" / "a.xyz", np.zeros((0, 2)), {})


def test_arrays_of_atomai() -> None:
    found = atomai_coordinates(atoms())
    assert sorted(found) == [0, 1]
    np.testing.assert_array_equal(found[0], [[1, 4, 1], [2, 5, 2]])
    with pytest.raises(TableError):
        atomai_coordinates(pd.DataFrame({"a": [1]}))
