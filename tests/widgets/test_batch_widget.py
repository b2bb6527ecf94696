"""The Batch widget in a real viewer, clicked as a user clicks it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTableWidget,
)

from napari_atomlens.errors import FormatError
from napari_atomlens.runs import batch
from napari_atomlens.runs.movie import read_table

WAIT = 20_000


class Bench:
    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Batch")

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, "run"), Qt.MouseButton.LeftButton)

    def run(self) -> str:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()
        return self.status

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Bench:
    return Bench(make_napari_viewer(), qtbot)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.zeros((32, 32)))
    return tmp_path / "images"


def summary(folder: Path, complete: bool = True, bad: int = 1) -> batch.BatchSummary:
    failures = pd.DataFrame(
        {"file": ["b.npy"] * bad, "path": "b", "frame": [-1] * bad, "reason": "It is empty."}
    )
    return batch.BatchSummary(folder, 2, 10, 120, 10, failures, [], 1.5, complete)


def test_run(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fake(inputs: list[str], out: str, params: Any, **more: Any) -> batch.BatchSummary:
        seen.update(more, inputs=inputs, out=out, params=params)
        for done in range(11):
            more["progress"](done, 10, "1 failed")
        return summary(Path(out))

    monkeypatch.setattr(batch, "run_batch", fake)
    bench.child(QLineEdit, "source").setText(str(folder))
    out = bench.child(QLineEdit, "out").text()
    assert out == str(folder.with_name("images_atoms"))  # proposed
    bench.child(QDoubleSpinBox, "pixel_size").setValue(0.012)
    bench.child(QDoubleSpinBox, "workers").setValue(3)
    bench.child(QDoubleSpinBox, "min_probability").setValue(0.7)
    text = bench.run()
    assert text.startswith("Done: 120 atoms in 10 frames of 2 files")
    assert (seen["inputs"], seen["out"], seen["workers"]) == ([str(folder)], out, 3)
    assert seen["pixel_size_nm"] == pytest.approx(0.012) and seen["scheduler"] is None
    assert seen["params"].min_probability == pytest.approx(0.7)
    table = bench.child(QTableWidget, "failures")
    assert not table.isHidden()
    assert [table.item(0, c).text() for c in range(3)] == ["b.npy", "all", "It is empty."]
    assert bench.child(QProgressBar, "progress").isHidden()


def test_sentences(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.click()
    assert bench.status.startswith("Choose a folder")
    bench.child(QLineEdit, "source").setText(str(folder / "missing"))
    bench.click()
    assert "no file" in bench.status

    def full(*args: Any, **more: Any) -> Any:
        raise FormatError("The disk is full.")

    monkeypatch.setattr(batch, "run_batch", full)
    bench.child(QLineEdit, "source").setText(str(folder))
    assert bench.run() == "The disk is full."
    assert bench.child(QPushButton, "run").text() == "Run"


def test_cancel(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def slow(inputs: list[str], out: str, params: Any, **more: Any) -> batch.BatchSummary:
        begun.set()
        limit = threading.Event()
        while not more["progress"].stopped:
            limit.wait(0.01)
        return summary(Path(out), complete=False, bad=0)

    monkeypatch.setattr(batch, "run_batch", slow)
    bench.child(QLineEdit, "source").setText(str(folder))
    bench.click()
    assert begun.wait(10) and bench.widget.is_running
    assert bench.child(QPushButton, "run").text() == "Cancel"
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.click()
    assert bench.status == "Cancelled. Run it again to go on."
    assert bench.child(QTableWidget, "failures").isHidden()


@pytest.mark.needs_model
def test_the_real_thing(bench: Bench, tmp_path: Path) -> None:
    from napari_atomlens.simulation import seed_for, simulate

    image, _ = simulate("honeycomb", (96, 96), 12.0, counts=2000, seed=seed_for("test", 9_200))
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.stack([image, image]))
    bench.child(QLineEdit, "source").setText(str(tmp_path / "images"))
    assert "in 2 frames of 1 files" in bench.run()
    assert len(read_table(tmp_path / "images_atoms")) > 40
    assert "0 frames in" in bench.run()  # nothing is left to do


def run_until_stopped(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let a run go on until it is stopped; tells when it has begun and when it has ended."""
    begun, ended = threading.Event(), threading.Event()

    def slow(inputs: list[str], out: str, params: Any, **more: Any) -> batch.BatchSummary:
        begun.set()
        pause = threading.Event()
        while not more["progress"].stopped:
            pause.wait(0.01)
        ended.set()
        return summary(Path(out))

    monkeypatch.setattr(batch, "run_batch", slow)
    return begun, ended


