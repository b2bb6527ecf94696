"""The views of the Explore dock: plots, table and gallery of the same sites."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_atomlens.contours.classbook import populations
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.layout import Item, put
from napari_atomlens.widgets.base.plots import PLAIN, Curves, Histogram, Plot, Rose, Scatter
from napari_atomlens.widgets.base.rows import Gallery, RowTable
from napari_atomlens.widgets.explore.sites import CLASS, REASON, SCORE, Sites

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

P = TypeVar("P", bound=Plot)
NOTHING = "one colour"
#: Patches that the gallery shows at most.
MOST_PATCHES = 120
#: What the plots show first, where it is there.
FIRST_X = ("raw_stretch_x", "area_px2", "x_px")
FIRST_Y = ("raw_strength", "eccentricity", "y_px")
#: Columns, along x and y, that are a place in the image.
PLACES = (("x_px", "y_px"), ("x_nm", "y_nm"))
FIRST_ANGLE = ("raw_orientation_rad", "orientation_rad")
#: Columns that stand first in the table when the flagged sites do.
FLAGGED_FIRST = (SCORE, REASON, "anomaly_p", "anomaly_q", "kind")


class ColumnField:
    """The choice of a column of the table; what the user chose stays where it is still there.

    Parameters
    ----------
    name, label, tip : str
    first : sequence of str
        Columns to begin with, the best first.
    """

    def __init__(self, name: str, label: str, tip: str, first: Sequence[str]) -> None:
        self.widget = fields.choice(name, label, [], tip=tip)
        self._first, self._by_hand = first, False
        self.widget.changed.connect(self._on_changed)

    @property
    def name(self) -> str:
        """The column that is chosen, "" where there is none."""
        return str(self.widget.value or "")

    def _on_changed(self, name: object) -> None:
        self._by_hand = True

    def fill(self, names: Sequence[str]) -> None:
        """Offer columns."""
        liked = (*((self.name,) if self._by_hand else ()), *self._first, *names)
        wanted = next((n for n in liked if n in names), None)
        if list(names) != list(self.widget.choices) or wanted != self.name:
            fields.set_choices(self.widget, names, wanted)


class Tab(QWidget):
    """One view of the sites; it is drawn when it is seen.

    Attributes
    ----------
    TITLE : str
    plot : Plot or None
        What can be saved as a picture.
    picked : Signal(object)
        Rows (ndarray of int) that the user chose.
    visited : Signal(int)
        The row that the user wants to see.
    """

    TITLE = ""
    picked = Signal(object)
    visited = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.sites = Sites()
        self.plot: Plot | None = None
        self._theme: tuple[str, str] | None = None
        self._waits = False

    def lay(self, *items: Item) -> None:
        """Put items below each other; plots, table and gallery take the room that is left."""
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 4, 2, 2)
        for item in items:
            tall = isinstance(item, (Plot, RowTable, Gallery))
            put(column, item, 1 if tall else 0)

    def late(self, plot: P) -> P:
        """Put a plot into the page that is made when it is first seen: each takes long."""
        self.plot = plot
        if self._theme is not None:
            plot.set_theme(*self._theme)
        column = self.layout()
        assert isinstance(column, QVBoxLayout)
        put(column, plot, 1)
        return plot

    def set_theme(self, background: str, text: str) -> None:
        """Draw the plot in the colours of the window, now or once it is made."""
        self._theme = (background, text)
        if self.plot is not None:
            self.plot.set_theme(background, text)
            self.fill(self.sites)

    def fill(self, sites: Sites) -> None:
        """Show other sites, at once or as soon as the view is seen."""
        self.sites, self._waits = sites, True
        self.offer()
        if self.isVisible():
            self.draw_now()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what has waited."""
        super().showEvent(event)
        if self._waits:
            self.draw_now()

    def draw_now(self, value: object = None) -> None:
        """Draw, and mark what is selected."""
        self._waits = False
        self.draw()
        self.mark()

    def offer(self) -> None:
        """Offer the columns that there are."""

    def draw(self) -> None:
        """Draw the sites."""

    def mark(self) -> None:
        """Mark the rows that are selected."""

    def mark_frame(self, frame: int | None) -> None:
        """Mark the frame that the viewer shows, None of an image."""


