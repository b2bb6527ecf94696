"""Long use of a window: random hands, rounds of open, analyse and close, rounds of clear and open.

They take minutes, so they run where ``ATOMLENS_SOAK=1`` asks for them;
``ATOMLENS_SOAK_ROUNDS=100 ATOMLENS_SOAK_CLEARS=200`` makes the rounds many.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docks_in_window import names
from fake_analysis import FakeAnalysis, lattice
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton, QWidget
from soak import (
    RandomHands,
    listening,
    wait_idle,
    without_dialogs,
)

from napari_atomlens.widgets.base.software_gl import is_faulty

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from rounds import Growth, growth  # of the benchmarks

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="a window needs a display"
    ),
    pytest.mark.timeout(1200),
]
long = pytest.mark.skipif(
    "ATOMLENS_SOAK" not in os.environ, reason="takes minutes: ATOMLENS_SOAK=1"
)
EVENTS = 200
ROUNDS = int(os.environ.get("ATOMLENS_SOAK_ROUNDS", "6"))
CLEARS = int(os.environ.get("ATOMLENS_SOAK_CLEARS", "20"))
#: What is not so yet, with the reason. Whoever mends it takes it away.
NOT_YET_RANDOM: dict[str, str] = {}
NOT_YET_ROUNDS: dict[str, str] = {}


def expect(request: pytest.FixtureRequest, table: dict[str, str], dock: str) -> None:
    if dock in table:
        request.applymarker(pytest.mark.xfail(reason=table[dock], strict=True))


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1300, 900)
    QTest.qWait(100)
    return viewer


def open_dock(viewer: Any, name: str) -> tuple[Any, QWidget]:
    outer, inner = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
    QTest.qWait(50)
    return outer, inner


def press(dock: QWidget, names: tuple[str, ...]) -> None:
    """Press the first of some buttons, and wait until the dock is idle."""
    found = [dock.findChild(QPushButton, n) for n in names]
    button = next((b for b in found if b is not None and b.isEnabled()), None)
    if button is not None:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    wait_idle(dock)


def find_atoms(viewer: Any) -> None:
    outer, dock = open_dock(viewer, "Find atoms")
    press(dock, ("run",))
    outer.destroyOnClose()  # as the button of its title; close() only hides it
    QTest.qWait(50)


def image(name: str) -> Any:
    """What a dock works on."""
    return lattice(8, frames=3) if name == "Movie" else lattice(10)


@long
@pytest.mark.parametrize("name", names())
def test_random_hands(
    viewer: Any, fake: FakeAnalysis, name: str, request: pytest.FixtureRequest
) -> None:
    expect(request, NOT_YET_RANDOM, name)
    with without_dialogs(), listening() as errors:
        viewer.add_image(image(name), name="image")
        if name not in ("Find atoms", "Movie"):
            find_atoms(viewer)
        outer, dock = open_dock(viewer, name)
        hands = RandomHands(viewer, dock, seed=15)
        for _ in range(EVENTS):
            hands.act()
            if errors.found:
                break
        last = hands.done[-5:]
        assert errors.found == [], f"after {len(hands.done)} events, the last {last}"
        assert len(hands.done) == EVENTS and len(set(hands.done)) > 3
        wait_idle(dock)
        outer.destroyOnClose()
        QTest.qWait(50)
        assert errors.found == []


@long
@pytest.mark.parametrize("name", names())
def test_rounds_leave_nothing(name: str, request: pytest.FixtureRequest) -> None:
    """Layers, callbacks, widgets, threads, objects of ours, memory: as with napari alone."""
    expect(request, NOT_YET_ROUNDS, name)
    figures, kinds = growth(name, ROUNDS, stand_in=True)
    assert [x for x in figures if x.missed] == [], kinds


def test_what_grows_beyond_napari_alone_is_a_miss() -> None:
    assert not Growth("layers", 1, 1, 0, 6).missed and Growth("layers", 1, 2, 0, 6).missed
    assert not Growth("widgets", 50, 60, 10, 6).missed and Growth("widgets", 50, 61, 10, 6).missed
    assert Growth("callbacks", 9, 10, -5, 6).missed  # that napari had less by chance is no excuse
    assert not Growth("memory (MB)", 500, 640, 120, 6).missed
    assert Growth("memory (MB)", 500, 680, 120, 6).missed


CLEAR = """
import os, sys
import napari, numpy as np
from qtpy.QtTest import QTest
sys.path.insert(0, sys.argv[1])
rng = np.random.default_rng(0)
viewer = napari.Viewer()
viewer.window._qt_window.resize(1300, 900)
_, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")
QTest.qWait(300)
angle = np.linspace(0, 6, 12)
for k in range(int(sys.argv[2])):
    viewer.layers.clear()
    viewer.add_image(rng.random((256, 256)).astype(np.float32), name="image")
    viewer.window._qt_viewer.canvas.native.repaint()
    places = rng.random((100, 2)) * 256
    rings = [p + 4 * np.c_[np.sin(angle), np.cos(angle)] for p in places]
    viewer.add_shapes(rings, shape_type="polygon")
    points = viewer.add_points(places, size=8)
    points.selected_data = {0}
    QTest.qWait(15)
    viewer.layers.remove(points)
    QTest.qWait(15)
print("rounds", k + 1, flush=True)
os._exit(0)
"""


@long
def test_an_image_is_painted_soon_after_all_was_cleared() -> None:
    """The process died of it (in glDrawArrays) where Mesa 22 draws without a graphics card."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CLEAR, str(Path(__file__).parent),
         str(CLEARS)],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"rounds {CLEARS}" in done.stdout


def test_only_the_renderer_that_dies_keeps_its_programs() -> None:
    llvm = "llvmpipe (LLVM 15.0.6, 256 bits)"
    assert is_faulty(llvm, "4.5 (Compatibility Profile) Mesa 22.3.6")
    assert not is_faulty(llvm, "4.5 (Compatibility Profile) Mesa 25.0.1")
    assert not is_faulty("Mesa Intel(R) Xe Graphics", "4.6 Mesa 22.3.6")
    assert not is_faulty("NVIDIA GeForce RTX 4070", "4.6.0 NVIDIA 550.54")


def test_the_hands_hear_an_error(viewer: Any, qtbot: Any) -> None:
    """A button that raises is found by random hands."""
    dock = QPushButton("raise")

    def fail() -> None:
        raise ValueError("planted")

    with listening() as errors:
        holder = QWidget()
        dock.setParent(holder)
        dock.clicked.connect(fail)
        qtbot.addWidget(holder)
        holder.show()
        viewer.add_image(lattice(4), name="image")
        hands = RandomHands(viewer, holder, seed=1)
        for _ in range(30):
            hands.act()
            if errors.found:
                break
    assert any("planted" in x for x in errors.found)
