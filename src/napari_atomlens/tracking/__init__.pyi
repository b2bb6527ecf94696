from .changes import (
    ChangeParams,
    deviations,
    find_changes,
    neighbour_correlation,
)
from .defects import DefectTracks, follow_defects
from .drift import estimate_drift, remove_drift
from .dumbbells import measure_dumbbells
from .following import MovieResult, follow, save_followed
from .foreign import follow_foreign
from .hopping import hop_rates
from .linking import link, track_events, tracks_table
from .params import DumbbellParams, LinkParams, MovingDefectParams
from .register import image_drift
from .rolling import (
    choose_window,
    rolling_mean,
)
from .scan import correct_scan
from .spots import find_spots
from .trajectories import (
    counts_per_frame,
    estimate_diffusion,
    mean_squared_displacement,
    occupancy_map,
    track_summary,
)
from .transitions import (
    count_transitions,
    dwell_times,
    mean_dwell,
    transition_matrix,
)
from .waves import wave_drift

__all__ = [
    "ChangeParams",
    "MovingDefectParams",
    "DefectTracks",
    "DumbbellParams",
    "MovieResult",
    "LinkParams",
    "choose_window",
    "correct_scan",
    "count_transitions",
    "counts_per_frame",
    "deviations",
    "dwell_times",
    "estimate_diffusion",
    "estimate_drift",
    "find_changes",
    "follow",
    "find_spots",
    "follow_defects",
    "follow_foreign",
    "hop_rates",
    "image_drift",
    "link",
    "mean_dwell",
    "mean_squared_displacement",
    "measure_dumbbells",
    "neighbour_correlation",
    "occupancy_map",
    "remove_drift",
    "rolling_mean",
    "save_followed",
    "track_events",
    "track_summary",
    "tracks_table",
    "transition_matrix",
    "wave_drift",
]
