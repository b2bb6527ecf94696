"""What the Movie widget draws of one frame, and its plots, as arrays. No Qt and no napari here."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens.errors import AtomLensError
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.choose import choose_rules
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.tracking.changes import ChangeParams, deviations, series
from napari_atomlens.tracking.defects import DefectTracks, follow_defects
from napari_atomlens.tracking.following import MovieResult
from napari_atomlens.tracking.transitions import (
    dwell_times,
    mean_dwell,
    transition_matrix,
)

#: Columns of the list of events.
EVENT_COLUMNS = ("frame", "what", "who", "size", "score", "y_px", "x_px", "dumbbell_id",
                 "track_id", "together")  # fmt: skip
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
        self._deviation: dict[str, np.ndarray] = {}
        tracks = followed.tracks
        self._track_rows = ByFrame(tracks)
        self.defects: DefectTracks | None = None
        self._defect_rows: ByFrame | None = None

    def set_defects(self, defects: DefectTracks) -> None:
        """Add the defects that were followed."""
        self.defects, self._defect_rows = defects, ByFrame(defects.tracks)

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
        """Deviation of every row from the baseline of its dumbbell, computed once."""
        if quantity not in self._deviation:
            table = self._dumbbells.table
            values = deviations(table, quantity, self.watch)["deviation"].to_numpy()
            self._deviation[quantity] = values
        return self._deviation[quantity]

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
        if what == "shift":
            off = np.hypot(self.deviation("shift y"), self.deviation("shift x")) * self._pm()
        else:
            factor = {"length": self._pm(), "angle": np.degrees(1.0)}.get(what, 1.0)
            off = np.abs(self.deviation(what)) * factor
        off = off[np.isfinite(off)]
        return float(max(np.quantile(off, 0.98), 1e-9)) if len(off) else 1.0

    def _pm(self) -> float:
        return 1000 * float(np.mean(self.pixel_size_nm)) if self.pixel_size_nm else 1.0

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
        """Atoms per frame by species, and tracks that are seen; each (n_frames,)."""
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

    @lru_cache(maxsize=16)  # noqa: B019 - as long as the movie is shown
    def _series(self, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        s = series(self._dumbbells.table, quantity, self.watch)
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

    def track(self, track_id: int) -> pd.DataFrame:
        """Rows of one track."""
        t = self.followed.tracks
        ids = t["track_id"].to_numpy()
        a, b = np.searchsorted(ids, [track_id, track_id + 1])
        return t.iloc[a:b]

    def row_of(self, dumbbell_id: int) -> np.ndarray:
        """Dumbbells in the row of the lattice through one of them, in order along the row."""
        table = self._dumbbells.table
        centre = table.groupby("dumbbell_id")[["y_corr_px", "x_corr_px"]].median()
        if dumbbell_id not in centre.index or len(centre) < 3:
            return np.zeros(0, int)
        places = centre.to_numpy()
        here = centre.loc[dumbbell_id].to_numpy()
        near = cKDTree(places).query(here, k=2)[1][1]
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
        parts = [self._dumbbell_events(), self._atom_events(), self._defect_events()]
        parts = [p for p in parts if len(p)]
        if not parts:
            return pd.DataFrame({k: [] for k in EVENT_COLUMNS})
        joined = pd.concat(parts, ignore_index=True)
        return joined.sort_values(["frame", "what"], kind="stable", ignore_index=True)

    def _dumbbell_events(self) -> pd.DataFrame:
        """Changes of dumbbells."""
        c = self.followed.changes
        if not len(c):
            return c
        unit = {"length": self.map_unit("length"), "angle": "°"}
        factor = {"length": self._pm(), "angle": float(np.degrees(1.0))}
        size = [
            f"{s * factor.get(q, 1.0):+.3g} {unit.get(q, '')}".strip()
            for s, q in zip(c["size"], c["quantity"], strict=True)
        ]
        return pd.DataFrame(
            {
                "frame": c["frame"], "what": c["quantity"] + " " + c["kind"],
                "who": "dumbbell " + c["dumbbell_id"].astype(str), "size": size,
                "score": c["score"], "y_px": c["y_px"], "x_px": c["x_px"],
                "dumbbell_id": c["dumbbell_id"], "track_id": -1, "together": c["group_size"],
            }
        )  # fmt: skip

    def _atom_events(self) -> pd.DataFrame:
        """What happened to atoms; of a lattice with misses, only what moved or changed."""
        e = self.followed.events
        few = len(self._atoms.table) < 50 * max(self.n_frames, 1)
        e = e if few or not len(e) else e[~e["kind"].isin(["appeared", "vanished"])]
        if not len(e):
            return e
        return pd.DataFrame(
            {
                "frame": e["frame"], "what": "atom " + e["kind"].astype(str),
                "who": "atom " + e["track_id"].astype(str), "size": self._lengths(e["size_px"]),
                "score": np.nan, "y_px": e["y_px"], "x_px": e["x_px"],
                "dumbbell_id": -1, "track_id": e["track_id"], "together": 1,
            }
        )  # fmt: skip

    def _defect_events(self) -> pd.DataFrame:
        """What happened to defects."""
        if self.defects is None or not len(self.defects.events):
            return pd.DataFrame()
        e = self.defects.events
        e = e[~e["kind"].isin(["appeared", "vanished"])].reset_index(drop=True)
        names = self.defects.tracks.drop_duplicates(["track_id", "frame"])
        name = names.set_index(["track_id", "frame"])["formula"]
        which = name.reindex(pd.MultiIndex.from_frame(e[["track_id", "frame"]])).fillna("")
        what = [
            f"{kind} defect {other}" if other >= 0 else str(kind)
            for kind, other in zip(e["kind"], e["other"], strict=True)
        ]
        return pd.DataFrame(
            {
                "frame": e["frame"],
                "what": [f"{n} {w}".strip() for n, w in zip(which, what, strict=True)],
                "who": "defect " + e["track_id"].astype(str), "size": self._lengths(e["size_px"]),
                "score": np.nan, "y_px": e["y_px"], "x_px": e["x_px"],
                "dumbbell_id": -1, "track_id": e["track_id"], "together": 1,
            }
        )  # fmt: skip

    def _lengths(self, sizes: pd.Series) -> list[str]:
        unit = "pm" if self.pixel_size_nm else "px"
        return [f"{s * self._pm():.3g} {unit}" if s == s else "" for s in sizes]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables of the movie by name, the first ones first."""
        f = self.followed
        return {
            "tracks": f.tracks, "drift": f.drift, "events": f.events, "dumbbells": f.dumbbells,
            "changes": f.changes,
        }  # fmt: skip


