"""Polarity of dumbbells: which end is the heavier one, by the brightness of many of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.graphs.site_columns import OnSites
from napari_atomlens.graphs.views import View

#: The ends of a dumbbell are nearer to each other than to anything else, by this factor.
CLOSER = 1.25
#: What tilt and aberrations may add to the logarithm of the ratio of all dumbbells.
COMMON_ERR = 0.03
#: Fewest dumbbells.
FEWEST = 6


@dataclass(frozen=True)
class Polarity:
    """Which way the dumbbells of a region point.

    Attributes
    ----------
    direction_rad : float
        From the light to the heavy end, counter-clockwise from +x as drawn; the mean of all.
    ratio, ratio_err : float
        Brightness of the heavy over that of the light end, and its standard error.
    probability : float
        That the heavy end is the heavier one.
    n_dumbbells : int
    """

    direction_rad: float
    ratio: float
    ratio_err: float
    probability: float
    n_dumbbells: int


def dumbbells_of(view: View) -> list[tuple[int, int, np.ndarray]]:
    """Dumbbells of a view with two different ends: light column, heavy column, cells between."""
    cells = np.array(list(product(range(-2, 3), repeat=2)))
    places, weights = view.columns.places_nm, view.weights(1.7)
    shifts = cells @ view.columns.cell_nm
    gap = np.linalg.norm(places[None, :, None] + shifts - places[:, None, None], axis=-1)
    n = len(places)
    flat = np.where(gap < 1e-6, np.inf, gap).reshape(n, -1)
    order = np.argsort(flat, axis=1)[:, :2]
    near, second = (flat[np.arange(n), order[:, k]] for k in (0, 1))
    found = []
    for i in range(n):
        j, c = divmod(int(order[i, 0]), len(cells))
        back, there = divmod(int(order[j, 0]), len(cells))
        mutual = back == i and (cells[there] == -cells[c]).all()
        alone = second[i] > CLOSER * near[i] and second[j] > CLOSER * near[j]
        if mutual and alone and weights[i] < weights[j] * (1 - 1e-6):
            found.append((i, j, cells[c]))
    return found


def measure_polarity(on: OnSites, level: np.ndarray) -> Polarity | None:
    """Measure the polarity of a region that was matched with a crystal.

    Parameters
    ----------
    on : OnSites
    level : ndarray, shape (k,)
        Logarithm of the brightness of its columns.

    Returns
    -------
    Polarity or None
        None where the crystal has no dumbbells of two different ends, or too few are seen.
    """
    view = on.pose.view
    pairs = [p for p in dumbbells_of(view) if on.pose.seen[[p[0], p[1]]].all()]
    if not pairs:
        return None
    good = np.flatnonzero((on.column >= 0) & np.isfinite(level))
    there = {(int(on.column[k]), *on.cells[k].tolist()): k for k in good.tolist()}
    logs, vectors = [], []
    for light, heavy, step in pairs:
        arrow = view.columns.places_nm[heavy] + step @ view.columns.cell_nm
        arrow = (arrow - view.columns.places_nm[light]) @ on.pose.matrix
        for k in good[on.column[good] == light].tolist():
            m = there.get((heavy, *(on.cells[k] + step).tolist()))
            if m is not None:
                logs.append(level[m] - level[k])
                vectors.append(arrow)
    if len(logs) < FEWEST:
        return None
    values = np.array(logs)
    middle = float(np.median(values))
    spread = arrays.spread(values, centre=middle)
    error = 1.2533 * spread / np.sqrt(len(values))
    y, x = np.mean(vectors, axis=0)
    return Polarity(
        float(np.arctan2(-y, x)), float(np.exp(middle)), float(np.exp(middle) * error),
        float(scipy.special.ndtr(middle / np.hypot(error, COMMON_ERR))), len(values),
    )  # fmt: skip
