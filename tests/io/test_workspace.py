"""A window as a project: everything comes back, nothing is half-written, one window writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Tracks, Vectors
from napari.utils.colormaps import DirectLabelColormap

from napari_atomlens import tables
from napari_atomlens.errors import FormatError
from napari_atomlens.io.projects.folder import read_saved
from napari_atomlens.io.projects.journal_file import JournalFile, read_entries
from napari_atomlens.session import autosave as saving
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.project import (
    CORRECTIONS,
    PROJECT,
    load_workspace,
    open_project,
    save_workspace,
    take_snapshot,
    write_snapshot,
)
from napari_atomlens.widgets.open_save import reader

PLACE: dict[str, Any] = {
    "scale": (0.5, 0.02, 0.03), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x"),
    "translate": (0, 1, 2),
}  # fmt: skip


def machine(n: int = 5, frames: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = np.repeat(np.arange(frames), n)
    ids = frame * tables.IDS_PER_FRAME + np.tile(np.arange(n), frames)
    return tables.make(
        "atoms",
        {"frame": frame, "atom_id": ids, "y_px": rng.uniform(0, 30, len(ids)),
         "x_px": rng.uniform(0, 30, len(ids)), "species": "column", "probability": 0.9,
         "source": "fit"},
        len(ids),
    )  # fmt: skip


def window() -> ViewerModel:
    """One layer of each kind, none of them with the values that napari would choose."""
    rng = np.random.default_rng(0)
    viewer = ViewerModel()
    viewer.add_image(
        rng.random((2, 32, 32)).astype(np.float32), name="movie", colormap="magma", gamma=0.7,
        contrast_limits=(0.1, 0.8), interpolation2d="cubic", metadata={"who": ["me", 3, None]},
        **PLACE,
    )  # fmt: skip
    viewer.add_labels(
        rng.integers(0, 3, (2, 32, 32)).astype(np.uint16), name="contours", opacity=0.4,
        colormap=DirectLabelColormap(color_dict={None: "#3ddc97", 0: "transparent"}), **PLACE,
    )  # fmt: skip
    atoms = machine()
    c = Corrections(atoms, "me", 6.0)
    actions.add(c, 0, 3.3, 4.4, "column")
    actions.delete(c, [int(tables.IDS_PER_FRAME)])
    actions.mark_seen(c, 1)
    c.undo()
    table = c.atoms()
    features = table.assign(species=pd.Categorical(table["species"], ["column", "Si", ""]))
    viewer.add_points(
        table[["frame", "y_px", "x_px"]].to_numpy(), name="atoms", features=features,
        border_color="species", border_color_cycle={"column": "red", "Si": "blue", "": "white"},
        face_color="transparent", size=2.5, symbol="disc",
        metadata={CORRECTIONS: c, "napari-atomlens": {"role": "atoms", "runs": [{"frames": [0]}]}},
        **PLACE,
    )  # fmt: skip
    viewer.add_shapes(
        [np.c_[np.zeros(3), rng.random((3, 2))], np.c_[np.ones(5), rng.random((5, 2))]],
        shape_type="polygon", edge_color=["red", "blue"], edge_width=0.3, name="regions",
        features={"kind": ["a", "b"]}, **PLACE,
    )  # fmt: skip
    viewer.add_vectors(
        rng.random((4, 2, 3)), name="arrows", features={"v": [1.0, 2, 3, 4]}, **PLACE
    )
    viewer.add_tracks(np.c_[[0, 0, 1], [0, 1, 0], rng.random((3, 2))], name="tracks", **PLACE)
    return viewer


def tuples(viewer: ViewerModel) -> list[Any]:
    return [layer.as_layer_data_tuple() for layer in viewer.layers]


def same_layer(a: Layer, b: Layer) -> None:
    assert type(a) is type(b)
    if isinstance(a, Shapes):
        for v, w in zip(a.data, b.data, strict=True):
            np.testing.assert_array_equal(v, w)
    else:
        np.testing.assert_array_equal(a.data, b.data)
        assert a.data.dtype == b.data.dtype
    for name in ("name", "opacity", "visible", "blending", "units", "axis_labels"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    if isinstance(a, Image):
        assert a.colormap.name == b.colormap.name and a.gamma == b.gamma
        assert list(a.contrast_limits) == list(b.contrast_limits)
        assert a.interpolation2d == b.interpolation2d
        np.testing.assert_array_equal(a.colormap.colors, b.colormap.colors)
    if isinstance(a, Labels):
        values = np.arange(4)
        np.testing.assert_allclose(a.colormap.map(values), b.colormap.map(values))
    if isinstance(a, Points):
        for name in ("face_color", "border_color", "size", "symbol", "shown", "border_width"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    if isinstance(a, Shapes):
        np.testing.assert_array_equal(a.edge_color, b.edge_color)
        assert a.edge_width == b.edge_width and a.shape_type == b.shape_type
    if isinstance(a, (Vectors, Points, Shapes, Tracks)):
        pd.testing.assert_frame_equal(a.features, b.features)


def test_a_window_comes_back_as_it_was(tmp_path: Path) -> None:
    viewer = window()
    settings = {"viewer": {"camera": {"zoom": 2.5, "center": (0.0, 1.0, 2.0)}}, "widgets": {"n": 1}}
    path = save_workspace(tmp_path / "a", tuples(viewer), settings)
    assert path == tmp_path / "a.atomlens"
    space = load_workspace(path)
    assert space.settings == settings and space.messages == [] and space.version == 4
    again = [Layer.create(*t) for t in space.layers]
    for a, b in zip(viewer.layers, again, strict=True):
        same_layer(a, b)
    assert again[0].metadata == {"who": ["me", 3, None]}
    old, new = viewer.layers["atoms"].metadata[CORRECTIONS], again[2].metadata[CORRECTIONS]
    pd.testing.assert_frame_equal(old.atoms(), new.atoms())
    pd.testing.assert_frame_equal(old.machine(), new.machine())
    assert old.journal.done == new.journal.done and new.redo() is not None and new.seen() == {1}
    assert json.loads((path / "project.json").read_text())["left_out"] == []
    # and for readers without us
    assert len(pd.read_parquet(path / "corrections/2/atoms.parquet")) == len(old.atoms())
    assert [p.name for p in tmp_path.iterdir()] == ["a.atomlens"]


def test_napari_opens_and_writes_it(tmp_path: Path) -> None:
    viewer = window()
    from napari_atomlens.widgets.open_save.saving import write_project

    assert write_project(str(tmp_path / "a.atomlens"), tuples(viewer)) == [
        str(tmp_path / "a.atomlens")
    ]
    read = reader.get_reader(str(tmp_path / "a.atomlens"))
    assert read is not None
    layers = [Layer.create(*t) for t in read(str(tmp_path / "a.atomlens"))]
    for a, b in zip(viewer.layers, layers, strict=True):
        same_layer(a, b)
    # what was opened is saved over itself
    write_project(str(tmp_path / "a.atomlens"), [x.as_layer_data_tuple() for x in layers])
    layers[0].metadata[PROJECT].lock.release()


def test_the_second_window_is_read_only(tmp_path: Path) -> None:
    path = save_workspace(tmp_path / "a", tuples(window()))
    first, second = open_project(path), open_project(path)
    assert not first.read_only and second.read_only
    with pytest.raises(FormatError, match="open in another window"):
        save_workspace(path, tuples(window()), opened=second)
    with pytest.warns(UserWarning, match="read-only here"):
        layers = reader.get_reader(str(path))(str(path))  # type: ignore[misc]
    assert layers[0][1]["metadata"][PROJECT].read_only
    save_workspace(path, tuples(window()), opened=first)
    save_workspace(tmp_path / "b", tuples(window()), opened=second)
    first.lock.release()
    assert not open_project(path).read_only


def test_a_process_that_dies_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom napari_atomlens.session.project import open_project\n"
        "p = open_project(sys.argv[1])\nsys.stdout.write(str(p.read_only))\nsys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    path = save_workspace(tmp_path / "a", [])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.read(5) == "False"
        assert open_project(path).read_only
        other.kill()
        other.wait()
    opened = open_project(path)
    assert not opened.read_only
    opened.lock.release()


def test_a_project_of_version_1_opens_as_layers() -> None:
    space = load_workspace(Path(__file__).parent / "data" / "version1.atomlens")
    layers = {t[1]["metadata"]["napari-atomlens"]["role"]: Layer.create(*t) for t in space.layers}
    assert space.version == 1 and set(layers) == {"atoms", "contours", "probability"}
    assert layers["atoms"].data.shape == (6, 3) and layers["probability"].data.shape == (4, 8, 9)
    assert tuple(layers["atoms"].scale) == (1, 0.1, 0.2)
    assert set(tables.ATOMS) <= set(layers["atoms"].features)


def test_a_project_of_version_3_opens_as_it_was_saved(tmp_path: Path) -> None:
    shutil.unpack_archive(Path(__file__).parent / "data" / "version3_window.zip", tmp_path)
    space = load_workspace(tmp_path / "version3.atomlens")
    assert space.version == 3 and space.messages == []
    assert space.settings == {"viewer": {"zoom": 2.5, "center": (0.0, 1.0)}}
    again, viewer = [Layer.create(*t) for t in space.layers], window()
    later = ["species_probability", "unfamiliar", "volume", "volume_err"]  # columns of version 4
    viewer.layers["atoms"].features = viewer.layers["atoms"].features.drop(columns=later)
    for a, b in zip(viewer.layers, again, strict=True):
        same_layer(a, b)
    old, new = viewer.layers["atoms"].metadata[CORRECTIONS], again[2].metadata[CORRECTIONS]
    pd.testing.assert_frame_equal(old.atoms(), new.atoms())
    assert old.journal.done == new.journal.done and new.seen() == old.seen()
    # what other programs want of it, and saving it anew
    assert len(read_saved(tmp_path / "version3.atomlens").atoms) == len(old.atoms())
    path = save_workspace(tmp_path / "new", [x.as_layer_data_tuple() for x in again])
    assert load_workspace(path).version == 4


def test_a_project_holds_few_files_whatever_there_is(tmp_path: Path) -> None:
    viewer, rng = window(), np.random.default_rng(2)
    path = save_workspace(tmp_path / "a", tuples(viewer))
    few = sum(p.is_file() for p in path.rglob("*"))
    assert few <= 20
    viewer.add_vectors(
        rng.random((3000, 2, 2)), name="bonds", features={"length": rng.random(3000)}
    )
    viewer.add_shapes(
        [p + rng.random((7, 2)) for p in rng.random((300, 1, 2))],
        shape_type="polygon",
        name="rings",
    )
    viewer.add_image(rng.random((200, 8, 8)), name="long")
    viewer.add_surface((rng.random((9, 3)), np.array([[0, 1, 2]]), rng.random(9)), name="surface")
    viewer.add_image([rng.random((64, 64)), rng.random((32, 32))], multiscale=True, name="scales")
    viewer.add_image(rng.random((8, 9, 3)).astype(np.float32), rgb=True, name="colours")
    viewer.add_shapes(None, ndim=2, name="empty")
    viewer.add_points(None, ndim=3, name="none")
    path = save_workspace(tmp_path / "a", tuples(viewer))
    assert sum(p.is_file() for p in path.rglob("*")) <= few + 20
    again = {t[1]["name"]: Layer.create(*t) for t in load_workspace(path).layers}
    for layer in viewer.layers:
        if layer.name in ("surface", "scales"):
            for a, b in zip(layer.data, again[layer.name].data, strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            same_layer(layer, again[layer.name])
    assert again["colours"].rgb and again["empty"].ndim == 2 and again["none"].ndim == 3


def test_values_of_every_kind_come_back(tmp_path: Path) -> None:
    defaults = pd.DataFrame(
        {"n": [3], "x": [np.nan], "on": [True], "text": ["a"],
         "kind": pd.Categorical(["Si"], ["C", "Si"], ordered=True),
         "none": pd.Categorical([None], ["C", "Si"])}
    )  # fmt: skip
    values: dict[str, Any] = {
        "ints": list(range(100)), "huge": [2**70, *range(100)], "floats": [0.5, float("nan")] * 60,
        "texts": ["a", "äöü", ""] * 40, "ends": ["a\0"] * 70, "flags": [True, False] * 50,
        "mixed": [1, "a", None] * 50, "pairs": [(1, 2.0)] * 70, "nan": np.array([1.0, np.nan]),
        "objects": np.array(["a", "bc"] * 50, dtype=object), "map": {(0, 1): 2.5, 3: "x"},
        "complex": np.ones(100, complex), "defaults": defaults, "inf": float("-inf"),
    }  # fmt: skip
    layer = (np.zeros((2, 2)), {"name": "i", "metadata": values}, "image")
    path = save_workspace(tmp_path / "a", [layer])
    assert json.loads((path / "project.json").read_text())["left_out"] == []
    found = load_workspace(path).layers[0][1]["metadata"]
    assert set(found) == set(values)
    for name, value in values.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found[name], value)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
        else:
            assert repr(found[name]) == repr(value), name


def test_a_snapshot_does_not_follow_later_edits(tmp_path: Path) -> None:
    viewer = window()
    snapshot = take_snapshot(tuples(viewer), {"widgets": {"n": [1]}})
    table = viewer.layers["atoms"].metadata[CORRECTIONS].atoms().copy()
    viewer.layers["movie"].data[:] = 0
    viewer.layers["contours"].data[:] = 0
    viewer.layers["atoms"].data[:] = 0
    viewer.layers["atoms"].features.loc[0, "probability"] = 0.0
    viewer.layers["movie"].metadata["who"].append("you")
    actions.delete(viewer.layers["atoms"].metadata[CORRECTIONS], [1])
    path = write_snapshot(tmp_path / "a", snapshot)
    again = [Layer.create(*t) for t in load_workspace(path).layers]
    for a, b in zip(window().layers, again, strict=True):
        same_layer(a, b)
    assert again[0].metadata == {"who": ["me", 3, None]}
    pd.testing.assert_frame_equal(again[2].metadata[CORRECTIONS].atoms(), table)


def test_a_large_image_stays_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens.io.projects import window as saved_window

    monkeypatch.setattr(saved_window, "COPY_BYTES", 10)
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    layer = (image, {"name": "i", "metadata": {"file": {"path": str(tmp_path / "image.npy")}}},
             "image")  # fmt: skip
    path = save_workspace(tmp_path / "a", [layer])
    np.testing.assert_array_equal(load_workspace(path).layers[0][0], image)
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "image.npy").rename(tmp_path / "elsewhere" / "image.npy")
    gone = load_workspace(path)
    assert gone.layers == [] and "not where it was" in gone.messages[0]
    asked: list[str] = []

    def find(old: str) -> str:
        asked.append(old)
        return str(moved)

    np.testing.assert_array_equal(load_workspace(path, find).layers[0][0], image)
    assert asked == [str(tmp_path / "image.npy")]
    np.save(moved, image + 1)
    assert "hash differs" in load_workspace(path, find).messages[0]


@pytest.mark.parametrize(
    "file", ["project.json", "arrays.zarr/zarr.json", "arrays.npz", "tables/0.parquet"]
)
@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_damaged(tmp_path: Path, file: str, how: str) -> None:
    path = save_workspace(tmp_path / "a", tuples(window()))
    content = (path / file).read_bytes()
    (path / file).unlink()
    if how == "truncated":
        (path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"a\.atomlens is"):
        load_workspace(path)


def test_a_failed_save_leaves_the_older_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_workspace(tmp_path / "a", tuples(window()))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    from napari_atomlens.io.projects import window as saved_window

    monkeypatch.setattr(saved_window, "write_table", full)
    with pytest.raises(FormatError, match="disk full"):
        save_workspace(path, tuples(window()))
    assert len(load_workspace(path).layers) == 6
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------ autosave


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "j.jsonl", [{"a": 1}])
    file.append({"a": 2})
    file.close()
    whole = (tmp_path / "j.jsonl").read_bytes()
    for n in range(len(whole) - 8, len(whole)):
        (tmp_path / "j.jsonl").write_bytes(whole[:n])
        assert read_entries(tmp_path / "j.jsonl") == [{"a": 1}]
    (tmp_path / "j.jsonl").write_bytes(b"{oh\n" + whole)
    with pytest.raises(FormatError, match="line 1"):
        read_entries(tmp_path / "j.jsonl")


def test_edits_are_on_the_disk_and_come_back(tmp_path: Path) -> None:
    c = Corrections(machine(), "me", 6.0)
    auto = saving.Autosave(c, {"source_name": "movie", "scale": (1, 2)}, tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing before the first edit
    actions.add(c, 0, 1, 2, "column")
    actions.delete(c, [3])
    assert saving.find_unsaved(tmp_path) == []  # this window has it
    c.rerun(machine(), [0, 1], 6.0)
    actions.set_species(c, [2], "Si")
    c.undo()
    auto.pause()
    (lost,) = saving.find_unsaved(tmp_path)
    assert lost.n_edits == 2 and lost.about["source_name"] == "movie"
    again = saving.restore(lost)
    pd.testing.assert_frame_equal(again.atoms(), c.atoms())
    assert again.redo() is not None and "Si" in set(again.atoms()["species"])
    saving.forget(lost)
    assert saving.find_unsaved(tmp_path) == [] and list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_workspace import machine
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.autosave import Autosave
c = Corrections(machine(40, 20), "me", 6.0)
Autosave(c, {}, Path(sys.argv[1]))
n = 0
while True:
    f = n % 20
    actions.add(c, f, n % 29 + 0.1, n % 31 + 0.2, "column")
    n += 1
    if n % 7 == 0:
        c.undo()
    if n % 50 == 0:
        c.rerun(machine(40, 20), range(20), 6.0)
    sys.stdout.write(f"{len(c.journal.done)}\\n")
    sys.stdout.flush()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of other systems")
def test_kill_9_loses_no_edit(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    for wait in (0.3, 0.6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), here], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            time.sleep(wait)
            os.kill(other.pid, signal.SIGKILL)
            said = [int(x) for x in other.stdout.read().split("\n")[:-1]]
        (lost,) = saving.find_unsaved(tmp_path)
        c = saving.restore(lost)
        # what was said to be done is there; the one that was being written may be as well
        assert said and len(c.journal.done) in (said[-1], said[-1] + 1)
        assert c.atoms()["atom_id"].is_unique
        saving.forget(lost)