class ScatterTab(Tab):
    """Two columns against each other.

    Attributes
    ----------
    coloured : Signal(str)
        The user has chosen another column for the colours.
    """

    TITLE = "Scatter"
    coloured = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.along_x = ColumnField("x", "x", "Along x", FIRST_X)
        self.along_y = ColumnField("y", "y", "Along y", FIRST_Y)
        self.colour = ColumnField(
            "colour", "Colour", "Colour of the points, here and in the viewer", (NOTHING,)
        )
        self.lasso = fields.check(
            "lasso", "Lasso",
            tip="Draw round points to select them (or hold Shift while dragging)",
        )  # fmt: skip
        self.scatter = Scatter()
        form = rows(self.along_x.widget, self.along_y.widget, self.colour.widget, self.lasso)
        self.lay(form, self.scatter)
        self.plot = self.scatter
        self._frame: int | None = None
        for one in (self.along_x, self.along_y):
            one.widget.changed.connect(self.draw_now)
        self.colour.widget.changed.connect(self._on_colour)
        self.lasso.changed.connect(self._on_lasso)
        self.scatter.picked.connect(self.picked)
        self.scatter.visited.connect(self.visited)

    def _on_colour(self, name: str) -> None:
        self.draw_now()
        self.coloured.emit(name)

    def _on_lasso(self, on: bool) -> None:
        self.scatter.lasso = on

    def offer(self) -> None:
        """Offer the columns that there are."""
        names = self.sites.numeric()
        self.along_x.fill(names)
        self.along_y.fill(names)
        self.colour.fill([NOTHING, *map(str, self.sites.table.columns)])

    def draw(self) -> None:
        """Draw the points."""
        s, x, y = self.sites, self.along_x.name, self.along_y.name
        shade, colours = s.shades(self.colour.name)
        self.scatter.lie_as_in_image((x, y) in PLACES)
        self.scatter.show_points(s.values(x), s.values(y), shade, colours)
        self.scatter.setLabel("bottom", x)
        self.scatter.setLabel("left", y)
        self.mark_frame(self._frame)

    def mark(self) -> None:
        """Mark the points that are selected."""
        self.scatter.mark_selected(self.sites.selected)

    def mark_frame(self, frame: int | None) -> None:
        """Mark the points of a frame."""
        self._frame = frame
        if not self._waits:
            here = self.sites.frames == (-1 if frame is None else frame)
            self.scatter.mark_current(np.flatnonzero(here))


class HistogramTab(Tab):
    """How often the values of a column occur."""

    TITLE = "Histogram"

    def __init__(self) -> None:
        super().__init__()
        self.column = ColumnField("column", "Of", "Column of the histogram", FIRST_Y)
        self.lay(rows(self.column.widget))
        self.column.widget.changed.connect(self._on_column)

    @cached_property
    def histogram(self) -> Histogram:
        """The plot."""
        made = self.late(Histogram())
        made.picked.connect(self.picked)
        return made

    def _on_column(self, name: str) -> None:
        if self.isVisible():
            self.draw_now()
        else:
            self._waits = True

    def offer(self) -> None:
        """Offer the columns that there are."""
        self.column.fill(self.sites.numeric())

    def draw(self) -> None:
        """Draw the histogram."""
        self.histogram.show_values(self.sites.values(self.column.name), self.column.name)

    def mark(self) -> None:
        """Draw the histogram of what is selected."""
        if not self._waits:
            self.histogram.mark_selected(self.sites.selected)


class RoseTab(Tab):
    """Directions of axes."""

    TITLE = "Rose"

    def __init__(self) -> None:
        super().__init__()
        self.angle = ColumnField("angle", "Of", "Column of angles (radians)", FIRST_ANGLE)
        self.flagged = fields.check("flagged_rose", "Flagged only")
        self.lay(rows(self.angle.widget, self.flagged))
        self.angle.widget.changed.connect(self.draw_now)
        self.flagged.changed.connect(self.draw_now)

    @cached_property
    def rose(self) -> Rose:
        """The plot."""
        return self.late(Rose())

    def offer(self) -> None:
        """Offer the columns that there are."""
        self.angle.fill([n for n in self.sites.numeric() if n.endswith("_rad")])

    def mark(self) -> None:
        """Draw the rose of all, and of what is selected."""
        if not self.isVisible():
            self._waits = True
            return
        values = self.sites.values(self.angle.name).copy()
        if self.flagged.value:
            values[~self.sites.flagged] = np.nan
        self.rose.show_angles(values, self.sites.selected)


