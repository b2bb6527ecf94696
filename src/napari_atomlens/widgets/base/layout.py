"""Lines, pages and sections of a dock, of Qt and magicgui widgets alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from magicgui.widgets.bases import Widget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

if TYPE_CHECKING:
    import pyqtgraph as pg

#: Qt's own "no limit" of the height of a widget.
UNLIMITED = (1 << 24) - 1
#: How far pyqtgraph pushes the label of the lower axis out of its plot (px), and one more.
FEET_PX = 6
HEAD_PX = 8
#: What can be put into a dock.
Item = QWidget | QLayout | Widget


def put(layout: QHBoxLayout | QVBoxLayout, item: Item, stretch: int = 0) -> None:
    """Add an item to a layout."""
    if isinstance(item, QLayout):
        layout.addLayout(item, stretch)
    else:
        layout.addWidget(item.native if isinstance(item, Widget) else item, stretch)


def line(*items: Item | str) -> QHBoxLayout:
    """Items beside each other; a text becomes a label, what is no button takes the room."""
    row = QHBoxLayout()
    for item in items:
        if isinstance(item, str):
            row.addWidget(QLabel(item))
        else:
            put(row, item, 0 if isinstance(item, (QPushButton, QLabel)) else 1)
    return row


def page(*items: Item) -> QWidget:
    """Items below each other as one widget; plots and tables take the room that is left."""
    inside = QWidget()
    column = QVBoxLayout(inside)
    column.setContentsMargins(4, 4, 4, 4)
    for item in items:
        tall = isinstance(item, QWidget) and not isinstance(item, (QPushButton, QLabel))
        put(column, item, 1 if tall else 0)
    return inside


def leave_room(plot: pg.PlotWidget) -> None:
    """Leave room for what pyqtgraph puts out of sight: feet below, half a number at the top."""
    plot.getPlotItem().layout.setContentsMargins(1, HEAD_PX, 1, FEET_PX)


class _Growing(QObject):
    """Lets what is in an open section grow: the section keeps the height that it opened with."""

    def __init__(self, box: QCollapsible) -> None:
        super().__init__(box)
        self._box = box

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Lift the limit when the content asks for another height."""
        if (
            event is not None
            and event.type() == QEvent.Type.LayoutRequest
            and isinstance(watched, QWidget)
            and self._box.isExpanded()
        ):
            watched.setMaximumHeight(UNLIMITED)
        return False


def section(title: str, *items: Item, name: str = "more") -> QCollapsible:
    """Items below each other that a click shows and hides; closed at first."""
    box = QCollapsible(title)
    box.setObjectName(name)
    inside = QWidget()
    column = QVBoxLayout(inside)
    column.setContentsMargins(0, 0, 0, 0)
    for item in items:
        put(column, item)
    box.setContent(inside)
    box.collapse(animate=False)
    inside.installEventFilter(_Growing(box))
    return box


def button(
    name: str, text: str, tip: str = "", run: Callable[[], object] | None = None
) -> QPushButton:
    """Return a button; `run` is a bound method: anything else would keep the dock alive."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setToolTip(tip)
    if run is not None:
        made.clicked.connect(run)
    return made


def sentence(name: str) -> QLabel:
    """Return a label for sentences: it wraps, can be copied and never widens the dock."""
    label = QLabel()
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


class Page(QScrollArea):
    """Scrolls up and down, and is never narrower than what is in it.

    Parameters
    ----------
    inside : QWidget
    """

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inside)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Grow wider with what is in it."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.fit()
        return bool(super().eventFilter(watched, event))

    def fit(self) -> None:
        """Be as wide as what is in it, and the scroll bar."""
        inside = self.widget()
        if inside is not None:
            bar = self.verticalScrollBar().sizeHint().width()
            self.setMinimumWidth(inside.minimumSizeHint().width() + bar + 2)
