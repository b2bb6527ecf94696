"""What every dock is made of: forms, choices of layers, jobs, tabs, cleaning up."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Layer, Points
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox, QDockWidget, QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens.errors import ParameterError
from napari_atomlens.params import Params, param
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base import dock as dock_module
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import SETTLE_MS, Dock
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.images import current_frame, pixel_size_of, stack_of
from napari_atomlens.widgets.base.jobs import Job, Stop
from napari_atomlens.widgets.base.layer_choice import LayerChoice
from napari_atomlens.widgets.base.task import Task

pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)
WAIT = 20_000


@dataclass(frozen=True)
class ToyParams(Params):
    """Parameters of a dock for tests."""

    size_px: float | None = param(None, "size of it", unit="px", ge=0, le=50)
    count: int = param(3, "how many", ge=-1, le=9)
    sure: bool = param(True, "whether it is sure")
    name: str = param("gold", "what it is called")


class ToyDock(Dock):
    """A dock for tests: it counts as long as it may."""

    NAME = "toy"

    def build(self) -> None:
        self.image = self.choose(Image, "image", "Image", accepts=lambda x: "ours" not in x.name)
        self.atoms = self.choose(Points, "atoms", "Atoms", none="nothing")
        self.size = self.pixel_size_field(self.image)
        self.form = ParamForm(ToyParams, special={"size_px": "auto"})
        self.rows(self.image.widget, self.atoms.widget, self.size.widget, *self.form)
        self.add(self.run_button("Count", self._counting))
        self.add_status()
        self.got: list[int] = []
        self.gone: list[str] = []
        self.frames: list[int] = []
        self.free, self.steps, self.deaf = threading.Event(), 3, False
        self.follow_slider(self._rested, ms=10)

    def removed(self, layer: Layer) -> None:
        self.gone.append(layer.name)

    def _rested(self) -> None:
        if self.image.layer is not None:
            self.frames.append(current_frame(self.viewer, self.image.layer))

    def _counting(self) -> Task[int]:
        if self.form.value().count < 0:
            raise ParameterError("Below zero there is nothing to count.")
        free, steps, deaf, layer = self.free, self.steps, self.deaf, self.image.layer
        assert layer is not None

        def work(progress: Progress) -> Iterator[int]:
            for k in range(steps):
                progress(k + 1, steps)
                yield k
                while not free.wait(0.01) and (deaf or not progress.stopped):
                    pass
                if progress.stopped:
                    return

        return Task(work, self.got.extend, lambda: f"{len(self.got)} counted.", "Counting…",
                    total=steps, noun="steps", sources=(layer,))  # fmt: skip


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


def toy(viewer: Any, name: str = "toy") -> ToyDock:
    made = ToyDock(viewer)
    viewer.window.add_dock_widget(made, name=name)
    return made


def image(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).random((side, side)).astype(np.float32)


# ---------------------------------------------------------------------- forms


def test_a_form_gives_the_parameters_back(qtbot: Any) -> None:
    form = ParamForm(ToyParams, special={"size_px": "auto"})
    box = form.section()
    qtbot.addWidget(box.native)
    assert form.value() == ToyParams()
    size, count = (box.native.findChild(QDoubleSpinBox, n) for n in ("size_px", "count"))
    assert size.text() == "auto" and size.toolTip() == "Size of it"
    size.setValue(2.5)
    count.setValue(-1)
    assert size.text().endswith(" px") and (count.minimum(), count.maximum()) == (-1, 9)
    value = form.value()
    assert value == ToyParams(size_px=2.5, count=-1) and isinstance(value.count, int)
    form.show(ToyParams(name="Pt", sure=False))
    assert form.value() == ToyParams(name="Pt", sure=False)


def test_a_wheel_that_passes_over_a_number_leaves_it_alone(qtbot: Any) -> None:
    box = fields.number("n", "n", 0, 10, value=5)
    qtbot.addWidget(box.native)
    box.native.show()
    box.native.clearFocus()
    place = QPointF(5, 5)
    wheel = QWheelEvent(
        place, place, QPoint(0, 120), QPoint(0, 120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(box.native, wheel)
    assert box.value == 5


# -------------------------------------------------------------- choice of layers


def test_the_visible_image_on_top_is_chosen_and_hidden_ones_are_marked(viewer: Any) -> None:
    viewer.add_image(image(), name="forward")
    viewer.add_image(image(), name="ours: a map")
    for name in ("backward", "current"):
        viewer.add_image(image(), name=name, visible=False)
    dock = toy(viewer)
    combo = dock.findChild(QComboBox, "image")
    assert dock.image.layer.name == "forward"
    texts = [combo.itemText(k) for k in range(combo.count())]
    assert texts == ["current (hidden)", "backward (hidden)", "forward"]
    viewer.layers["backward"].visible = True
    QApplication.sendEvent(combo, QEvent(QEvent.Type.FocusIn))
    assert "backward" in [combo.itemText(k) for k in range(combo.count())]


def test_a_choice_follows_what_is_opened_until_the_user_has_chosen(viewer: Any) -> None:
    dock = toy(viewer)
    assert dock.image.layer is None and dock.findChild(QLabel, "status").text() == dock.NOTHING
    told: list[str] = []
    dock.image.changed.connect(lambda x: told.append("" if x is None else x.name))
    for name in ("one", "two"):
        viewer.add_image(image(), name=name)
        assert dock.image.layer.name == name
    assert dock.findChild(QLabel, "status").text() == ""
    combo = dock.findChild(QComboBox, "image")
    assert [combo.itemText(k) for k in range(combo.count())] == ["two", "one"]
    combo.setCurrentText("one")
    viewer.add_image(image(), name="three")
    assert dock.image.layer.name == "one"
    viewer.layers["one"].name = "first"
    assert dock.image.layer.name == "first"
    viewer.layers.remove("first")
    assert dock.image.layer.name == "three"
    assert told == ["one", "two", "one", "three"]
    assert dock.atoms.layer is None  # nothing, unless one is chosen
    points = viewer.add_points(np.zeros((1, 2)), name="p")
    assert dock.atoms.layer is None
    dock.atoms.choose(points)
    assert dock.atoms.layer == points


def test_what_is_drawn_of_atoms_is_not_chosen_in_their_place(viewer: Any) -> None:
    """Explore described the 32 defects, not the 1,644 atoms: their layer came last."""
    atoms = viewer.add_points(np.zeros((3, 2)), name="atoms")
    choice = LayerChoice(
        viewer, Points, "atoms", "Atoms", prefers=lambda x: x.name.startswith("atoms")
    )
    assert choice.layer is atoms
    viewer.layers.events.inserted.connect(choice.reset_choices)
    viewer.add_points(np.zeros((1, 2)), name="defects")
    assert choice.layer is atoms
    later = viewer.add_points(np.zeros((2, 2)), name="atoms of another image")
    assert choice.layer is later
    choice.close()


def test_pixels_of_pyramids_and_of_colours(viewer: Any) -> None:
    fine = image(64)
    viewer.add_image([fine, fine[::2, ::2]], multiscale=True, name="pyramid",
                     scale=(0.1, 0.1), units=("nm", "nm"))  # fmt: skip
    dock = toy(viewer)
    layer = dock.image.layer
    np.testing.assert_array_equal(np.asarray(stack_of(layer)[0]), fine)
    assert pixel_size_of(layer) == pytest.approx((0.1, 0.1)) and dock.size.value() == (0.1, 0.1)
    layer.scale = (0.2, 0.2)
    assert dock.size.value() == (0.2, 0.2)
    dock.size.widget.value = 0.5
    assert dock.size.value() == (0.5, 0.5)
    viewer.add_image((np.dstack([fine] * 3) * 255).astype(np.uint8), rgb=True, name="rgb")
    assert stack_of(dock.image.layer).shape == (1, 64, 64)


# ----------------------------------------------------------------------- the job


def test_a_job_runs_and_says_what_it_did(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="one")
    dock = toy(viewer)
    dock.free.set()
    button = dock.findChild(QPushButton, "run")
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert button.text() == "Cancel"
    assert dock.got == [0, 1, 2] and dock.status.text() == "3 counted."
    assert button.text() == "Count" and dock.bar.isHidden()
    dock.findChild(QDoubleSpinBox, "count").setValue(-1)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert dock.status.text() == "Below zero there is nothing to count."


@pytest.mark.parametrize("deaf", [False, True])
def test_cancel_takes_half_a_second_at_most(viewer: Any, qtbot: Any, deaf: bool) -> None:
    viewer.add_image(image(), name="one")
    dock = toy(viewer)
    dock.deaf = deaf
    button = dock.findChild(QPushButton, "run")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.got == [0], timeout=WAIT)
    with qtbot.waitSignal(dock.finished, timeout=2_000):  # slack for a loaded machine
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert dock.status.text() == "Cancelled; 1 of 3 steps are done." and not dock.is_running
    dock.free.set()
    with qtbot.waitSignal(dock.finished, timeout=WAIT):  # a new one is not mixed with the old
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert dock.got == [0, 0, 1, 2]


def test_a_job_stops_when_its_image_is_removed(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="one")
    dock = toy(viewer)
    dock.run()
    qtbot.waitUntil(lambda: dock.got == [0], timeout=WAIT)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        viewer.layers.remove("one")
    assert "the layer one was removed" in dock.status.text() and dock.gone == ["one"]
    assert not dock.findChild(QPushButton, "run").isEnabled()


def test_nothing_stays_of_work_that_was_cut_short(viewer: Any, qtbot: Any) -> None:
    """napari keeps each worker with its window: the image stayed with it."""
    job, got, free, cleaned = Job(), [], threading.Event(), threading.Event()
    job.results.connect(got.extend)

    def start() -> weakref.ref[np.ndarray]:
        pixels = image()

        def work(stop: Stop) -> Iterator[object]:
            try:
                yield pixels.shape
                free.wait(20)
                yield stop()
            finally:
                cleaned.set()

        job.start(work, needs_torch=False)
        return weakref.ref(pixels)

    kept = start()
    qtbot.waitUntil(lambda: got == [(32, 32)], timeout=WAIT)
    job.close()
    free.set()
    qtbot.waitUntil(lambda: cleaned.is_set() and kept() is None, timeout=2_000)
    assert got == [(32, 32)] and not job.is_running


QUIT = """
import sys, threading, time
from qtpy.QtWidgets import QApplication
from napari_atomlens.widgets.base.jobs import Job
app, job, begun = QApplication([]), Job(), threading.Event()
def work(stop):
    begun.set()
    time.sleep(1.0)  # a stage that nobody can interrupt
    while not stop():
        time.sleep(0.01)
    print("the work has ended", flush=True)
    return iter(())
