"""The Movie widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_analysis import FakeAnalysis, lattice
from napari.layers import Image, Labels, Points, Tracks, Vectors
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QPushButton, QTabWidget

from napari_atomlens import tables
from napari_atomlens.runs.frame import IDS_PER_FRAME
from napari_atomlens.session.edits import actions
from napari_atomlens.simulation import movies
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import KEY

WAIT = 30_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


class Bench:
    """A viewer with the widget docked, and hands to use it."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Movie")

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self, name: str = "run") -> None:
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def run(self) -> None:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()
        assert not self.widget.is_running

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def layer(self, role: str) -> Any:
        found = [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]
        assert len(found) <= 1
        return found[0] if found else None

    def rest(self) -> None:
        self.qtbot.waitUntil(lambda: not self.widget._rest.isActive(), timeout=3000)


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    bench = Bench(make_napari_viewer(show=True), qtbot)
    yield bench
    bench.widget.cleanup()


def silicon(bench: Bench, n_frames: int = 20) -> tuple[Image, movies.Movie, pd.DataFrame]:
    """A silicon movie with its atoms as the Find atoms widget leaves them."""
    movie = movies.silicon_110(160, n_frames, drift_px=(0.5, 0.3), seed=8, render=False)
    t = movie.truth
    first = t[t["frame"] == 0]
    middle = first["id"].iloc[int(np.hypot(first["y_px"] - 75, first["x_px"] - 75).argmin())]
    far = (t["id"] == middle) & (t["frame"] >= 10)
    columns = pd.concat(
        [
            pd.DataFrame(
                {"frame": t["frame"], "id": t["id"], "y_px": t[f"{e}y_px"], "x_px": t[f"{e}x_px"]}
            ).assign(y_px=t[f"{e}y_px"] + (1.6 if e == "b" else 0.0) * far)
            for e in "ab"
        ]
    )
    atoms = movies.detections(columns, 160, np.random.default_rng(0), jitter_px=0.15, false=0.0)
    atoms["atom_id"] = atoms["frame"] * IDS_PER_FRAME + atoms.groupby("frame").cumcount()
    known = {c: atoms[c].to_numpy() for c in atoms if c != "id"}
    full = tables.make("atoms", known | {"sigma_px": 3.3, "species": "column"}, len(atoms))
    source = bench.viewer.add_image(
        np.random.default_rng(0).random((n_frames, 160, 160), np.float32), name="silicon",
        scale=(0.5, 0.0136, 0.0136), units=("s", "nm", "nm"), axis_labels=("t", "y", "x"),
    )  # fmt: skip
    bench.viewer.add_points(
        convert.points_from_atoms(full, 3), features=convert.features_from_atoms(full, ["column"]),
        scale=source.scale, units=source.units, axis_labels=source.axis_labels,
        metadata={KEY: {"role": "atoms", "source_id": str(source.unique_id),
                        "source_name": "silicon", "spacing_px": 10.0}},
    )  # fmt: skip
    return source, movie, full


