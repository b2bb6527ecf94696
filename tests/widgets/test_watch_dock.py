"""The Watch folder dock in a real window: files are shown and stored; it stops and goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
)

from napari_atomlens.runs import watch
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import ScanResult, scan_file
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.widgets.layers import watched as module
from napari_atomlens.widgets.layers.roles import entry

WAIT = 60_000


def save(path: Path, image: np.ndarray) -> None:
    np.save(path, image)
    past = time.time() - 1  # it has rested
    os.utime(path, (past, past))


def scan(seed: int, size: int = 192) -> np.ndarray:
    params = SiliconParams(
        size_px=size, pixel_size_nm=0.09, row_angle_rad=0.5, seed=2**33 + 5_000_000 + seed
    )
    return simulate_silicon(params).image.astype(np.float32)


class Bench:
    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock, self.widget = viewer.window.add_plugin_dock_widget(
            "napari-atomlens", "Watch folder"
        )

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self) -> None:
        self.qtbot.mouseClick(self.child(QPushButton, "run"), Qt.MouseButton.LeftButton)

    def watch(self, folder: Path, analysis: str = "silicon") -> None:
        self.child(QLineEdit, "folder").setText(str(folder))
        self.child(QComboBox, "analysis").setCurrentText(analysis)
        self.child(QDoubleSpinBox, "pixel_size_nm").setValue(0.09)
        self.click()

    def stop(self) -> None:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()

    @property
    def status(self) -> str:
        return str(self.child(QLabel, "status").text())

    def rows(self) -> dict[str, str]:
        """Event by file, the newest of each."""
        table = self.child(QTableWidget, "events")
        found: dict[str, str] = {}
        for r in range(table.rowCount()):
            found.setdefault(table.item(r, 0).text(), table.item(r, 1).text())
        return found


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Bench:
    return Bench(make_napari_viewer(), qtbot)


def test_files_are_shown_and_stored_and_a_restart_goes_on(bench: Bench, tmp_path: Path) -> None:
    save(tmp_path / "a.npy", scan(0))
    with bench.qtbot.waitSignal(bench.widget.told, timeout=WAIT):
        bench.watch(tmp_path)
    assert bench.child(QPushButton, "run").text() == "Stop"
    assert not bench.child(QLineEdit, "folder").isEnabled()
    (tmp_path / "broken.npy").write_bytes(b"no image at all")
    with bench.qtbot.waitSignal(
        bench.widget.told, timeout=WAIT, check_params_cb=lambda e: e.name == "b.npy"
    ):
        save(tmp_path / "b.npy", scan(1))
    bench.qtbot.waitUntil(lambda: "broken.npy" in bench.rows(), timeout=WAIT)
    bench.stop()
    rows = bench.rows()
    assert rows["a.npy"].startswith("analysed") and rows["b.npy"].startswith("analysed")
    assert rows["broken.npy"].startswith(("skipped", "failed"))
    roles = {entry(x).get("role"): entry(x).get("file") for x in bench.viewer.layers}
    assert set(roles) == {module.IMAGE, module.ATOMS, module.DEFECTS}
    assert set(roles.values()) == {"b.npy"}  # the newest, in the place of the one before
    image = next(x for x in bench.viewer.layers if entry(x).get("role") == module.IMAGE)
    np.testing.assert_allclose(image.scale, (0.09, 0.09))
    out = tmp_path / "atomlens_results"
    assert (out / "b.npy" / "defects.csv").exists()
    lines = [json.loads(v) for v in (out / "events.jsonl").read_text().splitlines()]
    assert {v["name"] for v in lines} == {"a.npy", "b.npy", "broken.npy"}
    # the next start does not do them again
    save(tmp_path / "c.npy", scan(2))
    with bench.qtbot.waitSignal(
        bench.widget.told, timeout=WAIT, check_params_cb=lambda e: e.name == "c.npy"
    ):
        bench.click()
    bench.stop()
    lines = [json.loads(v) for v in (out / "events.jsonl").read_text().splitlines()]
    assert sum(v["name"] == "a.npy" for v in lines) == 1


def test_bad_folders_and_hooks_are_a_sentence(bench: Bench, tmp_path: Path) -> None:
    bench.click()
    assert bench.status == "Choose a folder first."
    bench.watch(tmp_path / "missing")
    assert "no folder" in bench.status
    bench.child(QLineEdit, "hook").setText("nowhere:nothing")
    bench.watch(tmp_path)
    assert "hook" in bench.status and bench.child(QPushButton, "run").text() == "Watch"


def test_closing_the_dock_ends_the_watch(bench: Bench, tmp_path: Path) -> None:
    bench.watch(tmp_path, "none")
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        bench.widget.cleanup()
    save(tmp_path / "late.npy", scan(3))
    bench.qtbot.wait(600)
    assert not (tmp_path / "atomlens_results" / "late.npy").exists()


def slow_reader(
    path: Path, stamp: tuple[int, int], params: WatchParams, threads: int
) -> ScanResult:
    (path.parent / "begun").touch()
    time.sleep(0 if (path.parent / "free").exists() else 3600)
    return scan_file(path, stamp, params, threads)


def test_a_stop_is_quick_and_the_file_in_work_is_taken_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "scan_file", slow_reader)
    save(tmp_path / "a.npy", scan(4))
    bench.watch(tmp_path, "none")
    bench.qtbot.waitUntil((tmp_path / "begun").exists, timeout=WAIT)
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=2_000):  # slack: others work, too
        bench.click()
    assert bench.status == "Cancelled. The next start goes on from here."
    assert bench.child(QLineEdit, "folder").isEnabled()
    (tmp_path / "free").touch()

    def started() -> bool:
        if not bench.widget.is_running:
            bench.click()
        return bool(bench.widget.is_running)

    bench.qtbot.waitUntil(started, timeout=WAIT)  # the first one is ending
    bench.qtbot.waitUntil(lambda: bench.rows().get("a.npy", "")[:8] == "analysed", timeout=WAIT)
    bench.stop()
    log = tmp_path / "atomlens_results" / "events.jsonl"
    assert len(log.read_text().splitlines()) == 1  # once


@pytest.mark.skipif(os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="needs OpenGL")
def test_closing_the_tab_ends_the_watch(bench: Bench, tmp_path: Path) -> None:
    bench.viewer.window.show()
    bench.watch(tmp_path, "none")
    assert bench.widget.is_running
    with bench.qtbot.waitSignal(bench.widget.finished, timeout=WAIT):
        cross = bench.dock.titleBarWidget().close_button
        bench.qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)
    assert not bench.widget.job.is_running
