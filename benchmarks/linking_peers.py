"""Link detections with trackpy or laptrack, in whatever interpreter has them.

    python linking_peers.py trackpy|laptrack DETECTIONS.npz TRACKS.npz SEARCH_PX MAX_GAP

Called by ``movies.py --only linking --peers PYTHON``; this file needs nothing of ours. The result
holds the track of every detection and the CPU seconds of the linking alone.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd


def link_trackpy(table: pd.DataFrame, search: float, gap: int) -> tuple[np.ndarray, float, str]:
    """Tracks by trackpy, as its tutorial does it."""
    import trackpy

    trackpy.quiet()
    named = table.rename(columns={"y_px": "y", "x_px": "x"}).assign(row=np.arange(len(table)))
    trackpy.link(named[named["frame"] < 3], search, memory=gap)  # compile
    start = time.process_time()
    out = trackpy.link(named, search, memory=gap)
    spent = time.process_time() - start
    return out.sort_values("row")["particle"].to_numpy(), spent, trackpy.__version__


def link_laptrack(table: pd.DataFrame, search: float, gap: int) -> tuple[np.ndarray, float, str]:
    """Tracks by laptrack with gap closing."""
    import laptrack

    tracker = laptrack.LapTrack(
        cutoff=search**2, gap_closing_cutoff=search**2, gap_closing_max_frame_count=gap
    )
    named = table.assign(row=np.arange(len(table)))
    columns = ["y_px", "x_px"]

    def work(rows: pd.DataFrame) -> pd.DataFrame:
        return tracker.predict_dataframe(rows, columns, only_coordinate_cols=False)[0]

    work(named[named["frame"] < 3])
    start = time.process_time()
    out = work(named)
    spent = time.process_time() - start
    return out.sort_values("row")["track_id"].to_numpy(), spent, laptrack.__version__


def main() -> None:
    """Link one table."""
    program, source, target, search, gap = sys.argv[1:]
    with np.load(source) as file:
        table = pd.DataFrame({k: file[k] for k in ("frame", "y_px", "x_px")})
    work = {"trackpy": link_trackpy, "laptrack": link_laptrack}[program]
    track, spent, version = work(table, float(search), int(gap))
    np.savez(target, track=track, seconds=spent, version=version)


if __name__ == "__main__":
    main()
