"""What the analysis of H-Si(100) may be told; light, so that options and forms need no torch."""

from __future__ import annotations

from dataclasses import dataclass

from napari_atomlens.params import Params, param


@dataclass(frozen=True)
class SiliconAnalysisParams(Params):
    """How a scan of H-Si(100) is analysed.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> scan = al.simulate_silicon(al.SiliconParams(size_px=128, seed=1)).image
    >>> quick = al.SiliconAnalysisParams(dimers=False, terraces=False)
    >>> len(al.analyze_silicon(scan, 0.08, quick).atoms)
    0
    """

    model: str = param("h-si-100", "model that finds and names defects")
    row_px: float = param(
        0.0,
        "distance between dimer rows; 0 finds it in the scan, or by the pixel size",
        unit="px",
        ge=0,
        le=400,
    )
    min_probability: float = param(0.5, "defects below are left out", ge=0.01, le=1)
    dimers: bool = param(True, "find the dimers, too")
    scars: bool = param(True, "bridge scars first")
    terraces: bool = param(True, "look for steps; else the scan is one terrace")
