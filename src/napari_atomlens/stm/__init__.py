"""STM: preparation of scans, their assessment, H-Si(100), molecules."""

from importlib import import_module
from typing import Any

_WHERE = {
    "LevelParams": "levelling",
    "level": "levelling",
    "level_lines": "levelling",
    "fit_surface": "levelling",
    "subtract_facet": "levelling",
    "find_scars": "scars",
    "remove_scars": "scars",
    "compare_traces": "traces",
    "Comparison": "traces",
    "square_pixels": "geometry",
    "find_drift": "geometry",
    "drift_matrix": "geometry",
    "correct_drift": "geometry",
    "lattice_vectors": "geometry",
    "find_terraces": "terraces",
    "Terraces": "terraces",
    "Verdict": "assess",
    "analyze_silicon": "silicon",
    "SiliconAnalysisParams": "silicon",
    "SiliconResult": "silicon",
    "group_defects": "groups",
    "GroupParams": "groups",
    "read_film": "molecules",
    "follow_film": "molecules",
    "follow_movie": "molecules",
    "FilmMovie": "molecules",
    "MoleculeParams": "molecules",
    "Film": "molecules",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
