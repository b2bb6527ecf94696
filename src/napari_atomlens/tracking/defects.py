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
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tables import check_table
from napari_atomlens.tracking.linking import link, track_events
from napari_atomlens.tracking.params import MovingDefectParams
from napari_atomlens.tracking.walkers import STEP, link_walkers

#: Farthest a defect goes between frames, over the distance between nearest atoms; how likely it
#: is to go far is learned.
HOP = 6.0
#: Two that meet are this near to each other at most: one hop on a sublattice is up to sqrt(3).
MEET = 2.2
#: A hop that is less likely than this is for a person to decide.
DOUBTFUL = 0.9


@dataclass(repr=False, eq=False)
class DefectTracks(Card):
    """Defects through time.

    Attributes
    ----------
    tracks : pandas.DataFrame
        ``frame``, ``track_id``, ``defect_id``, ``y_px``, ``x_px``, ``y_corr_px``, ``x_corr_px``
        (less the drift), ``formula``, ``kind``, ``species`` (the formula, so that everything
        that takes tracks takes these), ``probability`` that it is the one of before, sorted by
        track and frame.
    events : pandas.DataFrame
        As :func:`napari_atomlens.tracking.track_events`, with "hopped" in place of "moved", and
        "met" and "split" with the track of the ``other``; ``probability`` that it is the same
        defect as before (NaN where that is not the question) and ``evidence``.

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
    return track_defects(defects, spacing, reach, params, drift, progress)


def track_defects(
    defects: pd.DataFrame, spacing: float, reach: float, params: MovingDefectParams,
    drift: pd.DataFrame, progress: ProgressLike = None,
) -> DefectTracks:  # fmt: skip
    """Follow things whose sites are `spacing` apart; see :func:`follow_defects`."""
    good = np.isfinite(defects[["y_px", "x_px"]].to_numpy(float)).all(1)
    d = defects[good].sort_values("frame", kind="stable", ignore_index=True)
    names = ["frame", "defect_id", "y_px", "x_px", "formula", "kind"]
    d = d[[*names, *(n for n in ("score",) if n in d)]].assign(species=d["formula"].astype(str))
    at = np.zeros((len(d), 2))
    if len(drift) and len(d):
        # frames without atoms have no drift of their own: that of the frames beside them
        every = np.asarray(drift["frame"], float)
        frame = d["frame"].to_numpy(float)
        at = np.c_[
            np.interp(frame, every, drift["drift_y_px"]),
            np.interp(frame, every, drift["drift_x_px"]),
        ]
    still = d[["y_px", "x_px"]].to_numpy(float) - at
    watch = as_progress(progress)
    track, chance = np.zeros(0, np.int64), np.zeros(0)
    if len(d):
        found = link_walkers(d["frame"].to_numpy(), still, spacing, reach, params.max_gap)
        track, chance = found.track, found.probability
        watch(d["frame"].nunique(), d["frame"].nunique())
    tracks = d.assign(track_id=track, y_corr_px=still[:, 0], x_corr_px=still[:, 1],
                      probability=chance)  # fmt: skip
    tracks.attrs.clear()
    tracks = tracks.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)
    events = track_events(tracks, STEP * spacing if np.isfinite(spacing) else 0.0)
    events["kind"] = events["kind"].replace("moved", "hopped")
    events = _with_evidence(_meetings(events, tracks, MEET * spacing), tracks, spacing)
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


def _with_evidence(events: pd.DataFrame, tracks: pd.DataFrame, spacing: float) -> pd.DataFrame:
    """Add how likely each event is, and what speaks for it."""
    chance = tracks.set_index(["track_id", "frame"])["probability"]
    own = chance.reindex(pd.MultiIndex.from_frame(events[["track_id", "frame"]])).to_numpy(float)
    link = ~events["kind"].isin(["appeared", "vanished", "met", "split"]).to_numpy(bool)
    own = np.where(link, own, np.nan)
    said = []
    for kind, size, p in zip(events["kind"], events["size_px"], own, strict=True):
        words = [f"{size / spacing:.2f} spacings"] if kind == "hopped" else []
        if p < DOUBTFUL:
            words.append("another defect may have come here")
        said.append("; ".join(words))
    return events.assign(probability=own, evidence=pd.Series(said, dtype=object))
