"""The defect library: round trips, search, many writers, a killed writer, migrations."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.graphs import library as lib
from napari_atomlens.graphs.library import DefectLibrary, Entry, entries_of
from napari_atomlens.io.export import graphs


@pytest.fixture(scope="module")
def entries(sheets: dict[str, Any], table: Callable[..., pd.DataFrame]) -> dict[str, Entry]:
    made = {}
    for name in ("Si1C3", "Si1C4", "Si3C6", "Stone-Wales"):
        graph = al.bond(table(sheets[name]), "graphene-si")
        image = np.random.default_rng(0).normal(5, 1, (260, 260))
        made[name] = entries_of(
            graph, al.find_defects(graph), image, source="film.dm4", tags=("mine",),
            provenance={"model": "universal"}, instrument={"kV": 60},
        )[0]  # fmt: skip
    return made


def test_an_entry_comes_back_as_it_was(entries: dict[str, Entry], tmp_path: Path) -> None:
    with DefectLibrary(tmp_path / "a.db") as library:
        (number,) = library.add([entries["Si3C6"]])
        back = library.get(number)
        assert len(library) == 1 and library.version == len(lib.MIGRATIONS)
        one = entries["Si3C6"]
        assert back.formula == "Si3C6" and back.species == one.species
        np.testing.assert_allclose(back.places_nm, one.places_nm, atol=1e-6)
        np.testing.assert_array_equal(back.pairs, one.pairs)
        assert one.patch is not None and back.patch is not None
        np.testing.assert_allclose(back.patch, one.patch, atol=0.002 * np.ptp(one.patch))
        assert back.instrument == {"kV": 60} and back.provenance == {"model": "universal"}
        assert back.tags == ("mine",) and len(back.uid) == 32
        library.annotate(number, notes="by the edge", tags=["a", "b"])
        library.set_property(number, "energy", -1.5, unit="eV", method="DFT")
        again = library.get(number)
        assert again.notes == "by the edge" and again.tags == ("a", "b")
        assert again.properties == {"energy": -1.5}
        library.remove([number])
        assert len(library) == 0
        for call in (library.get, lambda n: library.annotate(n, notes="x")):
            with pytest.raises(ParameterError, match="no defect"):
                call(number)
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]  # one file to share


def test_searches(entries: dict[str, Entry], tmp_path: Path) -> None:
    with DefectLibrary(tmp_path / "a.db") as library:
        ids = library.add([entries[n] for n in ("Si1C3", "Si1C4", "Si3C6", "Stone-Wales", "Si1C3")])
        assert library.table(formula="Si1C3")["id"].tolist() == [ids[4], ids[0]]
        assert set(library.table(formula="Si1*")["formula"]) == {"Si1C3", "Si1C4"}
        assert library.table(kind="Stone-Wales")["id"].tolist() == [ids[3]]
        assert len(library.table(tag="mine")) == 5 and len(library.table(tag="no")) == 0
        assert len(library.table(text="FILM")) == 5
        assert library.formulas().iloc[0].tolist() == ["Si1C3", 2]
        dimer = nx.Graph([(0, 1)])
        nx.set_node_attributes(dimer, "Si", "species")
        assert library.with_subgraph(dimer) == [ids[2]]
        star = nx.star_graph(4)
        nx.set_node_attributes(star, {0: "Si"}, "species")
        assert library.with_subgraph(star) == [ids[2], ids[1]]  # four bonds at one Si
        near = library.similar(library.get(ids[0]), 3)
        assert near["id"][0] == ids[4] and near["distance"][0] < 1e-3
        assert near["formula"].tolist()[:2] == ["Si1C3", "Si1C4"]


def test_the_descriptor_does_not_see_rotation_mirror_or_order(entries: dict[str, Entry]) -> None:
    one = entries["Si3C6"]
    rng = np.random.default_rng(3)
    order = rng.permutation(len(one.species))
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]]) @ np.diag([1, -1])
    other = lib.descriptor(
        [one.species[i] for i in order], (one.places_nm @ turn)[order], np.argsort(order)[one.pairs]
    )
    mine = lib.descriptor(one.species, one.places_nm, one.pairs)
    np.testing.assert_allclose(mine, other, atol=1e-5)
    assert np.abs(mine - lib.descriptor(one.species, 1.2 * one.places_nm, one.pairs)).max() > 0.1


WRITER = """
import sys, numpy as np
from napari_atomlens.graphs.library import DefectLibrary, Entry
path, n, who, size = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
patch = np.ones((size, size), np.float32)
places = np.array([[0, 0], [0.14, 0], [0, 0.14]])
with DefectLibrary(path) as library:
    print("ready", flush=True)
    for k in range(n):
        library.add([Entry("Si1C2", "dopant", "x", ["Si", "C", "C"], places,
                           np.array([[0, 1], [0, 2]]), patch=patch, notes=f"{who} {k}")])
