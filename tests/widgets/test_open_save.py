"""Projects saved and opened while the window goes on; unsaved edits, offered and on top."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import npe2
import numpy as np
import pandas as pd
import pytest
from napari.layers import Points
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QMessageBox,
    QPushButton,
)

from napari_atomlens import tables
from napari_atomlens.errors import AtomLensError
from napari_atomlens.session import autosave, project
from napari_atomlens.session.edits import actions
from napari_atomlens.session.project import load_workspace
from napari_atomlens.widgets.layers.atoms import Editor, editor_of
from napari_atomlens.widgets.layers.roles import KEY
from napari_atomlens.widgets.open_save import restore
from napari_atomlens.widgets.open_save.project import ProjectPanel

WAIT = 20_000
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


@pytest.fixture
def viewer(
    make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path / "autosave"))
    made = make_napari_viewer(show=True)
    yield made
    for layer in made.layers:
        if isinstance(found := layer.metadata.get(project.PROJECT), project.OpenProject):
            found.lock.release()


def table_of(n: int) -> pd.DataFrame:
    side = int(np.ceil(np.sqrt(n)))
    at = 10.0 * np.mgrid[:side, :side].reshape(2, -1).T[:n] + 5
    return tables.make(
        "atoms",
        {"frame": 0, "atom_id": np.arange(n), "y_px": at[:, 0], "x_px": at[:, 1],
         "species": "column", "probability": 0.9, "source": "fit"}, n,
    )  # fmt: skip


def fill(viewer: Any, n: int = 30, name: str = "gold") -> Editor:
    """Show an image with n atoms, as many outlines and bonds; return the editor of the atoms."""
    table = table_of(n)
    at = table[["y_px", "x_px"]].to_numpy()
    side = int(at.max()) + 6
    ring = 3 * np.array([[np.sin(a), np.cos(a)] for a in np.linspace(0, 6, 12)])
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((side, side)).astype(np.float32), name=name)
    viewer.add_shapes([p + ring for p in at], shape_type="polygon", name="contours")
    viewer.add_vectors(np.stack([at, np.roll(at, 1, 0) - at], 1), name="bonds")
    entry = {"role": "atoms", "source_name": name, "spacing_px": 10.0}
    layer = viewer.add_points(
        at, features=table, size=3, name=f"atoms · {name}", metadata={KEY: entry}
    )
    return editor_of(layer, table)


class Heartbeat:
    """The longest time, in CPU seconds of this thread, that no event was handled."""

    def __enter__(self) -> Heartbeat:
        self.longest, self.beats = 0.0, 0
        self._last = time.thread_time()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(1)
        return self

    def _beat(self) -> None:
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        self.beats += 1

    def __exit__(self, *error: object) -> None:
        self._timer.stop()
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)


# ----------------------------------------------------------------------- save and open


def test_saving_blocks_nothing_and_makes_few_files(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    fill(viewer, 1500)
    qtbot.wait(300)  # painted once
    with Heartbeat() as heart:
        (path,) = viewer.layers.save(str(tmp_path / "a.atomlens"), plugin="napari-atomlens")
    assert heart.longest < 0.2 and heart.beats > 3
    assert len([p for p in Path(path).rglob("*") if p.is_file()]) <= 25
    again = load_workspace(path).layers
    for layer, (data, _, _) in zip(viewer.layers, again, strict=True):
        np.testing.assert_array_equal(np.concatenate(layer.data), np.concatenate(data))


def test_what_is_edited_while_saving_stays_unsaved(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = fill(viewer)
    editor.perform(actions.delete, [3])
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    before = editor.corrections.atoms().copy()
    real, edited = project.window.write_window, []

    def slow(*given: Any) -> None:
        while not edited:  # until the window was used
            time.sleep(0.005)
        real(*given)

    def edit() -> None:
        assert not panel._save.isEnabled() and "Saving" in panel._note.text()
        assert not panel._bar.isHidden()
        editor.perform(actions.delete, [4])
        viewer.layers["gold"].data[:] = 0
        edited.append(True)

    monkeypatch.setattr(project.window, "write_window", slow)
    QTimer.singleShot(0, edit)
    path = panel.save(tmp_path / "a")
    assert path is not None and panel._save.isEnabled() and panel._bar.isHidden()
    layers = load_workspace(path).layers
    saved = layers[-1][1]["metadata"][project.CORRECTIONS]
    pd.testing.assert_frame_equal(saved.atoms(), before)
    assert len(layers[-1][0]) == 29 and layers[0][0].any()
    # and a crash now would not lose the second edit
    assert len(list((tmp_path / "autosave").iterdir())) == 1
    monkeypatch.setattr(project.window, "write_window", real)
    assert panel.save(tmp_path / "a") == path
    assert list((tmp_path / "autosave").iterdir()) == []


def test_how_far_the_saving_is_can_be_seen(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(viewer)
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    far: list[tuple[int, int]] = []
    panel._bar.valueChanged.connect(lambda done: far.append((done, panel._bar.maximum())))
    seen: list[str] = []
    real = project.window._vectors

    def slow(*given: Any) -> Any:
        n = len(far) + len(seen)
        end = time.monotonic() + 5
        while len(far) + len(seen) == n and time.monotonic() < end:  # until it is shown
            time.sleep(0.005)
        return real(*given)

    monkeypatch.setattr(project.window, "_vectors", slow)
    assert panel.save(tmp_path / "a") is not None
    assert {(1, 4), (2, 4), (3, 4)} <= set(far)
    # by the menu of napari: in its status bar
    viewer.events.status.connect(lambda event: seen.append(str(event.value)))
    viewer.layers.save(str(tmp_path / "b.atomlens"), plugin="napari-atomlens")
    said = [f"Saving b.atomlens: {n} of 4 layers are written" for n in (1, 2, 3)]
    assert set(said) <= set(seen)


def test_napari_saves_the_edits_too(viewer: Any, tmp_path: Path) -> None:
    editor = fill(viewer)
    editor.perform(actions.delete, [3])
    assert len(list((tmp_path / "autosave").iterdir())) == 1
    viewer.layers.save(str(tmp_path / "a.atomlens"), plugin="napari-atomlens")
    assert list((tmp_path / "autosave").iterdir()) == []


def test_a_window_that_closes_while_it_is_saved(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = fill(viewer)
    editor.perform(actions.delete, [3])
    real, gone = project.window.write_window, []

    def slow(*given: Any) -> None:
        while not gone:
            time.sleep(0.005)
        real(*given)

    def close() -> None:
        viewer.close()
        gone.append(True)

    monkeypatch.setattr(project.window, "write_window", slow)
    QTimer.singleShot(0, close)
    (path,) = viewer.layers.save(str(tmp_path / "a.atomlens"), plugin="napari-atomlens")
    assert [kind for _, _, kind in load_workspace(path).layers] == [
        "image", "shapes", "vectors", "points",
    ]  # fmt: skip


def test_a_full_disk_is_a_sentence_and_spoils_nothing(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = fill(viewer)
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    path = panel.save(tmp_path / "a")
    editor.perform(actions.delete, [3])

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project.window, "write_window", full)
    assert panel.save(tmp_path / "a") is None
    assert panel._note.text() == "a.atomlens could not be written: No space left on device."
    with pytest.raises(AtomLensError, match="No space left"):
        viewer.layers.save(str(path), plugin="napari-atomlens")
    assert path is not None and len(load_workspace(path).layers[-1][0]) == 30
    assert {p.name for p in tmp_path.iterdir()} == {"a.atomlens", ".a.atomlens.lock", "autosave"}
    assert len(list((tmp_path / "autosave").iterdir())) == 1


def test_opening_goes_on_beside_the_window(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = fill(viewer, 400)
    editor.perform(actions.delete, [3])
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    path = panel.save(tmp_path / "a")
    names, table = [x.name for x in viewer.layers], editor.corrections.atoms()
    real, served = project.window.read_window, []

    def slow(*given: Any) -> Any:
        while not served:
            time.sleep(0.005)
        return real(*given)

    monkeypatch.setattr(project.window, "read_window", slow)
    QTimer.singleShot(0, lambda: served.append(len(viewer.layers)))
    assert panel.open(path) and served == [4]  # the old layers are there until all is read
    assert [x.name for x in viewer.layers] == names
    again = editor_of(viewer.layers[names[-1]])
    assert again is not editor
    pd.testing.assert_frame_equal(again.corrections.atoms(), table)
    viewer.layers.clear()
    served.clear()
    QTimer.singleShot(0, lambda: served.append(len(viewer.layers)))
    viewer.open(str(path), plugin="napari-atomlens")
    assert [x.name for x in viewer.layers] == names and served == [0]


def answer(qtbot: Any, text: str, asked: list[str]) -> None:
    """Press a button of the question once it is there."""

    def press() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, press)
            return
        asked.append(box.text())
        (button,) = [b for b in box.buttons() if b.text().replace("&", "") == text]
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    QTimer.singleShot(20, press)


def test_a_project_that_the_window_has_open_is_reverted_when_asked(
    viewer: Any, qtbot: Any, tmp_path: Path, recwarn: Any
) -> None:
    editor = fill(viewer)
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    path = panel.save(tmp_path / "work")
    assert path is not None
    names = [x.name for x in viewer.layers]
    editor.perform(actions.delete, [3, 4])
    viewer.add_points(np.zeros((1, 2)), name="mine")
    asked: list[str] = []
    answer(qtbot, "Cancel", asked)
    viewer.open(str(path), plugin="napari-atomlens")
    assert "work.atomlens is open in this window already" in asked[0]
    assert [x.name for x in viewer.layers] == [*names, "mine"]
    assert len(editor.layer.data) == 28
    answer(qtbot, "Revert", asked)
    viewer.open(str(path), plugin="napari-atomlens")
    assert sorted(x.name for x in viewer.layers) == sorted([*names, "mine"])
    again = editor_of(viewer.layers[names[-1]])
    assert len(again.layer.data) == 30 and not again.is_read_only
    assert again.perform(actions.delete, [5]) is not None
    editor.autosave.pause()  # what the end of napari does
    (lost,) = autosave.find_unsaved()
    assert len(autosave.restore(lost).atoms()) == 28  # what was given up is not lost
    viewer.layers.clear()  # the panel holds the project: still this window
    viewer.open(str(path), plugin="napari-atomlens")
    assert not editor_of(viewer.layers[names[-1]]).is_read_only and len(asked) == 2
    assert not [w for w in recwarn if "another window" in str(w.message)]


def test_a_damaged_project_changes_nothing(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    fill(viewer)
    panel = ProjectPanel(viewer)
    qtbot.addWidget(panel)
    path = panel.save(tmp_path / "a")
    other = panel.save(tmp_path / "b")
    assert path is not None and other is not None
    (path / "arrays.npz").write_bytes(b"no")
    assert not panel.open(path)
    assert panel._note.text().startswith("a.atomlens is damaged")
    assert len(viewer.layers) == 4
    opened = project.open_project(path)  # nobody holds it
    assert not opened.read_only
    opened.lock.release()


# ----------------------------------------------------------------------------- restore


def leave_unsaved(n_edits: int = 2, name: str = "gold") -> pd.DataFrame:
    """Edit without a window, as a process did that crashed; return the atoms."""
    table = table_of(30)
    c = project.Corrections(table, spacing_px=10.0)
    about = {
        "layer": f"atoms · {name}", "ndim": 2, "scale": [1.0, 1.0], "translate": [0.0, 0.0],
        "units": ["pixel", "pixel"], "axis_labels": ["y", "x"], "size": 3.0,
        "entry": {"role": "atoms", "source_name": name, "source_id": "gone", "spacing_px": 10.0},
    }  # fmt: skip
    saver = autosave.Autosave(c, about)
    for k in range(n_edits):
        actions.delete(c, [k])
    saver.pause()
    return c.atoms()


@pytest.fixture
def first_use(viewer: Any) -> Iterator[None]:
    """As if the plugin were not used yet in this process."""
    manager = npe2.PluginManager.instance()
    manager.deactivate("napari-atomlens")
    yield


def bar_of(viewer: Any, qtbot: Any) -> Any:
    window = viewer.window._qt_window

    def there() -> bool:
        found = window.findChild(restore.RestoreBar)
        return found is not None and found.isVisible()

    qtbot.waitUntil(there, timeout=WAIT)
    return window.findChild(restore.RestoreBar)


def click(qtbot: Any, bar: Any, name: str) -> None:
    qtbot.mouseClick(bar.findChild(QPushButton, name), Qt.MouseButton.LeftButton)


@pytest.mark.parametrize("use", ["dock", "reader", "sample"])
def test_unsaved_edits_are_offered_at_first_use(
    viewer: Any, qtbot: Any, first_use: None, tmp_path: Path, use: str
) -> None:
    table = leave_unsaved()
    if use == "dock":
        viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    elif use == "sample":
        viewer.open_sample("napari-atomlens", "h_si_100")
    else:
        np.save(tmp_path / "image.npy", np.zeros((16, 16), np.float32))
        viewer.open(str(tmp_path / "image.npy"), plugin="napari-atomlens")
    bar = bar_of(viewer, qtbot)
    assert bar.findChild(QLabel).text().startswith("2 edits of atoms · gold (")
    click(qtbot, bar, "restore")
    (layer,) = [x for x in viewer.layers if isinstance(x, Points)]
    pd.testing.assert_frame_equal(editor_of(layer).corrections.atoms(), table)
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(restore.RestoreBar) is None)
    assert autosave.find_unsaved() == []  # this window has it
    # once: whatever is used later
    leave_unsaved()
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Batch")
    qtbot.wait(100)
    assert viewer.window._qt_window.findChild(restore.RestoreBar) is None


def test_several_sessions_are_offered_in_turn(viewer: Any, qtbot: Any, first_use: None) -> None:
    leave_unsaved(1, "silver")
    leave_unsaved(3, "gold")
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    bar = bar_of(viewer, qtbot)
    texts = set()
    for _ in range(2):
        texts.add(bar.findChild(QLabel).text().split(" (")[0])
        click(qtbot, bar, "forget")
    assert texts == {"1 edit of atoms · silver", "3 edits of atoms · gold"}
    assert autosave.find_unsaved() == [] and len(viewer.layers) == 0


def test_later_leaves_them_where_they_are(viewer: Any, qtbot: Any, first_use: None) -> None:
    leave_unsaved()
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    click(qtbot, bar_of(viewer, qtbot), "later")
    assert len(autosave.find_unsaved()) == 1
    panel = ProjectPanel(viewer)  # of Correct
    qtbot.addWidget(panel)
    assert "2 edits" in panel._note.text()


def test_nothing_is_offered_where_nothing_was_lost(
    viewer: Any, qtbot: Any, first_use: None
) -> None:
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    qtbot.wait(100)
    assert viewer.window._qt_window.findChild(restore.RestoreBar) is None


def test_restored_atoms_lie_above_their_image_that_is_opened_later(viewer: Any) -> None:
    leave_unsaved()
    layer = restore.show_restored(viewer, autosave.find_unsaved()[0])
    viewer.add_image(np.zeros((60, 60)), name="another one")
    assert viewer.layers[-1] is layer  # not hidden by what is not its image either
    viewer.add_image(np.ones((60, 60)), name="gold")
    assert [x.name for x in viewer.layers] == ["another one", "gold", "atoms · gold"]
    viewer.add_image(np.ones((60, 60)), name="yet another")
    assert viewer.layers[-1].name == "yet another"  # it lies above its own, not above all
    assert not restore._WAITING
    viewer.layers.remove(layer)


def test_restored_atoms_find_their_image_that_is_there(viewer: Any) -> None:
    viewer.add_image(np.zeros((60, 60)), name="gold")
    viewer.add_image(np.zeros((60, 60)), name="another one")
    leave_unsaved()
    restore.show_restored(viewer, autosave.find_unsaved()[0])
    assert [x.name for x in viewer.layers] == ["gold", "atoms · gold", "another one"]


def test_restoring_takes_no_edits_from_a_layer_of_the_same_name(viewer: Any) -> None:
    editor = fill(viewer)
    editor.perform(actions.delete, [7])
    leave_unsaved()
    layer = restore.show_restored(viewer, autosave.find_unsaved()[0])
    assert editor.layer in viewer.layers and layer in viewer.layers
    assert len(editor.layer.data) == 29 and len(layer.data) == 28


def test_restoring_adds_to_what_is_there(viewer: Any) -> None:
    """Points of the user, and atoms that were found anew and not yet edited, stay."""
    mine = viewer.add_points(np.ones((3, 2)), name="atoms · gold")
    editor = fill(viewer)
    editor.layer.name = mine.name  # napari makes it another one
    before = [(x.name, len(x.data)) for x in viewer.layers]
    leave_unsaved()
    layer = restore.show_restored(viewer, autosave.find_unsaved()[0])
    after = [(x.name, len(x.data)) for x in viewer.layers if x is not layer]
    assert after == before and len(layer.data) == 28
    assert {mine, editor.layer, layer} <= set(viewer.layers)


@pytest.mark.parametrize("first", ["dock", "restore"])
def test_correct_follows_atoms_that_are_restored(viewer: Any, first: str) -> None:
    """Whoever presses Restore goes on with these edits, not with the layer chosen before."""
    editor = fill(viewer)
    leave_unsaved()
    unsaved = autosave.find_unsaved()[0]
    if first == "restore":
        layer = restore.show_restored(viewer, unsaved)
    correct = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")[1]
    if first == "dock":
        assert correct.editor is editor
        layer = restore.show_restored(viewer, unsaved)
    assert correct.editor is editor_of(layer)
    viewer.add_points(np.zeros((1, 2)), name="something else")  # it is chosen once
    correct._atoms.choose(editor.layer)
    viewer.add_image(np.zeros((8, 8)), name="later")
    assert correct.editor is editor


def test_the_bar_leaves_the_window_to_the_image(viewer: Any, qtbot: Any, first_use: None) -> None:
    leave_unsaved()
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    bar = bar_of(viewer, qtbot)
    lines = bar.findChild(QLabel).fontMetrics().lineSpacing()
    qtbot.waitUntil(lambda: bar.height() <= 4 * lines, timeout=WAIT)
    window = viewer.window._qt_window
    window.resize(1600, 900)
    qtbot.waitUntil(lambda: bar.height() <= 3 * lines, timeout=WAIT)
    assert bar.findChild(QPushButton, "restore").isVisible()


def test_a_damaged_session_says_so(viewer: Any, qtbot: Any, first_use: None) -> None:
    leave_unsaved(3)
    (journal,) = autosave.autosave_folder().glob("*/journal-1.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"?" * 50 + b"\n" + lines[2])
    viewer.window.add_plugin_dock_widget("napari-atomlens", "Calibrate")
    bar = bar_of(viewer, qtbot)
    text = bar.findChild(QLabel).text()
    assert text.startswith("1 edit of atoms · gold (") and "damaged in line 2" in text
    click(qtbot, bar, "restore")
    (layer,) = [x for x in viewer.layers if isinstance(x, Points)]
    assert len(layer.data) == 29


def test_settings_of_the_docks_come_back_with_the_project(
    make_napari_viewer: Callable[..., Any], tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).random((32, 32)), name="gold")
    find = viewer.window.add_plugin_dock_widget("napari-atomlens", "Find atoms")[1]
    correct = viewer.window.add_plugin_dock_widget("napari-atomlens", "Correct")[1]
    panel = correct.findChild(ProjectPanel)
    contours, spacing = (
        find.findChild(kind, name)
        for kind, name in ((QComboBox, "contours"), (QDoubleSpinBox, "spacing_px"))
    )
    contours.setCurrentText("Labels")
    spacing.setValue(7.5)
    kept = panel.settings()
    assert "image" not in kept["widgets"]["find_atoms"]  # a list of layers is no setting
    json.dumps(kept)
    contours.setCurrentText("auto")
    spacing.setValue(0)
    panel.apply(kept)
    assert (contours.currentText(), spacing.value()) == ("Labels", 7.5)