def defects_of(followed: MovieResult) -> DefectTracks | None:
    """Defects of all frames, followed; None where no rules of chemistry fit the lattice."""
    try:
        rules, _ = choose_rules(followed.atoms)
        found = find_defects(bond(followed.atoms, rules))
        return follow_defects(found, followed.atoms, drift=followed.drift)
    except AtomLensError:
        return None


def most_frequent(ids: pd.Series) -> int:
    """Return the id that most rows have."""
    values, counts = np.unique(ids.to_numpy(), return_counts=True)
    return int(values[counts.argmax()])


def transitions_text(tracks: pd.DataFrame, noun: str, time_step_s: float | None) -> str:
    """Changes of class per frame with 95 % intervals, and mean dwell times, as rich text.

    Parameters
    ----------
    tracks : pandas.DataFrame
        With the class in ``species``.
    noun : str
        What is followed.
    time_step_s : float or None
        Dwell times are in seconds where it is known, else in frames.
    """
    if "species" not in tracks or tracks["species"].nunique() < 2:
        return f"<p>There is only one class of {noun}: nothing to change into.</p>"
    often = tracks["species"].astype(str).value_counts()
    some = tracks[tracks["species"].astype(str).isin(often.index[:6])]
    table = transition_matrix(some)
    states = list(dict.fromkeys(table["from"]))
    cell = "<td style='padding:3px 10px 3px 0'>"
    head = "".join(f"{cell}<b>{s}</b></td>" for s in states)
    rows = [f"<tr>{cell}from \\ to</td>{head}</tr>"]
    for state, part in table.groupby("from", sort=False):
        cells = []
        for r in part.to_dict("records"):
            if not r["out_of"]:
                cells.append(f"{cell}–</td>")
                continue
            cells.append(
                f"{cell}{100 * r['probability']:.3g} %<br><small>{100 * r['low']:.3g} to "
                f"{100 * r['high']:.3g}<br>{r['count']:,} of {r['out_of']:,}</small></td>"
            )
        rows.append(f"<tr>{cell}<b>{state}</b></td>{''.join(cells)}</tr>")
    step, unit = (time_step_s, "s") if time_step_s else (1.0, "frames")
    last = []
    for r in mean_dwell(dwell_times(some)).to_dict("records"):
        mean = f"{r['mean'] * step:.3g} {unit}" if np.isfinite(r["mean"]) else "never left"
        high = f"{r['high'] * step:.3g}" if np.isfinite(r["high"]) else "∞"
        last.append(
            f"<tr>{cell}<b>{r['state']}</b></td>{cell}{mean}</td>"
            f"{cell}{r['low'] * step:.3g} to {high} {unit}</td>"
            f"{cell}left {r['exits']:,} times</td></tr>"
        )
    return (
        f"<p>Changes of class of a {noun} from frame to frame, with 95 % intervals; none counted "
        f"across gaps.</p><table>{''.join(rows)}</table>"
        f"<p>Mean time that a class lasts (cut stays included):</p><table>{''.join(last)}</table>"
    )
