"""Hands that use a dock at random, and ears for what goes wrong."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from hand import Hand
from napari.utils.notifications import NotificationSeverity, notification_manager
from qtpy.QtCore import QPoint, QPointF, Qt, qInstallMessageHandler
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QColorDialog,
    QComboBox,
    QDialog,
    QFileDialog,
    QInputDialog,
    QLineEdit,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QTabBar,
    QWidget,
)

#: Typed into fields.
TEXTS = ("1", "0.5", "-3", "12", "abc", "1e9", "", "S", "0,5")
#: Pressed in the canvas.
KEYS = (
    "Delete", "N", "Y", "X", "M", "B", "E", "1", "2", "Right", "Left", "Ctrl+Z", "Ctrl+Shift+Z",
)  # fmt: skip
#: Pressed in a field.
FIELD_KEYS = ("Key_Up", "Key_Down", "Key_Tab", "Key_Return", "Key_Space", "Key_PageDown")


class Errors:
    """Everything that went wrong: notifications, exceptions that nobody caught, words of Qt."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def notified(self, notification: Any) -> None:
        """Hear a notification of napari."""
        if notification.severity >= NotificationSeverity.ERROR:
            self.found.append(f"napari: {notification.message}"[:2000])

    def raised(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Hear an exception."""
        import traceback

        self.found.append("".join(traceback.format_exception(kind, error, trace))[-2000:])

    def said(self, kind: Any, context: Any, message: str | None) -> None:
        """Hear a word of Qt."""
        if message and any(x in message for x in ("xception", "Error calling", "deleted object")):
            self.found.append(f"Qt: {message}")


@contextlib.contextmanager
def listening() -> Iterator[Errors]:
    """Collect what goes wrong."""
    errors = Errors()
    before = sys.excepthook, threading.excepthook
    sys.excepthook = errors.raised
    threading.excepthook = lambda args: errors.raised(
        args.exc_type, args.exc_value or RuntimeError("a thread"), args.exc_traceback
    )
    handler = qInstallMessageHandler(errors.said)
    notification_manager.notification_ready.connect(errors.notified)
    try:
        yield errors
    finally:
        notification_manager.notification_ready.disconnect(errors.notified)
        qInstallMessageHandler(handler)
        sys.excepthook, threading.excepthook = before


@contextlib.contextmanager
def without_dialogs() -> Iterator[None]:
    """Every dialog is dismissed at once."""
    nothing = {
        (QFileDialog, "getOpenFileName"): ("", ""), (QFileDialog, "getSaveFileName"): ("", ""),
        (QFileDialog, "getOpenFileNames"): ([], ""), (QFileDialog, "getExistingDirectory"): "",
        (QInputDialog, "getText"): ("", False), (QInputDialog, "getItem"): ("", False),
        (QInputDialog, "getInt"): (0, False), (QInputDialog, "getDouble"): (0.0, False),
        (QColorDialog, "getColor"): QColor(),
        (QMessageBox, "question"): QMessageBox.StandardButton.No,
        (QMessageBox, "warning"): QMessageBox.StandardButton.Ok,
        (QMessageBox, "information"): QMessageBox.StandardButton.Ok,
        (QMessageBox, "critical"): QMessageBox.StandardButton.Ok,
        (QMessageBox, "exec"): 0, (QDialog, "exec"): 0, (QMenu, "exec"): None,
        (QFileDialog, "exec"): 0,
    }  # fmt: skip
    before = [(owner, name, owner.__dict__.get(name)) for owner, name in nothing]
    for (owner, name), answer in nothing.items():
        setattr(owner, name, staticmethod(lambda *a, _answer=answer, **k: _answer))
    try:
        yield
    finally:
        for owner, name, old in before:
            if old is None:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


def is_idle(widget: QWidget) -> bool:
    """Whether no job of a dock runs, as its bar and its buttons say."""
    bars = [b for b in widget.findChildren(QProgressBar) if b.objectName() == "progress"]
    buttons = [b for b in widget.findChildren(QPushButton) if b.text().startswith("Cancel")]
    return not any(x.isVisible() for x in (*bars, *buttons))


def wait_idle(widget: QWidget, seconds: float = 120.0) -> None:
    """Wait until a dock has been idle for a moment."""
    end, calm = time.monotonic() + seconds, 0
    while calm < 4:
        assert time.monotonic() < end, "the dock does not come to rest"
        QTest.qWait(25)
        calm = calm + 1 if is_idle(widget) else 0


class RandomHands:
    """Uses a dock and the canvas at random, with the mouse and the keys.

    Parameters
    ----------
    viewer : napari.Viewer
    dock : QWidget
    seed : int
    """

    def __init__(self, viewer: Any, dock: QWidget, seed: int) -> None:
        self.viewer, self.dock = viewer, dock
        self.rng = np.random.default_rng(seed)
        self.hand = Hand(viewer)
        self.done: list[str] = []

    def targets(self) -> list[QWidget]:
        """Enabled widgets of the dock that can be used, each kind of use once."""
        kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QTabBar, QAbstractSlider,
                 QAbstractItemView)  # fmt: skip
        return [
            w for w in self.dock.findChildren(QWidget)
            if isinstance(w, kinds) and w.isVisible() and w.isEnabled() and w.height() > 0
            and not isinstance(w.parentWidget(), (QComboBox, QAbstractSpinBox))
            and w.window() is self.dock.window()
        ]  # fmt: skip

    def act(self) -> None:
        """Do one thing."""
        targets = self.targets()
        if not targets or self.rng.random() < 0.35:
            self.in_canvas()
        else:
            self.on(targets[self.rng.integers(len(targets))])
        QTest.qWait(int(self.rng.integers(0, 15)))

    def on(self, widget: QWidget) -> None:
        """Use one widget of the dock."""
        self.done.append(f"{type(widget).__name__} {widget.objectName()}")
        if self.rng.random() < 0.1:
            self.wheel(widget)
        elif isinstance(widget, QComboBox):  # its list would wait for a choice
            widget.setFocus()
            self.key(widget, ("Key_Up", "Key_Down")[self.rng.integers(2)])
        elif isinstance(widget, (QAbstractSpinBox, QLineEdit)):
            widget.setFocus()
            field = widget.findChild(QLineEdit) or widget
            if self.rng.random() < 0.5:
                QTest.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
                QTest.keyClicks(field, TEXTS[self.rng.integers(len(TEXTS))])
                QTest.keyClick(field, Qt.Key.Key_Return)
            else:
                self.key(widget, FIELD_KEYS[self.rng.integers(len(FIELD_KEYS))])
        else:
            inside = widget.viewport() if isinstance(widget, QAbstractItemView) else widget
            at = QPoint(*(int(self.rng.integers(1, max(n, 2))) for n in
                          (inside.width(), inside.height())))  # fmt: skip
            if isinstance(widget, QAbstractButton):
                at = widget.rect().center()
            QTest.mouseClick(inside, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)

    def key(self, widget: QWidget, name: str) -> None:
        """Press a key in a widget."""
        QTest.keyClick(widget, getattr(Qt.Key, name))

    def wheel(self, widget: QWidget) -> None:
        """Turn the wheel over a widget."""
        at = QPointF(widget.rect().center())
        event = QWheelEvent(
            at, QPointF(widget.mapToGlobal(at.toPoint())), QPoint(0, 0),
            QPoint(0, int(self.rng.choice([-120, 120]))), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, event)

    def in_canvas(self) -> None:
        """Click, drag or press a key in the canvas."""
        layer = next(x for x in self.viewer.layers if x.name == "image")
        (low, high) = layer.extent.world[:, -2:]
        y, x = low + self.rng.random(2) * (high - low)
        draw = self.rng.random()
        self.done.append("canvas")
        if draw < 0.5:
            self.hand.click(float(y), float(x), shift=bool(self.rng.random() < 0.2))
        elif draw < 0.65:
            end = np.clip((y, x) + (high - low) * self.rng.normal(0, 0.05, 2), low, high)
            self.hand.drag((float(y), float(x)), (float(end[0]), float(end[1])))
        else:
            self.hand.press(KEYS[self.rng.integers(len(KEYS))])
