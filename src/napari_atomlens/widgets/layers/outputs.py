"""The layers of one source image: made once, updated in place, the user's edits kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap

from napari_atomlens import tables
from napari_atomlens.contours.tracing import label_image
from napari_atomlens.image import Pixels
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.session.outlines import label_zoom, outlined_atom, zoomed
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.results import Run, runs_after
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.atoms import Editor, editor_of
from napari_atomlens.widgets.layers.roles import (
    ATOMS,
    CONTOURS,
    KEY,
    PROBABILITY,
    UNFAMILIAR,
    entry,
)

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer
    from napari.utils.events import Event

#: From below to above.
ROLES = (PROBABILITY, UNFAMILIAR, CONTOURS, ATOMS)
AUTO, SHAPES, LABELS, NONE = "auto", "Shapes", "Labels", "none"
#: "auto" draws up to so many outlines of an image as shapes, which can be edited.
MAX_SHAPES = 2000
#: Labels are drawn finer than the image, up to this side of a frame and this size in all.
MAX_LABELS_SIDE, MAX_LABELS_BYTES = 2048, 2**28
COMPUTED = ("area_px2", "perimeter_px", "major_px", "minor_px", "eccentricity",
            "orientation_rad", "solidity", "offset_y_px", "offset_x_px", "anomaly_p")  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which layers to make.

    Attributes
    ----------
    atoms, probability, unfamiliar : bool
        Points, and the two maps.
    contours : str
        "auto", "Shapes", "Labels" or "none".
    map_name : str
        Which of the class maps to show.
    """

    atoms: bool = True
    contours: str = AUTO
    probability: bool = True
    unfamiliar: bool = True
    map_name: str = "any atom"


@dataclass(frozen=True)
class Drawn:
    """The result of a frame, and its outlines as labels where they are wanted as such."""

    result: FrameResult
    labels: np.ndarray | None = None


