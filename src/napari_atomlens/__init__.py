"""napari-atomlens: find, measure and follow every atom in STEM and STM images.

The public names are loaded when they are first used, so that importing the package
(and napari finding the plugin) costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "analyze": "napari_atomlens.analysis",
    "analyze_frames": "napari_atomlens.analysis",
    "AnalysisParams": "napari_atomlens.analysis",
    "Result": "napari_atomlens.analysis",
    "list_models": "napari_atomlens.segmentation",
    "segment": "napari_atomlens.segmentation",
    "find_spacing": "napari_atomlens.segmentation",
    "find_atoms": "napari_atomlens.atoms",
    "measure_lattice": "napari_atomlens.atoms",
    "LatticeParams": "napari_atomlens.atoms",
    "shrink_positions": "napari_atomlens.atoms",
    "outline": "napari_atomlens.contours",
    "describe_contours": "napari_atomlens.contours",
    "describe_sites": "napari_atomlens.contours",
    "find_anomalies": "napari_atomlens.contours",
    "classify_sites": "napari_atomlens.contours",
    "link": "napari_atomlens.tracking",
    "measure_dumbbells": "napari_atomlens.tracking",
    "follow_defects": "napari_atomlens.tracking",
    "bond": "napari_atomlens.graphs",
    "find_defects": "napari_atomlens.graphs",
    "DefectLibrary": "napari_atomlens.graphs",
    "read": "napari_atomlens.io",
    "run_batch": "napari_atomlens.batch",
    "read_batch": "napari_atomlens.batch",
    "BatchParams": "napari_atomlens.batch",
    "load": "napari_atomlens.analysis",
    "stream_movie": "napari_atomlens.streaming",
    "load_stream": "napari_atomlens.streaming",
    "follow_stream": "napari_atomlens.streaming",
    "simulate": "napari_atomlens.simulation",
    "assess": "napari_atomlens.stm.assess",
    "analyze_silicon": "napari_atomlens.stm.silicon",
    "watch_folder": "napari_atomlens.watch",
    "stream": "napari_atomlens.watch",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
