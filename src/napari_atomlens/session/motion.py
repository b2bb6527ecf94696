"""How the atoms or defects of a movie move and change their class, ready to be plotted and read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError
from napari_atomlens.image import PixelSize
from napari_atomlens.tracking.trajectories import estimate_diffusion, mean_squared_displacement
from napari_atomlens.tracking.transitions import dwell_times, mean_dwell, transition_matrix

#: A plot, not a measurement: of more rows than this the longest tracks say it.
MOST_ROWS = 60_000
MAX_LAG = 30


@dataclass(frozen=True)
class Motion:
    """How far tracks have gone after how long.

    Attributes
    ----------
    msd : pandas.DataFrame
        Mean squared displacement: ``time``, ``msd``, ``msd_err``.
    fitted : ndarray or None
        What diffusion makes of it at the same times, None where it cannot be told.
    text : str
        Diffusion coefficient and localisation error, or why there is none.
    area, time : str
        Units.
    """

    msd: pd.DataFrame
    fitted: np.ndarray | None
    text: str
    area: str
    time: str


def motion_of(
    tracks: pd.DataFrame, pixel_size_nm: PixelSize | None, time_step_s: float | None
) -> Motion:
    """Mean squared displacement and diffusion of tracks, in nm and seconds where both are known."""
    if len(tracks) > MOST_ROWS:
        often = tracks["track_id"].value_counts()
        keep = often.index[: max(1, MOST_ROWS // max(int(often.iloc[0]), 1))]
        tracks = tracks[tracks["track_id"].isin(keep)]
    known = pixel_size_nm is not None and time_step_s is not None
    size, step = (pixel_size_nm, time_step_s) if known else (None, None)
    length, time = ("nm", "s") if known else ("px", "frames")
    msd = mean_squared_displacement(tracks, max_lag=MAX_LAG, pixel_size_nm=size, time_step_s=step)
    fitted = None
    try:
        d = estimate_diffusion(tracks, pixel_size_nm=size, time_step_s=step)
    except ParameterError as error:
        text = str(error)
    else:
        fitted = 4 * d.d * msd["time"].to_numpy(float) + 4 * d.localisation**2
        text = (
            f"D = {d.d:.3g} {d.unit} ({d.low:.3g} to {d.high:.3g}), "
            f"localisation error {d.localisation:.3g} {length}, {d.n_tracks:,} tracks."
        )
    return Motion(msd, fitted, text, f"{length}²", time)


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
        f"<p>Changes of class of {noun}s from frame to frame, with 95 % intervals; none counted "
        f"across gaps.</p><table>{''.join(rows)}</table>"
        f"<p>Mean time that a class lasts (cut stays included):</p><table>{''.join(last)}</table>"
    )
