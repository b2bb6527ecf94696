"""Long movies: results go to disk frame by frame, and a killed run goes on where it stopped.

The frames of the part that is being made are written one by one until it is complete, so that a
killed run has nothing to do again but the frames it was at. Memory holds the frames of one part.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import Json, make_folder
from napari_atomlens.folders import folder_lock
from napari_atomlens.io.export.tables import write_csv
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.note import write_note
from napari_atomlens.io.projects.parts import Parts
from napari_atomlens.params import as_dict, merged
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.runs import derived
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.frame import FrameResult, check_frames
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import Plan, make_plan
from napari_atomlens.runs.source import Given, Source, open_told
from napari_atomlens.runs.store import Store, fingerprint_of
from napari_atomlens.tables import need_columns
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.following import MovieResult
from napari_atomlens.tracking.params import DumbbellParams, LinkParams
from napari_atomlens.untrusted import check_links, path_of

#: Frames per part.
PART = 50


def analyze_movie(
    source: Given,
    folder: str | Path,
    params: AnalysisParams | None = None,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    image: str | int | None = None,
    maps: bool = False,
    progress: ProgressLike = None,
    **settings: object,
) -> Iterator[FrameResult]:
    """Analyse a movie into a folder; yields as it goes, and goes on where an earlier run stopped.

    Parameters
    ----------
    source : path, list of path, Image or array-like, shape (T, H, W)
        Read one frame at a time; several files, or a folder, are one movie.
    folder : path
        Of the results; made if it is missing. :func:`load` opens it at any time.
    params : AnalysisParams, optional
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    frames : sequence of int, optional
        Which frames; all by default.
    image : str or int, optional
        Name or number of the movie of a file that holds several; the first by default.
    maps : bool
        Keep the probability and unfamiliar maps.
    progress : Progress or callable, optional
        Called with (frames done, in all), earlier runs included; asked whether to stop.
    **settings
        Parameters by name; they win over `params`.

    Yields
    ------
    FrameResult
        As soon as it is there (those of earlier runs are not repeated).

    Raises
    ------
    FormatError
        If the folder holds other results, or is damaged, full or written by another run.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> [result.frame for result in al.analyze_movie(image, "results", spacing_px=10.0)]
    [0]
    """
    chosen, watch = merged(AnalysisParams, params, settings), as_progress(progress)
    opened = open_told(source, pixel_size_nm, image=image)
    order = check_frames(frames, opened.shape[0])
    if not order:
        return
    with _alone(root := path_of(folder)):
        with _writing(root):
            run = _Movie(root, opened, chosen, order, maps)
        yield from _missing(run, watch)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the folder of a movie: two runs would write the same parts.

    Raises
    ------
    FormatError
        If another run writes there.
    """
    lock = folder_lock(root)
    if not lock.acquire():
        raise FormatError(
            f"{root.name} cannot be written now: another run writes there, or nothing can be "
            "written to the folder in which it is."
        )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Write inside; a full disk is a sentence."""
    try:
        yield
    except OSError as error:
        raise FormatError(
            f"{root.name} cannot be written: {error.strerror or error}. What is finished is kept; "
            "make room and run the same again to go on."
        ) from error


def _missing(run: _Movie, watch: Progress) -> Iterator[FrameResult]:
    """Analyse and write the frames that are missing."""
    if run.done:
        watch(run.done, len(run.order))
    if not run.missing or watch.stopped:
        return
    # what the first frames gave (scale, model, window) is that of later runs as well
    with _writing(run.store.root):
        plan = run.begin()
    for (part, index), result in zip(
        run.missing,
        loop.analyze_frames(
            run.source.movie, run.params, pixel_size_nm=run.source.pixel_size_nm, plan=plan,
            frames=[run.parts[k][i] for k, i in run.missing],
            progress=Progress(stop=lambda: watch.stopped),
        ),
        strict=False,
    ):  # fmt: skip
        with _writing(run.store.root):
            run.put(part, index, result)
        watch(run.done, len(run.order))
        yield result


class _Movie:
    """The folder of a movie: what is done, what is missing."""

    def __init__(
        self, root: Path, source: Source, params: AnalysisParams, order: list[int], maps: bool
    ) -> None:
        self.store, self.source, self.params, self.order = Store(root), source, params, order
        self.parts = [order[k : k + PART] for k in range(0, len(order), PART)]
        self.mark = fingerprint_of(source, params, source.pixel_size_nm, order)
        self.maps = maps
        make_folder(root)
        self.note = self._known()
        for sentence in self.store.parts.sweep():
            warnings.warn(sentence, stacklevel=4)
        whole, ones = self.store.parts.done(), self.store.parts.ones()
        todo = [k for k in range(len(self.parts)) if _name(k) not in whole]
        self.ready = {(k, i) for k in todo for i in range(len(self.parts[k]))
                      if (_name(k), i) in ones}  # fmt: skip
        for k in todo:  # an earlier run ended between the last frame of a part and the part
            self._close_if_whole(k)
        self.missing = [(k, i) for k in todo for i in range(len(self.parts[k]))
                        if (k, i) not in self.ready]  # fmt: skip
        self.done = len(order) - len(self.missing)

    def _known(self) -> Json | None:
        note, name = self.store.note(), self.store.root.name
        if note is None:
            return None
        if "fingerprint" not in note:
            raise FormatError(f"{name} is damaged: its {layout.NOTE} cannot be read.")
        if note["fingerprint"] != self.mark:
            raise FormatError(
                f"{name} holds the results of another movie or of other parameters; "
                "choose another folder."
            )
        return note

    def begin(self) -> Plan:
        """Return the plan of the earlier run, or make it and write it down."""
        if self.note is not None:
            return self.store.plan(self.note)
        plan = make_plan(
            self.source.movie, self.params, pixel_size_nm=self.source.pixel_size_nm,
            technique=self.source.technique, frames=self.order,
        )  # fmt: skip
        self.note = self.store.begin(
            plan, self.source, maps=self.maps, fingerprint=self.mark,
            n_frames=len(self.order), part=PART,
        )  # fmt: skip
        return plan

    def put(self, part: int, index: int, result: FrameResult) -> None:
        """Write a frame, and its part where it was the last one missing."""
        if self.maps:
            self.store.put_maps(self.source.shape[0], result)
        if self.note is not None and result.plan is not None:
            record = result.plan.record()
            if record != self.note["plan"]:  # the scale is settled
                self.note["plan"] = record
                self.store.write_note(self.note)
        self.store.write_one(_name(part), index, result)
        self.ready.add((part, index))
        self.done += 1
        self._close_if_whole(part)

    def _close_if_whole(self, part: int) -> None:
        if all((part, i) in self.ready for i in range(len(self.parts[part]))):
            self.store.close(_name(part))


def _name(part: int) -> str:
    return f"{part:08d}"


def read_table(
    folder: str | Path, name: str = "atoms", columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read one table of a folder of results, as far as it is there.

    Parameters
    ----------
    folder : path
        What :func:`analyze_movie`, :func:`run_batch`, :func:`watch_folder` or
        :meth:`Result.save` wrote.
    name : str
        "atoms", "contours", "frames", a later table that was made ("tracks", ...), or of a batch
        "failures" and "files".
    columns : sequence of str, optional
        Only these; four columns are enough for linking and take a fifth of the memory.

    Returns
    -------
    pandas.DataFrame
        Of a batch with the column ``file`` first.

    Raises
    ------
    FormatError
        If there is nothing, or it is damaged.
    ParameterError
        If there is no such column.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> movie = np.stack([al.simulate("honeycomb", (96, 96), 10.0, seed=k)[0] for k in range(2)])
    >>> done = list(al.analyze_movie(movie, "results", spacing_px=10.0))
    >>> al.read_table("results", columns=["frame", "y_px", "x_px"]).columns.tolist()
    ['frame', 'y_px', 'x_px']
    """
    root = path_of(folder)
    check_links(root, layout.OURS)
    if not isinstance(name, str):
        raise ParameterError(f"A table is named by a text, not {type(name).__name__}.")
    if columns is not None:
        if not isinstance(columns, Iterable) or not all(isinstance(c, str) for c in columns):
            raise ParameterError("The columns of a table are a list of names.")
        columns = list(columns)
    if name in layout.later_names(root):
        table = layout.read_later(root, name)
        if columns is None:
            return table
        need_columns(table, columns, name)
        return table[columns]
    if name not in (*layout.FRAME_TABLES, "frames") or not (root / "frames").is_dir():
        raise FormatError(f"{root.name} holds no {name}.")
    return Parts(root).read(name, columns)


