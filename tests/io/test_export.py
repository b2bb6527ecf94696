"""Round trips: what goes to another program comes back where it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_atomlens import tables
from napari_atomlens.errors import FormatError, TableError
from napari_atomlens.io.export import graphs, structures
from napari_atomlens.io.export.structures import write_atoms
from napari_atomlens.io.formats.atoms import from_ase
from napari_atomlens.io.projects.atoms import read_atoms
from napari_atomlens.widgets.open_save.reader import get_atoms_reader
from napari_atomlens.widgets.open_save.writer import (
    write_atoms_csv,
    write_atoms_parquet,
    write_atoms_structure,
)

SIZE = (0.0123, 0.0217)
#: An interpreter that has HyperSpy and Atomap, which our own environment need not have.
PEERS = os.environ.get("ATOMLENS_PEERS_PYTHON", "")


def atoms(n: int = 40, frames: int = 2, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, 500, (2, n * frames))
    return tables.make(
        "atoms",
        {
            "frame": np.repeat(np.arange(frames), n),
            "atom_id": np.arange(n * frames) % n + np.repeat(np.arange(frames), n) * 10_000_000,
            "y_px": y, "x_px": x, "y_nm": y * SIZE[0], "x_nm": x * SIZE[1],
            "species": rng.choice(["Si", "C", "bright column"], n * frames),
            "probability": rng.random(n * frames),
        },
        n * frames,
    )  # fmt: skip


def same(found: pd.DataFrame, expected: pd.DataFrame, nm: float = 1e-9) -> None:
    assert len(found) == len(expected)
    for column in ("y_nm", "x_nm"):
        np.testing.assert_allclose(found[column], expected[column], atol=nm, rtol=0)
    for column in ("frame", "atom_id", "species"):
        assert found[column].tolist() == expected[column].tolist()


@pytest.mark.parametrize("extension", [".csv", ".parquet", ".xyz", ".extxyz"])
def test_files(tmp_path: Path, extension: str) -> None:
    table = atoms()
    if "xyz" in extension:
        pytest.importorskip("ase")
        path = write_atoms(tmp_path / f"a{extension}", table, pixel_size_nm=SIZE)
    else:
        path = write_atoms(tmp_path / f"a{extension}", table)
    found = read_atoms(path)
    same(found, table, nm=1e-6)
    np.testing.assert_allclose(found["y_px"], table["y_px"], atol=1e-4)
    np.testing.assert_allclose(found["probability"], table["probability"], atol=1e-6)
    if extension in (".csv", ".parquet"):
        pd.testing.assert_frame_equal(found[table.columns], table, check_exact=True)


def test_cif(tmp_path: Path) -> None:
    ase = pytest.importorskip("ase.io")
    table = atoms(frames=1)
    path = write_atoms(tmp_path / "a.cif", table, elements={"bright column": "W"}, size_nm=(7, 11))
    found = ase.read(path)
    assert found.cell.lengths() == pytest.approx([110, 70, 10])
    assert set(found.get_chemical_symbols()) == {"Si", "C", "W"}
    back = read_atoms(path)
    np.testing.assert_allclose(back[["y_nm", "x_nm"]], table[["y_nm", "x_nm"]], atol=2e-6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=1, max_size=20),
    st.tuples(st.floats(1e-3, 1), st.floats(1e-3, 1)),
)
def test_ase(places: list[tuple[float, float]], size: tuple[float, float]) -> None:
    pytest.importorskip("ase")
    y, x = np.array(places).T
    table = tables.make("atoms", {"frame": 3, "y_px": y, "x_px": x, "species": "Si"}, len(y))
    (structure,) = structures.to_ase(table, pixel_size_nm=size)
    found = from_ase([structure])
    np.testing.assert_allclose(found["y_nm"], y * size[0], atol=1e-8)
    np.testing.assert_allclose(found["x_px"], x, atol=1e-6)
    assert set(found["species"]) == {"Si"} and set(found["frame"]) == {3}
    # nothing is mirrored: up in the image is up in the structure
    assert structure.positions[np.argmin(y), 1] == structure.positions[:, 1].max()


def layer_attributes(table: pd.DataFrame) -> dict[str, Any]:
    return {"features": table, "scale": [1, *SIZE], "units": ("pixel", "nm", "nm")}


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_atoms_csv, "a.csv"), (write_atoms_parquet, "a.parquet"),
     (write_atoms_structure, "a.extxyz")],
)  # fmt: skip
def test_napari_to_file_to_napari(tmp_path: Path, write: Any, name: str) -> None:
    if name.endswith("xyz"):
        pytest.importorskip("ase")
    table = atoms()
    data = table[["frame", "y_px", "x_px"]].to_numpy()
    (path,) = write(tmp_path / name, data, layer_attributes(table))
    reader = get_atoms_reader(path)
    assert reader is not None
    ((found, keywords, kind),) = reader(path)
    assert kind == "points"
    np.testing.assert_allclose(found[:, 0], data[:, 0])
    np.testing.assert_allclose((found * keywords["scale"])[:, 1:], data[:, 1:] * SIZE, atol=1e-6)
    assert list(keywords["features"]["species"]) == list(table["species"])
    assert keywords["units"][-2:] == ["nm", "nm"]


def test_other_tables_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("site,energy_eV,remark\n0,1.5,on gold\n")
    assert get_atoms_reader(tmp_path / "a.csv") is None
    assert get_atoms_reader(tmp_path / "missing.csv") is None


def test_atomai() -> None:
    found = structures.to_atomai(atoms(5, 2))
    table = atoms(5, 2)
    assert sorted(found) == [0, 1] and found[1].shape == (5, 3)
    np.testing.assert_array_equal(found[1][:, :2], table[["y_px", "x_px"]].to_numpy()[5:])
    order = ["C", "Si", "bright column"]
    assert [order[int(k)] for k in found[0][:, 2]] == table["species"].tolist()[:5]


def test_graphml(tmp_path: Path) -> None:
    table = atoms(4, 1)
    bonds = pd.DataFrame({"frame": 0, "atom_a": [0, 1], "atom_b": [1, 3], "length_px": [1.5, 2.5]})
    path = graphs.write_graphml(tmp_path / "a.graphml", table, bonds)
    graph = nx.read_graphml(path, node_type=int)
    assert sorted(map(sorted, graph.edges)) == [[0, 1], [1, 3]]
    assert graph.nodes[3]["species"] == table["species"][3]
    assert graph.nodes[2]["y_px"] == pytest.approx(table["y_px"][2])
    assert graph.edges[1, 3]["length_px"] == 2.5
    with pytest.raises(TableError, match="1 atoms of the bonds"):
        graphs.to_graph(table, bonds.assign(atom_b=[1, 99]))


def test_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = atoms().drop(columns=["y_nm", "x_nm"])
    with pytest.raises(TableError, match="pixel size is not known"):
        structures.to_ase(bare)
    with pytest.raises(TableError, match="no column y_px, x_px"):
        structures.to_atomai(pd.DataFrame({"a": [1]}))
    with pytest.raises(TableError, match="no position"):
        structures.to_atomai(atoms().assign(y_px=np.nan))
    with pytest.raises(FormatError, match=r"cannot be written as \.doc"):
        write_atoms(tmp_path / "a.doc", bare)
    with pytest.raises(FormatError, match="could not be written"):
        write_atoms(tmp_path / "no" / "a.csv", bare)
    with pytest.raises(FormatError, match="does not exist"):
        read_atoms(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(FormatError, match="could not be read"):
        read_atoms(tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="holds no positions"):
        read_atoms(tmp_path / "b.csv")
    for name in ("hyperspy.api", "atomap.api", "ase"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (
        lambda: structures.to_hyperspy(np.zeros((9, 9)), atoms(3, 1)),
        lambda: structures.to_atomap(np.zeros((9, 9)), atoms(3, 1)),
        lambda: structures.to_ase(atoms(3, 1)),
    ):
        with pytest.raises(FormatError, match="pip install"):
            call()


PEER_CODE = """
import sys, numpy as np, pandas as pd, hyperspy.api as hs
from napari_atomlens.io.export import graphs, structures
table = pd.read_csv(sys.argv[1])
size = (0.0123, 0.0123)
signal = structures.to_hyperspy(np.zeros((2, 500, 500)), table, size)
signal.save(sys.argv[2])
back = hs.load(sys.argv[2])
assert back.axes_manager.signal_axes[0].units == "nm"
(marker,) = [m for _, m in back.metadata.Markers]
got = np.concatenate([np.asarray(o) for o in marker.kwargs["offsets"]])
assert np.abs(got - table[["x_px", "y_px"]].to_numpy() * 0.0123).max() < 1e-6
one = table[table["frame"] == 0]
lattice = structures.to_atomap(np.random.default_rng(0).random((500, 500)), one, size)
for sub in lattice.sublattice_list:
    here = one[one["species"] == sub.name]
    assert np.abs(np.asarray(sub.atom_positions) - here[["x_px", "y_px"]].to_numpy()).max() < 1e-6
    assert sub.pixel_size == 0.0123
print(len(lattice.sublattice_list), "sublattices")
"""


@pytest.mark.skipif(not PEERS, reason="ATOMLENS_PEERS_PYTHON names no interpreter with HyperSpy")
def test_hyperspy_and_atomap(tmp_path: Path) -> None:
    write_atoms(tmp_path / "a.csv", atoms())
    source = str(Path(structures.__file__).parents[3])
    done = subprocess.run(
        [PEERS, "-c", PEER_CODE, str(tmp_path / "a.csv"), str(tmp_path / "a.hspy")],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "3 sublattices" in done.stdout
