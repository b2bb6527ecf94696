"""The layers of a movie that was followed: only the frame that is shown is ever in them."""

from __future__ import annotations

import dataclasses
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Layer, Points, Tracks, Vectors
from napari.utils.notifications import show_warning
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_atomlens.progress import Progress
from napari_atomlens.session.follows import group_of
from napari_atomlens.session.movie import MAPS, MovieData
from napari_atomlens.session.movie_run import AtomsWanted, MovieRun, keep_movie
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.base.images import current_frame
from napari_atomlens.widgets.base.jobs import Job
from napari_atomlens.widgets.base.steps import Steps
from napari_atomlens.widgets.base.timers import once
from napari_atomlens.widgets.layers import styles
from napari_atomlens.widgets.layers.roles import (
    ATOMS,
    CHANGE_MAP,
    DEFECT_TRACKS,
    DUMBBELLS,
    FRAME_ATOMS,
    MOVING,
    SHIFTS,
    TRACKS,
)

if TYPE_CHECKING:
    import napari.viewer
    from napari.utils.events import Event

    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: More vertices than this, and only the tracks round the current frame are drawn.
MAX_VERTICES = 100_000
#: Frames before and after the current one whose tracks are drawn then.
SPAN = 25
TAIL = 25
#: More atoms than this in all frames are slow to slice: those of one frame are drawn instead.
MANY_ATOMS = 100_000
#: What takes longer than a few ms follows the slider when it has rested this long.
REST_MS = 100
OCCUPANCY = "occupancy"
#: Ours, from below to above; they go with the movie.
ROLES = (CHANGE_MAP, TRACKS, DEFECT_TRACKS, DUMBBELLS, FRAME_ATOMS, SHIFTS, MOVING)