def test_closing_the_window_stops_the_run(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = run_until_stopped(monkeypatch)
    bench.child(QLineEdit, "source").setText(str(folder))
    bench.click()
    assert begun.wait(10)
    bench.widget.cleanup()
    assert ended.wait(10)


def test_cancel_is_quick_and_what_is_in_work_is_finished(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free, ended = threading.Event(), threading.Event(), threading.Event()

    def deaf(inputs: list[str], out: str, params: Any, **more: Any) -> batch.BatchSummary:
        begun.set()
        more["progress"](3, 10, "")
        free.wait(30)  # a part of large frames
        more["progress"](4, 10, "")
        ended.set()
        return summary(Path(out), complete=False, bad=0)

    monkeypatch.setattr(batch, "run_batch", deaf)
    bench.child(QLineEdit, "source").setText(str(folder))
    bench.click()
    assert begun.wait(10)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=2_000):  # slack: others work, too
        bench.click()
    assert bench.status == "Cancelled; 3 of 10 frames are done. Run it again to go on."
    assert not bench.widget.is_running and not ended.is_set()
    bench.click()  # the folder is not free yet
    assert bench.status == (
        "What was begun in images_atoms is being finished; try again in a moment."
    )
    free.set()
    assert ended.wait(10)
    monkeypatch.setattr(batch, "run_batch", lambda *a, **k: summary(folder, bad=0))

    def went() -> bool:
        if not bench.widget.is_running and not bench.status.startswith("Done"):
            bench.click()
        return bench.status.startswith("Done")

    bench.qtbot.waitUntil(went, timeout=WAIT)


@pytest.mark.skipif(os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="needs OpenGL")
def test_closing_the_tab_stops_the_run_and_leaves_nothing(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = run_until_stopped(monkeypatch)
    bench.viewer.window.show()
    emitters = [bench.viewer.layers.events.removed, bench.viewer.layers.events.inserted,
                bench.viewer.events.theme]  # fmt: skip
    with_dock = [len(e.callbacks) for e in emitters]
    bench.child(QLineEdit, "source").setText(str(folder))
    bench.click()
    assert begun.wait(10)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        cross = bench.dock.titleBarWidget().close_button
        bench.qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)
    assert ended.wait(10)
    now = [len(e.callbacks) for e in emitters]
    assert all(after < before for after, before in zip(now, with_dock, strict=True))
    for _ in range(2):
        again = Bench(bench.viewer, bench.qtbot)
        again.widget.cleanup()
        bench.viewer.window.remove_dock_widget(again.dock)
    assert [len(e.callbacks) for e in emitters] == now


def test_batch_and_calibrate_stand_in_the_menu_layers(bench: Bench) -> None:
    from napari._app_model import get_app_model

    menus = get_app_model().menus
    there = {
        place: {getattr(item.command, "id", "") for item in menus.get_menu(place)
                if hasattr(item, "command")}
        for place in ("napari/layers/segment", "napari/layers/metadata")
    }  # fmt: skip
    assert any("Batch" in i or "batch" in i for i in there["napari/layers/segment"]), there
    assert any("alibrate" in i for i in there["napari/layers/metadata"]), there
