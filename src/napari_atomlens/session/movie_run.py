"""Following a movie: atoms, tracks, dumbbells, changes and defects in one go; files of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import __version__, cells, tables
from napari_atomlens.errors import AtomLensError, FormatError, ImageError, ParameterError
from napari_atomlens.files import write_whole
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.choose import choose_rules
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.image import Pixels, PixelSize, Stack
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress, ProgressLike
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.session.movie import MovieData
from napari_atomlens.session.session import Session
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.defects import DefectTracks, follow_defects
from napari_atomlens.tracking.following import MovieResult, follow, save_followed
from napari_atomlens.tracking.foreign import follow_foreign
from napari_atomlens.tracking.params import LinkParams

#: More atoms than this in the whole movie, and defects are not looked for by themselves.
MAX_DEFECT_ATOMS = 400_000
#: Tables of a movie as a session keeps them, those of its defects last.
MOVIE_TABLES = ("tracks", "drift", "events", "dumbbells", "changes")
DEFECT_TABLES = ("defect tracks", "defect events")
#: Foreign atoms of which this part is among the defects need no tracks of their own.
KNOWN = 0.8
D = TypeVar("D")


class AtomsWanted:
    """Asks the owner of the atoms for them as they are now, with every edit; the asker waits."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._atoms, self._contours = tables.empty("atoms"), tables.empty("contours")

    def give(self, session: Session) -> int:
        """Answer; returns the revision of the session that the answer is of."""
        session.edit_begins.emit(True)  # who shows the atoms first says what the user did
        self._atoms, self._contours = session.atoms(), session.table("contours")
        self._there.set()
        return session.revision

    def wait(self, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Atoms and contours (None where there are none), empty where it is stopped.

        Raises
        ------
        ParameterError
            If there is no atom.
        """
        while not self._there.wait(0.05):
            if progress.stopped:
                return self._atoms, None
        if not len(self._atoms):
            raise ParameterError("No atom was found in this movie.")
        return self._atoms, self._contours if len(self._contours) else None


@dataclass(frozen=True)
class MovieRun(Generic[D]):
    """What a run over a movie is given.

    Attributes
    ----------
    stack : Stack
        (t, y, x).
    finds : bool
        Whether the atoms are to be found first.
    finding : AnalysisParams
    linking : LinkParams
    watch : ChangeParams
    pixel_size_nm : tuple of float or None
        (y, x).
    time_step_s : float or None
    draw : callable
        Called in the thread with the result of each frame; what it returns is handed on.

    Raises
    ------
    ImageError
        If it is no movie.
    """

    stack: Stack
    finds: bool
    finding: AnalysisParams
    linking: LinkParams
    watch: ChangeParams
    pixel_size_nm: PixelSize | None
    time_step_s: float | None
    draw: Callable[[FrameResult], D]

    def __post_init__(self) -> None:
        """Refuse what is no movie."""
        if self.stack.shape[0] < 2:
            raise ImageError("A movie needs at least two frames.")

    def provenance(self, name: str) -> dict[str, Any]:
        """Return the record of the frames; their numbers are noted as they come."""
        return {
            "atomlens": __version__, "started": datetime.now(UTC).isoformat(),
            "parameters": as_dict(self.finding), "image": name,
            "image_shape": list(self.stack.shape), "pixel_size_nm": self.pixel_size_nm,
            "frames": [],
        }  # fmt: skip

    def record(self, name: str) -> dict[str, Any]:
        """Return the record of the tables."""
        made = self.provenance(name)
        del made["frames"]
        if not self.finds:  # the parameters found none of them
            made["parameters"] = "atoms that were there before"
        return made | {"linking": as_dict(self.linking), "changes": as_dict(self.watch)}

    def work(self, progress: Progress) -> Iterator[D | AtomsWanted | MovieData]:
        """Go through the movie; nothing here touches a window.

        Yields
        ------
        MovieData
            At the end, ready to be drawn, and once more where there are defects. Before that
            what became of each frame, where the atoms are to be found, and a question for them.

        Raises
        ------
        ParameterError
            If there is no atom.
        """
        n = self.stack.shape[0]
        if self.finds:
            yield from self._frames(progress)
        if progress.stopped:
            return
        progress(n, n, "Linking atoms…")
        asked = AtomsWanted()
        yield asked
        atoms, contours = asked.wait(progress)
        if progress.stopped:
            return
        watch = Progress(lambda done, of, what: progress(n, n, what), lambda: progress.stopped)
        followed = follow(
            atoms, contours, linking=self.linking, changes=self.watch,
            pixel_size_nm=self.pixel_size_nm, progress=watch,
        )  # fmt: skip
        if progress.stopped:
            return
        made = MovieData(followed, n, self.pixel_size_nm, self.time_step_s, self.watch)
        yield made.prepare()
        if not made.has_dumbbells and len(atoms) <= MAX_DEFECT_ATOMS and not progress.stopped:
            progress(n, n, "Looking for defects…")
            moving = defects_of(followed, self.stack, watch)
            if moving is not None and len(moving.tracks) and not progress.stopped:
                yield made.with_defects(moving).prepare()

    def _frames(self, progress: Progress) -> Iterator[D]:
        """Find the atoms of all frames."""
        n = self.stack.shape[0]
        found = loop.analyze_frames(
            self.stack, self.finding, pixel_size_nm=self.pixel_size_nm, frames=list(range(n)),
            progress=Progress(stop=lambda: progress.stopped),
        )  # fmt: skip
        for k, result in enumerate(found, 1):
            yield self.draw(result)
            progress(k, n, "Looking for atoms…")


def defects_of(
    followed: MovieResult, stack: Pixels | None = None, progress: ProgressLike = None
) -> DefectTracks | None:
    """Defects of all frames, followed; None where no rules of chemistry fit the lattice.

    Parameters
    ----------
    followed : MovieResult
    stack : array-like, optional
        The movie: foreign atoms that stand out of its pixels but not among the defects, as where
        noise hides the lattice, are followed in place of these.
    progress : Progress or callable, optional
    """
    try:
        rules, _ = choose_rules(followed.atoms)
        found = find_defects(bond(followed.atoms, rules))
        moving = follow_defects(found, followed.atoms, drift=followed.drift)
    except AtomLensError:
        moving = None
    if stack is None:
        return moving
    foreign = follow_foreign(stack, followed.atoms, progress=progress)
    if not len(foreign.tracks):
        return moving
    known = 0.0 if moving is None else _share_known(foreign, moving)
    return moving if known >= KNOWN else foreign


def _share_known(foreign: DefectTracks, defects: DefectTracks) -> float:
    """Part of the sightings of foreign atoms beside which there is a defect."""
    reach = 0.7 * float(foreign.tracks.attrs["hop_px"])
    here, there = (t.tracks[["frame", "y_px", "x_px"]].to_numpy(float) for t in (foreign, defects))
    if not len(there):
        return 0.0
    steep = np.array([10 * reach, 1.0, 1.0])  # only the same frame is near
    gap, _ = scipy.spatial.cKDTree(there * steep).query(here * steep)
    return float((gap <= reach).mean())


def keep_movie(
    session: Session, data: MovieData, record: dict[str, Any], revision: int | None
) -> None:
    """Put the tables of a movie into its session.

    Parameters
    ----------
    session : Session
    data : MovieData
    record : dict
        What made them.
    revision : int or None
        Of the session, when their making began.
    """
    f, defects = data.followed, data.defects
    made = {
        "tracks": f.tracks, "drift": f.drift, "events": f.events, "dumbbells": f.dumbbells,
        "changes": f.changes,
    }  # fmt: skip
    if defects is not None and session.table("tracks") is f.tracks:  # those are there already
        made = dict(zip(DEFECT_TABLES, (defects.tracks, defects.events), strict=True))
    else:  # those of before are of other tracks
        old = [n for n in DEFECT_TABLES if session.state(n) != "missing"]
        made |= {n: session.table(n).iloc[:0] for n in old}
    session.put_all(made, record, revision)


def movie_of(
    session: Session, n_frames: int, time_step_s: float | None, watch: ChangeParams = ChangeParams()
) -> MovieData | None:
    """What a session knows of a movie that was followed, None where it was not.

    Parameters
    ----------
    session : Session
    n_frames : int
        Frames of the movie.
    time_step_s : float or None
    watch : ChangeParams
        How deviations are computed.
    """
    if "missing" in (session.state("tracks"), session.state("dumbbells")):
        return None
    tracks, drift, events, dumbbells, changes = (session.table(n) for n in MOVIE_TABLES)
    followed = MovieResult(tracks, tracks, dumbbells, drift, changes, events)
    made = MovieData(followed, n_frames, session.pixel_size, time_step_s, watch)
    moving, happened = (session.table(n) for n in DEFECT_TABLES)
    if len(moving) and session.made_at(DEFECT_TABLES[0]) > session.made_at("tracks"):
        return made.with_defects(DefectTracks(moving, happened))
    return made


def save_movie(data: MovieData, folder: Path, record: dict[str, Any]) -> list[str]:
    """Write the tables of a movie as CSV files, and what made them as JSON; their names.

    Raises
    ------
    FormatError
        If they cannot be written.
    """
    try:
        names = [f.name for f in save_followed(data.followed, folder, record)]
        if data.defects is not None:
            made = (data.defects.tracks, data.defects.events)
            for name, table in zip(DEFECT_TABLES, made, strict=True):
                path = folder / f"{name.replace(' ', '_')}.csv"
                names.append(write_whole(path, cells.csv_text(table)).name)
    except OSError as error:
        raise FormatError(f"The tables could not be written: {error.strerror}.") from error
    return names


def summary(data: MovieData, seconds: float) -> str:
    """Say in one sentence what was found."""
    f, moving = data.followed, data.defects
    n = f.tracks["track_id"].nunique() if len(f.tracks) else 0
    text = f"{n:,} atoms followed through {data.n_frames:,} frames"
    if len(f.dumbbells):
        text += f", {f.dumbbells['dumbbell_id'].nunique():,} dumbbells"
        text += f", {len(f.changes):,} changes"
    if moving is not None:
        text += f", {moving.tracks['track_id'].nunique():,} defects"
    if len(f.drift):
        far = np.hypot(f.drift["drift_y_px"].iloc[-1], f.drift["drift_x_px"].iloc[-1])
        text += f"; drift {far:.1f} px"
        if jitter := f.atoms.attrs.get("row_jitter_px"):
            text += f", row jitter {jitter:.2f} px"
    return f"{text}; {seconds:.1f} s. {f.message}".strip()
