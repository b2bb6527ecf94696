"""The lattice of H-Si(100) 2x1 in a scan: dimer rows, and dimers along them.

The scan is demodulated at the wave vectors of the rows and of the dimers; the phases, smooth
over some rows, say where every site lies, also where noise or a defect hides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.stm.background import (
    bridged,
    finite_image,
    level_lines,
    subtract_facet,
)
from napari_atomlens.stm.site_kinds import ALONG_NM, ROW_NM

#: A peak of the spectrum counts from this ratio to the typical power at its distance on.
FEWEST_RATIO = 25.0


@dataclass(frozen=True)
class RowLattice:
    """Rows of one terrace.

    Attributes
    ----------
    row_px : float
        Distance of rows.
    k_row, k_along : ndarray, shape (2,)
        Wave vectors across and along the rows, (y, x) in cycles per pixel.
    angle_rad : float
        Direction of the rows, counter-clockwise from +x as drawn, 0 to pi.
    resolved : bool
        Whether the dimers along the rows are seen.
    """

    row_px: float
    k_row: np.ndarray
    k_along: np.ndarray
    angle_rad: float
    resolved: bool


def whitened_spectrum(
    flat: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power over the typical one at its distance from zero, and its frequencies."""
    spread = arrays.spread(flat[use]) + 1e-300
    z = np.clip((flat - np.median(flat[use])) / spread, -4, 4)
    weight = scipy.ndimage.gaussian_filter(use.astype(float), 2.0)
    weight *= np.hanning(z.shape[0])[:, None] * np.hanning(z.shape[1])[None]
    z = (z - (z * weight).sum() / max(weight.sum(), 1e-9)) * weight
    n = [2 * s for s in z.shape]
    power = np.abs(np.fft.fft2(z, n)) ** 2
    fy = np.broadcast_to(np.fft.fftfreq(n[0])[:, None], power.shape)
    fx = np.broadcast_to(np.fft.fftfreq(n[1])[None], power.shape)
    ring = np.clip((np.hypot(fy, fx) * 120).astype(int), 0, 84)
    order = np.argsort(ring.ravel(), kind="stable")
    cuts = np.searchsorted(ring.ravel()[order], np.arange(86))
    flat_power = power.ravel()[order]
    typical = np.array(
        [np.median(flat_power[a:b]) if b > a else 1e-300
         for a, b in pairwise(cuts)]
    )  # fmt: skip
    ratio = power / np.maximum(typical[ring], 1e-300)
    # offsets of lines make a ridge of all wave vectors along y: a lattice stands out of it
    ridge = np.abs(fx[0]) < 2.0 / z.shape[1]
    ratio[:, ridge] /= np.maximum(np.median(ratio[:, ridge], axis=0), 1.0)
    return ratio, fy, fx


def find_peak(
    ratio: np.ndarray, fy: np.ndarray, fx: np.ndarray, where: np.ndarray
) -> tuple[float, np.ndarray]:
    """Highest place of a spectrum, refined by its centre of mass."""
    k = int(np.where(where, ratio, -1).argmax())
    i, j = np.unravel_index(k, ratio.shape)
    rows = np.arange(i - 2, i + 3) % ratio.shape[0]
    cols = np.arange(j - 2, j + 3) % ratio.shape[1]
    w = ratio[np.ix_(rows, cols)]
    if not w.sum() > 0:  # nothing but one height
        return 0.0, np.array([fy[i, 0], fx[0, j]])
    at = np.array([(w * fy[rows, 0][:, None]).sum(), (w * fx[0, cols][None]).sum()]) / w.sum()
    return float(ratio[i, j]), at


