"""Points in the plane: distances, pairs, groups and polygons; no image, no table."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from napari_atomlens.errors import CalibrationError, ParameterError


def spacing(positions: np.ndarray, frame: np.ndarray | None = None, n_frames: int = 5) -> float:
    """Distance between nearest columns: centre of the first shell of neighbours.

    The nearest neighbour of a column with a position error is too near on average; the
    whole first shell (within 30 %) has no such bias.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Whatever the unit; the distance has the same.
    frame : ndarray of int, shape (n,), optional
        Frame of each position in a movie: the median over some frames spread through it.
    n_frames : int
        So many of them; all where these tell nothing.

    Returns
    -------
    float
        NaN where there are not two points, or all lie on one.

    Examples
    --------
    >>> import numpy as np
    >>> grid = 12.0 * np.mgrid[:5, :5].reshape(2, -1).T
    >>> spacing(grid)
    12.0
    """
    if frame is None:
        return _first_shell(positions)
    frames = np.unique(frame)
    some = frames[np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).astype(int)]
    for chosen in (np.unique(some), frames):
        found = np.array([_first_shell(positions[frame == f]) for f in chosen])
        if np.isfinite(found).any():
            return float(np.nanmedian(found))
    return float("nan")


def _first_shell(positions: np.ndarray) -> float:
    if len(positions) < 2:
        return float("nan")
    k = min(7, len(positions))
    distances = scipy.spatial.cKDTree(positions).query(positions, k=k)[0][:, 1:]
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1)
    if not np.isfinite(nearest).any():
        return float("nan")
    shell = float(np.median(nearest[np.isfinite(nearest)]))
    for _ in range(4):
        inside = distances[(distances > 0.7 * shell) & (distances < 1.3 * shell)]
        if not len(inside):
            break
        shell = float(np.median(inside))
    return shell


def known_spacing(positions: np.ndarray, frame: np.ndarray) -> float:
    """Spacing of the atoms of a movie (:func:`spacing`) where there must be one.

    Raises
    ------
    CalibrationError
        If there are not two atoms in any frame, or all lie on one point.
    """
    found = spacing(positions, frame)
    if not np.isfinite(found):
        raise CalibrationError(
            "There are not two atoms in a frame, so no distance can be measured."
        )
    return found


def nearest_distance(positions: np.ndarray) -> float:
    """Median distance to the nearest neighbour, NaN where there are fewer than two points.

    Not the same as :func:`spacing`: of points with position errors it is some percent less
    (the nearest of several neighbours is the one whose error leads here), but it also holds
    for points without a shell of neighbours at one distance, such as dumbbells in a row.
    """
    if len(positions) < 2:
        return float("nan")
    return float(np.median(scipy.spatial.cKDTree(positions).query(positions, k=2)[0][:, 1]))


def separated(places: np.ndarray, frame: np.ndarray, reach: float) -> np.ndarray:
    """Places of a movie in three axes, the frames farther apart than `reach`."""
    index = np.unique(frame, return_inverse=True)[1]
    return np.column_stack([4.0 * reach * index, places])


def near_pairs(
    places: np.ndarray, frame: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms of one frame nearer than `reach`, and their distances."""
    if len(places) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    one = frame.min() == frame.max()
    spread = places if one else separated(places, frame, reach)
    pairs = scipy.spatial.cKDTree(spread).query_pairs(reach, output_type="ndarray").astype(np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    step = places[pairs[:, 0]] - places[pairs[:, 1]]
    return pairs, np.hypot(step[:, 0], step[:, 1])


def as_places(given: object, what: str = "places") -> np.ndarray:
    """Return places (n, 2) that the user gave as finite numbers.

    Raises
    ------
    ParameterError
        If they are not.
    """
    try:
        found = np.asarray(given)
        if found.dtype.kind not in "iuf" or found.ndim != 2 or found.shape[1] != 2:
            raise ValueError("shape")
    except (TypeError, ValueError, RuntimeError):
        raise ParameterError(f"The {what} must be rows of two numbers (y, x).") from None
    if not np.isfinite(found).all() or np.abs(found, dtype=float).max(initial=0) > 1e7:
        raise ParameterError(f"The {what} are not all finite numbers that can be meant.")
    return found.astype(float)


def inside_polygon(positions: ArrayLike, vertices: ArrayLike) -> np.ndarray:
    """Which positions (n, 2) lie in a polygon (k, 2), both (y, x); bool, shape (n,)."""
    from skimage.measure import points_in_poly

    places, corners = np.asarray(positions, float).reshape(-1, 2), np.asarray(vertices, float)
    if not len(places) or len(corners) < 3:
        return np.zeros(len(places), bool)
    return np.asarray(points_in_poly(places, corners), bool)


def connected(pairs: np.ndarray, n: int) -> np.ndarray:
    """Label of the connected component of each of `n` nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1])