#: What following needs of the atoms; a third of the memory of the whole table.
_FOLLOWED = (
    "frame", "atom_id", "y_px", "x_px", "y_nm", "x_nm", "species", "amplitude", "sigma_px",
    "background", "y_err_px", "x_err_px", "fit_ok",
)  # fmt: skip
_OUTLINES = ("frame", "atom_id", "area_px2", "major_px", "minor_px", "orientation_rad",
             "offset_y_px", "offset_x_px")  # fmt: skip


def follow_folder(
    folder: str | Path,
    *,
    linking: LinkParams = LinkParams(),
    dumbbells: DumbbellParams = DumbbellParams(),
    changes: ChangeParams = ChangeParams(),
    progress: ProgressLike = None,
) -> MovieResult:
    """Follow everything that :func:`analyze_movie` found, and write it beside it.

    The tables go into the folder (where :func:`load` finds them) and, for other programs, to
    ``tracks.csv``, ``dumbbells.csv``, ``changes.csv``, ``events.csv``, ``drift.csv`` and
    ``provenance.json``; nothing is written where it is stopped.

    Parameters
    ----------
    folder : path
        A folder of :func:`analyze_movie`, complete or as far as it is.
    linking, dumbbells, changes
        Parameters of the stages.
    progress : Progress or callable, optional
        Called with what is being done; asked between the stages whether to stop.

    Raises
    ------
    FormatError
        If the folder holds no atoms, or is damaged.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> movie = np.stack([al.simulate("honeycomb", (96, 96), 10.0, seed=k)[0] for k in range(2)])
    >>> done = list(al.analyze_movie(movie, "results", spacing_px=10.0))
    >>> len(al.follow_folder("results").tracks) == sum(len(frame.atoms) for frame in done)
    True
    """
    root, watch = path_of(folder), as_progress(progress)
    note = Store(root).note() if root.is_dir() else None
    if note is None:
        raise FormatError(f"{root.name} is no folder of an analysed movie.")
    atoms = read_table(root, "atoms", _FOLLOWED)
    outlines = read_table(root, "contours", _OUTLINES)
    record = note["provenance"]
    size = record.get("pixel_size_nm")
    found = derived.followed(
        atoms, outlines if len(outlines) else None, None if size is None else tuple(size),
        linking=linking, dumbbells=dumbbells, changes=changes, progress=watch,
    )  # fmt: skip
    if watch.stopped:
        return found
    for name in derived.FOLLOWED:
        layout.write_later(root, name, getattr(found, name))
        write_csv(root / f"{name}.csv", getattr(found, name))
    more = {
        "linking": as_dict(linking), "dumbbells": as_dict(dumbbells), "changes": as_dict(changes),
        "frames_followed": int(atoms["frame"].nunique()),
    }  # fmt: skip
    write_note(root / "provenance.json", {**record, **more})
    return found
