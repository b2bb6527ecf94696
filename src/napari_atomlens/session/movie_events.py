"""What happened in a movie as a list to read: changes of dumbbells, of atoms and of defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_atomlens.tracking.defects import DefectTracks

#: Columns of the list of events.
EVENT_COLUMNS = ("frame", "what", "who", "size", "score", "y_px", "x_px", "dumbbell_id",
                 "track_id", "together")  # fmt: skip


def in_order(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Lists of events as one, by frame."""
    some = [p for p in parts if len(p)]
    if not some:
        return pd.DataFrame({k: [] for k in EVENT_COLUMNS})
    joined = pd.concat(some, ignore_index=True)
    return joined.sort_values(["frame", "what"], kind="stable", ignore_index=True)


def dumbbell_events(changes: pd.DataFrame, unit: str, per_px: float) -> pd.DataFrame:
    """Changes of dumbbells.

    Parameters
    ----------
    changes : pandas.DataFrame
        Of :class:`~napari_atomlens.tracking.following.MovieResult`.
    unit : str
        Of lengths.
    per_px : float
        So many of them are a pixel.
    """
    c = changes
    if not len(c):
        return c
    units = {"length": unit, "angle": "°"}
    factor = {"length": per_px, "angle": float(np.degrees(1.0))}
    size = [
        f"{s * factor.get(q, 1.0):+.3g} {units.get(q, '')}".strip()
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


def atom_events(events: pd.DataFrame, unit: str, per_px: float) -> pd.DataFrame:
    """What happened to atoms, see :func:`dumbbell_events`."""
    what, who = "atom " + events["kind"].astype(str), "atom " + events["track_id"].astype(str)
    return _on_tracks(events, what, who, unit, per_px)


def defect_events(defects: DefectTracks, unit: str, per_px: float) -> pd.DataFrame:
    """What happened to defects, see :func:`dumbbell_events`."""
    e = defects.events
    if not len(e):
        return pd.DataFrame()
    e = e[~e["kind"].isin(["appeared", "vanished"])].reset_index(drop=True)
    names = defects.tracks.drop_duplicates(["track_id", "frame"])
    name = names.set_index(["track_id", "frame"])["formula"]
    which = name.reindex(pd.MultiIndex.from_frame(e[["track_id", "frame"]])).fillna("")
    kinds = [
        f"{kind} defect {other}" if other >= 0 else str(kind)
        for kind, other in zip(e["kind"], e["other"], strict=True)
    ]
    what = pd.Series([f"{n} {k}".strip() for n, k in zip(which, kinds, strict=True)], dtype=object)
    return _on_tracks(e, what, "defect " + e["track_id"].astype(str), unit, per_px)


def _on_tracks(
    e: pd.DataFrame, what: pd.Series, who: pd.Series, unit: str, per_px: float
) -> pd.DataFrame:
    """Events of tracks."""
    if not len(e):
        return e
    size = [f"{s * per_px:.3g} {unit}" if s == s else "" for s in e["size_px"]]
    return pd.DataFrame(
        {
            "frame": e["frame"], "what": what, "who": who, "size": size, "score": np.nan,
            "y_px": e["y_px"], "x_px": e["x_px"], "dumbbell_id": -1, "track_id": e["track_id"],
            "together": 1,
        }
    )  # fmt: skip
