"""The Explore dock: plots, table, gallery and viewer as one linked view of the atoms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Layer, Points
from qtpy.QtCore import QSize
from qtpy.QtWidgets import QFileDialog, QTabWidget

from napari_atomlens import contours
from napari_atomlens.contours.anomalies import AnomalyParams
from napari_atomlens.contours.classbook import ClassBook
from napari_atomlens.contours.classes import Classes
from napari_atomlens.errors import FormatError, ParameterError, TableError
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.images import (
    current_frame,
    finest,
    pixel_size_of,
    stack_of,
    stack_or_none,
)
from napari_atomlens.widgets.base.layout import button, line
from napari_atomlens.widgets.base.looking import look_at
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.explore import words
from napari_atomlens.widgets.explore.class_tab import ClassTab, KnownClasses, row_keys
from napari_atomlens.widgets.explore.sites import REASON, Sites
from napari_atomlens.widgets.explore.tabs import (
    NOTHING,
    FramesTab,
    GalleryTab,
    HistogramTab,
    RoseTab,
    ScatterTab,
    Tab,
    TableTab,
)
from napari_atomlens.widgets.layers import convert, placing
from napari_atomlens.widgets.layers.roles import ANOMALIES, are_our_atoms, entry
from napari_atomlens.widgets.layers.sites import KEPT, Described, SiteLayers, describe

if TYPE_CHECKING:
    from napari.utils.events import Event
    from numpy.typing import ArrayLike


#: The views follow slider and edits when they have rested this long.
REST_MS = 80
NO_SITES = "There are no atoms with an image to {}."
#: So many flagged sites are enough to look for classes among them alone.
FEWEST_FLAGGED = 10


class ViewTabs(QTabWidget):
    """Tabs that are never narrower than their titles, nor ask for more."""

    def sizeHint(self) -> QSize:
        """Width of the titles, height of the views."""
        return QSize(self.minimumSizeHint().width(), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Width of the titles, height of the views at least."""
        least, titles = super().minimumSizeHint(), self.tabBar().sizeHint().width() + 4
        return QSize(max(least.width(), titles), least.height())


