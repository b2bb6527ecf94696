"""What others wrote is read with care: no other file is read for it, and no error is raw."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

import napari_atomlens as al
from napari_atomlens.io.projects.window import SavedLayer, read_window, write_window
from napari_atomlens.session.autosave import restore
from napari_atomlens.session.project import load_workspace
from napari_atomlens.training.materials import load_recipe
from napari_atomlens.training.recipes import make_recipe
from napari_atomlens.untrusted import inside

PIXELS = np.random.default_rng(0).random((32, 40)).astype(np.float32)
SECRET = b"root:x:0:0:this is nobody's business" * 300


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of what is opened."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "secret.txt"
    path.write_bytes(SECRET)
    return path


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/../../secret", "/etc/passwd", "C:\\secret", "..\\secret", "\\\\host\\x", "",
     "a\0b", 7, None],
)  # fmt: skip
def test_names_that_lead_out_are_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(al.FormatError):
        inside(tmp_path, name)
    assert inside(tmp_path, "tables/0.parquet") == tmp_path / "tables" / "0.parquet"


def test_a_link_is_followed_within_the_folder_only(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    (folder / "in").symlink_to(folder / "mine")
    (folder / "out").symlink_to(secret)
    assert inside(folder, "in").read_text() == "mine"
    with pytest.raises(al.FormatError, match="outside"):
        inside(folder, "out")


# -------------------------------------------------------------------------------------- HDF5


def _external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("frame", (64, 80), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _external_link(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["frame"] = PIXELS
    file["deep/frame"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/frame")
    file["experiment"] = h5py.SoftLink("/deep/frame")


def _virtual(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["frame"] = PIXELS
    layout = h5py.VirtualLayout(PIXELS.shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "frame", PIXELS.shape)
    file.create_virtual_dataset("frame", layout)


@pytest.mark.parametrize("plant", [_external_storage, _external_link, _virtual])
def test_hdf5_shows_nothing_of_other_files(
    tmp_path: Path, secret: Path, plant: Callable[[h5py.File, Path], None]
) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        plant(file, secret)
    with pytest.raises(al.FormatError, match=r"^scan\.h5 is not read: .* takes data from another"):
        al.read(path)


def test_hdf5_that_is_its_own_source_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frame"] = PIXELS
        layout = h5py.VirtualLayout((2, *PIXELS.shape), "f4")
        for k in range(2):
            layout[k] = h5py.VirtualSource(".", "frame", PIXELS.shape)
        file.create_virtual_dataset("twice", layout)
        file["again"] = h5py.SoftLink("/frame")
        file["group/up"] = file["/"]
    assert {i.data.shape for i in al.read(path)} == {PIXELS.shape, (2, *PIXELS.shape)}


# -------------------------------------------------------------------------------------- zarr


def test_zarr_with_links_outside_is_refused(tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "scan.zarr"
    array = zarr.create_array(str(path), shape=(64, 80), chunks=(64, 80), dtype="u1",
                              compressors=None, zarr_format=2)  # fmt: skip
    array[:] = 1
    assert al.read(path)[0].data.shape == (64, 80)
    secret.write_bytes(SECRET[: 64 * 80])
    (path / "0.0").unlink()
    (path / "0.0").symlink_to(secret)
    with pytest.raises(al.FormatError, match=r"scan\.zarr is not read: 0\.0 is a link"):
        al.read(path)


def test_pickles_in_zarr_are_not_looked_at(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'done'}",)

    folder = tmp_path / "scan.zarr" / "0"
    folder.mkdir(parents=True)
    scales = [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]
    (folder.parent / ".zgroup").write_text('{"zarr_format": 2}')
    (folder.parent / ".zattrs").write_text(json.dumps({"multiscales": scales}))
    head = {
        "zarr_format": 2, "shape": [32, 32], "chunks": [32, 32], "dtype": "|O", "order": "C",
        "fill_value": "", "compressor": None, "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}],
    }  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(head))
    (folder / "0.0").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(al.FormatError, match="no numbers"):
        al.read(folder.parent)
    assert not (tmp_path / "done").exists()


# -------------------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize("name", ["../elsewhere/other.ome.tif", "ABSOLUTE", "missing.ome.tif"])
def test_ome_tiff_takes_frames_from_beside_only(tmp_path: Path, secret: Path, name: str) -> None:
    other = secret.with_name("other.ome.tif")
    tifffile.imwrite(other, PIXELS, metadata={"axes": "YX"}, ome=True)
    path = tmp_path / "scan.ome.tif"
    named = str(other) if name == "ABSOLUTE" else name
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" SizeX="40" SizeY="32" SizeZ="1"'
        ' SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="{named}">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(path, 0 * PIXELS, description=xml, metadata=None)
    with pytest.raises(al.FormatError, match=r"scan\.ome\.tif|lies outside"):
        al.read(path)


# ---------------------------------------------------------------------------------- projects


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of a window with an image and edited atoms."""
    atoms = pd.DataFrame({"y_px": [1.0] * 9, "x_px": [2.0] * 9, "species": ["C"] * 9})
    folder = tmp_path / "window.atomlens"
    folder.mkdir()
    layers = [SavedLayer(PIXELS, {"name": "scan", "features": atoms}, "image")]
    write_window(folder, layers, {"notes": "none"})
    assert read_window(folder).layers[0].data.shape == PIXELS.shape
    return folder


