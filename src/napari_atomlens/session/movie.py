"""What the Movie widget draws of one frame, and its plots, as arrays. No Qt and no napari here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import points
from napari_atomlens.session.motion import Motion, motion_of, transitions_text
from napari_atomlens.session.movie_events import (
    atom_events,
    defect_events,
    dumbbell_events,
    in_order,
)
from napari_atomlens.tracking.changes import (
    ChangeParams,
    deviations,
    neighbour_correlation,
    series,
)
from napari_atomlens.tracking.defects import DefectTracks
from napari_atomlens.tracking.following import MovieResult

T = TypeVar("T")
#: What the map of dumbbells can show.
MAPS = ("length", "angle", "shift", "intensity ratio")


class ByFrame:
    """A table sorted by frame, whose rows of one frame are found at once."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.sort_values("frame", kind="stable", ignore_index=True)
        self._frame = self.table["frame"].to_numpy()

    def rows(self, frame: int) -> slice:
        """Rows of a frame, empty where there are none."""
        a, b = np.searchsorted(self._frame, [frame, frame + 1])
        return slice(int(a), int(b))


class MovieData:
    """What happened in a movie, ready to be drawn frame by frame.

    Parameters
    ----------
    followed : MovieResult
    n_frames : int
        Frames of the movie, analysed or not.
    pixel_size_nm : tuple of float or None
        (y, x).
    time_step_s : float or None
    watch : ChangeParams
        How deviations are computed.
    """

    def __init__(
        self,
        followed: MovieResult,
        n_frames: int,
        pixel_size_nm: tuple[float, float] | None = None,
        time_step_s: float | None = None,
        watch: ChangeParams = ChangeParams(),
    ) -> None:
        self.followed, self.n_frames = followed, n_frames
        self.pixel_size_nm, self.time_step_s, self.watch = pixel_size_nm, time_step_s, watch
        self._atoms = ByFrame(followed.atoms)
        self._places = np.ascontiguousarray(
            self._atoms.table[["y_px", "x_px"]].to_numpy(np.float32)
        )
        self._dumbbells = ByFrame(followed.dumbbells)
        self._memo: dict[Hashable, object] = {}
        self._track_rows = ByFrame(followed.tracks)
        self.defects: DefectTracks | None = None
        self._defect_rows: ByFrame | None = None

    def set_defects(self, defects: DefectTracks) -> None:
        """Add the defects that were followed."""
        self.defects, self._defect_rows = defects, ByFrame(defects.tracks)
        self._memo = {
            k: v
            for k, v in self._memo.items()
            if k not in ("events", ("motion", True), ("classes", True))
        }

    def with_defects(self, defects: DefectTracks) -> MovieData:
        """Return the same with the defects that were followed."""
        made = copy.copy(self)
        made.set_defects(defects)
        return made

    def prepare(self) -> MovieData:
        """Compute what lists and plots show, so that a window only draws; returns itself."""
        self.spacing_px()
        self.events()
        self.counts()
        self.together()
        for what in MAPS if self.has_dumbbells else ():
            self.map_limit(what)
        for defects in (False, True):
            self.motion(defects)
            self.transitions(defects)
        return self

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was computed before, or what `make` returns."""
        if key not in self._memo:
            self._memo[key] = make()
        return cast(T, self._memo[key])

    def frame_defects(self, frame: int) -> pd.DataFrame:
        """Rows of the tracks of defects of a frame."""
        if self._defect_rows is None:
            return pd.DataFrame({"y_px": [], "x_px": [], "track_id": []})
        return self._defect_rows.table.iloc[self._defect_rows.rows(frame)].reset_index(drop=True)

    def defect_tracks(self) -> np.ndarray:
        """Tracks of defects as napari wants them, (n, 4): id, frame, y, x."""
        if self.defects is None:
            return np.zeros((0, 4))
        return self.defects.tracks[["track_id", "frame", "y_px", "x_px"]].to_numpy(float)

    def defect_counts(self, most: int = 5) -> dict[str, np.ndarray]:
        """Defects per frame by formula, the most frequent ones; each (n_frames,)."""
        if self.defects is None:
            return {}
        t = self.defects.tracks
        out = {}
        for name in t["formula"].value_counts().index[:most]:
            mine = t.loc[t["formula"] == name, "frame"].to_numpy(int)
            out[str(name)] = np.bincount(mine, minlength=self.n_frames)[: self.n_frames] * 1.0
        return out

    # ------------------------------------------------------------------- one frame

    def atoms(self, frame: int) -> np.ndarray:
        """(y, x) of the atoms of a frame, float32 (n, 2)."""
        return self._places[self._atoms.rows(frame)]

    @property
    def has_dumbbells(self) -> bool:
        """Whether the lattice has dumbbells."""
        return bool(len(self._dumbbells.table))

    def dumbbells(self, frame: int) -> pd.DataFrame:
        """Rows of the dumbbells table of a frame."""
        return self._dumbbells.table.iloc[self._dumbbells.rows(frame)].reset_index(drop=True)

    def dumbbell_vectors(self, frame: int) -> np.ndarray:
        """From column a to column b of every dumbbell, (n, 2, 2) as napari wants vectors."""
        d = self._dumbbells.table.iloc[self._dumbbells.rows(frame)]
        length, angle = d["length_px"].to_numpy(), d["angle_rad"].to_numpy()
        vector = np.c_[-length * np.sin(angle), length * np.cos(angle)]
        return np.stack([d[["y_px", "x_px"]].to_numpy() - 0.5 * vector, vector], axis=1)

    def shift_vectors(self, frame: int, enlarge: float) -> np.ndarray:
        """How far each dumbbell is from its mean place, `enlarge` times as long, (n, 2, 2)."""
        rows = self._dumbbells.rows(frame)
        d = self._dumbbells.table.iloc[rows]
        off = np.c_[self.deviation("shift y")[rows], self.deviation("shift x")[rows]]
        off = np.where(np.isfinite(off), off, 0.0)
        return np.stack([d[["y_px", "x_px"]].to_numpy(), enlarge * off], axis=1)

    def deviation(self, quantity: str) -> np.ndarray:
        """Deviation of every row from the baseline of its dumbbell."""
        table = self._dumbbells.table
        return self._once(
            ("deviation", quantity),
            lambda: deviations(table, quantity, self.watch)["deviation"].to_numpy(),
        )

    def map_values(self, frame: int, what: str) -> np.ndarray:
        """Values of the map for the dumbbells of a frame, in the unit of :meth:`map_unit`."""
        rows = self._dumbbells.rows(frame)
        if what == "shift":
            off = np.hypot(self.deviation("shift y")[rows], self.deviation("shift x")[rows])
            return off * self._pm()
        values = self.deviation(what)[rows]
        if what == "length":
            return values * self._pm()
        return np.degrees(values) if what == "angle" else values

    def map_unit(self, what: str) -> str:
        """Unit of a map."""
        length = "pm" if self.pixel_size_nm else "px"
        return {"length": length, "shift": length, "angle": "°"}.get(what, "")

    def map_limit(self, what: str) -> float:
        """Symmetric limit of the colours of a map: what noise seldom exceeds."""
        return self._once(("limit", what), lambda: self._limit(what))

    def _limit(self, what: str) -> float:
        if what == "shift":
            off = np.hypot(self.deviation("shift y"), self.deviation("shift x")) * self._pm()
        else:
            factor = {"length": self._pm(), "angle": np.degrees(1.0)}.get(what, 1.0)
            off = np.abs(self.deviation(what)) * factor
        off = off[np.isfinite(off)]
        return float(max(np.quantile(off, 0.98), 1e-9)) if len(off) else 1.0

    def _pm(self) -> float:
        return 1000 * float(np.mean(self.pixel_size_nm)) if self.pixel_size_nm else 1.0

    def spacing_px(self) -> float:
        """Distance between nearest atoms, NaN where there are too few."""
        atoms = self._atoms.table
        return self._once(
            "spacing",
            lambda: points.spacing(
                atoms[["y_px", "x_px"]].to_numpy(float), atoms["frame"].to_numpy()
            ),
        )

    # ---------------------------------------------------------------------- tracks

    def n_vertices(self) -> int:
        """Rows of the tracks table."""
        return len(self.followed.tracks)

    def tracks(self, first: int | None = None, last: int | None = None) -> np.ndarray:
        """Tracks as napari wants them, (n, 4): id, frame, y, x; those of a span of frames."""
        table = self.followed.tracks
        if first is not None and last is not None:
            a, b = self._track_rows.rows(first).start, self._track_rows.rows(last).stop
            table = self._track_rows.table.iloc[a:b]
        rows = table[["track_id", "frame", "y_px", "x_px"]].to_numpy(float)
        return rows[np.lexsort((rows[:, 1], rows[:, 0]))]

    # ----------------------------------------------------------------------- plots

    def counts(self) -> dict[str, np.ndarray]:
        """Atoms per frame, all and by species; each (n_frames,)."""
        return self._once("counts", self._counts)

    def _counts(self) -> dict[str, np.ndarray]:
        atoms = self._atoms.table
        frame = atoms["frame"].to_numpy(int)
        keep = frame < self.n_frames
        out = {"all atoms": np.bincount(frame[keep], minlength=self.n_frames).astype(float)}
        if "species" in atoms:
            names = atoms["species"].astype(str)
            if names.nunique() > 1:
                for name in sorted(set(names)):
                    mine = (names == name).to_numpy() & keep
                    out[name or "no class"] = np.bincount(
                        frame[mine], minlength=self.n_frames
                    ).astype(float)
        return out

    def event_counts(self) -> np.ndarray:
        """What happened to atoms per frame, (n_frames,)."""
        frames = self.followed.events["frame"].to_numpy(int)
        return np.bincount(frames, minlength=self.n_frames)

    def together(self) -> pd.DataFrame:
        """Whether neighbouring dumbbells change together, frame by frame; empty without any."""
        table = self.followed.dumbbells
        if not len(table):
            return pd.DataFrame({"frame": [], "moran": [], "error": []})
        return self._once("together", lambda: neighbour_correlation(table, "length", self.watch))

    def tracks_of(self, defects: bool) -> pd.DataFrame:
        """Tracks of the defects, or of the atoms."""
        if defects and self.defects is not None:
            return self.defects.tracks
        return self.followed.tracks

    def motion(self, defects: bool = False) -> Motion | None:
        """How far atoms or defects go, None where there are none."""
        tracks = self.tracks_of(defects)
        if not len(tracks) or (defects and self.defects is None):
            return None
        return self._once(
            ("motion", defects), lambda: motion_of(tracks, self.pixel_size_nm, self.time_step_s)
        )

    def transitions(self, defects: bool = False) -> str:
        """Changes of class of atoms or defects, as rich text."""
        defects = defects and self.defects is not None
        tracks, noun = self.tracks_of(defects), "defect" if defects else "atom"
        return self._once(
            ("classes", defects), lambda: transitions_text(tracks, noun, self.time_step_s)
        )

    def track(self, track_id: int, defects: bool = False) -> pd.DataFrame:
        """Rows of one track of an atom, or of a defect."""
        tracks = self.tracks_of(defects)
        a, b = np.searchsorted(tracks["track_id"].to_numpy(), [track_id, track_id + 1])
        return tracks.iloc[a:b]

    def displacement(self, track_id: int, defects: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Frames of a track, and how far it is from where it began (unit of lengths)."""
        mine = self.track(track_id, defects)
        place = mine[["y_corr_px", "x_corr_px"]].to_numpy(float)
        off = self._pm() * np.hypot(*(place - place[:1]).T)
        return mine["frame"].to_numpy(float), off

    def _series(self, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        s = self._once(
            ("series", quantity), lambda: series(self._dumbbells.table, quantity, self.watch)
        )
        return s.ids, s.frames, s.value, s.error

    def dumbbell_series(
        self, dumbbell_id: int, quantity: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames, values and errors of one dumbbell in nm, degrees or as a ratio."""
        ids, frames, value, error = self._series(quantity)
        row = int(np.searchsorted(ids, dumbbell_id))
        if row >= len(ids) or ids[row] != dumbbell_id:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        factor = 1.0
        if quantity == "length" and self.pixel_size_nm:
            factor = self._pm()
        elif quantity == "angle":
            factor = float(np.degrees(1.0))
        seen = np.isfinite(value[row])
        return frames[seen].astype(float), value[row, seen] * factor, error[row, seen] * factor

    def nearest_dumbbell(self, frame: int, y: float, x: float) -> int:
        """Id of the dumbbell of a frame nearest to a place in pixels, -1 where there is none."""
        d = self.dumbbells(frame)
        if not len(d):
            return -1
        gap = np.hypot(d["y_px"] - y, d["x_px"] - x)
        return int(d["dumbbell_id"].iloc[int(gap.argmin())])

    def nearest_track(self, frame: int, y: float, x: float, defects: bool = False) -> int:
        """Id of the track of a frame nearest to a place in pixels, -1 where there is none."""
        if defects:
            d = self.frame_defects(frame)
            far = np.hypot(d["y_px"].to_numpy(float) - y, d["x_px"].to_numpy(float) - x)
            return int(d["track_id"].iloc[int(far.argmin())]) if len(d) else -1
        rows = self._atoms.rows(frame)
        if rows.start == rows.stop:
            return -1
        gap = np.hypot(*(self._places[rows] - (y, x)).T)
        return int(self._atoms.table["track_id"].iloc[rows.start + int(gap.argmin())])

    def row_of(self, dumbbell_id: int) -> np.ndarray:
        """Dumbbells in the row of the lattice through one of them, in order along the row."""
        table = self._dumbbells.table
        centre = table.groupby("dumbbell_id")[["y_corr_px", "x_corr_px"]].median()
        if dumbbell_id not in centre.index or len(centre) < 3:
            return np.zeros(0, int)
        places = centre.to_numpy()
        here = centre.loc[dumbbell_id].to_numpy()
        near = scipy.spatial.cKDTree(places).query(here, k=2)[1][1]
        step = places[near] - here
        gap = float(np.hypot(*step))
        unit = step / gap
        off = places - here
        along, across = off @ unit, off @ np.array([unit[1], -unit[0]])
        mine = np.flatnonzero(np.abs(across) < 0.35 * gap)
        return centre.index.to_numpy()[mine[np.argsort(along[mine])]]

    def kymograph(self, dumbbell_id: int, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Deviations along the row through a dumbbell, over time.

        Returns
        -------
        image : ndarray, shape (n_in_row, n_frames)
            In the unit of :meth:`map_unit`, NaN where a dumbbell was not seen.
        ids : ndarray of int, shape (n_in_row,)
        """
        members = self.row_of(dumbbell_id)
        image = np.full((len(members), self.n_frames), np.nan)
        if not len(members):
            return image, members
        ids, frames, value, _ = self._series(quantity)
        rows = np.searchsorted(ids, members)
        middle = np.nanmedian(value[rows], axis=1, keepdims=True)
        factor = {"length": self._pm(), "angle": float(np.degrees(1.0))}.get(quantity, 1.0)
        inside = frames < self.n_frames
        image[:, frames[inside]] = ((value[rows] - middle) * factor)[:, inside]
        return image, members

    def events(self) -> pd.DataFrame:
        """All events as a list to read: frame, what, who, size, score, where."""
        return self._once("events", self._listed)

    def _listed(self) -> pd.DataFrame:
        e = self.followed.events
        few = len(self._atoms.table) < 50 * max(self.n_frames, 1)
        # of a lattice with misses, only what moved or changed
        e = e if few or not len(e) else e[~e["kind"].isin(["appeared", "vanished"])]
        unit, pm = self.map_unit("length"), self._pm()
        parts = [dumbbell_events(self.followed.changes, unit, pm), atom_events(e, unit, pm)]
        if self.defects is not None:
            parts.append(defect_events(self.defects, unit, pm))
        return in_order(parts)