def until(so):
    while not so():
        app.processEvents()
        time.sleep(0.01)
job.start(work, needs_torch=False)
until(begun.is_set)
if sys.argv[1] == "cancelled":
    job.cancel()
    until(lambda: not job.is_running)
print("the script has ended", job.is_running, flush=True)
"""


@pytest.mark.parametrize("how", ["cancelled", "running"])
def test_a_thread_that_outlives_the_window_ends_before_python_does(how: str) -> None:
    """Its signals were deleted under it: an error at the end, an abort with PyQt6."""
    done = subprocess.run(
        [sys.executable, "-c", QUIT, how], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    script, work = f"the script has ended {how == 'running'}", "the work has ended"
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [script, work] and "deleted" not in done.stderr


class Drawer(ToyDock):
    """Draws what it has counted in four steps."""

    def _counting(self) -> Task[int]:
        layer = self.image.layer
        assert layer is not None

        def show(results: list[int]) -> Iterator[None]:
            for k in range(4):
                if k == 3 and self.form.value().count == 0:
                    raise ParameterError("There is no room for the last one.")
                self.got.append(k)
                yield

        return Task(lambda progress: iter([1]), show, lambda: f"{len(self.got)} drawn.",
                    sources=(layer,))  # fmt: skip


def drawing(viewer: Any, qtbot: Any) -> Drawer:
    """A dock that is about to draw."""
    viewer.add_image(image(), name="one")
    dock = Drawer(viewer)
    viewer.window.add_dock_widget(dock, name="drawer")
    dock.run()
    return dock


def test_a_result_is_drawn_in_several_events(viewer: Any, qtbot: Any) -> None:
    dock = drawing(viewer, qtbot)
    beats: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(len(dock.got)))
    timer.start(0)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        pass
    timer.stop()
    assert {1, 2, 3} <= set(beats)  # the window was free after each step
    assert dock.got == [0, 1, 2, 3] and dock.status.text() == "4 drawn."
    dock.got.clear()
    dock.findChild(QDoubleSpinBox, "count").setValue(0)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        dock.run()
    assert dock.got == [0, 1, 2] and dock.status.text() == "There is no room for the last one."


def test_cancel_while_a_result_is_drawn_ends_at_once_and_draws_it(viewer: Any, qtbot: Any) -> None:
    dock = drawing(viewer, qtbot)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.waitUntil(lambda: dock._thread_ended, timeout=WAIT)
        assert len(dock.got) < 4 and dock.is_running
        qtbot.mouseClick(dock.findChild(QPushButton, "run"), Qt.MouseButton.LeftButton)
        assert not dock.is_running
    assert dock.findChild(QPushButton, "run").text() == "Count" and dock.bar.isHidden()
    qtbot.waitUntil(lambda: dock.got == [0, 1, 2, 3], timeout=WAIT)


def test_what_is_left_to_draw_is_forgotten_with_its_layer_and_its_dock(
    viewer: Any, qtbot: Any
) -> None:
    dock = drawing(viewer, qtbot)
    removed: list[int] = []

    def remove() -> None:
        if dock.got and not removed:
            removed.append(len(dock.got))
            viewer.layers.remove("one")

    timer = QTimer()
    timer.timeout.connect(remove)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        timer.start(0)
    timer.stop()
    assert removed and len(dock.got) == removed[0] < 4
    assert "the layer one was removed" in dock.status.text() and not dock.is_running
    viewer.add_image(image(), name="one")
    dock.got.clear()
    dock.run()
    qtbot.waitUntil(lambda: len(dock.got) > 0, timeout=WAIT)
    dock.cleanup()
    drawn = len(dock.got)
    qtbot.wait(60)
    assert len(dock.got) == drawn and not dock.is_running


# -------------------------------------------------------------------- the window


def test_a_dock_that_falls_out_of_the_tabs_at_once_joins_them_again(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = viewer.window._qt_window
    viewer.window.show()
    monkeypatch.setattr(dock_module, "SETTLE_MS", 3 * WAIT)  # however slow this machine is
    first, second = toy(viewer, "one"), toy(viewer, "two")
    one, two = first._dock(), second._dock()
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(one) == [two], timeout=WAIT)
    area = window.dockWidgetArea(two)
    window.addDockWidget(area, two)  # out of the tabs, as Qt does on a busy machine
    qtbot.wait(100)
    assert window.tabifiedDockWidgets(one) == []
    # each dock looks once more; the first one does so sooner, and would mend it as well
    assert first._settled.isActive() and second._settled.isActive()
    first._settled.stop()
    with qtbot.waitSignal(second._settled.timeout, timeout=WAIT):
        second._settled.start(SETTLE_MS)
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(one) == [two], timeout=WAIT)
    window.addDockWidget(area, two)  # and as the user does later
    qtbot.wait(SETTLE_MS + 200)
    assert window.tabifiedDockWidgets(one) == []


def test_docks_join_the_tabs_and_the_new_one_rises(viewer: Any, qtbot: Any) -> None:
    window = viewer.window._qt_window
    viewer.window.show()
    height = window.height()
    made = [toy(viewer, f"toy {k}") for k in range(3)]
    qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(made[0]._dock())) == 2, timeout=WAIT)
    qtbot.waitUntil(lambda: not made[2].visibleRegion().isEmpty(), timeout=WAIT)
    assert made[0].visibleRegion().isEmpty() and window.height() == height


def test_a_dock_taken_out_of_the_window_leaves_nothing(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.zeros((3, 8, 8)), name="film")
    emitters = [
        viewer.layers.events.inserted, viewer.layers.events.removed, viewer.events.theme,
        viewer.dims.events.point, viewer.layers["film"].events.scale,
    ]  # fmt: skip
    before = [len(e.callbacks) for e in emitters]
    viewer.window.show()
    dock = toy(viewer)
    viewer.dims.set_current_step(0, 2)
    qtbot.waitUntil(lambda: dock.frames == [2], timeout=WAIT)
    dock.run()
    qtbot.waitUntil(lambda: dock.got == [0], timeout=WAIT)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        viewer.window.remove_dock_widget(dock)
    assert [len(e.callbacks) for e in emitters] == before


def test_a_closed_dock_is_not_kept(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="one")
    viewer.window.show()
    known = [weakref.ref(toy(viewer))]
    viewer.window.remove_dock_widget(known[0]())
    known[0]().deleteLater()
    qtbot.waitUntil(lambda: gc.collect() >= 0 and known[0]() is None, timeout=WAIT)


def test_what_was_found_is_drawn_to_its_end_when_the_dock_is_closed(
    viewer: Any, qtbot: Any
) -> None:
    """The layers that were not there yet never came, without a word."""
    source = viewer.add_image(image(), name="one")
    viewer.window.show()
    shown: list[int] = []

    def show(results: list[int]) -> Iterator[None]:
        for k in range(60):
            shown.append(k)
            yield

    known = [weakref.ref(toy(viewer))]
    task = Task(lambda progress: iter([1]), show, lambda: "Done.", sources=(source,))
    known[0]().start(task)
    qtbot.waitUntil(lambda: known[0]()._thread_ended and len(shown) > 1, timeout=WAIT)
    assert len(shown) < 60
    known[0]()._dock().destroyOnClose()  # the cross of its title
    del task
    qtbot.waitUntil(lambda: len(shown) == 60, timeout=WAIT)
    del show  # it holds nothing of the dock
    qtbot.waitUntil(lambda: gc.collect() >= 0 and known[0]() is None, timeout=WAIT)


def test_a_dock_that_was_closed_stops_to_draw_when_its_image_goes(viewer: Any, qtbot: Any) -> None:
    source = viewer.add_image(image(), name="one")
    viewer.window.show()
    shown: list[int] = []

    def show(results: list[int]) -> Iterator[None]:
        for k in range(1000):
            shown.append(k)
            yield

    dock = toy(viewer)
    dock.start(Task(lambda progress: iter([1]), show, lambda: "Done.", sources=(source,)))
    qtbot.waitUntil(lambda: dock._thread_ended and len(shown) > 1, timeout=WAIT)
    dock._dock().destroyOnClose()
    qtbot.wait(50)
    viewer.layers.remove(source)
    qtbot.waitUntil(lambda: not dock._steps, timeout=WAIT)
    assert len(shown) < 1000 and dock._closed


def test_closing_the_tab_cleans_up(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="one")
    viewer.window.show()
    dock = toy(viewer)
    tab = next(d for d in viewer.window._qt_window.findChildren(QDockWidget) if d is dock._dock())
    dock.run()
    qtbot.waitUntil(lambda: dock.got == [0], timeout=WAIT)
    with qtbot.waitSignal(dock.finished, timeout=WAIT):
        qtbot.mouseClick(tab.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
    assert not dock.is_running and not dock.job.is_running
