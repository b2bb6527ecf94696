"""The Movie widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_analysis import FakeAnalysis, lattice
from movie_bench import WAIT, Bench, click_plot, needs_canvas, silicon
from napari.layers import Labels, Points, Tracks, Vectors
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QSpinBox,
    QTabWidget,
)

from napari_atomlens import tables
from napari_atomlens.runs.frame import IDS_PER_FRAME
from napari_atomlens.session.edits import actions
from napari_atomlens.session.motion import transitions_text
from napari_atomlens.simulation import movies
from napari_atomlens.tracking.defects import DefectTracks
from napari_atomlens.widgets.layers import convert, tracks
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import KEY
from napari_atomlens.widgets.movie.events import EventList

pytestmark = needs_canvas
ATOMS, DEFECTS = "all atoms", "defects"
SHOW_WARNING = "napari_atomlens.widgets.base.dock.show_warning"


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    bench = Bench(make_napari_viewer(show=True), qtbot)
    yield bench
    bench.widget.cleanup()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any number of atoms be too many to be sliced."""
    monkeypatch.setattr(tracks, "MANY_ATOMS", 0)


def test_one_click_finds_atoms_and_follows_them(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(
        lattice(6, frames=8), name="gold", scale=(2, 0.02, 0.02), units=("s", "nm", "nm")
    )
    bench.run()
    assert sorted(fake.frames) == list(range(8))
    assert "36 atoms followed through 8 frames" in bench.status
    lines, atoms = bench.layer("tracks"), bench.layer("atoms")
    assert isinstance(lines, Tracks) and len(np.unique(lines.data[:, 0])) == 36
    assert isinstance(bench.layer("contours"), Labels)
    np.testing.assert_allclose(lines.scale, source.scale)
    assert bench.layer("dumbbells") is None
    # the atoms can be corrected, and nothing stands in for them
    assert atoms.visible and bench.layer("frame atoms") is None
    # what was made follows from the atoms that this very run has found
    assert not bench.session(source).stale()
    assert not [x.name for x in bench.viewer.layers if "stale" in x.name]
    tabs = bench.child(QTabWidget, "tabs")
    assert not tabs.isTabVisible(2) and tabs.isTabVisible(4)


def test_layers_hold_the_frame_that_is_shown_and_no_other(bench: Bench, many: None) -> None:
    source, _, full = silicon(bench)
    bench.run()
    assert "dumbbells" in bench.status
    np.testing.assert_allclose(bench.layer("frame atoms").scale, source.scale[-2:])
    for frame in (0, 7, 19):
        bench.go_to(frame)
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
    listed = bench.child(EventList, "events")
    events = listed.events
    row = int(np.nanargmax(events["score"].to_numpy(float)))
    assert events["what"].iloc[row] == "length step" and abs(events["frame"].iloc[row] - 10) <= 1
    bench.widget.go_to_frame(0)
    index = listed.model().index(row, 0)
    listed.scrollTo(index)
    at = listed.visualRect(index).center()
    bench.qtbot.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert bench.widget.current_frame() == events["frame"].iloc[row]
    centre = np.array(bench.viewer.scene.camera.center[-2:]) / 0.0136
    np.testing.assert_allclose(centre, events[["y_px", "x_px"]].iloc[row].to_numpy(float), atol=0.1)
    assert bench.child(QSpinBox, "dumbbell").value() == events["dumbbell_id"].iloc[row]


def test_plots_follow_the_slider_and_lead_it(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    who = bench.child(QSpinBox, "dumbbell")
    low, high = bench.tab("Counts").plot.plots[0].viewRange()[0]
    assert -3 < low <= 0 and 19 <= high < 23  # all frames are in view, and nothing else
    pair = bench.tab("Dumbbell").plot
    bench.go_to(13)
    assert pair.now() == 13
    click_plot(pair.plots[0], 4, np.mean(pair.plots[0].viewRange()[1]))
    assert bench.widget.current_frame() == 4
    bench.widget.go_to_frame(-50)
    assert bench.widget.current_frame() == 0
    row = bench.tab("Row")
    image, members = bench.widget.data.kymograph(who.value(), "length")
    assert image.shape == (len(members), 20) and who.value() in members
    click_plot(row.plot.plot, 6, 0)
    assert bench.widget.current_frame() == 6 and who.value() == members[0]
    bench.tab("Tracks")
    assert "nm^2/s" in bench.child(QLabel, "diffusion").text()
    before = bench.tab("Dumbbell").plot.plots[0].getPlotItem().listDataItems()[0].yData
    who.setValue(int(members[-1]))
    after = bench.tab("Dumbbell").plot.plots[0].getPlotItem().listDataItems()[0].yData
    assert not np.array_equal(before, after)


def test_colours_show_the_change_and_a_click_chooses(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    events = bench.child(EventList, "events").events
    best = events.iloc[int(np.nanargmax(events["score"].to_numpy(float)))]
    bench.go_to(18)
    points = bench.layer("change map")
    at = int(np.flatnonzero(points.features["dumbbell_id"] == best["dumbbell_id"])[0])
    red, _, blue, alpha = points.face_color[at]
    assert abs(red - blue) > 0.4 and alpha > 0.7  # changed, so neither white nor faint
    before = points.face_color.copy()
    bench.child(QComboBox, "map").setCurrentText("angle")
    assert not np.allclose(before, points.face_color)

    who, hand = bench.child(QSpinBox, "dumbbell"), bench.hand()
    bench.viewer.layers.selection.active = source
    ids = points.features["dumbbell_id"].to_numpy()
    middle = np.argsort(np.hypot(*(points.data - 80).T))
    one, other = (int(k) for k in middle[[0, 9]])
    y, x = np.asarray(source.data_to_world((18, *points.data[one])))[-2:]
    hand.drag((y, x), (y + 0.3, x + 0.3))  # moving the picture chooses nothing
    assert who.value() == best["dumbbell_id"]
    hand = bench.hand()
    hand.click(*np.asarray(source.data_to_world((18, *points.data[other])))[-2:])
    bench.qtbot.waitUntil(lambda: who.value() == ids[other], timeout=WAIT)


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
    bench.go_to(18)
    play = bench.child(QPushButton, "play")
    seen: list[int] = []
    bench.viewer.dims.events.point.connect(lambda: seen.append(bench.widget.current_frame()))
    play.setChecked(True)
    bench.qtbot.waitUntil(lambda: len(seen) >= 3, timeout=WAIT)  # a look may come late
    play.setChecked(False)
    assert seen[:3] == [19, 0, 1]
    frame = bench.widget.current_frame()
    np.testing.assert_array_equal(
        bench.layer("change map").features["frame"].unique(), [frame]
    )  # what is drawn has followed
    bench.qtbot.wait(250)
    assert bench.widget.current_frame() == frame


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


def test_occupancy_and_tables(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silicon(bench)
    bench.run()
    for _ in range(2):
        with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
            bench.click("occupancy")
    assert bench.layer("occupancy").data.shape == (160, 160)
    assert "dumbbells" in bench.status  # what was found is still to be read
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(tmp_path))
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click("save")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert "provenance.json" in names and all(name in bench.status for name in names)
    assert len(pd.read_csv(tmp_path / "dumbbells.csv")) == len(bench.widget.data.followed.dumbbells)


def test_no_movie_is_a_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(SHOW_WARNING, said.append)
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
    monkeypatch.setattr(SHOW_WARNING, said.append)
    bench.viewer.add_image(np.ones((4, 30, 30)))
    bench.run()
    assert bench.status == "No atom was found in this movie." == said[0]


def test_a_movie_that_is_removed_takes_everything_along(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    roles = ("tracks", "dumbbells", "change map", "shifts")
    assert all(bench.layer(role) is not None for role in roles)
    bench.viewer.layers.remove(source)
    bench.qtbot.waitUntil(lambda: not any(bench.layer(r) for r in roles), timeout=WAIT)
    assert bench.widget.data is None
    assert not bench.child(QPushButton, "play").isEnabled()


def test_defects_that_move_are_followed_drawn_and_told(bench: Bench) -> None:
    # atoms of WS2 without pixels: the fit would be slow here, and is tested elsewhere
    movie = movies.ws2_decomposing(96, 6, n_vacancies=3, holes=0, fragments=0, seed=21)
    layer = bench.viewer.add_image(
        movie.data, name="ws2", scale=(2.25, 0.03, 0.03), units=("s", "nm", "nm")
    )
    bench.run()
    assert "defects" in bench.status
    moving = bench.widget.data.defects
    assert isinstance(moving, DefectTracks) and len(moving.tracks)
    rings, tails = bench.layer("moving defects"), bench.layer("defect tracks")
    assert isinstance(rings, Points) and isinstance(tails, Tracks) and tails.visible
    assert not bench.session(layer).stale()
    for frame in (0, 4):
        bench.go_to(frame)
        here = moving.tracks[moving.tracks["frame"] == frame]
        assert len(rings.data) == len(here)
    of = bench.child(QComboBox, "of")
    assert of.currentText() == DEFECTS
    tab = bench.tab("Tracks")
    assert "defect" in tab.plot.plots[0].getAxis("bottom").labelText
    of.setCurrentText(ATOMS)
    assert "atom" in tab.plot.plots[0].getAxis("bottom").labelText
    bench.tab("Transitions")
    assert bench.child(QLabel, "transitions").text()
    bench.viewer.layers.remove(layer)
    bench.qtbot.waitUntil(lambda: bench.layer("moving defects") is None, timeout=WAIT)
    assert bench.layer("defect tracks") is None and of.count() == 1


def test_the_table_of_transitions_counts_what_there_is():
    tracks = pd.DataFrame({
        "track_id": [0, 0, 0, 1, 1, 1], "frame": [0, 1, 2, 0, 1, 2],
        "species": ["A", "B", "B", "A", "A", "A"],
    })  # fmt: skip
    text = transitions_text(tracks, "defect", 2.0)
    assert "class of defects from" in text and "of a atom" not in transitions_text(
        tracks, "atom", 2
    )
    assert "33.3 %" in text and "1 of 3" in text  # A to B
    assert "100 %" in text and "never left" in text  # B stays
    assert ">8 s<" in text  # A: four frames of two seconds for one exit
    assert "only one class" in transitions_text(tracks.assign(species="A"), "atom", None)


def test_tables_with_columns_of_their_own_can_be_followed(make_napari_viewer, qtbot):
    from napari_atomlens.widgets.layers.image_layers import ImageLayers
    from napari_atomlens.widgets.layers.registry import layers_of

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
    known = layers_of(viewer, source).part(ImageLayers).atoms()
    assert known["grain"].tolist() == [3, 4]
    assert layer.feature_defaults["grain"].item() == -1