def find_rows(
    flat: np.ndarray,
    use: np.ndarray | None = None,
    *,
    pixel_size_nm: float | None = None,
    row_px: float = 0.0,
) -> RowLattice:
    """Find the dimer rows of a terrace.

    Parameters
    ----------
    flat : ndarray, shape (H, W)
        Levelled scan.
    use : ndarray of bool, shape (H, W), optional
        The terrace, without contaminants.
    pixel_size_nm : float, optional
        Pixel size; rows are then looked for at 0.768 nm, within 15 %.
    row_px : float
        Distance of the rows in pixels where it is known.

    Raises
    ------
    CalibrationError
        If there are no rows to be seen.
    """
    use = np.ones(flat.shape, bool) if use is None else use
    expected = row_px or (ROW_NM / pixel_size_nm if pixel_size_nm else 0.0)
    if use.sum() < 400 or (expected and expected < 2.2):
        raise CalibrationError("Dimer rows are too narrow here, or the terrace is too small.")
    ratio, fy, fx = whitened_spectrum(flat, use)
    radius = np.hypot(fy, fx)
    # one of each wave vector and its opposite
    allowed = ((fx > 0) | ((fx == 0) & (fy > 0))) & (radius < 0.47)
    if expected:
        band = allowed & (np.abs(radius * expected - 1) < 0.15)
    else:
        band = allowed & (radius > 8.0 / min(flat.shape)) & (radius < 1 / 3.5)
    if not band.any():
        raise CalibrationError("Dimer rows cannot be resolved at this pixel size.")
    height, k_row = find_peak(ratio, fy, fx, band)
    if not expected:  # the dimers along the rows may be stronger than the rows
        half = k_row[::-1] * np.array([-1.0, 1.0]) / 2
        half = half if half[1] >= 0 else -half
        close = (radius < 0.47) & (np.hypot(fy - half[0], fx - half[1]) < 0.08 * np.hypot(*half))
        if close.any():
            other, k_other = find_peak(ratio, fy, fx, close)
            if other > max(FEWEST_RATIO, 0.01 * height):
                height, k_row = other, k_other
    if height < FEWEST_RATIO:
        raise CalibrationError(
            "No dimer rows are to be seen in this scan; give its pixel size to look for defects."
        )
    length = float(np.hypot(*k_row))
    # dimers along the rows, perpendicular and twice as close
    guess = np.array([-k_row[1], k_row[0]]) * ROW_NM / ALONG_NM
    guess = guess if guess[1] >= 0 else -guess
    near = (np.hypot(fy - guess[0], fx - guess[1]) < 0.06 * np.hypot(*guess)) & (radius < 0.5)
    resolved, k_along = False, guess
    if near.any():
        strength, found = find_peak(ratio, fy, fx, near)
        resolved = strength > FEWEST_RATIO
        k_along = found if resolved else guess
    angle = float(np.arctan2(-k_row[0], k_row[1]) + np.pi / 2) % np.pi
    return RowLattice(1 / length, k_row, k_along, angle, resolved)


