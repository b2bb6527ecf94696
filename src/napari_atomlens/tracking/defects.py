"""Point defects in motion: which is which, where they hop, what they become, when they meet.

Defects are few and hop by whole lattice vectors, so they are followed apart from the atoms:
in places without the drift of the lattice, within the reach of a hop, each expected where it
was last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import points
from napari_atomlens.cards import Card, counted
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import of_kind
from napari_atomlens.progress import ProgressLike
from napari_atomlens.tables import check_table
from napari_atomlens.tracking.linking import link, track_events
from napari_atomlens.tracking.params import LinkParams, MovingDefectParams

#: Farthest a defect goes between frames, over the distance between nearest atoms: one hop on a
#: sublattice is up to sqrt(3) of it.
HOP = 2.2
#: A step beyond this part of the spacing is a hop; less is the error of the place.
STEP = 0.6


@dataclass(repr=False, eq=False)
class DefectTracks(Card):
    """Defects through time.

    Attributes
    ----------
    tracks : pandas.DataFrame
        ``frame``, ``track_id``, ``defect_id``, ``y_px``, ``x_px``, ``y_corr_px``, ``x_corr_px``
        (less the drift), ``formula``, ``kind``, ``species`` (the formula, so that everything
        that takes tracks takes these), sorted by track and frame.
    events : pandas.DataFrame
        As :func:`napari_atomlens.tracking.track_events`, with "hopped" in place of "moved", and
        "met" and "split" with the track of the ``other``.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> defects = pd.DataFrame({"frame": range(5), "defect_id": range(5), "y_px": 48.0,
    ...                         "x_px": 48.0, "formula": "Si1C3", "kind": "Si1C3"})
    >>> al.follow_defects(defects, atoms)
    1 defects through time
      seen: 5 times in 5 frames
    """

    tracks: pd.DataFrame
    events: pd.DataFrame

    def _title(self) -> str:
        return f"{self.tracks['track_id'].nunique():,} defects through time"

    def _facts(self) -> dict[str, object]:
        return {
            "seen": f"{len(self.tracks):,} times in {self.tracks['frame'].nunique():,} frames",
            "events": counted(self.events["kind"]),
        }


def follow_defects(
    defects: pd.DataFrame,
    atoms: pd.DataFrame,
    params: MovingDefectParams = MovingDefectParams(),
    *,
    drift: pd.DataFrame | None = None,
    progress: ProgressLike = None,
) -> DefectTracks:
    """Give every defect of a movie an identity, and tell what happened to it.

    Parameters
    ----------
    defects : pandas.DataFrame
        Defects table: ``frame``, ``defect_id``, ``y_px``, ``x_px``, ``formula``, ``kind``.
    atoms : pandas.DataFrame
        The atoms of the movie, for the spacing, and for the drift where it is not given.
    params : DefectParams
    drift : pandas.DataFrame, optional
        ``frame``, ``drift_y_px``, ``drift_x_px``; found from the atoms by default. That of the
        lattice: defects themselves move and must not say what the drift is.
    progress : callable, optional
        Called with (frames done, frames in all).

    Raises
    ------
    ParameterError
        If columns are missing or a parameter is out of bounds.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> defects = pd.DataFrame({"frame": range(5), "defect_id": range(5), "y_px": 48.0,
    ...                         "x_px": 48.0, "formula": "Si1C3", "kind": "Si1C3"})
    >>> al.follow_defects(defects, atoms).tracks["track_id"].tolist()
    [0, 0, 0, 0, 0]
    """
    params = of_kind(MovingDefectParams, params)
    known = ("frame", "defect_id", "y_px", "x_px", "formula", "kind")
    defects = check_table(defects, known, "defects", places=False)
    atoms = check_table(atoms, ("frame", "y_px", "x_px"))
    if drift is None:
        linked = link(atoms)
        drift = pd.DataFrame(linked.attrs.get("drift", {"frame": []}))
    spacing = points.spacing(atoms[["y_px", "x_px"]].to_numpy(float), atoms["frame"].to_numpy())
    reach = params.search_px or HOP * spacing
    if len(defects) and not np.isfinite(reach):
        raise ParameterError("There are too few atoms to tell how far a defect can hop.")
    good = np.isfinite(defects[["y_px", "x_px"]].to_numpy(float)).all(1)
    d = defects[good].sort_values("frame", kind="stable", ignore_index=True)
    names = ["frame", "defect_id", "y_px", "x_px", "formula", "kind"]
    d = d[names].assign(species=d["formula"].astype(str))
    at = np.zeros((len(d), 2))
    if len(drift) and len(d):
        # frames without atoms have no drift of their own: that of the frames beside them
        every = np.asarray(drift["frame"], float)
        frame = d["frame"].to_numpy(float)
        at = np.c_[
            np.interp(frame, every, drift["drift_y_px"]),
            np.interp(frame, every, drift["drift_x_px"]),
        ]
    still = d.assign(y_px=d["y_px"] - at[:, 0], x_px=d["x_px"] - at[:, 1])
    how = LinkParams(
        search_px=max(reach, 1e-9) if len(d) else 0.0, max_gap=params.max_gap, motion="last",
        drift="none", jump_px=-1,
    )  # fmt: skip
    out = link(still, how, progress=progress)
    tracks = out.assign(y_px=d["y_px"], x_px=d["x_px"], y_corr_px=still["y_px"],
                        x_corr_px=still["x_px"])  # fmt: skip
    tracks.attrs.clear()
    tracks = tracks.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)
    events = track_events(tracks, STEP * spacing if np.isfinite(spacing) else 0.0)
    events["kind"] = events["kind"].replace("moved", "hopped")
    events = _meetings(events, tracks, reach)
    return DefectTracks(tracks, events)


def _meetings(events: pd.DataFrame, tracks: pd.DataFrame, reach: float) -> pd.DataFrame:
    """Name what vanished beside a defect that became another "met", what appeared so "split"."""
    kinds, other = events["kind"].to_numpy(object).copy(), np.full(len(events), -1, np.int64)
    became = events["kind"].astype(str).str.startswith("became").to_numpy(bool)
    if not became.any():
        return events.assign(other=other)
    place = tracks.set_index(["track_id", "frame"])[["y_corr_px", "x_corr_px"]]
    first, last = (tracks.groupby("track_id")["frame"].agg(f) for f in ("min", "max"))
    changed = events[became]
    where = place.loc[list(zip(changed["track_id"], changed["frame"], strict=True))].to_numpy()
    for kind, name, ends in (("vanished", "met", last), ("appeared", "split", first)):
        rows = np.flatnonzero(events["kind"] == kind)
        if not len(rows):
            continue
        who = events["track_id"].to_numpy()[rows]
        own = place.loc[list(zip(who, ends.loc[who], strict=True))].to_numpy()
        # time as a third axis so steep that only the same frame is near
        steep = 10 * reach
        tree = scipy.spatial.cKDTree(np.c_[where, steep * changed["frame"].to_numpy(float)])
        gap, near = tree.query(np.c_[own, steep * events["frame"].to_numpy(float)[rows]])
        hit = gap <= reach
        kinds[rows[hit]] = name
        other[rows[hit]] = changed["track_id"].to_numpy()[near[hit]]
    return events.assign(kind=kinds, other=other)
