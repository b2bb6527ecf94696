"""The Movie dock beside others: corrected, closed and opened again, on layers of every kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_analysis import FakeAnalysis, lattice
from movie_bench import WAIT, Bench, needs_canvas, silicon
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton

from napari_atomlens.session.edits import actions
from napari_atomlens.session.movie import MovieData
from napari_atomlens.widgets.layers import tracks
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import entry

pytestmark = needs_canvas


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    bench = Bench(make_napari_viewer(show=True), qtbot)
    yield bench
    bench.widget.cleanup()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any number of atoms be too many to be sliced."""
    monkeypatch.setattr(tracks, "MANY_ATOMS", 0)


def outlined(bench: Bench, y: float, x: float) -> bool:
    """Whether the contours layer shows an outline round a place of the frame that is shown."""
    layer = bench.layer("contours")
    zoom = layer.data.shape[-1] / 72
    labels = layer.data[bench.viewer.dims.current_step[0]]
    return bool(labels[round(y * zoom), round(x * zoom)])


def delete(bench: Bench, y: float, x: float) -> None:
    """Click on an atom in Correct mode, and press Delete."""
    layer, n = bench.layer("atoms"), len(bench.layer("atoms").data)
    hand = bench.hand()
    hand.click(y, x)
    bench.qtbot.waitUntil(lambda: len(layer.selected_data) == 1, timeout=WAIT)
    hand.press("Delete")
    bench.qtbot.waitUntil(lambda: len(layer.data) == n - 1, timeout=WAIT)


def test_an_atom_that_is_deleted_has_no_outline_whether_the_dock_is_open_or_not(
    bench: Bench, fake: FakeAnalysis
) -> None:
    source = bench.viewer.add_image(lattice(6, frames=4), name="gold")
    bench.run()
    correct = bench.open("Correct")
    bench.click("mode", correct)
    assert outlined(bench, 30, 30) and outlined(bench, 42, 42)
    lines = bench.layer("tracks")
    n = len(lines.data)
    delete(bench, 30, 30)
    bench.qtbot.waitUntil(lambda: not outlined(bench, 30, 30), timeout=WAIT)
    # what was followed has gone along, or says that it has not
    bench.qtbot.waitUntil(
        lambda: lines.name.endswith("(stale)") or len(lines.data) == n - 1, timeout=WAIT
    )
    bench.close()
    delete(bench, 42, 42)
    bench.qtbot.waitUntil(lambda: not outlined(bench, 42, 42), timeout=WAIT)
    assert lines is bench.layer("tracks") and lines.name.endswith("(stale)")
    bench.click("stale", correct)
    bench.qtbot.waitUntil(lambda: not lines.name.endswith("(stale)"), timeout=WAIT)
    assert len(lines.data) == n - 2 and not bench.session(source).stale()
    bench.reopen()
    assert len(bench.widget.data.followed.tracks) == n - 2


