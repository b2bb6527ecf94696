"""Points in the plane: distances, pairs, groups and polygons; no image, no table."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from napari_atomlens.errors import CalibrationError


def nearest_distance(positions: np.ndarray) -> float:
    """Median distance to the nearest neighbour, NaN where there are fewer than two points."""
    if len(positions) < 2:
        return float("nan")
    return float(np.median(cKDTree(positions).query(positions, k=2)[0][:, 1]))


def typical_distance(frame: np.ndarray, positions: np.ndarray, n_frames: int = 5) -> float:
    """Median distance between nearest atoms over some frames spread through a movie."""
    frames = np.unique(frame)
    some = frames[np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).astype(int)]
    found = [nearest_distance(positions[frame == f]) for f in np.unique(some)]
    found = [d for d in found if np.isfinite(d) and d > 0]
    return float(np.median(found)) if found else float("nan")


def separated(places: np.ndarray, frame: np.ndarray, reach: float) -> np.ndarray:
    """Places of a movie in three axes, the frames farther apart than `reach`."""
    index = np.unique(frame, return_inverse=True)[1]
    return np.column_stack([4.0 * reach * index, places])


def typical_spacing(places: np.ndarray, frame: np.ndarray) -> float:
    """Typical distance of nearest atoms, the same unit as `places`.

    Raises
    ------
    CalibrationError
        If there are not two atoms in any frame, or all lie on one point.
    """
    from scipy.spatial import cKDTree

    span = float(np.ptp(places, axis=0).max()) if len(places) else 0.0
    spread = separated(places, frame, 10.0 * span + 1.0)
    distance = cKDTree(spread).query(spread, k=2)[0][:, 1] if len(places) > 1 else np.zeros(0)
    distance = distance[(distance > 0) & (distance <= 2.0 * span + 1.0)]
    if not len(distance):
        raise CalibrationError(
            "There are not two atoms in a frame, so no distance can be measured."
        )
    return float(np.median(distance))


def near_pairs(
    places: np.ndarray, frame: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms of one frame nearer than `reach`, and their distances."""
    from scipy.spatial import cKDTree

    if len(places) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    one = frame.min() == frame.max()
    spread = places if one else separated(places, frame, reach)
    pairs = cKDTree(spread).query_pairs(reach, output_type="ndarray").astype(np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    step = places[pairs[:, 0]] - places[pairs[:, 1]]
    return pairs, np.hypot(step[:, 0], step[:, 1])


def inside_polygon(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Which points (n, 2) lie in a polygon (k, 2); bool, shape (n,)."""
    from skimage.measure import points_in_poly

    return np.asarray(points_in_poly(points, vertices), bool)


def connected(pairs: np.ndarray, n: int) -> np.ndarray:
    """Label of the connected component of each of `n` nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1])


def shell_distance(positions: np.ndarray) -> float:
    """Distance between nearest columns: centre of the first shell of neighbours.

    The nearest neighbour of a column with a position error is too near on average; the
    whole first shell (within 30 %) has no such bias.
    """
    if len(positions) < 3:
        return float("nan")
    k = min(7, len(positions))
    distances = cKDTree(positions).query(positions, k=k)[0][:, 1:]
    shell = float(np.median(distances[:, 0]))
    for _ in range(4):
        inside = distances[(distances > 0.7 * shell) & (distances < 1.3 * shell)]
        if not len(inside):
            break
        shell = float(np.median(inside))
    return shell
