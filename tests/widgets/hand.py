"""A hand on the mouse and the keys of a real window."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest


class Hand:
    """Clicks, drags and presses keys in the canvas of a viewer, at places of its world."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.canvas.setFocus()

    @property
    def _canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas  # never kept: it would outlive its window

    @property
    def canvas(self) -> Any:
        """The widget that takes mouse and keys."""
        return self._canvas.native

    def at(self, y: float, x: float) -> QPoint:
        """Place on the canvas of a place in the world."""
        zero, one = (
            np.asarray(self._canvas._map_canvas2world(p, self._canvas.view))[-2:]
            for p in ((0, 0), (100, 100))
        )
        py, px = 100 * (np.array([y, x]) - zero) / (one - zero)
        return QPoint(round(px), round(py))

    def click(self, y: float, x: float, shift: bool = False) -> None:
        """Click with the left button."""
        keys = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, keys, self.at(y, x))

    def move(self, y: float, x: float) -> None:
        """Move the mouse, no button down."""
        from qtpy.QtCore import QEvent, QPointF
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        at, none = QPointF(self.at(y, x)), Qt.MouseButton.NoButton
        event = QMouseEvent(
            QEvent.Type.MouseMove, at, QPointF(self.canvas.mapToGlobal(at.toPoint())),
            none, none, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(self.canvas, event)
        QTest.qWait(20)

    def double_click(self, y: float, x: float) -> None:
        """Click twice with the left button."""
        keys = Qt.KeyboardModifier.NoModifier
        QTest.mouseDClick(self.canvas, Qt.MouseButton.LeftButton, keys, self.at(y, x))

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press at one place, let go at another."""
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(self.canvas, left, none, self.at(*start))
        for part in (0.3, 0.6, 1.0):
            way = (1 - part) * np.array(start) + part * np.array(stop)
            from qtpy.QtCore import QEvent, QPointF
            from qtpy.QtGui import QMouseEvent
            from qtpy.QtWidgets import QApplication

            at = QPointF(self.at(*way))
            event = QMouseEvent(
                QEvent.Type.MouseMove, at, QPointF(self.canvas.mapToGlobal(at.toPoint())),
                left, left, none,
            )  # fmt: skip
            QApplication.sendEvent(self.canvas, event)
            QTest.qWait(20)
        QTest.mouseRelease(self.canvas, left, none, self.at(*stop))

    def press(self, key: str) -> None:
        """Press a key such as "N", "Delete", "Ctrl+Z" or "Ctrl+Shift+Z"."""
        modifiers = Qt.KeyboardModifier.NoModifier
        *held, name = key.split("+")
        for one in held:
            modifiers |= {
                "Ctrl": Qt.KeyboardModifier.ControlModifier,
                "Shift": Qt.KeyboardModifier.ShiftModifier,
            }[one]
        code = getattr(Qt.Key, f"Key_{name}")
        QTest.keyClick(self.canvas, code, modifiers)


@contextlib.contextmanager
def beats_of_layers(viewer: Any) -> Iterator[list[int]]:
    """Count the beats of the window; the list gets the beat at which each layer came."""
    beats = [0]
    at: list[int] = []

    def beat() -> None:
        beats[0] += 1

    timer = QTimer()
    timer.timeout.connect(beat)
    timer.start(0)
    viewer.layers.events.inserted.connect(lambda event: at.append(beats[0]))
    yield at
    timer.stop()
