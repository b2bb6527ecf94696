from .assessment import Verdict, assess
from .background import fit_surface, level_lines, subtract_facet
from .frames import FramePlace, place_frames
from .geometry import (
    correct_drift,
    drift_matrix,
    find_drift,
    lattice_vectors,
    square_pixels,
)
from .groups import (
    GroupParams,
    group_defects,
)
from .levelling import LevelParams, level
from .molecules import (
    Film,
    FilmMovie,
    MoleculeParams,
    follow_film,
    follow_movie,
    read_film,
)
from .params import SiliconAnalysisParams
from .scars import (
    find_scars,
    remove_scars,
)
from .silicon import SiliconResult, analyze_silicon
from .terraces import (
    Terraces,
    find_terraces,
)
from .traces import (
    Comparison,
    compare_traces,
)

__all__ = [
    "Comparison",
    "Film",
    "FilmMovie",
    "FramePlace",
    "GroupParams",
    "LevelParams",
    "MoleculeParams",
    "SiliconAnalysisParams",
    "SiliconResult",
    "Terraces",
    "Verdict",
    "analyze_silicon",
    "assess",
    "compare_traces",
    "correct_drift",
    "drift_matrix",
    "find_drift",
    "find_scars",
    "find_terraces",
    "fit_surface",
    "follow_film",
    "follow_movie",
    "group_defects",
    "lattice_vectors",
    "level",
    "level_lines",
    "place_frames",
    "read_film",
    "remove_scars",
    "square_pixels",
    "subtract_facet",
]