def test_one_click_finds_atoms_and_follows_them(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(
        lattice(6, frames=8), name="gold", scale=(2, 0.02, 0.02), units=("s", "nm", "nm")
    )
    bench.run()
    assert sorted(fake.frames) == list(range(8))
    assert "36 atoms followed through 8 frames" in bench.status
    tracks, atoms = bench.layer("tracks"), bench.layer("frame atoms")
    assert isinstance(tracks, Tracks) and len(np.unique(tracks.data[:, 0])) == 36
    assert isinstance(atoms, Points) and atoms.data.shape == (36, 2)
    assert isinstance(bench.layer("contours"), Labels)
    np.testing.assert_allclose(tracks.scale, source.scale)
    np.testing.assert_allclose(atoms.scale, source.scale[-2:])
    assert bench.layer("dumbbells") is None
    assert not bench.layer("atoms").visible
    tabs = bench.child(QTabWidget, "tabs")
    assert not tabs.isTabVisible(2) and tabs.isTabVisible(4)


def test_layers_hold_the_frame_that_is_shown_and_no_other(bench: Bench) -> None:
    _, _, full = silicon(bench)
    bench.run()
    assert "dumbbells" in bench.status
    for frame in (0, 7, 19):
        bench.widget.go_to_frame(frame)
        bench.rest()
        assert bench.widget.current_frame() == frame
        here = full[full["frame"] == frame]
        shown = bench.layer("frame atoms").data
        assert len(shown) == len(here)
        np.testing.assert_allclose(np.sort(shown[:, 0]), np.sort(here["y_px"]), atol=1e-3)
        pairs = bench.widget.data.dumbbells(frame)
        vectors, colours = bench.layer("dumbbells"), bench.layer("change map")
        assert isinstance(vectors, Vectors) and vectors.data.shape == (len(pairs), 2, 2)
        assert len(colours.data) == len(pairs) == len(bench.layer("shifts").data)
        length = np.hypot(*vectors.data[:, 1].T)
        np.testing.assert_allclose(length, pairs["length_px"], rtol=1e-6)
        np.testing.assert_array_equal(
            colours.features["dumbbell_id"].to_numpy(), pairs["dumbbell_id"].to_numpy()
        )


def test_an_event_leads_to_its_frame_and_place_and_dumbbell(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    events = bench.widget._events.events
    row = int(np.nanargmax(events["score"].to_numpy(float)))
    assert events["what"].iloc[row] == "length step" and abs(events["frame"].iloc[row] - 10) <= 1
    bench.widget.go_to_frame(0)
    index = bench.widget._events.model().index(row, 0)
    bench.widget._events.scrollTo(index)
    bench.widget._events.clicked.emit(index)
    assert bench.widget.current_frame() == events["frame"].iloc[row]
    centre = np.array(bench.viewer.scene.camera.center[-2:]) / 0.0136
    np.testing.assert_allclose(centre, events[["y_px", "x_px"]].iloc[row].to_numpy(float), atol=0.1)
    assert bench.widget._who.value() == events["dumbbell_id"].iloc[row]


def test_plots_follow_the_slider_and_lead_it(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    tabs = bench.child(QTabWidget, "tabs")
    for k in range(5):
        tabs.setCurrentIndex(k)
    low, high = bench.widget._counts.plots[0].viewRange()[0]
    assert -3 < low <= 0 and 19 <= high < 23  # all frames are in view, and nothing else
    tabs.setCurrentIndex(2)
    bench.widget.go_to_frame(13)
    bench.rest()
    assert bench.widget._pair.now() == 13
    bench.widget._pair.clicked.emit(4)
    assert bench.widget.current_frame() == 4
    bench.widget._pair.clicked.emit(-50)
    assert bench.widget.current_frame() == 0
    tabs.setCurrentIndex(3)
    image, row = bench.widget.data.kymograph(bench.widget._dumbbell, "length")
    assert image.shape == (len(row), 20) and bench.widget._dumbbell in row
    bench.widget._kymograph.clicked.emit(6, 0)
    assert bench.widget.current_frame() == 6 and bench.widget._who.value() == row[0]
    tabs.setCurrentIndex(4)
    assert "nm^2/s" in bench.child(QLabel, "diffusion").text()


def test_colours_show_the_change_and_a_click_chooses(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    events = bench.widget._events.events
    best = events.iloc[int(np.nanargmax(events["score"].to_numpy(float)))]
    bench.widget.go_to_frame(18)
    bench.rest()
    points = bench.layer("change map")
    at = int(np.flatnonzero(points.features["dumbbell_id"] == best["dumbbell_id"])[0])
    red, _, blue, alpha = points.face_color[at]
    assert abs(red - blue) > 0.4 and alpha > 0.7  # changed, so neither white nor faint
    before = points.face_color.copy()
    bench.child(QComboBox, "map").setCurrentText("angle")
    assert not np.allclose(before, points.face_color)

    assert bench.viewer.layers.selection.active is source
    position = tuple(source.data_to_world((18, *points.data[3])))
    event = SimpleNamespace(button=1, type="mouse_press", position=position)
    callback = bench.viewer.mouse_drag_callbacks[-1]
    dragged = callback(bench.viewer, event)
    next(dragged)
    event.type = "mouse_move"
    next(dragged, None)
    assert bench.widget._who.value() == best["dumbbell_id"]
    event.type = "mouse_press"
    clicked = callback(bench.viewer, event)
    next(clicked)
    event.type = "mouse_release"
    next(clicked, None)
    assert bench.widget._who.value() == points.features["dumbbell_id"].iloc[3]


def test_a_second_run_updates_the_same_layers(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    before = {x.unique_id for x in bench.viewer.layers}
    bench.run()
    assert {x.unique_id for x in bench.viewer.layers} == before


def test_corrected_atoms_make_tracks_stale_until_update(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    editor = editor_of(bench.layer("atoms"))
    derived = editor.corrections.derived
    before = len(bench.widget.data.followed.tracks)
    editor.perform(actions.delete, [int(editor.corrections.columns(3).ids[40])])
    assert derived.stale() == {"tracks and dumbbells": frozenset({3})}
    assert len(bench.widget.data.followed.tracks) == before
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        derived.refresh()  # what the button "Update" of the Correct dock does
    assert len(bench.widget.data.followed.tracks) == before - 1
    assert not derived.stale()


def test_play_steps_through_the_frames(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    bench.widget.go_to_frame(18)
    play = bench.child(QPushButton, "play")
    play.setChecked(True)
    bench.qtbot.waitUntil(lambda: bench.widget.current_frame() == 1, timeout=5000)
    play.setChecked(False)
    assert not bench.widget._play.isActive()


def test_space_and_time_and_back(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    visible = {x.name for x in bench.viewer.layers if x.visible}
    box = bench.child(QCheckBox, "xyt")
    box.setChecked(True)
    assert bench.viewer.dims.ndisplay == 3
    assert [x.metadata[KEY]["role"] for x in bench.viewer.layers if x.visible] == ["tracks"]
    box.setChecked(False)
    assert bench.viewer.dims.ndisplay == 2
    assert {x.name for x in bench.viewer.layers if x.visible} == visible


def test_occupancy_and_tables(bench: Bench, tmp_path: Path) -> None:
    silicon(bench)
    bench.run()
    bench.click("occupancy")
    bench.click("occupancy")
    assert bench.layer("occupancy").data.shape == (160, 160)
    names = bench.widget.save_tables(tmp_path)
    assert sorted(names) == sorted(p.name for p in tmp_path.iterdir())
    assert len(pd.read_csv(tmp_path / "dumbbells.csv")) == len(bench.widget.data.followed.dumbbells)


def test_no_movie_is_a_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", said.append)
    assert "Open a movie" in bench.status
    bench.viewer.add_image(np.zeros((20, 20)))
    assert not bench.child(QPushButton, "run").isEnabled()
    bench.viewer.add_image(np.zeros((1, 20, 20)))
    bench.widget.run()
    assert "two frames" in bench.status and said


def test_an_empty_movie_is_a_sentence(
    bench: Bench, fake: FakeAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", said.append)
    bench.viewer.add_image(np.ones((4, 30, 30)))
    bench.run()
    assert bench.status == "No atom was found in this movie." == said[0]


def test_a_movie_that_is_removed_takes_everything_along(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    bench.viewer.layers.remove(source)
    bench.qtbot.waitUntil(lambda: bench.layer("frame atoms") is None, timeout=3000)
    assert bench.widget.data is None
    assert not bench.child(QPushButton, "play").isEnabled()


def test_closing_leaves_no_connection(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    bench.widget.cleanup()
    bench.viewer.dims.set_point(0, 3)
    assert bench.widget._shown_frame != 6
    assert bench.widget._on_canvas_click not in bench.viewer.mouse_drag_callbacks


def test_defects_that_move_are_followed_drawn_and_told(make_napari_viewer, qtbot):
    from napari_atomlens.tracking.defects import DefectTracks
    from napari_atomlens.widgets.movie.dock import ATOM_TRACKS, DEFECT_TRACKS

    # atoms of WS2 without pixels: the fit would be slow here, and is tested elsewhere
    movie = movies.ws2_decomposing(96, 6, n_vacancies=3, holes=0, fragments=0, seed=21)
    viewer = make_napari_viewer()
    layer = viewer.add_image(movie.data, name="ws2", scale=(2.25, 0.03, 0.03),
                             units=("s", "nm", "nm"))  # fmt: skip
    bench = Bench(viewer, qtbot)
    widget = bench.widget
    bench.run()
    assert "defects" in bench.status
    moving = widget.data.defects
    assert isinstance(moving, DefectTracks) and len(moving.tracks)
    rings, tails = bench.layer("moving defects"), bench.layer("defect tracks")
    assert isinstance(rings, Points) and isinstance(tails, Tracks) and tails.visible
    for frame in (0, 4):
        widget.go_to_frame(frame)
        widget._on_rested()
        here = moving.tracks[moving.tracks["frame"] == frame]
        assert len(rings.data) == len(here)
    of = bench.child(QComboBox, "of")
    assert of.currentText() == DEFECT_TRACKS
    tabs = bench.child(QTabWidget, "tabs")
    names = [tabs.tabText(k) for k in range(tabs.count())]
    tabs.setCurrentIndex(names.index("Tracks"))
    assert "defect" in widget._track_plot.plots[0].getAxis("left").labelText
    of.setCurrentText(ATOM_TRACKS)
    assert "atom" in widget._track_plot.plots[0].getAxis("left").labelText
    tabs.setCurrentIndex(names.index("Transitions"))
    assert bench.child(QLabel, "transitions").text()
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: bench.layer("moving defects") is None, timeout=WAIT)
    assert bench.layer("defect tracks") is None
    qtbot.waitUntil(lambda: of.count() == 1, timeout=WAIT)


def test_the_table_of_transitions_counts_what_there_is():
    from napari_atomlens.session.movie import transitions_text

    tracks = pd.DataFrame({
        "track_id": [0, 0, 0, 1, 1, 1], "frame": [0, 1, 2, 0, 1, 2],
        "species": ["A", "B", "B", "A", "A", "A"],
    })  # fmt: skip
    text = transitions_text(tracks, "defect", 2.0)
    assert "33.3 %" in text and "1 of 3" in text  # A to B
    assert "100 %" in text and "never left" in text  # B stays
    assert ">8 s<" in text  # A: four frames of two seconds for one exit
    assert "only one class" in transitions_text(tracks.assign(species="A"), "atom", None)


def test_tables_with_columns_of_their_own_can_be_followed(make_napari_viewer, qtbot):
    from napari_atomlens.widgets.layers.outputs import Outputs

    # an integer and a flag that nobody here knows: points that are added start as unknown
    viewer = make_napari_viewer()
    source = viewer.add_image(np.zeros((2, 40, 40), np.float32), name="movie")
    atoms = tables.make(
        "atoms", {"frame": [0, 1], "atom_id": [0, IDS_PER_FRAME], "y_px": 20.0, "x_px": 20.0,
                  "species": "column", "grain": np.array([3, 4]), "odd": np.array([True, False])},
        2,
    )  # fmt: skip
    layer = viewer.add_points(
        convert.points_from_atoms(atoms, 3),
        features=convert.features_from_atoms(atoms, ["column"]),
        metadata={KEY: {"role": "atoms", "source_id": str(source.unique_id),
                        "source_name": "movie", "spacing_px": 10.0}},
    )  # fmt: skip
    known = Outputs(viewer, source).atoms()
    assert known["grain"].tolist() == [3, 4]
    assert layer.feature_defaults["grain"].item() == -1