def change(folder: Path, change: Callable[[dict], None], name: str = "project.json") -> None:
    note = json.loads((folder / name).read_text())
    change(note)
    (folder / name).write_text(json.dumps(note))


@pytest.mark.parametrize("name", ["../elsewhere/table.parquet", "ABSOLUTE"])
def test_a_project_reads_no_table_elsewhere(project: Path, secret: Path, name: str) -> None:
    other = secret.with_name("table.parquet")
    pd.DataFrame({"secret": [1] * 9}).to_parquet(other)
    named = str(other) if name == "ABSOLUTE" else name

    def lead_out(note: dict) -> None:
        note["layers"][0]["attributes"]["features"] = {"!table": named}

    change(project, lead_out)
    with pytest.raises(al.FormatError, match="outside"):
        load_workspace(project)


def test_a_project_reads_no_corrections_elsewhere(project: Path, secret: Path) -> None:
    atoms = pd.DataFrame({"y_px": [1.0], "x_px": [2.0]})
    for name in ("atoms", "machine"):
        atoms.to_parquet(secret.with_name(f"{name}.parquet"))
    change(project, lambda n: n["layers"][0].update(corrections="../elsewhere"))
    with pytest.raises(al.FormatError, match="outside"):
        load_workspace(project)
    with pytest.raises(al.FormatError, match="outside"):
        al.read_atoms(project)


@pytest.mark.parametrize("part", ["arrays.zarr", "arrays.npz", "tables"])
def test_a_project_with_links_outside_is_refused(project: Path, secret: Path, part: str) -> None:
    (project / part).rename(secret.with_name(part))
    (project / part).symlink_to(secret.with_name(part))
    with pytest.raises(al.FormatError, match="is a link"):
        load_workspace(project)
    with pytest.raises(al.FormatError, match="is a link"):
        al.load(project)


def test_a_link_of_the_user_beside_what_is_ours_is_no_obstacle(project: Path, secret: Path) -> None:
    """It leads to the raw data, say; a link that could be read is refused all the same."""
    (project / "raw data").symlink_to(secret.parent)
    (project / "notes.txt").symlink_to(secret)
    assert load_workspace(project).layers
    (project / "ARRAYS.ZARR").symlink_to(secret.parent)  # that of a disk that tells no capitals
    with pytest.raises(al.FormatError, match="is a link"):
        load_workspace(project)


