"""Whether the pixels of an image are not square, told by the image itself.

Pixels that are higher than wide squeeze the lattice and its columns by the same factor, along the
same side of the image; tilt, astigmatism and pairs of columns draw out columns alone. So two things
are measured: how far the mean column is drawn out along a side, and by which factor the lattice
must be stretched to be square or hexagonal. Only where both agree the pixels are taken for unequal.
"""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens.errors import ImageError
from napari_atomlens.segmentation.normalise import remove_hot_pixels
from napari_atomlens.segmentation.pixels import recorded_box
from napari_atomlens.segmentation.squares import Stretch

#: Sides whose ratio is less are not looked for: dumbbells are drawn out as much.
LEAST, MOST = 1.7, 8.0
#: Both ratios agree within this factor.
AGREE = 1.15
#: Columns are drawn out along a side of the image within so many degrees.
ALONG = 5.0
#: A lattice is square or hexagonal when its vectors differ by less (of the length, or radian); it
#: is far from that before.
SYMMETRIC, SKEW = 0.03, 0.15
#: Spots of the spectrum are so many times as strong as what is usual at their distance.
STRONG, SPOTS = 25.0, 24
SIDE = 512


def seeming_stretch(image: np.ndarray) -> Stretch:
    """How many square pixels each pixel seems to be, (y, x); (1, 1) in any doubt.

    Parameters
    ----------
    image : ndarray, shape (H, W)

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("square", (288, 288), 15.0)
    >>> seeming_stretch(image)
    (1.0, 1.0)
    >>> ratio, _ = seeming_stretch(image.reshape(96, 3, 288).sum(1))
    >>> bool(2.9 < ratio < 3.1)
    True
    """
    try:
        frame = remove_hot_pixels(recorded_box(image))
    except ImageError:
        return 1.0, 1.0
    y, x = ((s - min(s, SIDE)) // 2 for s in frame.shape)
    part = frame[y : y + SIDE, x : x + SIDE].astype(float)
    if min(part.shape) < 48:
        return 1.0, 1.0
    drawn_out = _drawn_out(part)
    if not LEAST <= max(drawn_out, 1 / drawn_out) <= MOST:
        return 1.0, 1.0
    spots = _spots(part)
    if len(spots) < 3 or _skewness(spots, 1.0) < SKEW:
        return 1.0, 1.0
    ratios = drawn_out * np.geomspace(1 / AGREE, AGREE, 57)
    skew = np.array([_skewness(spots, r) for r in ratios])
    best = int(skew.argmin())
    if skew[best] > SYMMETRIC:
        return 1.0, 1.0
    ratio = round(float(ratios[best]), 3)
    return (ratio, 1.0) if ratio > 1 else (1.0, round(1 / ratio, 3))


def _drawn_out(part: np.ndarray) -> float:
    """Width along x over width along y of the mean column; 1 where it is turned to neither.

    The middle of the autocorrelation is that of one column; noise is in its centre only.
    """
    h, w = part.shape
    spectrum = np.fft.rfft2(part - part.mean())
    slow = (np.abs(np.fft.fftfreq(h))[:, None] < 4 / h) & (np.fft.rfftfreq(w)[None] < 4 / w)
    own = np.fft.fftshift(np.fft.irfft2(np.where(slow, 0, np.abs(spectrum) ** 2), (h, w)))
    cy, cx = h // 2, w // 2
    own[cy, cx] = max(own[cy, cx + 1], own[cy + 1, cx])
    high = own > 0.5 * own[cy, cx]
    label = scipy.ndimage.label(high)[0]
    rows, cols = np.nonzero(label == label[cy, cx])
    keep = (rows != cy) | (cols != cx)
    dy, dx, value = (v[keep] for v in (rows - cy, cols - cx, own[rows, cols] / own[cy, cx]))
    if len(dy) < 6 or not 0 < np.ptp(dy) < h / 3 or not 0 < np.ptp(dx) < w / 3:
        return 1.0
    # the logarithm of a Gaussian is a parabola, whatever its shape
    terms = np.stack([np.ones_like(value), dy**2, dy * dx, dx**2], axis=1) * value[:, None]
    _, yy, yx, xx = np.linalg.lstsq(terms, np.log(value) * value, rcond=None)[0]
    if not (yy < 0 and xx < 0 and 4 * yy * xx > yx**2):
        return 1.0
    turned = 0.5 * np.degrees(np.arctan2(abs(yx), abs(yy - xx)))
    return float(np.sqrt(yy / xx)) if turned < ALONG else 1.0


def _spots(part: np.ndarray) -> np.ndarray:
    """Strong spots (n, 2) of the spectrum in periods per pixel, one of each pair of opposites."""
    h, w = part.shape
    window = np.hanning(h)[:, None] * np.hanning(w)
    power = np.abs(np.fft.fftshift(np.fft.fft2((part - part.mean()) * window))) ** 2
    fy, fx = np.fft.fftshift(np.fft.fftfreq(h)), np.fft.fftshift(np.fft.fftfreq(w))
    far = np.hypot(fy[:, None] * h, fx[None] * w)
    ring = np.minimum(far.astype(int), max(h, w))
    usual = scipy.ndimage.median(power, ring, np.arange(ring.max() + 1))[ring]
    tops = (power == scipy.ndimage.maximum_filter(power, 5)) & (power > STRONG * usual) & (far > 3)
    rows, cols = np.nonzero(tops[1:-1, 1:-1])
    rows, cols = rows + 1, cols + 1
    half = (fy[rows] > 0) | ((fy[rows] == 0) & (fx[cols] > 0))
    rows, cols = rows[half], cols[half]
    order = np.argsort(power[rows, cols])[::-1][:SPOTS]
    rows, cols = rows[order], cols[order]
    log = np.log(power)

    def between(before: np.ndarray, here: np.ndarray, after: np.ndarray) -> np.ndarray:
        return 0.5 * (before - after) / np.minimum(before - 2 * here + after, -1e-9)

    here = log[rows, cols]
    dy = between(log[rows - 1, cols], here, log[rows + 1, cols])
    dx = between(log[rows, cols - 1], here, log[rows, cols + 1])
    return np.c_[fy[rows] + dy / h, fx[cols] + dx / w]


def _skewness(spots: np.ndarray, stretch: float) -> float:
    """How far a lattice is from square or hexagonal once it was stretched along y."""
    seen = spots / (stretch, 1.0)
    length = np.hypot(*seen.T)
    order = np.argsort(length)
    first = seen[order[0]]
    for k in order[1:]:
        cosine = abs(float(first @ seen[k])) / (length[order[0]] * length[k])
        if cosine < 0.75:  # not along the first
            angle = np.arccos(cosine)
            off = min(abs(angle - np.pi / 2), abs(angle - np.pi / 3))
            return float(np.log(length[k] / length[order[0]]) + off)
    return float("inf")