@pytest.mark.parametrize("slow", [False, True])
def test_atoms_can_be_corrected_after_following_and_after_update(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    if slow:  # the atoms of one frame stand in for all of them
        monkeypatch.setattr(tracks, "MANY_ATOMS", 0)
    source, _, full = silicon(bench)
    bench.run()
    atoms = bench.layer("atoms")
    assert atoms.visible is not slow and (bench.layer("frame atoms") is not None) is slow
    correct = bench.open("Correct")
    bench.click("mode", correct)
    bench.qtbot.waitUntil(lambda: atoms.visible, timeout=WAIT)
    here = full[full["frame"] == bench.widget.current_frame()][["y_px", "x_px"]].to_numpy(float)
    near = here[np.argsort(np.hypot(*(here - 80).T))]
    delete(bench, *(0.0136 * near[0]))
    before = bench.widget.data.followed.tracks
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click("stale", correct)
    assert len(bench.widget.data.followed.tracks) == len(before) - 1
    assert not bench.session(source).stale()
    # still there to be corrected, and nothing covers it
    assert atoms.visible and bench.viewer.layers.selection.active is atoms
    assert not slow or not bench.layer("frame atoms").visible
    delete(bench, *(0.0136 * near[1]))
    assert "tracks" in bench.session(source).stale()


def test_a_layer_that_is_shown_again_shows_the_frame_of_now(bench: Bench) -> None:
    silicon(bench)
    bench.run()
    layer = bench.layer("change map")
    layer.visible = False
    bench.go_to(11)
    layer.visible = True
    bench.qtbot.waitUntil(lambda: set(layer.features["frame"]) == {11}, timeout=WAIT)


def test_results_come_back_when_the_dock_is_opened_again(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    n, callbacks = len(bench.viewer.layers), len(bench.viewer.dims.events.point.callbacks)
    before = bench.widget.data
    clicks = len(bench.viewer.mouse_drag_callbacks)
    bench.close()
    assert len(bench.viewer.mouse_drag_callbacks) == clicks - 1
    # what is drawn goes on following the slider
    bench.go_to(7)
    assert set(bench.layer("change map").features["frame"]) == {7}
    for _ in range(3):
        bench.reopen()
        assert bench.widget.data is before and bench.child(QPushButton, "play").isEnabled()
        assert bench.tab("Events").list.events["frame"].tolist()
        bench.close()
    bench.reopen()
    assert len(bench.viewer.layers) == n
    assert len(bench.viewer.dims.events.point.callbacks) == callbacks
    assert not bench.session(source).stale()


def test_tables_that_somebody_else_made_are_shown(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    first = bench.widget.data
    session = bench.session(source)
    session.update("tracks")  # as a script does
    bench.qtbot.waitUntil(lambda: bench.widget.data is not first, timeout=WAIT)
    assert bench.widget.data.followed.tracks is session.table("tracks")
    bench.qtbot.waitUntil(lambda: not bench.widget.is_running, timeout=WAIT)
    assert not bench.layer("tracks").name.endswith("(stale)")
    assert bench.layer("dumbbells") is not None


def test_two_docks_on_one_movie_show_the_same(bench: Bench) -> None:
    source, _, _ = silicon(bench)
    from napari_atomlens.widgets.movie.dock import MovieWidget

    other = MovieWidget(bench.viewer)
    bench.viewer.window.add_dock_widget(other, name="another")
    bench.run()
    assert other.data is bench.widget.data is not None
    n = len(bench.viewer.layers)
    editor = editor_of(bench.layer("atoms"))
    editor.perform(actions.delete, [int(editor.corrections.columns(3).ids[40])])
    with bench.qtbot.waitSignal(other.finished, timeout=WAIT):
        editor.corrections.derived.refresh()
    assert not bench.widget.is_running and other.data is bench.widget.data
    assert len(bench.viewer.layers) == n and not bench.session(source).stale()
    other.cleanup()
    editor.perform(actions.delete, [int(editor.corrections.columns(4).ids[40])])
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        editor.corrections.derived.refresh()
    assert not bench.session(source).stale()


def test_a_movie_that_is_removed_takes_its_layers_along_when_the_dock_is_closed(
    bench: Bench, many: None
) -> None:
    source, _, _ = silicon(bench)
    bench.run()
    bench.close()
    bench.viewer.layers.remove(source)
    bench.qtbot.waitUntil(
        lambda: [entry(x).get("role") for x in bench.viewer.layers] == ["atoms"], timeout=WAIT
    )
    bench.reopen()
    assert bench.widget.data is None


def test_a_movie_that_is_removed_while_it_is_followed(bench: Bench, fake: FakeAnalysis) -> None:
    source = bench.viewer.add_image(lattice(6, frames=8), name="gold")
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bench.layer("atoms") is not None, timeout=WAIT)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.viewer.layers.remove(source)
        fake.hold.set()
    assert "removed" in bench.status and bench.widget.data is None


def test_a_movie_whose_pixels_are_exchanged_while_it_is_followed(
    bench: Bench, fake: FakeAnalysis
) -> None:
    source = bench.viewer.add_image(lattice(6, frames=8), name="gold")
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bench.layer("atoms") is not None, timeout=WAIT)
    source.data = lattice(6, frames=8, seed=5)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        fake.hold.set()
    assert "exchanged" in bench.status and bench.widget.data is None


def test_cancel_ends_at_once_and_leaves_no_tracks(bench: Bench, fake: FakeAnalysis) -> None:
    bench.viewer.add_image(lattice(6, frames=8), name="gold")
    fake.hold = threading.Event()
    bench.click()
    bench.qtbot.waitUntil(lambda: bench.layer("atoms") is not None, timeout=WAIT)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click()
    assert bench.status == "Cancelled; 1 of 8 frames are done."
    assert bench.layer("tracks") is None and bench.child(QPushButton, "run").text() != "Cancel"
    fake.hold.set()
    bench.run()
    assert "36 atoms followed through 8 frames" in bench.status


def test_the_movie_that_is_seen_is_chosen(bench: Bench) -> None:
    below = bench.viewer.add_image(np.zeros((3, 20, 20)), name="seen")
    bench.viewer.add_image(np.zeros((3, 20, 20)), name="hidden", visible=False)
    bench.viewer.add_image(np.zeros((20, 20)), name="an image")
    box = bench.child(QComboBox, "image")
    assert [box.itemText(k) for k in range(box.count())] == ["hidden (hidden)", "seen"]
    assert box.currentText() == below.name


@pytest.mark.parametrize("kind", ["plain", "pyramid", "rgb", "turned"])
def test_movies_of_every_kind(bench: Bench, fake: FakeAnalysis, kind: str) -> None:
    pixels = lattice(6, frames=5)
    place: dict[str, Any] = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm")}
    if kind == "pyramid":
        source: Image = bench.viewer.add_image([pixels, pixels[:, ::2, ::2]], **place)
    elif kind == "rgb":
        grey = (255 * np.clip(pixels / pixels.max(), 0, 1)).astype(np.uint8)
        source = bench.viewer.add_image(np.stack([grey] * 3, axis=-1), rgb=True, **place)
    elif kind == "turned":
        source = bench.viewer.add_image(
            pixels, translate=(3.0, 0.3, -0.2), rotate=np.diag([1.0, -1.0, -1.0]), **place
        )
    else:
        source = bench.viewer.add_image(pixels, **place)
    bench.run()
    assert "36 atoms followed through 5 frames" in bench.status
    data = bench.widget.data
    assert isinstance(data, MovieData) and data.pixel_size_nm == pytest.approx((0.02, 0.02))
    assert data.time_step_s == pytest.approx(0.5)
    np.testing.assert_allclose(data.atoms(0).max(), 66, atol=1)  # in pixels of the finest level
    lines, place_of = bench.layer("tracks"), np.array([2.0, 30.0, 42.0])
    np.testing.assert_allclose(lines.data_to_world(place_of), source.data_to_world(place_of))
    bench.widget.go_to_frame(3)
    assert bench.widget.current_frame() == 3
    # what is drawn goes with the movie
    source.translate = np.asarray(source.translate) + np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(lines.data_to_world(place_of), source.data_to_world(place_of))


def test_opening_the_dock_says_what_it_lacks(bench: Bench) -> None:
    assert "Open a movie" in bench.child(QLabel, "status").text()
    for name in ("run", "play", "occupancy", "save"):
        assert not bench.child(QPushButton, name).isEnabled()
