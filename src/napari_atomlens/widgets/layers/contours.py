"""The outlines of the atoms of one image: as Shapes, which can be edited, or as Labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap

from napari_atomlens import tables
from napari_atomlens.contours.tracing import label_image
from napari_atomlens.errors import ParameterError
from napari_atomlens.session.outlines import Outlined, is_users, label_zoom, outlined_atom, zoomed
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.base.images import finest
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.roles import CONTOURS, entry, kind_of

if TYPE_CHECKING:
    from napari.utils.events import Event

    from napari_atomlens.widgets.layers.layer_set import LayerSet

AUTO, SHAPES, LABELS, NONE = "auto", "Shapes", "Labels", "none"
#: "auto" draws up to so many outlines of an image as shapes, which can be edited.
MAX_SHAPES = 2000
#: Labels are drawn finer than the image, up to this side of a frame and this size in all.
MAX_LABELS_SIDE, MAX_LABELS_BYTES = 2048, 2**28
#: More shapes than this that differ, and all are drawn anew.
FEW = 200
#: Nobody sees that an outline is so little elsewhere (px): it is drawn anew only where the user
#: drew it. Kept maps are rounded, so that neighbours of an edit differ from the run's by as much.
UNSEEN_PX = 0.01
COMPUTED = ("area_px2", "perimeter_px", "major_px", "minor_px", "eccentricity",
            "orientation_rad", "solidity", "offset_y_px", "offset_x_px", "anomaly_p")  # fmt: skip
UNKNOWN = "The outlines are not known any more; find the atoms of this image again."


@dataclass
class _Shown:
    """What the shapes of the layer are, in its order."""

    frame: int
    table: pd.DataFrame
    outlines: list[np.ndarray]


class Contours:
    """The layer of the outlines of one image; of a movie Shapes are those of the frame shown.

    Parameters
    ----------
    layers : LayerSet
        Of the image.
    """

    def __init__(self, layers: LayerSet) -> None:
        self._layers = layers
        self._kind = NONE
        self._zoom = 1
        self._frame = 0
        self._shown: _Shown | None = None
        self._session: Session | None = None
        layers.found.connect(self._on_found)
        layers.lost.connect(self._on_lost)
        layers.session_changed.connect(self._follow_session)
        self._follow_session()
        layers.layer(CONTOURS)  # one that is there already: note what the user does to it

    def close(self) -> None:
        """Let go of layer and session."""
        layers = self._layers
        layers.found.disconnect(self._on_found)
        layers.lost.disconnect(self._on_lost)
        layers.session_changed.disconnect(self._follow_session)
        if self._session is not None:
            self._session.outlines_changed.disconnect(self._on_outlines, missing_ok=True)
        layer = layers.layer(CONTOURS)
        if layer is not None:
            self._on_lost(CONTOURS, layer)

    # ------------------------------------------------------------------ session and layer

    @property
    def session(self) -> Session:
        """Session of the image."""
        assert self._session is not None  # an image always has one
        return self._session

    def _follow_session(self) -> None:
        if self._session is not None:
            self._session.outlines_changed.disconnect(self._on_outlines, missing_ok=True)
        self._session = self._layers.session
        if self._session is not None:
            self._session.outlines_changed.connect(self._on_outlines)

    def _on_found(self, role: str, layer: Any) -> None:
        if role == CONTOURS and kind_of(layer) == SHAPES:
            layer.events.data.connect(self._on_edited)
        elif role == CONTOURS:
            self._zoom = int(entry(layer).get("zoom", self._zoom))

    def _on_lost(self, role: str, layer: Any) -> None:
        if role == CONTOURS:
            self._shown = None
            if kind_of(layer) == SHAPES:
                layer.events.data.disconnect(self._on_edited)

    @property
    def kind(self) -> str:
        """Kind of the layer that there is, "none" where there is none."""
        layer = self._layers.layer(CONTOURS)
        return NONE if layer is None else kind_of(layer)

    @property
    def _is_movie(self) -> bool:
        return bool(self._layers.source.ndim == 3)

    # ------------------------------------------------------------------------ a new run

    def begin(self, kind: str) -> None:
        """Prepare for the outlines of a run.

        Parameters
        ----------
        kind : str
            "auto", "Shapes", "Labels" or "none"; "auto" decides by how many there are.
        """
        self._kind = LABELS if kind == AUTO and self._is_movie else kind
        self._zoom = self._finer()

    def draw(self, outlines: list[np.ndarray]) -> np.ndarray | None:
        """Draw outlines as labels where they are wanted as such; touches no layer."""
        few = self._kind == AUTO and len(outlines) <= MAX_SHAPES
        return None if self._kind in (SHAPES, NONE) or few else self._label_image(outlines)

    def take(self, labels: dict[int, np.ndarray | None], frame: int) -> None:
        """Show the outlines of some frames, which the session has already.

        Parameters
        ----------
        labels : dict
            Frame -> its outlines drawn as labels, None where they are still to be drawn.
        frame : int
            The frame that is shown now.
        """
        self._frame = frame
        if self._kind == NONE:
            return
        if self._kind == AUTO:
            most = max(len(self.session.outlines[f][1]) for f in labels)
            self._kind = SHAPES if most <= MAX_SHAPES else LABELS
        if self._kind == LABELS:
            self._show_labels(labels)
        elif frame in labels or self._layers.layer(CONTOURS) is None:
            self._show_shapes(frame)

    def show_frame(self, frame: int) -> None:
        """Draw the outlines of the frame that is shown, where they are shapes."""
        self._frame = frame
        layer = self._layers.layer(CONTOURS)
        if layer is None or kind_of(layer) != SHAPES:
            return
        if self._shown is not None and self._shown.frame == frame:
            return
        if self._shown is None and frame not in self.session.outlines and layer.nshapes:
            return  # of an earlier session: leave them
        self._show_shapes(frame)

    def _on_outlines(self, frames: frozenset[int]) -> None:
        """Draw the outlines of frames that the session has made anew."""
        layer = self._layers.layer(CONTOURS)
        if layer is None or self._layers.is_busy:
            return
        if kind_of(layer) == LABELS:
            n = max(self.session.results.shape[:1], default=1)
            self._show_labels({f: None for f in sorted(frames) if 0 <= f < n})
        elif self._frame in frames:
            self._show_shapes(self._frame)

    # ------------------------------------------------------------------------ as shapes

    def _show_shapes(self, frame: int) -> None:
        table, outlines = self.session.outlines[frame]
        layer = self._layers.layer(CONTOURS)
        if layer is not None and kind_of(layer) == SHAPES and self._patch(layer, frame):
            return
        look = self._look(table)
        with self._layers.own_changes():
            self._layers.show(
                CONTOURS, Shapes, convert.shapes_from_outlines(outlines, frame, self._ndim),
                features=table, style=styles.ContourStyle().as_kwargs(), note=self._note(), **look,
            )  # fmt: skip
        self._shown = _Shown(frame, table, outlines)

    @property
    def _ndim(self) -> int:
        return int(self._layers.source.ndim)

    def _look(self, table: pd.DataFrame) -> dict[str, Any]:
        """Colours by the species, and the width."""
        results = self.session.results
        colours = styles.class_colours([*results.species, *table["species"].unique()])
        edges = [colours[s] for s in table["species"]]
        return {
            "edge_color": edges or colours[""], "face_color": styles.CONTOUR_FACE,
            "edge_width": styles.edge_width(results.spacing_px),
        }  # fmt: skip

    def _note(self) -> dict[str, Any]:
        results = self.session.results
        return {"spacing_px": results.spacing_px, "classes": results.species}

    def _patch(self, layer: Any, frame: int) -> bool:
        """Exchange those shapes that differ; False where most do."""
        shown = self._shown
        if shown is None or shown.frame != frame or layer.nshapes != len(shown.outlines):
            return False
        table, outlines = self.session.outlines[frame]
        keys = ("atom_id", "species")
        old = {k: i for i, k in enumerate(zip(*(shown.table[n] for n in keys), strict=True))}
        exact = is_users(shown.table), is_users(table)
        stays: list[tuple[int, int]] = []
        new: list[int] = []
        for row, key in enumerate(zip(*(table[n] for n in keys), strict=True)):
            at = old.get(key)
            within = 0.0 if at is None or exact[0][at] or exact[1][row] else UNSEEN_PX
            if at is not None and _same(shown.outlines[at], outlines[row], within):
                stays.append((at, row))
            else:
                new.append(row)
        gone = set(range(len(shown.outlines))) - {at for at, _ in stays}
        if len(gone) + len(new) > FEW or len(old) != len(shown.outlines):
            return False
        drawn = [shown.outlines[at] for at, _ in sorted(stays)] + [outlines[r] for r in new]
        mine = table.iloc[[row for _, row in sorted(stays)] + new].reset_index(drop=True)
        with self._layers.own_changes():
            if layer.selected_data:
                layer.selected_data = set()  # else napari draws the selection with every step
            if gone:
                layer.remove(sorted(gone))
            if new:
                fresh = convert.shapes_from_outlines([outlines[r] for r in new], frame, self._ndim)
                layer.add(fresh, shape_type="polygon", **self._look(table.iloc[new]))
            layer.features = mine
            self._layers.drawn(CONTOURS)
        self._shown = _Shown(frame, mine.copy(), drawn)
        return True

    def _on_edited(self, event: Event) -> None:
        """Keep what the user drew, changed or removed, so that it comes back with its frame."""
        action = str(getattr(event.action, "value", event.action))
        layer = self._layers.layer(CONTOURS)
        if layer is None or self._shown is None or self._layers.is_busy:
            return
        if action not in ("added", "changed", "removed"):
            return
        frame, table = self._shown.frame, layer.features.copy()
        n = len(layer.data)
        if "edited" not in table or len(table) != n:
            table = tables.make("contours", {"species": "", "edited": True}, n)
        rows = np.unique(np.asarray(event.data_indices, dtype=int) % max(n, 1))
        outlines = convert.outlines_from_shapes(layer.data)
        with self._layers.own_changes():  # the layer shows it already
            if action != "removed" and n:
                self._mark_edited(table, rows, outlines, added=action == "added")
                layer.features = table
            self._shown = _Shown(frame, table, outlines)
            touched = None if action == "removed" else [int(table["atom_id"].iloc[r]) for r in rows]
            self.session.drawn(frame, (table, outlines), touched)

    def _mark_edited(
        self, table: pd.DataFrame, rows: np.ndarray, outlines: list[np.ndarray], added: bool
    ) -> None:
        """Let the rows of outlines that the user drew or changed say so."""
        assert self._shown is not None
        frame = self._shown.frame
        table.loc[rows, list(COMPUTED)] = np.nan
        table.loc[rows, "edited"] = True
        if not added:
            return
        before = set(self.session.outlines.by_atom(frame))
        table.loc[rows, "frame"] = frame
        for row in rows:
            rest = set(table["atom_id"].drop(index=row)) | before
            c = self.session.corrections
            table.loc[row, "atom_id"] = outlined_atom(c, frame, outlines[row], rest)

    # ------------------------------------------------------------------------ as labels

    def _finer(self) -> int:
        """How many times finer than the image the labels are."""
        itemsize = 2 if self._is_movie else 4
        shape = self.session.results.shape
        return label_zoom(shape, itemsize, MAX_LABELS_SIDE, MAX_LABELS_BYTES) if shape else 1

    def _label_image(self, outlines: list[np.ndarray]) -> np.ndarray:
        height, width = self.session.results.shape[1:]
        zoom = self._zoom
        labels = label_image(zoomed(outlines, zoom), (height * zoom, width * zoom))
        if not self._is_movie:
            return labels
        top = int(np.iinfo(np.uint16).max)
        return np.where(labels > top, (labels - 1) % top + 1, labels).astype(np.uint16)

    def _show_labels(self, labels: dict[int, np.ndarray | None]) -> None:
        """Show the outlines of some frames as labels, drawn already or not."""
        layer = self._layers.layer(CONTOURS)
        if not self.session.results.shape:
            return
        drawn = {
            f: self._label_image(self.session.outlines[f][1]) if given is None else given
            for f, given in labels.items()
        }
        if not drawn or (layer is None and not any(o.any() for o in drawn.values())):
            return
        some = next(iter(drawn.values()))
        features, data = None, some
        if self._is_movie:
            data = self._movie_of_labels(layer, some)
            for f, one in drawn.items():
                data[f] = one
        else:
            table = self.session.outlines[next(iter(drawn))][0]
            features = table.assign(index=np.arange(1, len(table) + 1))
        style = styles.ContourLabelsStyle()
        shown = self._layers.show(
            CONTOURS, Labels, data, zoom=self._zoom, note=self._note(), features=features,
            style={
                "colormap": DirectLabelColormap(color_dict={None: style.colour, 0: "transparent"}),
                "opacity": style.opacity,
            },
        )  # fmt: skip
        # about two thirds of an image pixel: thin, and still whole when zoomed out
        if shown is not None and shown is not layer:
            shown.contour = self._zoom // 2 + 1

    def _movie_of_labels(self, layer: Any, one: np.ndarray) -> np.ndarray:
        """Labels of all frames, those of the layer where it has them."""
        shape = (self.session.results.shape[0], *one.shape)
        if layer is not None and kind_of(layer) == LABELS and layer.data.shape == shape:
            return np.asarray(layer.data)
        return np.zeros(shape, one.dtype)  # zeros take no memory until they are written

    # ------------------------------------------------------------- one into the other

    def convert(self, kind: str) -> None:
        """Turn the layer into the other kind, with everything that the user drew or deleted.

        Parameters
        ----------
        kind : str
            "Shapes" or "Labels".

        Raises
        ------
        ParameterError
            If there are no outlines, or those of a restored layer are not known.
        """
        layer = self._layers.layer(CONTOURS)
        if layer is None or kind not in (SHAPES, LABELS):
            raise ParameterError("There are no outlines; find the atoms of an image first.")
        if kind_of(layer) == kind:
            return
        if not len(self.session.outlines):
            self._read(layer)
        self._kind, visible, opacity = kind, bool(layer.visible), float(layer.opacity)
        if kind == LABELS:
            self._zoom = self._finer()
            self._show_labels({f: None for f in self.session.outlines})
        else:
            self._show_shapes(self._frame)
        layer = self._layers.layer(CONTOURS)
        if layer is not None:
            layer.visible, layer.opacity = visible, opacity

    def _read(self, layer: Any) -> None:
        """Let the session have the outlines of shapes of an earlier session."""
        results = self.session.results
        if kind_of(layer) != SHAPES:
            raise ParameterError(UNKNOWN)
        if not results.shape:
            data = finest(self._layers.source)
            shape = tuple(int(n) for n in data.shape[: self._ndim])
            results.begin(shape if self._is_movie else (1, *shape), {})
        outlines = convert.outlines_from_shapes(layer.data)
        frames = convert.frames_of_shapes(layer.data)
        table = layer.features.reset_index(drop=True)
        if not {"atom_id", "species", "edited"} <= set(table):
            table = tables.make("contours", {"species": "", "edited": False}, len(outlines))
            table["atom_id"] = -2 - np.arange(len(outlines))
        for f in sorted(set(frames.tolist())):
            mine = np.flatnonzero(frames == f)
            one: Outlined = table.iloc[mine].reset_index(drop=True), [outlines[k] for k in mine]
            self.session.outlines[int(f)] = one


def _same(one: np.ndarray, other: np.ndarray, within: float = 0.0) -> bool:
    """Whether two outlines have the same vertices, whichever comes first, to so many pixels."""
    if one is other:
        return True
    if one.shape != other.shape or not len(one):
        return False
    if not within:
        return bool(np.array_equal(one, other))
    start = int(np.hypot(*(other - one[0]).T).argmin())
    return bool(np.abs(np.roll(other, -start, axis=0) - one).max() <= within)
