"""Arrays of numbers: spread, maxima, parabolas through peaks, autocorrelation; no file, no atom."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as nnf


def peak_positions(centre: torch.Tensor, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a centre map: (n, 2) positions with a parabola's sub-pixel part, heights."""
    top = nnf.max_pool2d(centre[None, None], 3, 1, 1)[0, 0]
    rows, cols = torch.nonzero((centre == top) & (centre > threshold), as_tuple=True)
    y, x = rows.numpy(), cols.numpy()
    c = centre.numpy()
    padded = np.pad(np.log(np.maximum(c, 1e-4)), 1, mode="edge")
    here = padded[y + 1, x + 1]
    offsets = []
    for up, down in (
        (padded[y, x + 1], padded[y + 2, x + 1]),
        (padded[y + 1, x], padded[y + 1, x + 2]),
    ):
        curvature = up + down - 2 * here
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(curvature < -1e-6, 0.5 * (up - down) / curvature, 0.0)
        offsets.append(np.clip(shift, -0.5, 0.5))
    return np.c_[y + offsets[0], x + offsets[1]], c[y, x]
