"""The main job from end to end: image or movie in, tables out.

``analyze_frames`` is the one loop over frames; the widget, the command line and
``analyze`` are thin callers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.params import param


@dataclass(frozen=True)
class AnalysisParams:
    """How to analyse an image or a movie. Zero means "find it in the image"."""

    model: str = param("auto", "name of the model; auto chooses for you")
    spacing_px: float = param(
        0.0, "distance between nearest columns; 0 finds it in the image", unit="px", ge=0, le=2000
    )
    min_probability: float = param(0.5, "atoms below this probability are left out", ge=0, le=1)
    refine: bool = param(True, "refine positions by least squares on the original pixels")
    contours: bool = param(True, "draw the outline of every atom")


@dataclass
class FrameResult:
    """What one frame gave.

    Attributes
    ----------
    frame : int
        Index of the frame in the stack.
    probabilities : ndarray of float16, shape (n_classes, H, W)
        Class probabilities; they sum to one over the classes.
    classes : tuple of str
        Names of the classes, background first.
    atoms : pandas.DataFrame
        Atoms table of this frame (see :mod:`napari_atomlens.tables`).
    contours : pandas.DataFrame
        Contours table of this frame.
    outlines : list of ndarray, each (n_vertices, 2)
        Closed outlines (row, column) in pixels, in the order of the rows of `contours`.
    unfamiliar : ndarray of float16, shape (H, W)
        0 where the image looks like what the model was trained on, 1 where it does not.
    spacing_px : float
        Distance between nearest columns, NaN where there is no atom.
    message : str
        A sentence for the user, empty when there is nothing to say.
    seconds : dict of str to float
        Time spent by stage.
    """

    frame: int
    probabilities: np.ndarray
    classes: tuple[str, ...]
    atoms: pd.DataFrame
    contours: pd.DataFrame
    outlines: list[np.ndarray]
    unfamiliar: np.ndarray
    spacing_px: float
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def analyze_frames(
    stack: Any,
    params: AnalysisParams = AnalysisParams(),
    *,
    pixel_size_nm: tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[FrameResult]:
    """Analyse the frames of an image or movie one after the other, in the given order."""
    raise NotImplementedError
    yield