"""


def writer(path: Path, n: int, who: str, size: int = 8) -> subprocess.Popen[str]:
    source = str(Path(al.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(n), who, str(size)],
        env={**os.environ, "PYTHONPATH": source}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    both = [writer(path, 120, who) for who in ("a", "b")]
    assert [p.wait(120) for p in both] == [0, 0]
    with DefectLibrary(path) as library:
        notes = set(library.table()["notes"])
    assert notes == {f"{who} {k}" for who in "ab" for k in range(120)}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.4])
def test_a_killed_writer_leaves_a_sound_file(delay: float, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    process = writer(path, 100_000, "a", 256)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.kill()
    process.wait()
    with DefectLibrary(path) as library:
        table = library.table()
        # whole entries, without a gap
        assert sorted(int(n.split()[1]) for n in table["notes"]) == list(range(len(table)))
        for number in table["id"].head(3):
            patch = library.get(int(number)).patch
            assert patch is not None and patch.shape == (256, 256)
        library.add([Entry("V_C", "vacancy", "y", ["C"], np.zeros((1, 2)), np.zeros((0, 2), int))])
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_a_failed_add_adds_nothing(entries: dict[str, Entry], tmp_path: Path) -> None:
    with DefectLibrary(tmp_path / "a.db") as library:
        library.add([entries["Si1C3"]])
        twice = library.get(1)  # its uid is taken
        with pytest.raises(FormatError, match="could not be written"):
            library.add([entries["Si1C4"], twice])
        assert len(library) == 1


def old_file(path: Path, entry: Entry) -> None:
    """A library of version 1."""
    db = sqlite3.connect(path)
    for statement in lib.MIGRATIONS[0]:
        db.execute(statement)
    structure = json.dumps(
        {"species": entry.species, "places_nm": entry.places_nm.tolist(),
         "pairs": entry.pairs.tolist()}
    )  # fmt: skip
    db.execute(
        "INSERT INTO defects (uid, created, formula, graph_hash, structure) VALUES (?,?,?,?,?)",
        ("u1", "2026", entry.formula, entry.graph_hash, structure),
    )
    db.execute(f"PRAGMA application_id = {lib.APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()


def test_an_old_file_is_brought_up_to_date(entries: dict[str, Entry], tmp_path: Path) -> None:
    old_file(tmp_path / "old.db", entries["Si1C4"])
    with DefectLibrary(tmp_path / "old.db") as library:
        assert library.version == len(lib.MIGRATIONS)
        assert library.get(1).formula == "Si1C4"
        assert library.similar(entries["Si1C4"])["distance"][0] < 1e-4
        library.set_property(1, "energy", 2.0)


def test_what_is_no_library_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    before = other.read_bytes()
    with pytest.raises(FormatError, match="no defect library"):
        DefectLibrary(other)
    assert other.read_bytes() == before
    (tmp_path / "text.db").write_text("not a database at all, but long enough" * 100)
    with pytest.raises(FormatError, match="no defect library"):
        DefectLibrary(tmp_path / "text.db")
    with pytest.raises(FormatError, match="There is no library"):
        DefectLibrary(tmp_path / "missing.db", create=False)
    with DefectLibrary(tmp_path / "new.db") as library:
        library._db.execute("PRAGMA user_version = 99")
    with pytest.raises(FormatError, match="later version"):
        DefectLibrary(tmp_path / "new.db")


def published(path: Path, entry: Entry, pixel_size_nm: float = 0.0078125) -> Path:
    """A file of the published format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        image = file.create_dataset(
            "nn_input", data=np.random.default_rng(0).random((1, 256, 256, 1))
        )
        image.attrs["scan size"] = 2000.0
        image.attrs["metadata"] = json.dumps({"acc voltage": 60.0})
        rows = [
            [f"{x / pixel_size_nm + 128:.4f}", f"{y / pixel_size_nm + 128:.4f}", s]
            for s, (y, x) in zip(entry.species, entry.places_nm, strict=True)
        ]
        file.create_dataset("defect_coord_0", data=np.array(rows, dtype="S32"))
    return path


