"""Through time: drift, identities, dumbbells, changes, trajectories and transitions."""

from importlib import import_module
from typing import Any

_WHERE = {
    "estimate_drift": "drift",
    "image_drift": "drift",
    "remove_drift": "drift",
    "rolling_mean": "rolling",
    "choose_window": "rolling",
    "correct_scan": "scan",
    "LinkParams": "linking",
    "link": "linking",
    "tracks_table": "linking",
    "track_events": "linking",
    "follow": "following",
    "Followed": "following",
    "save_followed": "following",
    "DefectParams": "defects",
    "DefectTracks": "defects",
    "follow_defects": "defects",
    "DumbbellParams": "dumbbells",
    "measure_dumbbells": "dumbbells",
    "ChangeParams": "changes",
    "find_changes": "changes",
    "deviations": "changes",
    "neighbour_correlation": "changes",
    "estimate_diffusion": "trajectories",
    "mean_squared_displacement": "trajectories",
    "counts_per_frame": "trajectories",
    "occupancy_map": "trajectories",
    "track_summary": "trajectories",
    "count_transitions": "transitions",
    "dwell_times": "transitions",
    "mean_dwell": "transitions",
    "transition_matrix": "transitions",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