class Outputs:
    """Keeps the layers that belong to one source image.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    source : napari.layers.Image

    Attributes
    ----------
    session : Session
        Of the image; every other part of the window shows the same one.
    """

    def __init__(self, viewer: napari.viewer.Viewer, source: Image) -> None:
        self._viewer, self._source = viewer, source
        self.source_id = str(source.unique_id)
        self.source_name = str(source.name)
        self.wanted = Wanted()
        self._dropped: set[str] = set()
        self._layers: dict[str, Any] = {}
        self._busy = False
        self._kind = NONE
        self._editor: Editor | None = None
        self._zoom = 1
        self._drawn: int | None = None
        self._frame = 0
        self._run: Run | None = None
        self.session = SESSIONS.of(self.source_id, self.source_name)
        self.session.outlines_changed.connect(self._on_outlines)
        self.layer(ATOMS)  # one that is there already: mark what the user does to it

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the latest run, background first."""
        return self.session.results.classes

    @property
    def spacing_px(self) -> float:
        """Distance between nearest columns that the latest run found, NaN before."""
        return self.session.results.spacing_px

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.session.results.shape

    # ---------------------------------------------------------------- the run

    def begin(
        self,
        wanted: Wanted,
        shape: tuple[int, ...],
        pixel_size: tuple[float, float] | None,
        provenance: dict[str, Any],
    ) -> None:
        """Prepare for results.

        Parameters
        ----------
        wanted : Wanted
            Which layers to make or update.
        shape : tuple of int
            (T, H, W) of the source.
        pixel_size : tuple of float or None
            (y, x) in nm.
        provenance : dict
            What made the results; its "frames" are filled here.
        """
        self.wanted, self._dropped = wanted, set()
        self.source_name = str(self._source.name)
        if self.layer(ATOMS) is None and self.session.has_atoms:
            self._use(self.session.without_atoms())  # their layer was removed
        session = self.session
        session.name = self.source_name
        session.pixel_size = pixel_size
        session.set_pixels(self._data(), bool(self._source.rgb), self._source.axis_labels)
        self._run = session.begin(shape, provenance)
        # Labels or Shapes is decided anew
        self._kind = wanted.contours
        if self._kind == AUTO and self.is_movie:
            self._kind = LABELS
        self._zoom = self._label_zoom()

    def _data(self) -> Pixels:
        """Return what the source shows now; of a pyramid its finest level."""
        data: Pixels = self._source.data[0] if self._source.multiscale else self._source.data
        return data

    def draw(self, result: FrameResult) -> Drawn:
        """Draw what takes time; called in the thread, so it touches no layer."""
        few = self._kind == AUTO and len(result.outlines) <= MAX_SHAPES
        if self._kind in (SHAPES, NONE) or few:
            return Drawn(result)
        return Drawn(result, self._label_image(result.outlines))

    def _label_image(self, outlines: list[np.ndarray]) -> np.ndarray:

        shape = (self._shape[1] * self._zoom, self._shape[2] * self._zoom)
        labels = label_image(zoomed(outlines, self._zoom), shape)
        if not self.is_movie:
            return labels
        top = int(np.iinfo(np.uint16).max)
        return np.where(labels > top, (labels - 1) % top + 1, labels).astype(np.uint16)

    @property
    def is_movie(self) -> bool:
        """Whether the layers have a time axis."""
        return bool(self._source.ndim == 3)

    def apply(self, drawn: Sequence[Drawn], frame: int) -> None:
        """Put the results of some frames into the layers.

        Parameters
        ----------
        drawn : sequence of Drawn
        frame : int
            The frame that is shown now.
        """
        results = [d.result for d in drawn]
        self._frame = frame
        wanted = self.wanted
        with self._own_changes():
            taken = self.session.take(
                results, self._run, data=self._data(),
                atoms=self._wants(ATOMS, wanted.atoms),
                maps=self._wants(PROBABILITY, wanted.probability),
                unfamiliar=self._wants(UNFAMILIAR, wanted.unfamiliar),
            )  # fmt: skip
            new = self.layer(ATOMS) is None
            if self._wants(PROBABILITY, wanted.probability):
                self._apply_probability(results)
            if self._wants(UNFAMILIAR, wanted.unfamiliar):
                self._apply_unfamiliar(results)
            if self._wants(ATOMS, wanted.atoms):
                self._apply_atoms()
            if self._wants(CONTOURS, self._kind != NONE):
                self._apply_contours(drawn, taken.as_run)
        atoms = self.layer(ATOMS)
        if new and atoms is not None:  # its rows are what the features table shows next
            self._viewer.layers.selection.active = atoms

    @property
    def is_busy(self) -> bool:
        """Whether layers are being changed by us, not by the user."""
        return self._busy

    def drop(self, role: str) -> None:
        """Do not make a layer again that the user has removed during a run."""
        self._dropped.add(role)

    def _wants(self, role: str, asked: bool) -> bool:
        return asked and role not in self._dropped

    # ----------------------------------------------------------------- layers

    def layer(self, role: str) -> Any:
        """Our layer with this role for this source, None where there is none."""
        known = self._layers.get(role)
        if known is not None and known in self._viewer.layers:
            return known
        self._forget(role)
        ids = {str(layer.unique_id) for layer in self._viewer.layers}
        for layer in self._viewer.layers:
            mine = entry(layer)
            if mine.get("role") != role:
                continue
            # by id, or by name where the layers come from an earlier session
            if mine.get("source_id") == self.source_id or (
                mine.get("source_id") not in ids and mine.get("source_name") == self.source_name
            ):
                self._adopt(role, layer)
                return layer
        return None

    def _adopt(self, role: str, layer: Any) -> None:
        self._layers[role] = layer
        if role == ATOMS and "atom_id" in layer.features:
            self._follow(editor_of(layer))
        elif role == CONTOURS and self._type_of(layer) == "Shapes":
            layer.events.data.connect(self._on_contours_edited)

    def _forget(self, role: str) -> None:
        layer = self._layers.pop(role, None)
        if layer is None:
            return
        if role == ATOMS:
            self._follow(None)
        elif role == CONTOURS and self._type_of(layer) == "Shapes":
            layer.events.data.disconnect(self._on_contours_edited)
            self._drawn = None

    def close(self) -> None:
        """Disconnect from the layers and the session; they stay."""
        self.session.outlines_changed.disconnect(self._on_outlines, missing_ok=True)
        self.session.views.leave(self)
        for role in list(self._layers):
            self._forget(role)

    @staticmethod
    def _type_of(layer: Any) -> str:
        return str(layer.__class__.__name__)  # of what a proxy stands for, too

    def _add(self, role: str, layer: Layer) -> None:
        """Add a layer below those of ours that belong above it."""
        above = [
            self._viewer.layers.index(other)
            for r in ROLES[ROLES.index(role) + 1 :]
            if (other := self.layer(r)) is not None
        ]
        self._viewer.layers.insert(min(above, default=len(self._viewer.layers)), layer)
        self._adopt(role, layer)

    def _common(self, role: str) -> dict[str, Any]:
        """Arguments that every new layer of ours shares: its place in the world, and its entry."""
        source = self._source
        return {
            "name": f"{role} · {source.name}",
            "scale": source.scale,
            "translate": source.translate,
            "rotate": source.rotate,
            "shear": source.shear,
            "affine": source.affine,
            "units": source.units,
            "axis_labels": source.axis_labels,
            "metadata": {KEY: self._entry(role, [])},
        }

    def _entry(self, role: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "role": role,
            "source_id": self.source_id,
            "source_name": self.source_name,
            "spacing_px": self.spacing_px,
            "classes": self._species(),
            "runs": runs_after(runs, self.session.results.provenance),
        }

    def _refresh_common(self, role: str, layer: Any) -> None:
        """Follow the source's place in the world and note the run."""
        layer.metadata[KEY] = self._entry(role, entry(layer).get("runs", []))
        place = {"scale": self._source.scale, "translate": self._source.translate}
        if role == CONTOURS and self._type_of(layer) == "Labels":
            place = self._label_place()
        for name, value in place.items():
            if not np.array_equal(getattr(layer, name), value):
                setattr(layer, name, value)
        for name in ("units", "axis_labels"):
            if tuple(getattr(layer, name)) != tuple(getattr(self._source, name)):
                setattr(layer, name, getattr(self._source, name))

    @contextlib.contextmanager
    def _own_changes(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            with self.session.views.showing():  # nor for any other that shows these layers
                yield
        finally:
            self._busy = before

    # ------------------------------------------------------------------ atoms

    def _use(self, session: Session) -> None:
        """Show another session of the image."""
        if session is self.session:
            return
        self.session.outlines_changed.disconnect(self._on_outlines, missing_ok=True)
        self.session.views.leave(self)
        self.session = SESSIONS.add(self.source_id, session)
        session.outlines_changed.connect(self._on_outlines)

    def _follow(self, editor: Editor | None) -> None:
        """Belong to a layer of atoms."""
        self._editor = editor
        if editor is not None:
            self._use(editor.session)

    def atoms(self) -> pd.DataFrame:
        """Atoms table as the layer shows it, the user's edits marked."""
        if self.layer(ATOMS) is None or self._editor is None:
            return tables.empty("atoms")
        self._editor.sync()
        return self._editor.corrections.atoms()

    def _species(self) -> list[str]:
        return self.session.results.species

    def _apply_atoms(self) -> None:
        """Make the layer of the atoms where there is none; else it follows the session."""
        layer, spacing = self.layer(ATOMS), self.spacing_px
        size = styles.atom_size(spacing)
        if layer is None:
            fresh = self.session.corrections.atoms()
            data = convert.points_from_atoms(fresh, self._source.ndim)
            features = convert.features_from_atoms(fresh, self._species())
            colours = styles.class_colours([*self._species(), *features["species"].cat.categories])
            style = styles.AtomStyle(size=size, border_color_cycle=colours)
            layer = Points(
                data, ndim=self._source.ndim, features=features,
                **style.as_kwargs(), **self._common(ATOMS),
            )  # fmt: skip
            editor_of(layer, session=self.session).show_defaults()
            self._add(ATOMS, layer)
        else:
            before = entry(layer).get("spacing_px", float("nan"))
            if np.isfinite(spacing) and not abs(before / spacing - 1) < 0.05:
                layer.current_size = size
                layer.size = size
            self._refresh_common(ATOMS, layer)

    # --------------------------------------------------------------- contours

    def _apply_contours(self, drawn: Sequence[Drawn], as_run: frozenset[int]) -> None:
        results = [d.result for d in drawn]
        if self._kind == AUTO:
            few = max(len(r.outlines) for r in results) <= MAX_SHAPES
            self._kind = SHAPES if few else LABELS
        layer = self.layer(CONTOURS)
        if layer is not None and self._type_of(layer) != self._kind:
            self._forget(CONTOURS)
            self._viewer.layers.remove(layer)
        if self._kind == LABELS:
            for d in drawn:
                self._show_labels(d.result.frame, d.labels if d.result.frame in as_run else None)
        else:
            if self.layer(CONTOURS) is None:
                style = styles.ContourStyle(styles.edge_width(self.spacing_px))
                common = self._common(CONTOURS)
                shapes = Shapes(None, ndim=self._source.ndim, **style.as_kwargs(), **common)
                self._add(CONTOURS, shapes)
            if self._frame in {r.frame for r in results}:
                self._drawn = None
            self.show_frame(self._frame)
        layer = self.layer(CONTOURS)
        if layer is not None:
            self._refresh_common(CONTOURS, layer)
            if self._kind == LABELS and self._frame in {r.frame for r in results}:
                layer.refresh()

    def _on_outlines(self, frames: frozenset[int]) -> None:
        """Draw the outlines of frames that the session has made anew."""
        layer = self.layer(CONTOURS)
        if layer is None or self._busy:
            return
        with self._own_changes():
            if self._type_of(layer) == "Shapes":
                if self._drawn in frames:
                    self._drawn = None
                self.show_frame(self._frame)
                return
            for f in sorted(frames):
                if 0 <= f < self._shape[0]:
                    self._show_labels(f)
            layer.refresh()

    def _label_zoom(self) -> int:
        """How many times finer than the image the labels are."""
        source = self._source
        turned = np.any(np.asarray(source.shear)) or not np.allclose(
            source.rotate, np.eye(source.ndim)
        )
        if turned:  # their place in the world would need more than scale and translation
            return 1
        itemsize = 2 if self.is_movie else 4
        return label_zoom(self._shape, itemsize, MAX_LABELS_SIDE, MAX_LABELS_BYTES)

    def _label_place(self) -> dict[str, Any]:
        """Scale and translation that lay the finer labels onto the image."""
        zoom, scale = self._zoom, np.array(self._source.scale, float)
        offset = np.zeros(len(scale))
        offset[-2:] = (1 - zoom) / (2 * zoom) * scale[-2:]
        scale[-2:] /= zoom
        return {"scale": scale, "translate": np.asarray(self._source.translate) + offset}

    def _show_labels(self, frame: int, labels: np.ndarray | None = None) -> None:
        """Show the outlines of a frame as labels, drawn already or not."""
        table, outlines = self.session.outlines[frame]
        if labels is None:
            labels = self._label_image(outlines)
        layer = self.layer(CONTOURS)
        shape = (self._shape[0], *labels.shape) if self.is_movie else labels.shape
        if layer is None or layer.data.shape != shape:
            # zeros take no memory until they are written
            empty = np.zeros(shape, labels.dtype)
            if layer is None:
                self._add_labels(empty)
                layer = self.layer(CONTOURS)
            else:
                layer.data = empty
        if self.is_movie:
            layer.data[frame] = labels
        else:
            layer.data = labels
            layer.features = table.assign(index=np.arange(1, len(table) + 1))

    def _add_labels(self, data: np.ndarray) -> None:
        style = styles.ContourLabelsStyle()
        layer = Labels(
            data,
            colormap=DirectLabelColormap(color_dict={None: style.colour, 0: "transparent"}),
            opacity=style.opacity,
            **(self._common(CONTOURS) | self._label_place()),
        )
        # about two thirds of an image pixel: thin, and still whole when zoomed out
        layer.contour = self._zoom // 2 + 1
        self._add(CONTOURS, layer)

    def show_frame(self, frame: int) -> None:
        """Draw the outlines of the frame that is shown, where they are shapes."""
        self._frame = frame
        layer = self.layer(CONTOURS)
        if layer is None or self._type_of(layer) != "Shapes" or self._drawn == frame:
            return
        if self._drawn is None and frame not in self.session.outlines and layer.nshapes:
            return  # of an earlier session: leave them
        table, outlines = self.session.outlines[frame]
        with self._own_changes():
            layer.selected_data = set()
            layer.data = []
            if outlines:
                colours = styles.class_colours([*self._species(), *table["species"].unique()])
                style = styles.ContourStyle(styles.edge_width(self.spacing_px))
                layer.add(
                    convert.shapes_from_outlines(outlines, frame, self._source.ndim),
                    shape_type="polygon",
                    edge_color=[colours[s] for s in table["species"]],
                    edge_width=style.edge_width,
                    face_color=style.face_color,
                )
                layer.features = table
                layer.selected_data = set()
        self._drawn = frame

    def _on_contours_edited(self, event: Event) -> None:
        """Keep what the user drew, changed or removed, so that it comes back with its frame."""
        action = str(getattr(event.action, "value", event.action))
        layer = self._layers.get(CONTOURS)
        if layer is None or self._drawn is None or not self.session.views.tells(self):
            return
        if action not in ("added", "changed", "removed"):
            return
        frame = self._drawn
        table = layer.features.copy()
        n = len(layer.data)
        if "edited" not in table or len(table) != n:
            table = tables.make("contours", {"species": "", "edited": True}, n)
        rows = np.unique(np.asarray(event.data_indices, dtype=int) % max(n, 1))
        outlines = convert.outlines_from_shapes(layer.data)
        if action != "removed" and n:
            table.loc[rows, list(COMPUTED)] = np.nan
            table.loc[rows, "edited"] = True
            if action == "added":
                before = set(self.session.outlines.by_atom(frame))
                c = self.session.corrections
                table.loc[rows, "frame"] = frame
                for row in rows:
                    rest = set(table["atom_id"].drop(index=row)) | before
                    table.loc[row, "atom_id"] = outlined_atom(c, frame, outlines[row], rest)
            with self._own_changes():
                layer.features = table
        touched = None if action == "removed" else [int(table["atom_id"].iloc[r]) for r in rows]
        with self._own_changes():  # the layer shows it already
            self.session.drawn(frame, (table, outlines), touched)

    # ------------------------------------------------------------------- maps

    def map_names(self) -> tuple[str, ...]:
        """Names of the class maps that can be shown now."""
        return self.session.results.map_names()

    def show_map(self, name: str) -> None:
        """Let the probability layer show another class."""
        layer, found = self.layer(PROBABILITY), self.session.results.map(name)
        if layer is None or found is None or name not in self.map_names():
            return
        self.wanted = replace(self.wanted, map_name=name)
        layer.data = self._view(found)

    def _view(self, maps: np.ndarray) -> np.ndarray:
        return maps if self.is_movie else np.asarray(maps[0])

    def _apply_probability(self, results: Sequence[FrameResult]) -> None:
        found = self.session.results.map(self.wanted.map_name)
        if found is not None:
            self._apply_map(PROBABILITY, self._view(found), styles.ProbabilityStyle(), results)

    def _apply_unfamiliar(self, results: Sequence[FrameResult]) -> None:
        found = self.session.results.unfamiliar
        if found is not None:
            self._apply_map(UNFAMILIAR, self._view(found), styles.UnfamiliarStyle(), results)

    def _apply_map(
        self, role: str, data: np.ndarray, style: styles.LayerStyle, results: Sequence[FrameResult]
    ) -> None:
        layer = self.layer(role)
        if layer is None:
            self._add(role, Image(data, **style.as_kwargs(), **self._common(role)))
            return
        if not np.may_share_memory(np.asarray(layer.data), data):
            layer.data = data
        elif self._frame in {r.frame for r in results}:
            layer.refresh()
        self._refresh_common(role, layer)