def shows_dimer_rows(
    image: np.ndarray, pixel_size_nm: tuple[float, float] | None = None, side_px: int = 384
) -> bool:
    """Whether a raw scan looks like H-Si(100) 2x1; False for all that cannot be told.

    Rows 0.768 nm apart, where the pixel size is known, in one direction, or two at a right
    angle on terraces a step apart. Other lattices have peaks as strong in between.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    pixel_size_nm : tuple of float, optional
        (y, x).
    side_px : int
        Only the middle of a larger scan is looked at.
    """
    if image.ndim != 2 or min(image.shape) < 48:
        return False
    if pixel_size_nm is not None and abs(np.log(pixel_size_nm[0] / pixel_size_nm[1])) > 0.03:
        return False
    pixel = None if pixel_size_nm is None else float(pixel_size_nm[0])
    start = [max(0, (n - side_px) // 2) for n in image.shape]
    part = image[start[0] : start[0] + side_px, start[1] : start[1] + side_px]
    try:
        z = level_lines(subtract_facet(bridged(finite_image(part, 48))), "median")
        found = find_rows(z, pixel_size_nm=pixel)
    except (CalibrationError, ImageError):
        return False
    if found.row_px < 3 or (pixel and abs(found.row_px * pixel / ROW_NM - 1) > 0.12):
        return False
    ratio, fy, fx = whitened_spectrum(z, np.ones(z.shape, bool))
    radius = np.hypot(fy, fx) * found.row_px
    angle = np.arctan2(fy, fx) - np.arctan2(*found.k_row)
    askew = np.abs(np.sin(2 * angle)) > 0.64  # 20 degrees or more from both directions of rows
    k = np.rint(found.k_row * np.asarray(ratio.shape)).astype(int)
    height = ratio[
        np.ix_(*(np.arange(v - 2, v + 3) % n for v, n in zip(k, ratio.shape, strict=True)))
    ]
    other = ratio[askew & (radius > 0.6) & (radius < 1.5)].max()
    return bool(other < 0.12 * height.max()) and not is_square_lattice(z, found.k_row)


def is_square_lattice(flat: np.ndarray, k_row: np.ndarray) -> bool:
    """Whether waves at a right angle are as strong as those of the rows wherever one looks.

    Rows of terraces a step apart stand at a right angle too, but each in its place.

    Parameters
    ----------
    flat : ndarray, shape (H, W)
        A levelled scan.
    k_row : ndarray, shape (2,)
        Wave vector of the rows, (y, x) in cycles per pixel.
    """
    both = 0
    parts = [(a, b) for a in np.array_split(flat, 2) for b in (0, 1)]
    for rows, half in parts:
        part = np.array_split(rows, 2, axis=1)[half]
        part = (part - part.mean()) * np.hanning(part.shape[0])[:, None] * np.hanning(part.shape[1])
        y, x = np.arange(part.shape[0]), np.arange(part.shape[1])
        strength = []
        for k in (k_row, np.array([-k_row[1], k_row[0]])):
            # the wave may be a little longer, or turned, in a scan that drifts
            near = [
                np.abs(np.exp(-2j * np.pi * a * y) @ part @ np.exp(-2j * np.pi * b * x))
                for a in k[0] + np.linspace(-1, 1, 5) / part.shape[0]
                for b in k[1] + np.linspace(-1, 1, 5) / part.shape[1]
            ]
            strength.append(max(near))
        both += min(strength) > 0.5 * max(strength)
    return both == len(parts)


def local_phase(
    flat: np.ndarray, k: np.ndarray, sigma_px: float, use: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Phase (rad) and amplitude of the wave `k` round every pixel.

    ``flat ~ amplitude cos(2 pi k r + phase)``, smooth over `sigma_px`; outliers are limited, so
    that a defect does not pull the phase of its surroundings.
    """
    weight = np.ones(flat.shape) if use is None else use.astype(float)
    inside = flat[weight > 0] if (weight > 0).any() else flat
    middle = np.median(inside)
    spread = arrays.spread(inside, centre=middle) + 1e-300
    z = np.clip(flat - middle, -2.5 * spread, 2.5 * spread)
    y, x = np.arange(flat.shape[0])[:, None], np.arange(flat.shape[1])[None]
    wave = np.exp(-2j * np.pi * (k[0] * y + k[1] * x))
    product = z * weight * wave

    # the average is smooth: blocks of a third of its width carry it
    f = max(1, int(sigma_px / 3))

    def smooth(a: np.ndarray) -> np.ndarray:
        return np.asarray(
            scipy.ndimage.gaussian_filter(a, sigma_px / f, mode="nearest", truncate=3.0)
        )

    blocks = [_blocks(a, f) for a in (weight, product.real, product.imag)]
    norm = np.maximum(smooth(blocks[0]), 1e-6)
    coarse = (smooth(blocks[1]) + 1j * smooth(blocks[2])) / norm
    if f == 1:
        return np.angle(coarse), 2 * np.abs(coarse)
    rows = np.clip((np.arange(flat.shape[0]) + 0.5) / f - 0.5, 0, coarse.shape[0] - 1)
    cols = np.clip((np.arange(flat.shape[1]) + 0.5) / f - 0.5, 0, coarse.shape[1] - 1)
    found = _between(_between(coarse, rows).T, cols).T
    return np.angle(found), 2 * np.abs(found)


def _blocks(a: np.ndarray, f: int) -> np.ndarray:
    """Means of f x f blocks, the last ones filled by repeating the border."""
    if f == 1:
        return a
    a = np.pad(a, [(0, (-s) % f) for s in a.shape], mode="edge")
    return np.asarray(a.reshape(a.shape[0] // f, f, a.shape[1] // f, f).mean((1, 3)))


def _between(a: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis."""
    low = np.minimum(at.astype(int), max(len(a) - 2, 0))
    part = (at - low)[:, None]
    return np.asarray((1 - part) * a[low] + part * a[np.minimum(low + 1, len(a) - 1)])


def lattice_sites(
    shape: tuple[int, int], lattice: RowLattice, phases: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Positions (n, 2) at which both waves are highest."""
    k = np.stack([lattice.k_row, lattice.k_along])
    inverse = np.linalg.inv(k)
    middle = (np.asarray(shape) - 1) / 2

    def at(p: np.ndarray) -> np.ndarray:
        q = np.clip(np.rint(p).astype(int), 0, np.asarray(shape) - 1)
        return np.stack([f[q[:, 0], q[:, 1]] for f in phases], 1) / (2 * np.pi)

    start = k @ middle + at(middle[None])[0]
    reach = np.abs(k) @ (np.asarray(shape) / 2 + 2)
    i, j = (
        v.ravel() for v in np.mgrid[-int(reach[0]) - 1 : int(reach[0]) + 2,
                                    -int(reach[1]) - 1 : int(reach[1]) + 2]
    )  # fmt: skip
    number = np.round(start) + np.c_[i, j]
    # unwrapped phases: those of the middle of the scan, followed outwards by the smooth rest
    fields = [_unwrapped(f) for f in phases]

    def unwrapped_at(p: np.ndarray) -> np.ndarray:
        return np.stack(
            [scipy.ndimage.map_coordinates(f, p.T, order=1, mode="nearest") for f in fields], 1
        ) / (2 * np.pi)

    p = (number - unwrapped_at(middle[None])) @ inverse.T
    for _ in range(6):
        p = (number - unwrapped_at(p)) @ inverse.T
    inside = ((p >= 0) & (p <= np.asarray(shape) - 1)).all(1)
    return np.asarray(p[inside])


def _unwrapped(phase: np.ndarray) -> np.ndarray:
    from skimage.restoration import unwrap_phase

    return np.asarray(unwrap_phase(phase)) if np.ptp(phase) > 2 * np.pi - 0.5 else phase


def row_lines(flat: np.ndarray, lattice: RowLattice, use: np.ndarray) -> list[np.ndarray]:
    """Centres of the dimer rows as lines, (row, column) in pixels."""
    from skimage.measure import find_contours

    phase, _ = local_phase(flat, lattice.k_row, 3 * lattice.row_px, use)
    y, x = np.arange(flat.shape[0])[:, None], np.arange(flat.shape[1])[None]
    angle = 2 * np.pi * (lattice.k_row[0] * y + lattice.k_row[1] * x) + phase
    crest = np.cos(angle) > 0
    lines = find_contours(np.sin(angle), 0.0, mask=use & crest)
    return [line for line in lines if len(line) > 2 * lattice.row_px]