def test_the_published_format_is_read(entries: dict[str, Entry], tmp_path: Path) -> None:
    files = [published(tmp_path / name / "7.hdf5", entries[name]) for name in ("Si1C3", "Si3C6")]
    with DefectLibrary(tmp_path / "a.db") as library:
        assert library.import_published(files) == 2
        found = library.get(int(library.table(formula="Si3C6")["id"][0]))
        assert found.instrument == {"acc voltage": 60.0} and found.tags == ("published",)
        assert found.graph_hash == entries["Si3C6"].graph_hash
        assert library.similar(entries["Si3C6"], 1)["formula"].tolist() == ["Si3C6"]
        bad = tmp_path / "bad.hdf5"
        with h5py.File(bad, "w") as file:
            file["other"] = 1
        with pytest.raises(FormatError, match=r"bad\.hdf5 is no file"):
            library.import_published([files[0], bad])
        assert len(library) == 2


def test_exports(entries: dict[str, Entry], tmp_path: Path) -> None:
    several = [entries["Si1C3"], entries["Si3C6"]]
    (xyz,) = graphs.save(several, tmp_path / "a.extxyz")
    lines = xyz.read_text().splitlines()
    assert lines[0] == "4" and lines[6] == "9" and len(lines) == 2 + 4 + 2 + 9
    silicon = next(line.split() for line in lines[2:6] if line.startswith("Si"))
    k = entries["Si1C3"].species.index("Si")
    y, x = 10 * entries["Si1C3"].places_nm[k]
    assert [float(v) for v in silicon[1:4]] == pytest.approx([x, -y, 0], abs=1e-4)
    (csv,) = graphs.save(several, tmp_path / "a.csv")
    assert len(pd.read_csv(csv)) == 13
    cifs = graphs.save(several, tmp_path / "a.cif")
    assert [c.name for c in cifs] == ["a-1.cif", "a-2.cif"]
    text = cifs[0].read_text()
    assert text.count("\nC") == 3 and "_cell_length_a" in text
    (graphml,) = graphs.save(several[:1], tmp_path / "a.graphml")
    graph = nx.read_graphml(graphml)
    assert nx.degree_histogram(graph) == [0, 3, 0, 1]
    with pytest.raises(ParameterError, match="suffix"):
        graphs.save(several, tmp_path / "a.doc")
    with pytest.raises(ParameterError, match="no defect"):
        graphs.save([], tmp_path / "b.csv")
    assert [graphs.element(s) for s in ("S2", "Mo", "A", "weak", "Si")] == [
        "S", "Mo", "X", "X", "Si",
    ]  # fmt: skip


def test_strain_is_that_of_the_deformation(entries: dict[str, Entry]) -> None:
    reference = entries["Si3C6"]
    stretch = np.array([[1.03, 0.01], [0.01, 0.98]])  # acting on (x, y up)
    a = 0.7
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    flip = np.array([1.0, -1.0])
    moved = (reference.places_nm[:, ::-1] * flip) @ (turn @ stretch).T
    order = np.random.default_rng(0).permutation(len(moved))
    other = Entry(
        "Si3C6", "trimer", "x", [reference.species[i] for i in order],
        (moved * flip)[:, ::-1][order], np.argsort(order)[reference.pairs],
    )  # fmt: skip
    found = graphs.strain(other, reference)
    green = 0.5 * (stretch.T @ stretch - np.eye(2))
    # a trimer fits on itself in several ways, of which rotations by 120 degrees turn the axes
    assert found["dilation"] == pytest.approx(np.trace(green), abs=2e-3)
    assert found["rms_nm"] < 1e-3
    values = np.linalg.eigvalsh(green)
    assert found["shear"] == pytest.approx(values[1] - values[0], abs=3e-3)
    with pytest.raises(ParameterError, match="different types"):
        graphs.strain(entries["Si1C3"], reference)


def test_what_was_added_is_on_the_disk_with_the_end_of_the_journal(tmp_path: Path) -> None:
    """Without it a power cut takes the last entry back (benchmarks/faults.py: 1 of 6 cuts)."""
    with DefectLibrary(tmp_path / "a.defects") as library:
        assert library._db.execute("PRAGMA synchronous").fetchone() == (3,)