def test_a_folder_of_results_reads_no_table_elsewhere(tmp_path: Path, secret: Path) -> None:
    image, _ = al.simulate("honeycomb", (64, 64), 10.0)
    folder = tmp_path / "results"
    list(al.analyze_movie(image, folder, spacing_px=10.0))
    assert len(al.read_table(folder))
    (folder / "tables").mkdir(exist_ok=True)
    pd.DataFrame({"secret": [1]}).to_parquet(secret.with_name("x.parquet"))
    (folder / "tables" / "x.parquet").symlink_to(secret.with_name("x.parquet"))
    for look in (lambda: al.read_table(folder, "x"), lambda: al.load(folder)):
        with pytest.raises(al.FormatError, match="is a link"):
            look()
    with pytest.raises(al.AtomLensError):
        al.read_table(folder, "../elsewhere/x")


def test_a_file_of_a_batch_is_named_and_not_addressed(tmp_path: Path, secret: Path) -> None:
    root = tmp_path / "batch"
    (root / "files").mkdir(parents=True)
    (root / "batch.json").write_text("{}")
    secret.with_suffix(".json").write_text('{"provenance": {}}')
    with pytest.raises(al.FormatError, match="outside"):
        al.load(root, "../../elsewhere/secret")


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    image, _ = al.simulate("honeycomb", (64, 64), 10.0)
    list(al.analyze_movie(image, tmp_path / "results", spacing_px=10.0))
    with pytest.raises(al.ParameterError, match="no column nothing"):
        al.read_table(tmp_path / "results", columns=["frame", "nothing"])