class MovieLayers:
    """What happened in one movie, drawn; it follows the slider, docks open or not.

    Take it from the registry: ``layers_of(viewer, movie).part(MovieLayers)``.

    The layer of the atoms, which the user corrects, is left as it is. Where it holds so many
    atoms that the slider would stumble it is hidden once, and a layer of the atoms of one frame
    stands in for it until the user turns to it again.

    Parameters
    ----------
    layers : LayerSet
        Of the movie.

    Attributes
    ----------
    layers : LayerSet
    data : MovieData or None
        What is drawn.
    record : dict
        What made it.
    what : str
        What the map of dumbbells shows, one of `MAPS`.
    enlarge : float
        How many times longer than they are displacements are drawn.
    drawn : MovieData or None
        Of what all layers are there; a thread may wait for it.

    Notes
    -----
    Signal: ``changed`` (other data are drawn, or none any more).
    """

    changed = Signal()

    def __init__(self, layers: LayerSet) -> None:
        self.layers = layers
        self.data: MovieData | None = None
        self.record: dict[str, Any] = {}
        self.what, self.enlarge = MAPS[0], 10.0
        self.drawn: MovieData | None = None
        self._frame = -1
        self._span: tuple[int, int] | None = None
        # weak: the list of layers, which the viewer has, leads to this
        self._viewer: weakref.ref[napari.viewer.Viewer] | None = None
        self._later = once(REST_MS, self.rest)
        self._steps = Steps()
        self._steps.failed.connect(show_warning)
        self._run: MovieRun[Any] | None = None
        self._revision: int | None = None
        self._job = Job()
        self._job.results.connect(self._on_made)
        self._job.failed.connect(show_warning)
        self._remakers: list[Callable[[], object]] = []
        self._leave: Callable[[], None] | None = None
        layers.found.connect(self._on_found)
        layers.lost.connect(self._on_lost)
        layers.session_changed.connect(self._on_session)
        every = layers.viewer_layers
        every.events.removed.connect(self._on_removed)
        every.selection.events.active.connect(self._on_active)

    def follow(self, viewer: napari.viewer.Viewer) -> None:
        """Follow the slider of a viewer from now on."""
        if self._viewer is None:
            viewer = inspect.unwrap(viewer)
            self._viewer = weakref.ref(viewer)
            viewer.dims.events.point.connect(self._on_slider)

    def close(self) -> None:
        """Let go of viewer and layers, which stay."""
        self._later.stop()
        self._steps.close()
        self._job.close()
        self._hear(False)
        viewer = None if self._viewer is None else self._viewer()
        if viewer is not None:
            viewer.dims.events.point.disconnect(self._on_slider)
            viewer.layers.events.removed.disconnect(self._on_removed)
            viewer.layers.selection.events.active.disconnect(self._on_active)
        self.layers.found.disconnect(self._on_found)
        self.layers.lost.disconnect(self._on_lost)
        self.layers.session_changed.disconnect(self._on_session)
        for role in ROLES:
            layer = self.layers.layer(role)
            if layer is not None:
                self._on_lost(role, layer)

    # ------------------------------------------------------------------ made anew

    def begin(self, run: MovieRun[Any]) -> None:
        """Note what is about to be done: the same is done when it is to be made anew."""
        self._run = run

    def take(self, found: AtomsWanted | MovieData) -> None:
        """Answer a run that asks for the atoms, or keep and draw what it found."""
        run = self._run
        assert run is not None  # somebody began it
        if isinstance(found, AtomsWanted):
            self._revision = found.give(self.session)
        else:
            record = run.record(self.layers.source_name)
            keep_movie(self.session, found, record, self._revision)
            self.show(found, record)

    def claim(self, remake: Callable[[], object]) -> None:
        """Let a dock make everything anew where the user asks for it; the last one does it."""
        self._remakers.append(remake)

    def release(self, remake: Callable[[], object]) -> None:
        """Let others do it."""
        if remake in self._remakers:
            self._remakers.remove(remake)

    def _hear(self, on: bool) -> None:
        """Hear of the button *Update*, once however many docks there are."""
        if self._leave is not None:
            self._leave()
            self._leave = None
        if on:
            self._leave = self.session.corrections.derived.subscribe(
                group_of("tracks"), self._on_update, at_once=False
            )

    def _on_session(self) -> None:
        self._hear(self.data is not None and self.layers.session is not None)

    def _on_update(self, frames: frozenset[int]) -> frozenset[int]:
        if self._remakers:
            self._remakers[-1]()
        elif self._run is not None and not self._job.is_running:  # no dock is open
            run = self._run = dataclasses.replace(self._run, finds=False)
            self._job.start(lambda stop: run.work(Progress(stop=stop)), needs_torch=False)
        return frames  # not yet: they are fresh once their tables are in the session

    def _on_made(self, results: list[AtomsWanted | MovieData]) -> None:
        if self.movie in self.layers.viewer_layers:
            for found in results:
                self.take(found)

    # ------------------------------------------------------------------ what there is

    @property
    def session(self) -> Session:
        """Session of the movie."""
        return self.layers.image_session

    @property
    def movie(self) -> Image:
        """The layer of the movie."""
        source = self.layers.source
        assert isinstance(source, Image)
        return source

    @property
    def spacing_px(self) -> float:
        """Distance between nearest atoms; a guess where nothing is known."""
        known = self.session.spacing_px
        if not np.isfinite(known) and self.data is not None:
            known = self.data.spacing_px()
        return known if np.isfinite(known) else 10.0

    def frame(self) -> int:
        """Frame that the viewer shows."""
        viewer = None if self._viewer is None else self._viewer()
        return 0 if viewer is None else current_frame(viewer, self.movie)

    def time_step_s(self) -> float | None:
        """Seconds between frames, where the units of the movie say so."""
        unit, step = self.movie.units[0], abs(float(self.movie.scale[0]))
        return float((step * unit).to("s").magnitude) if unit.is_compatible_with("s") else None

    def _on_found(self, role: str, layer: Layer) -> None:
        if role in ROLES:
            layer.events.visible.connect(self._on_shown)

    def _on_lost(self, role: str, layer: Layer) -> None:
        if role in ROLES:
            layer.events.visible.disconnect(self._on_shown)

    def _on_removed(self, event: Event) -> None:
        """Take everything along with the movie."""
        if event.value is self.layers.source:
            self.data = self.drawn = None
            self._job.close()
            self._hear(False)
            self._later.stop()
            # not now: napari is in the middle of removing a layer
            QTimer.singleShot(0, self.remove)
            self.changed.emit()

    def remove(self) -> None:
        """Take our layers out of the viewer."""
        self.layers.remove(*ROLES)

    # ------------------------------------------------------------------------ all of it

    def show(self, data: MovieData, record: dict[str, Any] | None = None) -> None:
        """Draw a movie: make the layers that are not there, update the others.

        One after the other, so that the window does not stand still meanwhile; ``changed`` and
        :attr:`drawn` tell when all are there.

        Parameters
        ----------
        data : MovieData
            Of the tables that the session has.
        record : dict, optional
            What made them.
        """
        self.data, self.record, self._span = data, record or self.record, None
        self._hear(True)
        self._frame = self.frame()
        todo = [self._show_atoms, self._show_tracks]
        if data.has_dumbbells:
            todo += [self._show_dumbbells, self._show_shifts, self._show_changes]
        if data.defects is not None:
            todo += [self._show_defect_tracks, self._show_defects]
        self._steps.close()  # of what was drawn before
        self._steps.add(self._drawing([*todo, self._clear_up, self._end]))

    def _drawing(self, todo: list[Callable[[], None]]) -> Iterator[None]:
        """Draw one layer after the other while the movie is there."""
        for step in todo:
            if self.data is None or self.movie not in self.layers.viewer_layers:
                return
            with self.layers.own_changes():
                step()
            yield

    def _clear_up(self) -> None:
        """Take away what this movie does not have."""
        data = self.data
        assert data is not None
        if not data.has_dumbbells:
            self.layers.remove(DUMBBELLS, SHIFTS, CHANGE_MAP)
        if data.defects is None:
            self.layers.remove(DEFECT_TRACKS, MOVING)
        every = self.layers.viewer_layers
        # napari reads what is under the mouse of the active layer in a thread of its own, which
        # must not meet points that are being swapped
        active = every.selection.active
        if active is None or any(self.layers.layer(role) is active for role in ROLES):
            every.selection.active = self.movie
        self.rest()

    def _end(self) -> None:
        self.drawn = self.data
        self.changed.emit()

    def _show_atoms(self) -> None:
        """Draw the atoms of one frame where the layer of all of them is slow, or is not there."""
        assert self.data is not None
        atoms, new = self.layers.layer(ATOMS), self.layers.layer(FRAME_ATOMS) is None
        if atoms is not None and len(atoms.data) <= MANY_ATOMS:
            self.layers.remove(FRAME_ATOMS)
            return
        style = styles.FrameAtomStyle(size=styles.atom_size(self.spacing_px))
        self._points(FRAME_ATOMS, self.data.atoms(self._frame), style)
        if atoms is not None and new:
            active = self.layers.viewer_layers.selection.active is atoms
            if active and self.session.corrections.journal.log:  # it is being corrected
                self.layers.set_visible(False, FRAME_ATOMS)
                return
            atoms.visible = False
            if active:
                self.layers.viewer_layers.selection.active = self.movie

    def _show_tracks(self) -> None:
        style = {"tail_length": TAIL, "tail_width": 2, "visible": False}
        self.layers.show(TRACKS, Tracks, self._some_tracks(self._frame), style=style)

    def _show_dumbbells(self) -> None:
        assert self.data is not None
        width = styles.edge_width(self.spacing_px)
        style = styles.DumbbellStyle(edge_width=1.5 * width)
        self._vectors(DUMBBELLS, self.data.dumbbell_vectors(self._frame), style)

    def _show_shifts(self) -> None:
        assert self.data is not None
        style = styles.ShiftStyle(edge_width=1.2 * styles.edge_width(self.spacing_px))
        self._vectors(SHIFTS, self.data.shift_vectors(self._frame, self.enlarge), style)

    def _show_changes(self) -> None:
        assert self.data is not None
        place = self.data.dumbbells(self._frame)[["y_px", "x_px"]].to_numpy(float)
        self._points(CHANGE_MAP, place, styles.ChangeMapStyle(size=1.3 * self.spacing_px))

    def _show_defect_tracks(self) -> None:
        assert self.data is not None
        self.layers.show(
            DEFECT_TRACKS, Tracks, self.data.defect_tracks(),
            style={"tail_length": TAIL, "tail_width": 3, "colormap": "turbo"},
        )  # fmt: skip

    def _show_defects(self) -> None:
        assert self.data is not None
        style = styles.MovingDefectStyle(size=1.6 * styles.atom_size(self.spacing_px))
        place = self.data.frame_defects(self._frame)[["y_px", "x_px"]].to_numpy(float)
        self._points(MOVING, place, style)

    def _vectors(self, role: str, vectors: np.ndarray, style: styles.LayerStyle) -> None:
        """Show vectors of one frame."""
        # of a frame without any, one that is exchanged at the end: napari makes no empty layer
        some = vectors if len(vectors) else np.zeros((1, 2, 2))
        self.layers.show(role, Vectors, some, ndim=2, style=style.as_kwargs())

    def _points(self, role: str, place: np.ndarray, style: styles.LayerStyle) -> None:
        """Show points of one frame, which the user cannot edit."""
        new = self.layers.layer(role) is None
        some = place if len(place) else np.zeros((1, 2))
        made = self.layers.show(role, Points, some, ndim=2, style=style.as_kwargs())
        if new and made is not None:
            made.editable = False

    def show_occupancy(self, image: np.ndarray) -> None:
        """Show where atoms were how often."""
        style = {"colormap": "inferno", "blending": "additive"}
        self.layers.show(OCCUPANCY, Image, image, ndim=2, style=style, table="tracks")

    # ------------------------------------------------------------------------ the slider

    def _on_slider(self, event: Event | None = None) -> None:
        if self.data is None:
            return
        frame = self.frame()
        if frame != self._frame:
            self._frame = frame
            self._move()
            self._later.start()

    def _on_shown(self, event: Event | None = None) -> None:
        """Bring a layer that was hidden up to date."""
        self._move()
        self._later.start()

    def _on_active(self, event: Event) -> None:
        """Let the user have the layer that can be corrected: it shows the same atoms as ours."""
        if self.data is None or self.layers.is_busy:
            return
        atoms = self.layers.layer(ATOMS)
        if atoms is not None and event.value is atoms and self.layers.layer(FRAME_ATOMS):
            self.layers.set_visible(True, ATOMS)
            self.layers.set_visible(False, FRAME_ATOMS)

    def _shown(self, role: str) -> Any:
        """Layer with a role where it is seen."""
        layer = self.layers.layer(role)
        return layer if layer is not None and layer.visible else None

    def _move(self) -> None:
        """Follow the slider while it moves: the atoms only."""
        layer = self._shown(FRAME_ATOMS)
        if layer is not None and self.data is not None:
            layer.data = self.data.atoms(self._frame)

    def rest(self) -> None:
        """Follow the slider now that it rests: everything."""
        data, frame = self.data, self._frame
        self._later.stop()
        if data is None or self.movie not in self.layers.viewer_layers:
            return
        with self.layers.own_changes():
            self._move()
            if (vectors := self._shown(DUMBBELLS)) is not None:
                vectors.data = data.dumbbell_vectors(frame)
            if (shifts := self._shown(SHIFTS)) is not None:
                shifts.data = data.shift_vectors(frame, self.enlarge)
            if (points := self._shown(CHANGE_MAP)) is not None:
                self._draw_map(points, data, frame)
            if (moving := self._shown(MOVING)) is not None:
                here = data.frame_defects(frame)
                _swap(moving, here[["y_px", "x_px"]].to_numpy(float), here)
            self._rest_tracks(frame)

    def _rest_tracks(self, frame: int) -> None:
        tracks, data = self._shown(TRACKS), self.data
        if tracks is None or data is None or data.n_vertices() <= MAX_VERTICES:
            return
        if self._span is None or not self._span[0] <= frame <= self._span[1]:
            some = self._some_tracks(frame)
            if len(some):
                tracks.data = some
            self._span = (frame - SPAN // 2, frame + SPAN // 2)

    def _some_tracks(self, frame: int) -> np.ndarray:
        assert self.data is not None
        if self.data.n_vertices() <= MAX_VERTICES:
            return self.data.tracks()
        return self.data.tracks(max(frame - SPAN, 0), frame + SPAN)

    def _draw_map(self, points: Points, data: MovieData, frame: int) -> None:
        d, values = data.dumbbells(frame), data.map_values(frame, self.what)
        _swap(points, d[["y_px", "x_px"]].to_numpy(float), d.assign(deviation=values))
        if len(d):
            points.face_color = styles.diverging(values / data.map_limit(self.what))

    def show_map(self, what: str) -> None:
        """Choose what the colours of the dumbbells show."""
        self.what = what
        self.rest()

    def show_enlarged(self, times: float) -> None:
        """Choose how much longer than they are displacements are drawn."""
        self.enlarge = times
        self.rest()


def _swap(points: Points, place: np.ndarray, features: pd.DataFrame) -> None:
    """Give a layer other points, with what is known of them."""
    points.data = place
    points.features = features
