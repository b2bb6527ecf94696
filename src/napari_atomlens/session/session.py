"""A session: the owner of one image, of its atoms with every edit, and of what follows.

It knows no window. Docks, layers and scripts listen to its signals and ask it; whoever
edits, edits here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from psygnal import Signal

from napari_atomlens import tables
from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.image import Pixels, check_pixel_size
from napari_atomlens.progress import ProgressLike
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.segmentation.zoo import role_of
from napari_atomlens.session.derived_tables import DerivedTables
from napari_atomlens.session.editing import Editing
from napari_atomlens.session.edits import Conflict, actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.edits.derived import Begin, Remake
from napari_atomlens.session.follows import MAKERS, Ground, group_of
from napari_atomlens.session.measured import Measured
from napari_atomlens.session.outlines import Outlined, Outlines
from napari_atomlens.session.pixels import KnownPixels
from napari_atomlens.session.results import Results, Run, Taken

State = Literal["fresh", "stale", "missing"]
EXCHANGED = "The pixels of this image were exchanged while they were analysed; run it again."


class Session(Editing):
    """The owner of one image.

    Parameters
    ----------
    name : str
        Of the image.
    pixel_size_nm : float or tuple of float, optional
        (y, x).

    Attributes
    ----------
    corrections : Corrections
        The atoms: the model's output and the journal of edits on top of it.
    outlines : Outlines
    results : Results
        Maps, spacing and provenance of the runs.
    measured : Measured
        Columns that were measured on single atoms.
    autosave, project, problem
        See :class:`Editing`.

    Notes
    -----
    Signals: ``edit_begins`` (whether everything must be looked through: who shows the atoms
    first says what the user did to them), ``edited`` (Change), ``atoms_reset`` (all atoms may
    be others), ``told`` (something happened, or was refused), ``outlines_changed`` (frames),
    ``table_changed`` (name), ``stale_changed`` (names), ``results_taken`` (FrameResults),
    ``pixels_changed``, ``pixel_size_changed``.

    Examples
    --------
    >>> from napari_atomlens.session.edits import actions
    >>> session = Session("gold")
    >>> change = session.edit(actions.add, 0, 3.0, 4.0, "Au")
    >>> session.atoms()["species"].tolist()
    ['Au']
    >>> session.undo() is not None
    True
    """

    outlines_changed = Signal(object)
    table_changed = Signal(str)
    stale_changed = Signal(object)
    results_taken = Signal(object)
    pixels_changed = Signal()
    pixel_size_changed = Signal()

    def __init__(
        self, name: str = "", pixel_size_nm: float | tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.outlines, self.results = Outlines(), Results()
        self._pixels: KnownPixels | None = None
        self._pixel_size = check_pixel_size(pixel_size_nm)
        self._other_pixels: datetime | None = None
        self._names: list[str] = []
        self._told_stale: frozenset[str] = frozenset()
        self._taking = self._drawing = False
        self.measured = Measured()
        self._tables = DerivedTables(self._corrections.derived)
        self._listen(True)

    # ------------------------------------------------------------------- the image

    @property
    def pixels(self) -> KnownPixels | None:
        """The pixels, None where they are not known."""
        return self._pixels

    def set_pixels(
        self, data: Pixels, rgb: bool = False, axis_labels: Sequence[str] = ()
    ) -> KnownPixels:
        """Say what the pixels are; others than before make everything stale.

        Raises
        ------
        ImageError
            If they are neither an image nor a movie.
        """
        known = self._pixels
        if known is not None and known.are_of(data):
            return known
        self._pixels = KnownPixels(data, rgb, axis_labels)
        self._tables.clock.tick()
        if known is not None:
            self._other_pixels = datetime.now(UTC)
            self.pixels_changed.emit()
            self._tell_stale()
        return self._pixels

    def frame(self, frame: int) -> np.ndarray | None:
        """KnownPixels of one frame (H, W), None where there are none."""
        return None if self._pixels is None else self._pixels.frame(frame)

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm, None where it is unknown."""
        return self._pixel_size

    @pixel_size.setter
    def pixel_size(self, size: float | tuple[float, float] | None) -> None:
        """Take another pixel size; what is in nanometres is stale then."""
        size = check_pixel_size(size)
        if size == self._pixel_size:
            return
        self._pixel_size = size
        self._tables.outdate()  # their nanometres are of the old one
        self.pixel_size_changed.emit()
        self._tell_stale()

    @property
    def spacing_px(self) -> float:
        """Distance between nearest columns in pixels, NaN where it is not known."""
        known = self._corrections.spacing_px
        return known if np.isfinite(known) and known > 0 else self.results.spacing_px

    def species(self, more: Iterable[str] = ()) -> list[str]:
        """Names of the species that atoms can be, in the order of the number keys.

        Parameters
        ----------
        more : iterable of str
            Others that there are.
        """
        # the order never changes: the keys must mean the same all day
        names = [*self._names, *self.results.classes, *more]
        self._names = [
            n for n in dict.fromkeys(names) if n and n != "nan" and role_of(n) == "column"
        ]
        return list(self._names)

    # ------------------------------------------------------------------- the atoms

    def _listen(self, on: bool) -> None:
        derived = self._corrections.derived
        if on:
            self._tables.follow(derived)
            derived.watchers.append(self._on_atoms_changed)
            derived.listeners.append(self._tell_stale)
            self._leave = derived.subscribe("contours", self._remake_outlines)
        else:
            derived.watchers.remove(self._on_atoms_changed)
            derived.listeners.remove(self._tell_stale)
            self._leave()

    def without_atoms(self) -> Session:
        """Return a session of the same image whose atoms begin from nothing."""
        fresh = Session(self.name, self._pixel_size)
        fresh.outlines, fresh.results, fresh._pixels = self.outlines, self.results, self._pixels
        return fresh

    def atoms(self, frame: int | None = None) -> pd.DataFrame:
        """Atoms table of all frames or of one, nanometres by the pixel size of now."""
        c = self._corrections
        table = (c.atoms() if frame is None else c.table(frame)).copy()
        if self._pixel_size is not None:
            table["y_nm"] = table["y_px"] * self._pixel_size[0]
            table["x_nm"] = table["x_px"] * self._pixel_size[1]
        return table

    def features(self, frame: int | None = None) -> pd.DataFrame:
        """Atoms table with the columns that were measured on these very atoms."""
        return self.measured.join(self.atoms(frame))

    @property
    def revision(self) -> int:
        """Grows with every change; tells :meth:`put` what a table was made from."""
        return self._tables.clock.now

    # --------------------------------------------------------------------- runs

    def begin(self, shape: tuple[int, ...], provenance: dict[str, Any]) -> Run:
        """Prepare for the results of a run over the pixels of now.

        Parameters
        ----------
        shape : tuple of int
            (T, H, W) of the image.
        provenance : dict
            What makes the results; its "frames" are filled here.
        """
        if shape != self.results.shape:
            self.outlines.clear()
        self.results.begin(shape, provenance)
        return Run(self._pixels, self.revision)

    def check(self, run: Run, data: object = None) -> None:
        """See whether a run was begun on the pixels that there are.

        Parameters
        ----------
        run : Run
        data : array-like, optional
            What shows the image now; may be others than the session knows of.

        Raises
        ------
        ImageError
            If they were exchanged since.
        """
        same = run.pixels is self._pixels
        if same and data is not None and run.pixels is not None:
            same = run.pixels.are_of(data)
        if not same:
            raise ImageError(EXCHANGED)

    def take(
        self,
        results: FrameResult | Sequence[FrameResult],
        run: Run | None = None,
        *,
        data: object = None,
        atoms: bool = True,
        maps: bool = True,
        unfamiliar: bool = True,
    ) -> Taken:
        """Put what a run found under the edits.

        Parameters
        ----------
        results : FrameResult or sequence of FrameResult
        run : Run, optional
            What :meth:`begin` gave.
        data : array-like, optional
            What shows the image now.
        atoms, maps, unfamiliar : bool
            Which of it to take.

        Raises
        ------
        ImageError
            If the pixels were exchanged since the run was begun; nothing is taken then.
        """
        some = [results] if isinstance(results, FrameResult) else list(results)
        if run is not None:
            self.check(run, data)
        if not self.results.shape:
            n = max(r.frame for r in some) + 1
            self.results.begin((n, *some[0].unfamiliar.shape), {})
        frames = frozenset(int(r.frame) for r in some)
        self._taking = True
        try:
            self.results.take(some, maps, unfamiliar)
            conflicts: list[Conflict] = []
            if atoms:
                parts = [r.atoms for r in some if len(r.atoms)]
                fresh = pd.concat(parts, ignore_index=True) if parts else tables.empty("atoms")
                conflicts = self.rerun(fresh, frames, self.results.spacing_px)
            as_run, left = self._take_outlines(some)
        finally:
            self._taking = False
        self._corrections.derived.fresh("contours", frames)
        self._corrections.derived.outdate("contours", left)
        self._other_pixels = None
        self.outlines_changed.emit(frames)
        self.table_changed.emit("contours")
        self.results_taken.emit(some)
        n = sum(self._corrections.count(f) for f in frames)
        return Taken(conflicts, as_run, n, len(self._corrections.journal))

    # ------------------------------------------------------------------- outlines

    def _take_outlines(self, results: list[FrameResult]) -> tuple[frozenset[int], set[int]]:
        """Take the outlines of a run; frames with just these, and those where some lack."""
        as_run, left, c = set(), set(), self._corrections
        for r in results:
            f = r.frame
            same = self.outlines.take(r, c, self.results.spacing_px)
            n = len(self.outlines[f][1])
            if r.outlines and not self.outlines.complete(f, c, self.results.probability(f)):
                left.add(f)
            if same and len(self.outlines[f][1]) == n:
                as_run.add(f)
        return frozenset(as_run), left

    def _remake_outlines(self, frames: frozenset[int]) -> set[int]:
        """Outline the atoms of edited frames anew; returns those that could not be."""
        left: set[int] = set()
        c = self._corrections
        if self._taking:  # the run brings its own
            return left
        done = [f for f in sorted(frames) if 0 <= f < max(self.results.shape[:1], default=0)]
        for f in done:
            probability = self.results.probability(f)
            if probability is not None:
                self.outlines.redraw(f, c, probability, self.results.spacing_px)
            elif not self.outlines.prune(f, c):
                left.add(f)
        if done:
            self.outlines_changed.emit(frozenset(done))
            self.table_changed.emit("contours")
        return left

    def _after_edit(self, change: Change) -> None:
        """Let an outline be as the user drew it, or as it was before."""
        edit = change.edit
        if edit.action != "contour" or not edit.detail or self._drawing:
            return
        f, atom_id = edit.frame, int(edit.detail["atom_id"])
        flat = edit.detail["before" if change.undone else "after"]
        tracing = None if flat is None else np.array(flat, np.float32).reshape(-1, 2)
        self.outlines.draw(f, atom_id, tracing, atom_id in self._corrections.contours(f))
        self.outlines_changed.emit(frozenset([f]))
        self.table_changed.emit("contours")

    def drawn(self, frame: int, outlined: Outlined, touched: Iterable[int] | None = None) -> None:
        """Take over the outlines of a frame as the user has left them.

        Parameters
        ----------
        frame : int
        outlined : tuple of (pandas.DataFrame, list of ndarray)
            All of them.
        touched : iterable of int, optional
            Atoms whose outlines the user drew or changed; those that are missing by default.
        """
        before = self.outlines.by_atom(frame)
        self.outlines[frame] = outlined
        now = self.outlines.by_atom(frame)
        which = sorted(set(before) - set(now)) if touched is None else list(touched)
        self._drawing = True  # whoever tells shows it already
        try:
            for i in which:
                self.edit(actions.draw_contour, frame, i, before.get(i), now.get(i))
        finally:
            self._drawing = False
        self.table_changed.emit("contours")

    # ------------------------------------------------------------ what follows

    def table(self, name: str, frame: int | None = None) -> pd.DataFrame:
        """Return a table as it is known, empty where it is missing (see :meth:`state`).

        Parameters
        ----------
        name : str
            "atoms", "contours", "lattices", "vacancies", "bonds", "defects", "tracks" ...
        frame : int, optional
            Only the rows of one frame.
        """
        if name == "atoms":
            return self.atoms(frame)
        table = self.outlines.table() if name == "contours" else self._tables.get(name)
        if frame is None or "frame" not in table:
            return table
        return table[table["frame"] == frame].reset_index(drop=True)

    def state(self, name: str) -> State:
        """Whether a table is there, and follows from the atoms that there are."""
        if not self._is_there(name):
            return "missing"
        return "stale" if self.is_stale(name) else "fresh"

    def _is_there(self, name: str) -> bool:
        if name == "atoms":
            return self.has_atoms
        return bool(len(self.outlines)) if name == "contours" else name in self._tables

    def is_stale(self, name: str) -> bool:
        """Whether a table no longer follows from the atoms, or they from the pixels."""
        return self.stale_since(name) is not None

    def stale_since(self, name: str) -> datetime | None:
        """When a table became stale (UTC), None where it is not."""
        if not self._is_there(name):
            return None
        if self._other_pixels is not None:
            return self._other_pixels
        return self._tables.since(name)

    def stale(self) -> frozenset[str]:
        """Names of the tables that are stale, but for those that are made anew in a moment."""
        names = [n for n in (*self._tables, "contours") if self.is_stale(n)]
        return frozenset(n for n in names if not self.is_waiting(n))

    def is_waiting(self, name: str) -> bool:
        """Whether a table is stale for a moment only: it is made anew once edits rest."""
        return self._corrections.derived.is_waiting(group_of(name))

    def put(
        self,
        name: str,
        table: pd.DataFrame,
        provenance: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> None:
        """Keep a table that somebody made from the atoms.

        Parameters
        ----------
        name : str
        table : pandas.DataFrame
        provenance : mapping, optional
            What made it.
        revision : int, optional
            :attr:`revision` when its making began: frames that were edited since are stale.
        """
        self.put_all({name: table}, provenance, revision)

    def put_all(
        self,
        made: Mapping[str, pd.DataFrame],
        provenance: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> None:
        """Keep several tables that were made in one go, the first ones first."""
        for name, table in made.items():
            self._tables.put(name, table, provenance or {}, revision)
        for name in made:
            self.table_changed.emit(name)

    def follow_edits(self, name: str, remake: Remake | None, begin: Begin | None = None) -> None:
        """Say who makes a table anew after an edit, with all that is made in one go with it.

        Parameters
        ----------
        name : str
        remake : callable or None
            Called with the frames that were edited, at once where that is quick; returns those
            that it could not make anew. None where nobody does any more.
        begin : callable, optional
            As of :meth:`~napari_atomlens.session.edits.derived.Derived.subscribe`.
        """
        self._tables.follow_edits(group_of(name), remake, begin)

    def provenance(self, name: str) -> dict[str, Any]:
        """What made a table, empty where it is missing."""
        return self._tables.provenance(name)

    def made_at(self, name: str) -> int:
        """:attr:`revision` when a table was kept, 0 where it never was."""
        return self._tables.made_at(name)

    def update(self, name: str, progress: ProgressLike = None) -> pd.DataFrame:
        """Make a table anew, as it was made before, with all that is made in one go with it.

        Raises
        ------
        ParameterError
            If nobody knows how to make it, or it cannot be made from these atoms.
        """
        maker = MAKERS.get(group_of(name))
        if maker is None:
            raise ParameterError(f"Nothing is known of how to make {name}.")
        revision, shape = self.revision, self.results.shape
        size = (shape[1], shape[2]) if len(shape) == 3 else None
        before = self.provenance(name) or {"made": "by default parameters"}
        ground = Ground(self.atoms(), self.outlines.table(), self._pixel_size, size, before)
        self.put_all(maker(ground, progress), before, revision)
        return self.table(name)

    def _on_atoms_changed(self, frames: frozenset[int]) -> None:
        self._tables.clock.tick(frames)
        self.table_changed.emit("atoms")

    def _tell_stale(self) -> None:
        now = self.stale()
        if now != self._told_stale:
            self._told_stale = now
            self.stale_changed.emit(now)
