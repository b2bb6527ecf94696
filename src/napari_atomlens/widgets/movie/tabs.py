"""The tabs of the Movie dock: only the one that is seen is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_atomlens.session.movie import MovieData
from napari_atomlens.widgets.movie.events import EventList, EventModel
from napari_atomlens.widgets.movie.plots import CurvePlot, Kymograph, TimePlot
from napari_atomlens.widgets.movie.selection import Selection

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

HEIGHT = 300
#: So that all titles are seen in a narrow dock.
NARROW = "QTabBar::tab { padding: 3px 3px; }"


class Tab(QWidget):
    """One page of the tabs.

    Parameters
    ----------
    selection : Selection

    Attributes
    ----------
    TITLE : str
    plots : tuple of plot
        They follow the theme; those over time also mark the frame that is shown.
    """

    TITLE = ""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.setObjectName(f"tab {self.TITLE}")
        self.selection = selection
        self.plots: Sequence[TimePlot | Kymograph | CurvePlot] = ()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.build()

    def build(self) -> None:
        """Fill the page."""
        raise NotImplementedError

    def fits(self, data: MovieData | None) -> bool:
        """Whether there is anything to see of a movie."""
        return True

    def draw(self, data: MovieData) -> None:
        """Show what is selected."""
        raise NotImplementedError

    def clear(self) -> None:
        """Show nothing."""
        for plot in self.plots:
            if isinstance(plot, (TimePlot, Kymograph)):
                plot.clear()

    def set_now(self, frame: int) -> None:
        """Mark the frame that is shown."""
        for plot in self.plots:
            if isinstance(plot, (TimePlot, Kymograph)):
                plot.set_now(frame)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        for plot in self.plots:
            plot.set_theme(background, text)


class EventsTab(Tab):
    """What happened, as a list.

    Attributes
    ----------
    chosen : Signal(int)
        The row of an event that the user clicked on.
    """

    TITLE = "Events"
    chosen = Signal(int)

    def build(self) -> None:
        """Only the list."""
        self._shown: pd.DataFrame | None = None
        self.list = EventList()
        self.list.chosen.connect(self.chosen)
        self.column.addWidget(self.list)

    def draw(self, data: MovieData) -> None:
        """List the events, where they are others."""
        if data.events() is not self._shown:
            self._shown = data.events()
            self.list.show_events(self._shown)

    def clear(self) -> None:
        """List nothing."""
        self._shown = None
        self.list.show_events(pd.DataFrame({name: [] for name, _ in EventModel.COLUMNS}))


class CountsTab(Tab):
    """How many atoms there are in each frame, and below what happens."""

    TITLE = "Counts"

    def build(self) -> None:
        """Two plots."""
        self.plot = TimePlot("atoms", "together")
        self.plot.setObjectName("counts")
        self.plot.clicked.connect(self.selection.frame_wanted)
        self.plots = (self.plot,)
        self.column.addWidget(self.plot)

    def draw(self, data: MovieData) -> None:
        """Count atoms; then dumbbells that change together, defects or events."""
        self.plot.show_curves(0, data.counts())
        if data.has_dumbbells:
            self.plot.set_label(1, "neighbours alike")
            table = data.together()
            frame, alike, noise = (table[c].to_numpy(float) for c in ("frame", "moran", "error"))
            self.plot.show_with_noise(1, frame, alike, 3 * noise)
        elif data.defects is not None:
            self.plot.set_label(1, "defects")
            self.plot.show_curves(1, data.defect_counts())
        else:
            self.plot.set_label(1, "events")
            self.plot.show_bars(1, data.event_counts())


class TransitionsTab(Tab):
    """How often one class becomes another, and how long each lasts."""

    TITLE = "Transitions"

    def build(self) -> None:
        """A text that scrolls."""
        self._text = QLabel()
        self._text.setObjectName("transitions")
        self._text.setTextFormat(Qt.TextFormat.RichText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._text.setMargin(6)
        self._text.setWordWrap(True)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self._text)
        self.column.addWidget(area)

    def draw(self, data: MovieData) -> None:
        """Show the tables."""
        self._text.setText(data.transitions(self.selection.of_defects))

    def clear(self) -> None:
        """Show nothing."""
        self._text.clear()


class MovieTabs(QTabWidget):
    """The pages; the one that is seen follows the selection and the frame.

    Parameters
    ----------
    selection : Selection
    tabs : sequence of Tab
    """

    def __init__(self, selection: Selection, tabs: Sequence[Tab]) -> None:
        super().__init__()
        self.setObjectName("tabs")
        self.setMinimumHeight(HEIGHT)
        self.tabBar().setStyleSheet(NARROW)
        self._selection, self.tabs, self._frame = selection, tuple(tabs), 0
        for tab in self.tabs:
            self.addTab(tab, tab.TITLE)
        self.currentChanged.connect(self.draw)
        selection.changed.connect(self.draw)

    def draw(self, index: int = 0) -> None:
        """Draw the page that is seen."""
        data = self._selection.data
        for k, one in enumerate(self.tabs):
            self.setTabVisible(k, one.fits(data))
        self._widen()
        tab = self.currentWidget()
        if not isinstance(tab, Tab):
            return
        if data is None:
            tab.clear()
        else:
            tab.draw(data)
            tab.set_now(self._frame)

    def showEvent(self, event: QShowEvent) -> None:
        """Be as wide as the titles, whose font is known now."""
        super().showEvent(event)
        self._widen()

    def _widen(self) -> None:
        self.setMinimumWidth(self.tabBar().sizeHint().width())

    def set_now(self, frame: int) -> None:
        """Mark the frame that is shown in the page that is seen."""
        self._frame = frame
        tab = self.currentWidget()
        if isinstance(tab, Tab) and tab.isVisible():
            tab.set_now(frame)

    def set_theme(self, background: str, text: str) -> None:
        """Take the colours of the window."""
        for tab in self.tabs:
            tab.set_theme(background, text)
