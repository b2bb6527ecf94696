"""Link detections with trackpy or laptrack, in whatever interpreter has them.

    python linking_peers.py trackpy|laptrack DETECTIONS.npz TRACKS.npz SEARCH_PX MAX_GAP

Called by ``movies.py --only linking --peers PYTHON``; this file needs nothing of ours. The result
holds the track of every detection and the CPU seconds of the linking alone.
"""

from __future__ import annotations

import argparse
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


PROGRAMS = {"trackpy": link_trackpy, "laptrack": link_laptrack}


def main() -> None:
    """Link one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("source", help="detections: frame, y_px, x_px")
    parser.add_argument("target", help="where the tracks go")
    parser.add_argument("search", type=float, help="pixels")
    parser.add_argument("gap", type=int, help="frames")
    args = parser.parse_args()
    with np.load(args.source) as file:
        table = pd.DataFrame({k: file[k] for k in ("frame", "y_px", "x_px")})
    track, spent, version = PROGRAMS[args.program](table, args.search, args.gap)
    np.savez(args.target, track=track, seconds=spent, version=version)


if __name__ == "__main__":
    main()
