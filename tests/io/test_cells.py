"""Texts in files for other programs: no formula for a spreadsheet, and back as they were."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens import cells, tables
from napari_atomlens.graphs.library import entries_of
from napari_atomlens.io.export import graphs
from napari_atomlens.io.export.tables import write_csv, write_table
from napari_atomlens.io.formats.atoms import read_csv
from napari_atomlens.io.projects.window import SavedLayer, read_window, write_window
from napari_atomlens.tracking.following import MovieResult, save_followed

FORMULAS = ['=HYPERLINK("http://x")', "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''+1",
            "C;=1+1", "C\n=1+1", "\uff1d1+1", "=", "-", "'", "C\t@A"]  # fmt: skip
TEXTS = [*FORMULAS, "NA", "null", "007", "1e5", "-1.5", "", " ", "T", "1 2 3", "bright\ncolumn",
         'a"b', "a|b", "50%", "a\\b", "C", "Å", "a,b", "True", "[1]", "{}", "key=3"]  # fmt: skip
letters = st.text(st.sampled_from("=+-@\t\r\n;'\"ab1. ,|%\\\uff1d"), max_size=8)


def atoms(species: list[str]) -> pd.DataFrame:
    n = len(species)
    place = np.linspace(-1.0, 1.0, n) / 3
    names = pd.Series(species, dtype=object)
    return tables.make("atoms", {"frame": 0, "atom_id": np.arange(n), "y_px": place, "x_px": place,
                                 "y_nm": place, "x_nm": place, "species": names}, n)  # fmt: skip


def is_formula(cell: str) -> bool:
    """What a spreadsheet would compute."""
    if cells._NUMBER.fullmatch(cell):
        return False
    return cell[:1] in set("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") - {""}


def cells_of(path: Path) -> list[str]:
    """Every cell, whichever mark a spreadsheet takes for that between two."""
    with path.open(encoding="utf-8", newline="") as file:
        whole = [cell for row in csv.reader(file) for cell in row]
    return [part for cell in whole for part in [cell, *cell.split(";"), *cell.split("\n")]]


@pytest.mark.parametrize("kind", ["csv", "parquet", "xyz", "extxyz"])
def test_texts_come_back_as_they_were(tmp_path: Path, kind: str) -> None:
    if kind in ("xyz", "extxyz"):
        pytest.importorskip("ase")
    table = atoms(TEXTS)
    found = al.read_atoms(al.write_atoms(tmp_path / f"a.{kind}", table))
    assert found["species"].tolist() == TEXTS
    if kind in ("csv", "parquet"):  # to the last digit
        assert found["y_px"].tolist() == table["y_px"].tolist()
        pd.testing.assert_series_equal(found["fit_ok"], table["fit_ok"])
    for text in TEXTS:  # alone
        table = atoms([text])
        found = al.read_atoms(al.write_atoms(tmp_path / f"b.{kind}", table))
        assert found["species"].tolist() == [text], text


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip # noqa: E501
@given(texts=st.lists(letters, min_size=1, max_size=4), name=letters.filter(bool))
def test_any_text_is_no_formula_and_comes_back(tmp_path: Path, texts: list[str], name: str) -> None:
    table = pd.DataFrame({"a": range(len(texts)), f"{name}x": pd.Series(texts, dtype=object)})
    write_table(tmp_path / "a.csv", table)
    assert not any(map(is_formula, cells_of(tmp_path / "a.csv")))
    path = al.write_atoms(tmp_path / "b.csv", atoms(texts))
    assert read_csv(path)["species"].tolist() == texts
    assert [cells.unguarded(str(cells.guarded(t))) for t in texts] == texts


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"i": [-1, 2], "f": [-0.1, 1e-30], "b": [True, False], "n": [np.nan, -1]})
    write_table(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "-1,-0.1,True,"
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), table)


def test_every_csv_of_ours_is_guarded(tmp_path: Path) -> None:
    table = pd.DataFrame({"=1+1": ["@SUM(A1)", "C"], "kind": pd.Categorical(["-a", "+b"])})
    write_csv(tmp_path / "a.csv", table)
    none = MovieResult(table, *[table] * 5)
    paths = [tmp_path / "a.csv", *save_followed(none, tmp_path)]
    image, truth = al.simulate("honeycomb", (96, 96), 10.0, dopants=0.05)
    graph = al.bond(truth.atoms(), "graphene-si")
    entries = entries_of(graph, al.find_defects(graph).iloc[:1], image, notes="=cmd|'/c calc'!A1")
    paths += graphs.save(entries, tmp_path / "b.csv")
    for path in paths:
        found = [c for c in cells_of(path) if c]
        assert found and not any(map(is_formula, found)), path


def test_a_defect_with_odd_names_is_one_structure(tmp_path: Path) -> None:
    ase = pytest.importorskip("ase.io")
    image, truth = al.simulate("honeycomb", (96, 96), 10.0, dopants=0.05)
    graph = al.bond(truth.atoms(), "graphene-si")
    (entry,) = entries_of(graph, al.find_defects(graph).iloc[:1], image)
    entry.species = [f"{s}\nbright column" for s in entry.species]
    entry.kind, entry.formula, entry.uid = 'a "kind"\n3', "Si\\1\nC3", "a b\nc"
    graphs.save([entry, entry], tmp_path / "a.extxyz")
    found = ase.read(tmp_path / "a.extxyz", index=":")
    assert [len(f) for f in found] == [len(entry.species)] * 2


@pytest.mark.skipif(os.name == "nt", reason="file names are texts there")
def test_a_file_whose_name_is_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/scan\xff.npy"))
    image, _ = al.simulate("honeycomb", (64, 64), 10.0)
    np.save(path, image)
    (found,) = al.read(path)
    assert found.name == "scan\ufffd.npy"
    result = al.analyze(path, spacing_px=10.0)
    for kind in ("csv", "parquet"):
        odd = pd.Series(path.name, index=result.atoms.index, dtype=object)
        table = result.atoms.assign(source=odd)
        al.write_atoms(tmp_path / f"a.{kind}", table)
        assert set(al.read_atoms(tmp_path / f"a.{kind}")["source"]) == {"scan\ufffd.npy"}
    assert al.load(result.save(tmp_path / "a")).atoms.equals(result.atoms)
    layer = {"name": path.name, "metadata": {"file": {"path": str(path)}}}
    layer["features"] = pd.DataFrame({"a": [path.name] * 9}, dtype=object)
    folder = tmp_path / "window"
    folder.mkdir()
    write_window(folder, [SavedLayer(np.zeros((9, 2)), layer, "points")], {"seen": path.name})
    (back,) = read_window(folder).layers
    assert back.attributes["name"] == path.name
    assert back.attributes["metadata"]["file"]["path"] == str(path)
    with pytest.raises(al.FormatError) as caught:
        al.read(path.with_suffix(".tif"))
    str(caught.value).encode()
