"""The layers of the Movie widget: only the frame that is shown is ever in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.session.movie import MovieData
from napari_atomlens.widgets.layers import styles
from napari_atomlens.widgets.layers.roles import (
    CHANGE_MAP,
    DEFECT_TRACKS,
    DUMBBELLS,
    FRAME_ATOMS,
    KEY,
    MOVING,
    SHIFTS,
    TRACKS,
    entry,
)

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer, Points

#: More vertices than this, and only the tracks round the current frame are drawn.
MAX_VERTICES = 100_000
#: Frames before and after the current one whose tracks are drawn then.
SPAN = 25
TAIL = 25


class MovieLayers:
    """Keeps the layers that show what happened in one movie.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    source : napari.layers.Image
        The movie.
    data : MovieData
    spacing_px : float
        Distance between nearest atoms.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, source: Image, data: MovieData, spacing_px: float
    ) -> None:
        self._viewer, self._source, self.data = viewer, source, data
        self.spacing_px = spacing_px if np.isfinite(spacing_px) else 10.0
        self.source_id = str(source.unique_id)
        self.what = "length"
        self.enlarge = 10.0
        self._layers: dict[str, Layer] = {}
        self._span: tuple[int, int] | None = None

    # --------------------------------------------------------------------- layers

    def layer(self, role: str) -> Layer | None:
        """Our layer with this role, None where there is none (any more)."""
        known = self._layers.get(role)
        if known is not None and known in self._viewer.layers:
            return known
        self._layers.pop(role, None)
        for layer in self._viewer.layers:
            mine = entry(layer)
            if mine.get("role") == role and mine.get("source_id") == self.source_id:
                self._layers[role] = layer
                return layer
        return None

    def _common(self, role: str, ndim: int) -> dict[str, object]:
        source = self._source
        place: dict[str, object] = {
            "name": f"{role} · {source.name}",
            "scale": np.asarray(source.scale)[-ndim:],
            "translate": np.asarray(source.translate)[-ndim:],
            "units": tuple(source.units)[-ndim:],
            "axis_labels": tuple(source.axis_labels)[-ndim:],
            "metadata": {
                KEY: {"role": role, "source_id": self.source_id, "source_name": str(source.name)}
            },
        }
        if ndim == source.ndim:
            place |= {"rotate": source.rotate, "shear": source.shear, "affine": source.affine}
        return place

    def _add(self, role: str, layer: Layer) -> None:
        self._viewer.layers.append(layer)
        self._layers[role] = layer

    def create(self, frame: int) -> None:
        """Make the layers that are not there, and fill all of them for a frame."""
        from napari.layers import Points, Tracks, Vectors

        if self.layer(TRACKS) is None:
            data = self._some_tracks(frame)
            if len(data):
                layer = Tracks(
                    data, tail_length=TAIL, tail_width=2, visible=False, **self._common(TRACKS, 3)
                )
                self._add(TRACKS, layer)
        if self.layer(FRAME_ATOMS) is None:
            style = styles.FrameAtomStyle(size=styles.atom_size(self.spacing_px))
            layer = Points(
                self.data.atoms(frame), **style.as_kwargs(), **self._common(FRAME_ATOMS, 2)
            )
            layer.editable = False
            self._add(FRAME_ATOMS, layer)
        if self.data.has_dumbbells:
            if self.layer(DUMBBELLS) is None:
                width = styles.edge_width(self.spacing_px)
                style_v = styles.DumbbellStyle(edge_width=1.5 * width)
                self._add(
                    DUMBBELLS,
                    Vectors(
                        self.data.dumbbell_vectors(frame), ndim=2, **style_v.as_kwargs(),
                        **self._common(DUMBBELLS, 2),
                    ),
                )  # fmt: skip
            if self.layer(SHIFTS) is None:
                style_s = styles.ShiftStyle(edge_width=1.2 * styles.edge_width(self.spacing_px))
                self._add(
                    SHIFTS,
                    Vectors(
                        self.data.shift_vectors(frame, self.enlarge), ndim=2,
                        **style_s.as_kwargs(), **self._common(SHIFTS, 2),
                    ),
                )  # fmt: skip
            if self.layer(CHANGE_MAP) is None:
                d = self.data.dumbbells(frame)
                layer = Points(
                    d[["y_px", "x_px"]].to_numpy(float), ndim=2,
                    **styles.ChangeMapStyle(size=1.3 * self.spacing_px).as_kwargs(),
                    **self._common(CHANGE_MAP, 2),
                )  # fmt: skip
                layer.editable = False
                self._add(CHANGE_MAP, layer)
        if self.data.defects is not None:
            data = self.data.defect_tracks()
            old = self.layer(DEFECT_TRACKS)
            if old is not None:
                old.data = data
            elif len(data):
                layer = Tracks(
                    data, tail_length=TAIL, tail_width=3, colormap="turbo",
                    **self._common(DEFECT_TRACKS, 3),
                )  # fmt: skip
                self._add(DEFECT_TRACKS, layer)
            if self.layer(MOVING) is None:
                style_d = styles.MovingDefectStyle(size=1.6 * styles.atom_size(self.spacing_px))
                place = self.data.frame_defects(frame)[["y_px", "x_px"]].to_numpy(float)
                layer = Points(place, ndim=2, **style_d.as_kwargs(), **self._common(MOVING, 2))
                layer.editable = False
                self._add(MOVING, layer)
        self._span = None
        self.move(frame)
        self.rest(frame)
        # napari reads what is under the mouse of the active layer in a thread of its own, which
        # must not meet points that are being swapped
        self._viewer.layers.selection.active = self._source

    def move(self, frame: int) -> None:
        """Follow the slider while it moves: the atoms only."""
        layer = self.layer(FRAME_ATOMS)
        if layer is not None and layer.visible:
            layer.data = self.data.atoms(frame)

    def rest(self, frame: int) -> None:
        """Follow the slider when it has rested: everything else."""
        vectors, shifts, points = (self.layer(r) for r in (DUMBBELLS, SHIFTS, CHANGE_MAP))
        if vectors is not None and vectors.visible:
            vectors.data = self.data.dumbbell_vectors(frame)
        if shifts is not None and shifts.visible:
            shifts.data = self.data.shift_vectors(frame, self.enlarge)
        if points is not None and points.visible:
            self._draw_map(points, frame)
        moving = self.layer(MOVING)
        if moving is not None and moving.visible:
            here = self.data.frame_defects(frame)
            moving.data = here[["y_px", "x_px"]].to_numpy(float)
            moving.features = here
        tracks = self.layer(TRACKS)
        far = self._span is None or not self._span[0] <= frame <= self._span[1]
        if tracks is not None and tracks.visible and far:
            if self.data.n_vertices() > MAX_VERTICES:
                data = self._some_tracks(frame)
                if len(data):
                    tracks.data = data
            self._span = (frame - SPAN // 2, frame + SPAN // 2)

    def _some_tracks(self, frame: int) -> np.ndarray:
        if self.data.n_vertices() <= MAX_VERTICES:
            return self.data.tracks()
        return self.data.tracks(max(frame - SPAN, 0), frame + SPAN)

    def _draw_map(self, points: Points, frame: int) -> None:
        d = self.data.dumbbells(frame)
        values = self.data.map_values(frame, self.what)
        limit = self.data.map_limit(self.what)
        points.data = d[["y_px", "x_px"]].to_numpy(float)
        if len(d):
            points.face_color = styles.diverging(values / limit)
        points.features = d.assign(deviation=values)

    def show_map(self, what: str, frame: int) -> None:
        """Choose what the map shows."""
        self.what = what
        self.rest(frame)

    def remove(self) -> None:
        """Take our layers out of the viewer."""
        for role in (
            FRAME_ATOMS, DUMBBELLS, CHANGE_MAP, SHIFTS, TRACKS, MOVING, DEFECT_TRACKS,
        ):  # fmt: skip
            layer = self.layer(role)
            if layer is not None:
                self._viewer.layers.remove(layer)
        self._layers.clear()