class TableTab(Tab):
    """All columns of all sites."""

    TITLE = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.first = fields.check("flagged_first", "Flagged first")
        self.table = RowTable()
        self.lay(rows(self.first), self.table)
        self.first.changed.connect(self._on_first)
        self.table.picked.connect(self.picked)
        self.table.visited.connect(self.visited)

    def fill(self, sites: Sites) -> None:
        """Show other sites at once: only what is in sight is drawn anyhow."""
        self.sites, self._waits = sites, False
        self.draw_now()

    def draw(self) -> None:
        """Show the table."""
        self.table.show_table(self.sites.table)
        self._sort()

    def _on_first(self, on: bool) -> None:
        self._sort()
        self.mark()

    def _sort(self) -> None:
        columns = list(self.sites.table.columns)
        if self.first.value and SCORE in columns:
            self.table.sortByColumn(columns.index(SCORE), Qt.SortOrder.DescendingOrder)
            header = self.table.horizontalHeader()
            for to, name in enumerate(n for n in FLAGGED_FIRST if n in columns):
                header.moveSection(header.visualIndex(columns.index(name)), to)

    def mark(self) -> None:
        """Select the rows."""
        self.table.mark_selected(self.sites.selected)


class GalleryTab(Tab):
    """Pictures of what is selected, else of the most unusual."""

    TITLE = "Gallery"

    def __init__(self) -> None:
        super().__init__()
        self.gallery = Gallery("gallery")
        self.lay(self.gallery)
        self.gallery.picked.connect(self.picked)
        self.gallery.visited.connect(self.visited)

    def mark(self) -> None:
        """Show the pictures."""
        if not self.isVisible():
            self._waits = True
            return
        if self.gallery.hasFocus():  # the user is choosing among them
            return
        s, chosen = self.sites, self.sites.selected
        if not len(chosen) and SCORE in s.table:
            chosen = np.argsort(-np.nan_to_num(s.values(SCORE), nan=-1), kind="stable")
        chosen = chosen[:MOST_PATCHES]
        if s.stack is None or not len(chosen):
            self.gallery.clear()
            return
        texts = [s.caption(int(r)) for r in chosen]
        self.gallery.show_patches(s.patches(chosen), chosen, texts)


class FramesTab(Tab):
    """How many sites of each class there are in each frame."""

    TITLE = "Frames"

    def __init__(self) -> None:
        super().__init__()
        self._frame: int | None = None
        self.lay()

    @cached_property
    def curves(self) -> Curves:
        """The plot."""
        return self.late(Curves())

    def draw(self) -> None:
        """Draw a curve for each class, one of all where there is none."""
        s = self.sites
        if not len(s):
            self.curves.show_curves(np.zeros(0), {}, {})
            return
        labels = np.full(len(s), -1)
        if CLASS in s.table:
            labels = s.table[CLASS].fillna(-1).to_numpy(int)
        if (labels >= 0).any():
            table = populations(s.frames, labels)
            numbers = [k for k in map(int, table.columns) if k >= 0]
            names = {k: s.book.name(k) for k in numbers}
            curves = {names[k]: table[k].to_numpy() for k in numbers}
            colours = {names[k]: s.book.colour(k) for k in numbers}
        else:
            table = populations(s.frames, np.zeros(len(s), int))
            curves, colours = {"atoms": table[0].to_numpy()}, {"atoms": PLAIN}
        self.curves.show_curves(table.index.to_numpy(float), curves, colours)
        self.mark_frame(self._frame)

    def mark_frame(self, frame: int | None) -> None:
        """Draw a line at the frame."""
        self._frame = frame
        if frame is not None and not self._waits:
            self.curves.cursor.setValue(frame)
