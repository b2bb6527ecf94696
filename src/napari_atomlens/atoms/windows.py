"""The joint fit of a large image in overlapping windows: memory does not follow its size.

Everything that a fit takes from the whole image (grey levels, clipping, the nodes of the
background) is given to each window, noise and widths are those of a window in the middle,
and of each window the columns far from its cuts are kept: the influence of a cut falls off
within a node or two of the background.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_atomlens.atoms.refine import (
    Fit,
    FitParams,
    Known,
    Window,
    bin_image,
    binning,
    fit_columns,
    fit_window,
    grey_levels,
    saturated,
)
from napari_atomlens.segmentation.tiles import own_part

#: Side of the part of a window whose columns are kept, in pixels of the fit.
PART_PX = 2048
#: Width of the margin, in nodes of the background.
MARGIN_NODES = 4


def fit_in_windows(
    image: np.ndarray,
    positions: np.ndarray,
    spacing_px: float,
    params: FitParams = FitParams(),
    group: np.ndarray | None = None,
    *,
    part_px: int = PART_PX,
) -> Fit:
    """Fit all columns of a large frame; see :func:`napari_atomlens.atoms.refine.fit_columns`.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    positions : ndarray, shape (n, 2)
        First guess (y, x) in pixels.
    spacing_px : float
        Distance between nearest columns in pixels.
    params : FitParams
    group : ndarray of int, shape (n,), optional
    part_px : int
        Side of the part of a window whose columns are kept, in pixels of the fit.

    Returns
    -------
    Fit
        As that of the whole frame at once, to a fraction of the standard errors.
    """
    positions = np.asarray(positions, float)
    n, factor = len(positions), binning(spacing_px)
    group = np.zeros(n, np.int64) if group is None else np.asarray(group)
    h, w = image.shape
    clipped = saturated(image)
    top = float("inf") if clipped is None else float(image.max())
    del clipped
    level, scale = grey_levels(bin_image(image, factor))
    if not scale > 0:
        return fit_columns(image, positions, spacing_px, params, group)
    part = part_px * factor
    margin = factor * int(np.ceil(MARGIN_NODES * params.background_spacings * spacing_px / factor))
    parts: list[tuple[np.ndarray, Fit]] = []

    def fit_one(
        low: np.ndarray, high: np.ndarray, near: np.ndarray, known: Known | None
    ) -> tuple[Fit, Known | None]:
        seen = np.ascontiguousarray(image[low[0] : high[0], low[1] : high[1]])
        window = Window(level, scale, top, (h, w), (int(low[0]), int(low[1])), known)
        return fit_window(seen, positions[near] - low, spacing_px, params, group[near], window)

    def inside(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        first = np.where(low == 0, -np.inf, low - 0.5)
        last = np.where(high == [h, w], np.inf, high - 0.5)
        return np.flatnonzero(np.all((positions >= first) & (positions < last), axis=1))

    low = np.maximum(np.array([h - part, w - part]) // 2 // factor * factor, 0)
    high = np.minimum(low + part, [h, w])
    # the middle may be a hole
    while len(inside(low, high)) < min(200, n) and (low.any() or (high < [h, w]).any()):
        low, high = np.maximum(low - part, 0), np.minimum(high + part, [h, w])
    _, known = fit_one(low, high, inside(low, high), None)
    for y in range(0, h, part):
        for x in range(0, w, part):
            low = np.array([max(0, y - margin), max(0, x - margin)])
            high = np.array([min(h, y + part + margin), min(w, x + part + margin)])
            near = inside(low, high)
            own = own_part(positions[near], (y, x), part, (h, w))
            if not own.any():
                continue
            fit, _ = fit_one(low, high, near, known)
            fit.y, fit.x = fit.y + low[0], fit.x + low[1]
            parts.append((near[own], _some(fit, own)))
    return _join(parts, positions)


def _some(fit: Fit, which: np.ndarray) -> Fit:
    kept: dict[str, Any] = {k: None if v is None else v[which] for k, v in vars(fit).items()}
    return Fit(**kept)


def _join(parts: list[tuple[np.ndarray, Fit]], positions: np.ndarray) -> Fit:
    """Put the columns of the windows back into their order."""
    n = len(positions)
    unknown = np.full((6, n), np.nan)
    out = Fit(positions[:, 0].copy(), positions[:, 1].copy(), *unknown, ok=np.zeros(n, bool))  # type: ignore[misc]
    for name in vars(out):
        values = [getattr(fit, name) for _, fit in parts]
        if not any(v is not None for v in values):
            continue
        # a width that all share in a window has no error of its own there
        total = getattr(out, name)
        total = np.full(n, np.nan) if total is None else total
        for (where, _), value in zip(parts, values, strict=True):
            total[where] = np.nan if value is None else value
        setattr(out, name, total)
    return out
