"""Geometry of scans: pixels that are not square, and drift read from the lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.errors import CalibrationError
from napari_atomlens.stm.background import bridged, finite_image, level_lines, subtract_facet
from napari_atomlens.stm.rows import FEWEST_RATIO, find_peak, whitened_spectrum

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: A drift matrix that differs more from one is taken for a wrong lattice.
FARTHEST = 0.25


def square_pixels(image: ArrayLike, pixel_size_nm: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Resample a scan to square pixels of the finer of its two pixel sizes.

    Parameters
    ----------
    image : array-like, shape (H, W)
    pixel_size_nm : tuple of float
        (y, x).

    Returns
    -------
    image : ndarray
    pixel_size_nm : float

    Raises
    ------
    CalibrationError
        If a size is not positive, or they differ more than twentyfold.
    """
    z = finite_image(image)
    y, x = (float(v) for v in pixel_size_nm)
    if not (np.isfinite([y, x]).all() and min(y, x) > 0):
        raise CalibrationError(f"The pixel size must be positive, but it is {pixel_size_nm} nm.")
    fine = min(y, x)
    if max(y, x) / fine > 20:
        raise CalibrationError(
            f"Pixels of {y:g} x {x:g} nm are too far from square to be resampled."
        )
    shape = (max(2, round(z.shape[0] * y / fine)), max(2, round(z.shape[1] * x / fine)))
    if shape == z.shape:
        return z, fine
    return resampled(z, (z.shape[0] / shape[0], z.shape[1] / shape[1]), shape), fine


