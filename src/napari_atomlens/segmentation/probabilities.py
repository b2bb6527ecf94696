"""What the network says of one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_atomlens.segmentation.candidates import Candidates


@dataclass
class Probabilities:
    """What the network says of one frame.

    Attributes
    ----------
    maps : ndarray of float16, shape (n_classes, H, W)
        Class probabilities at the size of the input; they sum to one.
    classes : tuple of str
        Names of the classes, background first.
    centre : ndarray of float32, shape (h, w)
        Height of the peak at each column's centre (0 to 1), at the network's sampling;
        of a large image it is not kept, nor are `soft` and `strange` (all are empty).
    soft : ndarray of float32, shape (n_classes, h, w)
        Class probabilities at the network's sampling.
    strange : ndarray of float32, shape (h, w)
        The unfamiliar-region map at the network's sampling.
    unfamiliar : ndarray of float16, shape (H, W)
        0 where the image looks like the training images, 1 where it does not.
    zoom : tuple of float
        Network pixels per image pixel, (y, x).
    spacing_px : float
        Distance between nearest columns that the image was resampled for.
    frame : ndarray of float32, shape (H, W)
        The frame without hot pixels, as the refinement wants it.
    """

    maps: np.ndarray
    classes: tuple[str, ...]
    centre: np.ndarray
    soft: np.ndarray
    strange: np.ndarray
    unfamiliar: np.ndarray
    zoom: tuple[float, float]
    spacing_px: float
    frame: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    candidates: Candidates | None = None


#: Images with more pixels are done window by window: memory must not follow their size.
LARGE = 5000**2