class ExploreWidget(Dock):
    """Shows what is known of every atom, finds anomalies and classes, and links it all.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    sites : Sites
        What is shown.
    tabs : QTabWidget
    """

    NAME = "explore"
    NOTHING = "Find atoms first, or open a Points layer with features."

    def build(self) -> None:
        """Fill the page."""
        self.status.setObjectName("explore_status")
        self.sites = Sites()
        self._layer: Points | None = None
        self._busy = False
        self._atoms = self.choose(
            Points, "atoms_layer", "Atoms", tip="The atoms to look at",
            accepts=lambda x: entry(x).get("role") != ANOMALIES,
            prefers=are_our_atoms,
        )  # fmt: skip
        self._form = ParamForm(AnomalyParams)
        self.rows(self._atoms.widget, self._form["rate"])
        describing = self.run_button(
            "Describe and find anomalies", self._describing, name="describe",
            tip="Measure contours and raw image of every site, and flag the unusual",
        )  # fmt: skip
        self.add(describing)
        self.add_status()
        find = self.run_button(
            "Find classes", self._classifying, name="classify",
            tip="Of the flagged sites, or of all where fewer than ten are flagged",
        )  # fmt: skip
        self._scatter, self._classes = ScatterTab(), ClassTab(find)
        self._pages: list[Tab] = [
            self._scatter, HistogramTab(), RoseTab(), TableTab(), GalleryTab(), self._classes,
            FramesTab(),
        ]  # fmt: skip
        self.tabs = ViewTabs()
        self.tabs.setObjectName("views")
        self.tabs.setStyleSheet("QTabBar::tab { padding: 4px 5px; }")  # all seven fit
        for one in self._pages:
            self.tabs.addTab(one, one.TITLE)
            one.picked.connect(self.select)
            one.visited.connect(self.visit)
        self._scatter.coloured.connect(self._on_colour)
        self._classes.changed.connect(self.change_classes)
        self._classes.refused.connect(self.say)
        self.add(self.tabs, stretch=1)
        self.add(
            line(
                button("export_plot", "Save plot…", "As PNG or SVG", self._on_export_plot),
                button("export_table", "Save table…", "All rows as CSV", self._on_export_table),
            )
        )
        self._atoms.changed.connect(self._on_chosen)
        self._late = self.timer(REST_MS, self._on_rested)
        self.follow_slider(self._on_slid, REST_MS)
        self._on_chosen(self._atoms.layer)

    def retheme(self, background: str, text: str) -> None:
        """Draw the plots in the colours of the theme."""
        for one in self._pages:
            one.set_theme(background, text)

    def closed(self) -> None:
        """Let go of the atoms."""
        self._follow(None)

    # -------------------------------------------------------------- the layers

    def _on_chosen(self, layer: Points | None) -> None:
        self._follow(layer)
        self._classes.known = KnownClasses()
        kept = None if layer is None else entry(layer).get(KEPT)
        if kept:
            try:
                self._classes.known = KnownClasses.from_dict(kept)
            except ParameterError as error:
                self.say(str(error))
        self.refresh()

    def _follow(self, layer: Points | None) -> None:
        """Listen to the selection, the data and the features of a layer, and to no other."""
        old, self._layer = self._layer, layer
        for one, connect in ((old, False), (layer, True)):
            if one is None:
                continue
            for event, slot in (
                (one.selected_data.events.items_changed, self._on_viewer_selection),
                (one.events.data, self._on_changed), (one.events.features, self._on_changed),
            ):  # fmt: skip
                if connect:
                    event.connect(slot)
                else:
                    event.disconnect(slot)

    def image(self) -> Image | None:
        """Return the image that the atoms belong to, None where there is none."""
        layer = self._layer
        return None if layer is None else placing.image_under(self.viewer.layers, layer)

    def _on_changed(self, event: Event | None = None) -> None:
        action = str(getattr(getattr(event, "action", ""), "value", ""))
        if not self._busy and action not in ("adding", "removing", "changing"):
            self._late.start()

    def _on_rested(self) -> None:
        self.refresh()

    def _on_slid(self) -> None:
        if self.isVisible():
            self._mark_frame()

    @contextlib.contextmanager
    def _own(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    # ------------------------------------------------------------------- views

    def refresh(self) -> None:
        """Read the layer anew and draw what is seen."""
        for _ in self._refreshing():
            pass

    def _refreshing(self) -> Iterator[None]:
        """Refresh, one view a step; the rest is left where the layer is read anew meanwhile."""
        layer, kept = self._layer, self.sites.selected
        self.sites = Sites(book=self._classes.known.book)
        if layer is not None:
            data = np.asarray(layer.data)
            features = layer.features.reset_index(drop=True)
            self.sites = Sites(
                features.assign(y_px=data[:, -2], x_px=data[:, -1]) if len(data) else features,
                convert.frames_of(data), stack_or_none(self.image()),
                float(entry(layer).get("spacing_px", np.nan)), self._classes.known.book,
                kept[kept < len(data)],
            )  # fmt: skip
        sites = self.sites
        for one in self._pages:
            one.fill(sites)
            yield
            if self.sites is not sites:
                return
        self._mark_frame()

    def _mark_frame(self) -> None:
        layer = self._layer
        movie = layer is not None and layer.ndim > 2 and len(self.sites)
        frame = current_frame(self.viewer, layer) if layer is not None and movie else None
        for one in self._pages:
            one.mark_frame(frame)

    def _on_colour(self, name: str) -> None:
        if self._layer is None or not len(self.sites):
            return
        shade, colours = self.sites.shades(name)
        with self._own():
            SiteLayers(self.viewer, self._layer, self.image()).paint(
                None if name == NOTHING else shade, colours
            )

    # --------------------------------------------------------------- selection

    def select(self, rows: ArrayLike) -> None:
        """Select rows everywhere: in the viewer, the plots, the table and the gallery."""
        self.sites.selected = np.unique(np.asarray(rows, np.int64))
        if self._layer is not None:
            with self._own():
                self._layer.selected_data = set(self.sites.selected.tolist())
                self._layer.refresh()
        self._mark_selection()

    def _on_viewer_selection(self, *_: object) -> None:
        if self._busy or self._layer is None:
            return
        rows = np.sort(np.fromiter((int(i) for i in self._layer.selected_data), np.int64))
        self.sites.selected = rows[rows < len(self.sites)]
        self._mark_selection()

    def _mark_selection(self) -> None:
        for one in self._pages:
            one.mark()
        rows, table = self.sites.selected, self.sites.table
        if len(rows) and not self.is_running:
            text = f"{len(rows):,} of {len(table):,} selected"
            if len(rows) == 1 and REASON in table:
                reason = str(table[REASON].iloc[rows[0]])
                text += f": {reason}" if reason else ""
            self.say(text)

    def visit(self, row: int) -> None:
        """Show a row in the viewer: its frame, its place in the middle."""
        layer = self._layer
        if layer is None or not 0 <= row < len(self.sites):
            return
        look_at(self.viewer, layer, np.asarray(layer.data[row], float))
        self.select([row])

    # ---------------------------------------------------------------- describe

    def _ground(self, what: str) -> tuple[Points, Image]:
        """Atoms and image of a task."""
        layer, image = self._layer, self.image()
        if layer is None or image is None or not len(layer.data):
            raise TableError(NO_SITES.format(what))
        return layer, image

    def _describing(self) -> Task[Described]:
        """Measure all sites and flag the unusual, off the thread of the window."""
        layer, image = self._ground("describe")
        params = self._form.value()
        layers = SiteLayers(self.viewer, layer, image)
        begun = layers.begin(pixel_size_of(image), finest(image))
        ending: list[str] = []

        def show(results: list[Described]) -> Iterator[None]:
            found = results[-1]
            drawing = layers.take(found, begun, {"parameters": as_dict(params)})
            while True:
                with self._own():
                    if next(drawing, True):
                        break
                yield
            yield from self._refreshing()
            ending.append(words.described(found, params.rate))

        return Task(
            lambda progress: describe(begun, params, progress), show,
            lambda: ending[-1] if ending else "", "Describing…", total=begun.n_frames,
            sources=(layer, image),
        )  # fmt: skip

    # ----------------------------------------------------------------- classes

    def _classifying(self) -> Task[Classes]:
        """Find classes of the flagged sites; of all sites where fewer than ten are flagged."""
        layer, image = self._ground("classify")
        stack = stack_of(image)
        table = self.sites.table.assign(frame=self.sites.frames)
        flagged = np.flatnonzero(self.sites.flagged)
        chosen = flagged if len(flagged) >= FEWEST_FLAGGED else np.arange(len(table))
        keys, params = row_keys(table)[chosen], self._classes.form.value()
        if np.isfinite(self.sites.spacing_px):
            table.attrs["spacing_px"] = self.sites.spacing_px
        ending: list[str] = []

        def work(progress: Progress) -> Iterator[Classes]:
            yield contours.classify_sites(stack, table, params, rows=chosen)

        def show(results: list[Classes]) -> Iterator[None]:
            found = results[-1]
            self._classes.known = KnownClasses(keys, found.label, ClassBook(), found)
            self._keep_classes(as_dict(params))
            yield
            yield from self._refreshing()
            ending.append(words.classified(found))

        return Task(
            work, show, lambda: ending[-1] if ending else "", "Looking for classes…",
            sources=(layer, image),
        )  # fmt: skip

    def _labels(self) -> np.ndarray:
        return self._classes.labels()

    def change_classes(self, book: ClassBook) -> None:
        """Take another book of names, colours, merges and splits."""
        self._classes.known = self._classes.known.with_book(book)
        self._keep_classes()
        self.refresh()

    def _keep_classes(self, params: dict[str, Any] | None = None) -> None:
        """Let layer and session have the classes, with what the user made of them."""
        layer, known = self._layer, self._classes.known
        if layer is None:
            return
        labels = known.labels(self.sites.table)
        names = {int(k): known.book.name(int(k)) for k in np.unique(labels)}
        with self._own():
            SiteLayers(self.viewer, layer, self.image()).take_classes(
                labels, names, known.as_dict(), params
            )

    # ------------------------------------------------------------------ export

    def removed(self, layer: Layer) -> None:
        """Draw without an image that is gone."""
        if isinstance(layer, Image) and self._layer is not None:
            self._late.start()

    def _on_export_plot(self) -> None:
        kinds = "Pictures (*.png *.svg)"
        name, _ = QFileDialog.getSaveFileName(self, "Save plot", "plot.png", kinds)
        if name:
            self.export_plot(Path(name))

    def export_plot(self, path: Path) -> None:
        """Save the plot that is shown (the scatter plot where none is)."""
        page = self._pages[self.tabs.currentIndex()]
        try:
            (page.plot or self._scatter.scatter).save(path)
        except FormatError as error:
            self.refuse(str(error))
            return
        self.say(f"Saved {path.name}.")

    def _on_export_table(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save table", "sites.csv", "Tables (*.csv)")
        if name:
            self.export_table(Path(name))

    def export_table(self, path: Path) -> None:
        """Save all rows as CSV, class names included."""
        table: pd.DataFrame = self.sites.table
        if "anomaly_class" in table:
            names = [self.sites.book.name(int(k)) for k in table["anomaly_class"].fillna(-1)]
            table = table.assign(class_name=names)
        try:
            self.say(f"Saved {write_table(path, table).name}.")
        except OSError as error:
            self.refuse(f"{path.name} could not be written: {error.strerror or error}.")