def resampled(z: np.ndarray, step: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Sample an image every `step` pixels; edges of pixels, not centres, coincide."""
    rows = (np.arange(shape[0]) + 0.5) * step[0] - 0.5
    cols = (np.arange(shape[1]) + 0.5) * step[1] - 0.5
    missing = ~np.isfinite(z)
    filled = np.where(missing, np.nanmedian(z), z)
    at = np.meshgrid(rows, cols, indexing="ij")
    out = scipy.ndimage.map_coordinates(filled, at, order=3, mode="nearest")
    if missing.any():
        out[
            scipy.ndimage.map_coordinates(missing.astype(float), at, order=1, mode="nearest") > 0.25
        ] = np.nan
    return np.asarray(out)


def drift_matrix(
    measured: ArrayLike, length_a: float, length_b: float, angle_rad: float
) -> np.ndarray:
    """Matrix that turns measured lattice vectors into those of the known lattice.

    Steady drift during the scan adds to every scan line a shift proportional to its time:
    x' = x + s y, y' = (1 + e) y (see M. P. Yothers et al., Rev. Sci. Instrum. 88, 013708, 2017
    for drift from a lattice). Two lattice vectors give s, e, the scale of x and the rotation,
    which stays in the image.

    Parameters
    ----------
    measured : array-like, shape (2, 2)
        Rows a and b as (y, x) in pixels.
    length_a, length_b : float
        Known lengths, in pixels that are right (along the fast axis).
    angle_rad : float
        Known angle between them.

    Returns
    -------
    ndarray, shape (2, 2)
        M with ``corrected = M @ measured`` for (y, x) column vectors; the fast axis is not
        turned: M = [[1 + e, 0], [s, c]].

    Raises
    ------
    CalibrationError
        If the vectors are parallel or the lattice is absurd.
    """
    m = np.asarray(measured, float).reshape(2, 2)
    if not np.isfinite(m).all() or abs(np.linalg.det(m)) < 1e-9 * (m**2).sum():
        raise CalibrationError("The two lattice vectors are parallel; drift needs two directions.")
    if min(length_a, length_b) <= 0 or not 0.05 < abs(angle_rad) < np.pi - 0.05:
        raise CalibrationError("The known lattice must have two lengths and an angle.")
    # the metric of the known lattice in the basis of the measured one: M^T M
    dot = length_a * length_b * np.cos(angle_rad)
    gram = np.array([[length_a**2, dot], [dot, length_b**2]])
    inverse = np.linalg.inv(m.T)
    metric = inverse.T @ gram @ inverse
    # M = [[p, 0], [s, c]]: M^T M = [[p^2 + s^2, s c], [s c, c^2]]
    c = np.sqrt(metric[1, 1])
    s = metric[0, 1] / c
    rest = metric[0, 0] - s**2
    if rest <= 0:
        raise CalibrationError("The measured lattice cannot be turned into the known one.")
    return np.array([[np.sqrt(rest), 0.0], [s, c]])


def correct_drift(image: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Undo steady drift: resample so that what was at v lies at ``matrix @ v``.

    The output is as large as the corrected scan; NaN where nothing was scanned.
    """
    z = finite_image(image)
    m = np.asarray(matrix, float).reshape(2, 2)
    corners = np.array([[0, 0], [0, z.shape[1] - 1], [z.shape[0] - 1, 0],
                        [z.shape[0] - 1, z.shape[1] - 1]], float) @ m.T  # fmt: skip
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
    size = (high - low).astype(int) + 1
    if size.prod() > 64 * z.size:
        raise CalibrationError("This drift would make the scan absurdly large.")
    back = np.linalg.inv(m)
    rows, cols = np.meshgrid(
        np.arange(size[0]) + low[0], np.arange(size[1]) + low[1], indexing="ij"
    )
    at = np.stack([back[0, 0] * rows + back[0, 1] * cols, back[1, 0] * rows + back[1, 1] * cols])
    out = scipy.ndimage.map_coordinates(np.nan_to_num(z, nan=float(np.nanmedian(z))), at, order=3)
    limits = np.asarray(z.shape)[:, None, None] - 1 + 1e-6
    out[((at < -1e-6) | (at > limits)).any(0)] = np.nan
    return np.asarray(out)


def find_drift(image: ArrayLike, length_a: float, length_b: float, angle_rad: float) -> np.ndarray:
    """Drift matrix (:func:`drift_matrix`) from the lattice of the scan itself.

    The lattice comes from the peaks of the autocorrelation, and where those are ridges from two
    peaks of the power spectrum, to a fraction of a pixel.

    Parameters
    ----------
    image : array-like, shape (H, W)
    length_a, length_b : float
        Known lengths in pixels of the fast axis.
    angle_rad : float
    """
    lengths = (length_a, length_b)
    try:
        matrix = _matrix_of(*lattice_vectors(image, lengths), lengths, angle_rad)
    except CalibrationError:
        matrix = np.zeros((2, 2))
    # rows whose sites are hardly resolved are ridges of the autocorrelation, not peaks
    if np.abs(matrix - np.eye(2)).max() > FARTHEST:
        matrix = _matrix_of(*_by_spectrum(image, lengths, angle_rad), lengths, angle_rad)
    return matrix


def _matrix_of(
    a: np.ndarray, b: np.ndarray, lengths: tuple[float, float], angle_rad: float
) -> np.ndarray:
    if (a[0] * b[1] - a[1] * b[0]) * np.sin(angle_rad) < 0:
        b = -b
    return drift_matrix(np.stack([a, b]), *lengths, angle_rad)


def lattice_vectors(
    image: ArrayLike, lengths: tuple[float, float], tolerance: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Two lattice vectors (y, x) in pixels of about the given lengths, from the image itself.

    Raises
    ------
    CalibrationError
        If the autocorrelation has no such peaks.
    """
    z = bridged(finite_image(image, 32))
    z = level_lines(subtract_facet(z), "median")
    z = z - scipy.ndimage.gaussian_filter(z, 1.5 * max(lengths))
    spread = arrays.spread(z) or z.std()
    z = np.clip(z, -4 * spread, 4 * spread)
    h, w = z.shape
    window = np.hanning(h)[:, None] * np.hanning(w)[None]
    n = (2 * h, 2 * w)
    power = np.abs(np.fft.rfft2(z * window, n)) ** 2
    ac = np.fft.fftshift(np.fft.irfft2(power, n))
    norm = np.fft.fftshift(np.fft.irfft2(np.abs(np.fft.rfft2(window, n)) ** 2, n))
    ac = ac / np.maximum(norm, 0.02 * norm.max())
    cy, cx = n[0] // 2, n[1] // 2
    ac = ac / ac[cy, cx]
    top = scipy.ndimage.maximum_filter(ac, size=max(3, int(0.4 * min(lengths)) | 1))
    around = ac[cy - h // 2 : cy + h // 2, cx - w // 2 : cx + w // 2]
    noise = arrays.spread(around)
    # among thousands of places the highest of pure noise is about four to five spreads high
    y, x = np.nonzero((ac == top) & (ac > max(0.03, min(5.5 * noise, 0.25))))
    d = np.c_[y - cy, x - cx].astype(float)
    r = np.hypot(*d.T)
    height = ac[y, x]
    half = (d[:, 0] > 0) | ((d[:, 0] == 0) & (d[:, 1] > 0))
    found: list[np.ndarray] = []
    for length in lengths:
        good = half & (np.abs(r / length - 1) < tolerance)
        for other in found:
            cross = np.abs(d[:, 0] * other[1] - d[:, 1] * other[0])
            good &= cross > 0.6 * np.maximum(r, 1e-9) * np.hypot(*other)
        if not good.any():
            raise CalibrationError(
                f"There is no lattice vector of about {length:.1f} px in this scan."
            )
        best = np.flatnonzero(good)[height[good].argmax()]
        found.append(_far_peak(ac, d[best], (cy, cx)))
    return found[0], found[1]


def _by_spectrum(
    image: ArrayLike, lengths: tuple[float, float], angle_rad: float, tolerance: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Two lattice vectors (y, x) in pixels, as the inverse of two wave vectors of the lattice.

    Raises
    ------
    CalibrationError
        If the spectrum has no two such peaks.
    """
    z = level_lines(subtract_facet(bridged(finite_image(image, 32))), "median")
    ratio, fy, fx = whitened_spectrum(z, np.ones(z.shape, bool))
    radius = np.hypot(fy, fx)
    allowed = ((fx > 0) | ((fx == 0) & (fy > 0))) & (radius < 0.49)
    found: list[tuple[float, np.ndarray]] = []
    wanted = [1 / (length * np.sin(angle_rad)) for length in lengths]
    first = int(np.argmin(wanted))  # the coarser lattice planes are seen best
    for k in (first, 1 - first):
        band = allowed & (np.abs(radius / wanted[k] - 1) < tolerance)
        for _, other in found:
            turn = np.arccos(
                np.clip((fy * other[0] + fx * other[1]) / np.maximum(radius, 1e-9)
                        / np.hypot(*other), -1, 1)
            )  # fmt: skip
            turn = np.minimum(turn, np.pi - turn)
            target = min(angle_rad, np.pi - angle_rad)
            band &= np.abs(turn - target) < 0.3
        if not band.any():
            raise CalibrationError("The lattice is too fine for the pixels of this scan.")
        height, wave = find_peak(ratio, fy, fx, band)
        if height < FEWEST_RATIO:
            raise CalibrationError(
                f"There is no lattice vector of about {lengths[k]:.1f} px in this scan."
            )
        found.append((height, wave))
    waves = np.stack([wave for _, wave in (found if first == 0 else found[::-1])])
    vectors = np.linalg.inv(waves).T
    return vectors[0], vectors[1]


def _far_peak(ac: np.ndarray, vector: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    """Refine a lattice vector on its multiples, which divide the error by their number."""
    v = vector
    for multiple in (1, 2, 3, 5, 8):
        at = multiple * v
        p = np.rint(np.asarray(centre) + at).astype(int)
        if (np.abs(at) > 0.25 * np.asarray(ac.shape)).any():
            break
        patch = ac[p[0] - 2 : p[0] + 3, p[1] - 2 : p[1] + 3]
        if patch.shape != (5, 5) or patch.max() < 0.03:
            break
        k = np.unravel_index(patch.argmax(), (5, 5))
        q = p + np.asarray(k) - 2
        around = ac[q[0] - 1 : q[0] + 2, q[1] - 1 : q[1] + 2]
        sub = []
        for up, mid, down in ((around[0, 1], around[1, 1], around[2, 1]),
                              (around[1, 0], around[1, 1], around[1, 2])):  # fmt: skip
            curve = up + down - 2 * mid
            sub.append(float(np.clip(0.5 * (up - down) / curve, -0.7, 0.7)) if curve < 0 else 0.0)
        v = (q + np.asarray(sub) - np.asarray(centre)) / multiple
    return np.asarray(v, float)
