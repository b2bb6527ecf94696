"""Foreign atoms of a movie: found in the pixels, followed in the frame of their lattice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens import points
from napari_atomlens.image import Pixels
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tracking.defects import HOP, DefectTracks, track_defects
from napari_atomlens.tracking.params import MovingDefectParams
from napari_atomlens.tracking.spots import CLEAR, find_spots
from napari_atomlens.tracking.waves import Waves, wave_drift

#: Frames that a foreign atom may be out of sight; how likely that is is learned.
GAP = 10
#: One that is seen in less than this part of the frames between its first and last was none.
OFTEN = 0.3
FOREIGN = "foreign atom"


def follow_foreign(
    stack: Pixels,
    atoms: pd.DataFrame | None = None,
    params: MovingDefectParams = MovingDefectParams(max_gap=GAP),
    *,
    drift: pd.DataFrame | None = None,
    progress: ProgressLike = None,
) -> DefectTracks:
    """Find the atoms of a movie that stand out of all others, and follow each from hop to hop.

    Needs no other atom to be seen: where noise hides the lattice its waves tell the drift.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
        Frames are read one at a time.
    atoms : pandas.DataFrame, optional
        Atoms of the movie, for the spacing where the waves of the lattice do not tell it.
    params : MovingDefectParams
    drift : pandas.DataFrame, optional
        ``frame``, ``drift_y_px``, ``drift_x_px`` of the lattice; found from the pixels by
        default.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    DefectTracks
        ``attrs["drift"]`` of the tracks holds the drift as a dictionary of lists, and
        ``attrs["hop_px"]`` the distance of nearest sites.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> still = al.simulate("honeycomb", (96, 96), 10.0)[0]
    >>> y, x = np.mgrid[:96, :96]
    >>> there = still.max() * np.exp(-((y - 48) ** 2 + (x - 40) ** 2) / 18)
    >>> found = al.follow_foreign(np.stack([still + there] * 4))
    >>> found.tracks["track_id"].tolist()
    [0, 0, 0, 0]
    """
    watch = as_progress(progress)
    watch.say("Looking for foreign atoms…")
    spots = find_spots(stack)
    waves = None
    if drift is None and len(spots) and not watch.stopped:
        drift, waves = wave_drift(stack, spots)
    if drift is None:
        drift = pd.DataFrame({"frame": [0], "drift_y_px": [0.0], "drift_x_px": [0.0]})
    spacing = _spacing(waves, atoms, stack)
    rows = spots.assign(
        defect_id=spots["spot_id"], formula=FOREIGN, kind=FOREIGN
    ).drop(columns="spot_id")  # fmt: skip
    found = track_defects(rows, spacing, params.search_px or HOP * spacing, params, drift)
    good = _believed(found.tracks)
    tracks = found.tracks[found.tracks["track_id"].isin(good)].reset_index(drop=True)
    events = found.events[found.events["track_id"].isin(good)].reset_index(drop=True)
    tracks.attrs.update(drift=drift.to_dict("list"), hop_px=spacing)
    return DefectTracks(tracks, events)


def _spacing(waves: Waves | None, atoms: pd.DataFrame | None, stack: Pixels) -> float:
    """Distance of nearest sites: as the lattice says, else the atoms, else a fair guess."""
    if waves is not None:
        return waves.spacing
    known = float("nan")
    if atoms is not None and len(atoms):
        known = points.spacing(atoms[["y_px", "x_px"]].to_numpy(float), atoms["frame"].to_numpy())
    return known if np.isfinite(known) else 0.04 * min(stack.shape[-2:])


def _believed(tracks: pd.DataFrame) -> list[int]:
    """Tracks that noise does not make: seen often, or so clear that once is enough."""
    good = []
    for who, t in tracks.groupby("track_id"):
        span = int(t["frame"].max() - t["frame"].min()) + 1
        often = len(t) >= 3 and len(t) >= OFTEN * span
        clear = float(t["score"].median()) > (CLEAR if len(t) > 1 else 2 * CLEAR)
        if clear and (often or len(t) < 3):
            good.append(int(str(who)))
    return good
