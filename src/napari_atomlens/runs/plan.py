"""What is decided before the frames: model, spacing, window, technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_atomlens import segmentation
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.tracking.rolling import choose_window, rolling_mean

#: A frame with so many atoms shows the scale of its movie.
ENOUGH = 12


@dataclass(frozen=True)
class ModelChoice:
    """A model, and why it was chosen (empty where it was named)."""

    info: Any
    reason: str = ""
    spacing_px: float = 0.0


#: Frames of a movie that are looked at until one shows a lattice.
LOOKED_AT = 6


def choose_for_movie(
    movie: Any,
    params: AnalysisParams,
    size: tuple[float, float] | None,
    order: Sequence[int] | None = None,
    *,
    technique: str = "",
) -> ModelChoice:
    """Choose the model for a movie by the first of its frames that shows a lattice.

    One model for all frames: their classes are those of one another.

    Parameters
    ----------
    movie : array-like, shape (T, H, W)
    params : AnalysisParams
    size : tuple of float or None
        Pixel size (y, x) in nm.
    order : sequence of int, optional
        The frames; all by default.
    technique : str
        "STM" or "STEM" where it is known.

    Returns
    -------
    Chosen
    """
    best = ModelChoice(find_model("universal"), "Model universal: no frame shows a lattice.")
    for f in (range(movie.shape[0]) if order is None else order)[:LOOKED_AT]:
        frame = np.asarray(movie[f])
        if params.window > 1 and movie.shape[0] > 1 and frame.ndim == 2:
            frame = rolling_mean(movie, f, params.window)
        try:
            made = segmentation.choose_model(
                frame, size, spacing_px=params.spacing_px, technique=technique
            )
        except ImageError:  # told by the analysis of this frame
            continue
        best = ModelChoice(made.info, made.reason, made.spacing_px)
        if made.spacing_px or size is None:
            break
    return best


def _window_of(movie: Any, params: AnalysisParams, info: Any) -> int:
    """Frames that must be summed until the model is no surer with more of them."""
    if movie.shape[0] < 3 or movie.ndim != 3:
        return 1

    def certainty(image: np.ndarray) -> float:
        try:
            seen = segmentation.segment(image, info, params.spacing_px)
        except (ImageError, CalibrationError):
            return 0.0
        atoms = find_atoms(seen, refine="off", calibration=info.calibration.get("atoms"))
        # right ones less wrong ones, as the model expects them
        return float((2 * atoms["probability"] - 1).sum())

    return choose_window(movie, certainty)