def test_autosaved_edits_are_read_from_their_folder_only(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    table = secret.with_name("machine.parquet")
    pd.DataFrame({"y_px": [1.0], "x_px": [2.0], "species": ["C"]}).to_parquet(table)
    for machine in ("../elsewhere/machine.parquet", str(table)):
        current = {"machine": machine, "journal": "journal-0.jsonl", "started": "", "about": {}}
        (folder / "current.json").write_text(json.dumps(current))
        with pytest.raises(al.FormatError):
            restore(folder)
    (folder / "machine.parquet").symlink_to(table)
    (folder / "current.json").write_text(json.dumps(current | {"machine": "machine.parquet"}))
    with pytest.raises(al.FormatError, match="outside"):
        restore(folder)


# ----------------------------------------------------------------- JSON, TOML and libraries

DEEP_JSON = '{"a":' * 100_000 + "1" + "}" * 100_000
SIDEWAYS_JSON = '{"a": ' + "[" * 400 + "]" * 400 + "}"
DEEP_TOML = "a = " + "[" * 100_000 + "]" * 100_000
SIDEWAYS_TOML = ".".join("a" * 400) + " = 1"
ODD_JSON = [DEEP_JSON, SIDEWAYS_JSON, "[]", "7", "null", '"text"', "", "{", "\0", '{"a": 1e}']
ODD_BYTES = [b"\xff\xfe", b"\x80abc", b"\xef\xbb\xbf{}"]


def one_sentence(error: BaseException) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 400, text


@pytest.mark.parametrize("name", ["project.json", "run.json", "batch.json", "result.json"])
@pytest.mark.parametrize("text", [*(t.encode() for t in ODD_JSON), *ODD_BYTES])
def test_an_odd_note_gives_one_sentence(tmp_path: Path, name: str, text: bytes) -> None:
    folder = tmp_path / "odd.atomlens"
    folder.mkdir()
    (folder / name).write_bytes(text)
    (folder / "frames").mkdir()
    for look in (al.load, al.read_atoms, load_workspace):
        with pytest.raises(al.FormatError) as caught:
            look(folder)
        one_sentence(caught.value)


@pytest.mark.parametrize("text", [*(t.encode() for t in ODD_JSON), *ODD_BYTES])
def test_odd_recipes_autosaves_and_notes_beside(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "current.json").write_bytes(text)
    for look in (lambda: load_recipe(tmp_path / "current.json"), lambda: restore(tmp_path)):
        with pytest.raises(al.AtomLensError) as caught:
            look()
        one_sentence(caught.value)
    np.save(tmp_path / "current.npy", PIXELS)
    assert al.read(tmp_path / "current.npy")[0].pixel_size_nm is None


@pytest.mark.parametrize(
    "text",
    [DEEP_TOML, SIDEWAYS_TOML, "a =", "\0", "host = 5\nbonds = 3", "name = [1]", "classes = 7",
     'host = "C"\nbonds = "C"', "host = [1]\nbonds = [{a = 1, b = 2, min_nm = 0, max_nm = 1}]",
     'host = ["C"]\nbonds = [{a = "C", b = "C", min_nm = 0, max_nm = ' + "9" * 400 + "}]",
     'host = ["C"]\nspecies = [7]\nbonds = []', "zone_axis = 5", "exponent = 3", "defects = 5",
     'material = 3\nzone_axis = ["a", 0, 1]', "zone_axis = [0, 0, 0]",
     "zone_axis = [1000000, 999999, 1]", "merge_nm = nan", "faintest = " + "9" * 400],
)  # fmt: skip
def test_odd_toml_gives_one_sentence(tmp_path: Path, text: str) -> None:
    pytest.importorskip("ase")
    path, crystal = tmp_path / "odd.toml", tmp_path / "cell.xyz"
    path.write_text(text)
    crystal.write_text('2\nLattice="3 0 0 0 3 0 0 0 3"\nC 0 0 0\nSi 1.5 1.5 0\n')
    assert make_recipe("fine", crystal).species
    for look in (lambda: al.Rules.load(path), lambda: make_recipe("odd", crystal, path)):
        with pytest.raises(al.AtomLensError) as caught:
            look()
        one_sentence(caught.value)


def library(path: Path) -> Path:
    """A library with one entry."""
    image, truth = al.simulate("honeycomb", (96, 96), 10.0, dopants=0.05)
    graph = al.bond(truth.atoms(), "graphene-si")
    from napari_atomlens.graphs.library import entries_of

    defects = al.find_defects(graph)
    with al.DefectLibrary(path) as found:
        found.add(entries_of(graph, defects.iloc[:1], image))
    return path


COLUMNS = ("structure", "patch_shape", "provenance", "instrument", "patch", "descriptor")
VALUES = (DEEP_JSON, "[]", "{}", "null", "", b"\xff\xfe", 7, '{"species": 3}', "[-3, 1e9, 0, 0]",
          '{"species": ["C"], "places_nm": [[NaN, 0]], "pairs": []}',
          '{"species": ["C"], "places_nm": [[0, 0]], "pairs": [[0, 5]]}')  # fmt: skip


def test_odd_rows_of_a_library_give_one_sentence(tmp_path: Path) -> None:
    import networkx as nx

    path = library(tmp_path / "a.defects")
    with al.DefectLibrary(path) as found:
        (number,) = found.table()["id"]
        whole = found.get(number)
    raw = path.read_bytes()
    for column in COLUMNS:
        for value in VALUES:
            path.write_bytes(raw)
            with sqlite3.connect(path) as db:
                db.execute(f"UPDATE defects SET {column} = ?", (value,))
            db.close()
            with al.DefectLibrary(path) as found:
                for look in (
                    lambda: found.get(number), lambda: found.similar(whole),
                    lambda: found.with_subgraph(nx.path_graph(2)), lambda: repr(found),
                    lambda: found._repr_html_(), found.formulas, found.table,
                ):  # fmt: skip
                    try:
                        look()
                    except al.FormatError as error:
                        one_sentence(error)


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE defects", "DROP TABLE tags", "ALTER TABLE defects DROP COLUMN notes",
     "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
     "SELECT x FROM c",
     "CREATE TRIGGER t AFTER INSERT ON defects BEGIN DELETE FROM defects; END"],
)  # fmt: skip
def test_an_odd_library_gives_one_sentence(tmp_path: Path, statement: str) -> None:
    path = library(tmp_path / "a.defects")
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    with pytest.raises(al.FormatError) as caught, al.DefectLibrary(path) as found:
        found.get(1)
    one_sentence(caught.value)


def test_a_closed_library_says_so(tmp_path: Path) -> None:
    with al.DefectLibrary(library(tmp_path / "a.defects")) as found:
        pass
    for look in (lambda: len(found), found.table, lambda: found.get(1)):
        with pytest.raises(al.FormatError, match="is closed"):
            look()
