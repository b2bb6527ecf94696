"""First least-squares refinement: every column a Gaussian, neighbours taken off.

All columns of a frame take a damped Gauss-Newton step together; between steps the model
of the whole frame is rendered, so that each column is fitted to what its neighbours
leave. The joint maximum-likelihood fit replaces this function behind the same signature.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

#: Columns per batch: small enough for the cache, large enough for numpy.
CHUNK = 1024
WORKERS = 4
#: The width of a column is free within this much (relative standard deviation) of the
#: median width, weighed against the noise: it steadies faint columns.
WIDTH_FREEDOM = 0.25


@dataclass
class Fit:
    """Columns after refinement, each attribute an array of shape (n,), in image pixels."""

    y: np.ndarray
    x: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    background: np.ndarray
    y_err: np.ndarray
    x_err: np.ndarray
    amplitude_err: np.ndarray
    ok: np.ndarray


def bin_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of factor x factor blocks; an incomplete last block is left out."""
    if factor == 1:
        return image
    h, w = (s // factor * factor for s in image.shape)
    return image[:h, :w].reshape(h // factor, factor, w // factor, factor).mean((1, 3))


def refine(image: np.ndarray, positions: np.ndarray, spacing_px: float, steps: int = 6) -> Fit:
    """Refine column positions on the original pixels.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    positions : ndarray, shape (n, 2)
        First guess (y, x) in pixels.
    spacing_px : float
        Distance between nearest columns in pixels.
    steps : int
        Gauss-Newton steps at most.

    Returns
    -------
    Fit
        Standard errors come from the curvature and the residuals of each patch. Where a
        fit ran away or made no sense, ``ok`` is False and the first guess is returned.
    """
    # at least about 12 px between columns carry all the information; more only cost time
    factor = max(1, int(spacing_px // 14))
    data = bin_image(np.asarray(image, np.float32), factor)
    # patches are summed in single precision: bring them to order one first
    level, scale = float(np.median(data)), float(data.std()) or 1.0
    data = (data - np.float32(level)) / np.float32(scale)
    spacing = spacing_px / factor
    start = (positions + 0.5) / factor - 0.5
    fit = _refine(data, start, spacing, steps)
    fit.y, fit.x = (fit.y + 0.5) * factor - 0.5, (fit.x + 0.5) * factor - 0.5
    for name in ("sigma", "y_err", "x_err"):
        setattr(fit, name, getattr(fit, name) * factor)
    fit.amplitude, fit.amplitude_err = fit.amplitude * scale, fit.amplitude_err * scale
    fit.background = fit.background * scale + level
    return fit


#: Terms of the Jacobian as products of an axis function of y and one of x: the functions
#: are g, g d, g d^2 and 1, where g is the Gaussian factor and d the distance.
_TERM_Y, _TERM_X = np.array([1, 0, 0, 2, 0, 3]), np.array([0, 1, 0, 0, 2, 3])


def _axis(centre: np.ndarray, sigma: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of each patch along one axis, and the four axis functions, (n, 4, pixels)."""
    first = np.rint(centre).astype(np.int64) - radius
    d = first[:, None] + np.arange(2 * radius + 1) - centre[:, None]
    d = d.astype(np.float32)
    g = np.exp(-0.5 * (d / sigma[:, None].astype(np.float32)) ** 2)
    return first, np.stack([g, g * d, g * d**2, np.ones_like(d)], axis=1)


def _patch_index(first_y: np.ndarray, first_x: np.ndarray, size: int, stride: int) -> np.ndarray:
    corner = first_y * stride + first_x
    return corner[:, None, None] + (np.arange(size)[:, None] * stride + np.arange(size))[None]


def _each_chunk(work: Callable[[slice], None], n: int) -> None:
    """Run `work` on slices of n columns, in threads: numpy lets go of the interpreter."""
    slices = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    if len(slices) == 1:
        work(slices[0])
        return
    with ThreadPoolExecutor(max_workers=min(len(slices), WORKERS)) as pool:
        list(pool.map(work, slices))


def _refine(image: np.ndarray, start: np.ndarray, spacing: float, steps: int) -> Fit:
    n, shape = len(start), image.shape
    if n == 0:
        return Fit(*np.zeros((8, 0)), ok=np.zeros(0, bool))  # type: ignore[misc]
    y, x = start[:, 0].copy(), start[:, 1].copy()
    distance, around = cKDTree(start).query(start, k=min(7, n))
    distance, around = distance.reshape(n, -1), around.reshape(n, -1)
    nearest = distance[:, 1] if n > 1 else np.full(1, spacing)
    # the background is smooth over a column and its nearest neighbours
    apart = distance > 2.5 * spacing
    around = np.where(apart, np.arange(n)[:, None], around)
    reach = np.clip(nearest, 0.5 * spacing, 1.5 * spacing)
    typical = float(np.median(reach))
    radius = int(np.clip(round(0.75 * typical), 2, 14))
    size = 2 * radius + 1
    # patches never leave the padded image; weights are zero outside of the real one
    pad = int(np.clip(round(1.1 * typical), radius, 22)) + int(np.ceil(0.5 * typical)) + 2
    padded = np.pad(image, pad, mode="edge")
    stride, flat = padded.shape[1], padded.ravel()
    prior = 0.28 * typical
    sigma = np.full(n, prior)
    background, amplitude = np.empty(n), np.empty(n)

    def begin(c: slice) -> None:
        first_y, first_x = (np.rint(v[c]).astype(np.int64) - radius + pad for v in (y, x))
        patch = flat[_patch_index(first_y, first_x, size, stride)]
        background[c] = np.partition(patch.reshape(len(patch), -1), size * size // 7, axis=1)[
            :, size * size // 7
        ]
        amplitude[c] = patch[:, radius, radius] - background[c]

    _each_chunk(begin, n)
    floor = 1e-3 * max(float(image.std()), 1e-30)
    np.maximum(amplitude, floor, out=amplitude)
    y_err, x_err, a_err = np.full((3, n), np.nan)
    moved = np.zeros(n)
    residual = flat
    width = 0.6 * typical

    def weights(first: np.ndarray, centre: np.ndarray, length: int) -> np.ndarray:
        pixel = first[:, None] + np.arange(size)
        inside = (pixel >= 0) & (pixel < length)
        falls = np.exp(-0.5 * ((pixel - centre[:, None]) / width) ** 2)
        return (inside * falls).astype(np.float32)

    def step(c: slice) -> None:
        """One Gauss-Newton step of the columns of one chunk."""
        first_y, fy = _axis(y[c], sigma[c], radius)
        first_x, fx = _axis(x[c], sigma[c], radius)
        wy, wx = weights(first_y, y[c], shape[0]), weights(first_x, x[c], shape[1])
        r = residual[_patch_index(first_y + pad, first_x + pad, size, stride)]
        r -= background[c, None, None].astype(np.float32)
        # every term of the Jacobian is a product of a function of y and one of x, and so is
        # the weight: sums over the patch become products of sums along its sides
        moments = ((fy * wy[:, None]) @ r @ (fx * wx[:, None]).transpose(0, 2, 1)).astype(float)
        inner_y = (fy * wy[:, None]) @ fy.transpose(0, 2, 1)
        inner_x = (fx * wx[:, None]) @ fx.transpose(0, 2, 1)
        inner_y, inner_x = inner_y.astype(float), inner_x.astype(float)
        inner = inner_y[:, _TERM_Y[:, None], _TERM_Y] * inner_x[:, _TERM_X[:, None], _TERM_X]
        slope = amplitude[c] / sigma[c] ** 2
        mix = np.zeros((len(slope), 5, 6))
        mix[:, 0, 0] = mix[:, 1, 1] = mix[:, 3, 3] = mix[:, 3, 4] = slope
        mix[:, 2, 2] = mix[:, 4, 5] = 1
        turn = mix.transpose(0, 2, 1)
        normal = mix @ inner @ turn
        gradient = (mix @ moments[:, _TERM_Y, _TERM_X][:, :, None])[:, :, 0]
        used = wy.sum(1) * wx.sum(1)
        spread = (wy[:, None] @ r**2 @ wx[:, :, None])[:, 0, 0] / np.maximum(used - 5, 1)
        tie = spread / WIDTH_FREEDOM**2
        bound = normal.copy()
        bound[:, 3, 3] += tie
        gradient[:, 3] += tie * np.log(prior / sigma[c])
        diagonal = np.arange(5)
        bound[:, diagonal, diagonal] *= 1 + 1e-9
        bound[:, diagonal, diagonal] += 1e-30
        inverse = np.linalg.inv(bound)
        delta = (inverse @ gradient[:, :, None])[:, :, 0]
        limit = 0.15 * reach[c]
        sy, sx = (np.clip(delta[:, k], -limit, limit) for k in (0, 1))
        y[c], x[c] = y[c] + sy, x[c] + sx
        amplitude[c] = np.maximum(amplitude[c] + delta[:, 2], 0.02 * np.abs(amplitude[c]))
        sigma[c] = np.clip(
            sigma[c] * np.exp(np.clip(delta[:, 3], -0.25, 0.25)), 0.35, 0.6 * typical + 0.35
        )
        background[c] += delta[:, 4]
        moved[c] = np.hypot(sy, sx)
        # least squares whose weights are not those of the noise: sandwich
        outer_y = (fy * wy[:, None] ** 2) @ fy.transpose(0, 2, 1)
        outer_x = (fx * wx[:, None] ** 2) @ fx.transpose(0, 2, 1)
        outer = outer_y[:, _TERM_Y[:, None], _TERM_Y] * outer_x[:, _TERM_X[:, None], _TERM_X]
        covariance = inverse @ (mix @ outer @ turn) @ inverse * spread[:, None, None]
        y_err[c] = np.sqrt(np.maximum(covariance[:, 0, 0], 0))
        x_err[c] = np.sqrt(np.maximum(covariance[:, 1, 1], 0))
        a_err[c] = np.sqrt(np.maximum(covariance[:, 2, 2], 0))

    for index in range(steps):
        # columns may leave by half a spacing before their patch would leave the padding
        np.clip(y, -0.4 * typical, shape[0] - 1 + 0.4 * typical, out=y)
        np.clip(x, -0.4 * typical, shape[1] - 1 + 0.4 * typical, out=x)
        # each column sees what the others leave: the image less the model, plus itself
        residual = flat - _render(y, x, amplitude, sigma, padded.shape, pad, typical)
        _each_chunk(step, n)
        background = np.median(background[around], axis=1)
        if index == 1:
            prior = float(np.median(sigma))
        # steps far below the error of a position are not worth their time
        enough = max(2e-3, 0.04 * float(np.nanmedian(y_err)))
        if index > 1 and np.quantile(moved, 0.98) < enough:
            break
    shift = np.hypot(y - start[:, 0], x - start[:, 1])
    ok = (
        np.isfinite(y) & np.isfinite(x) & np.isfinite(sigma)
        & (shift < 0.25 * reach) & (amplitude > floor)
        & (np.hypot(y_err, x_err) < 0.25 * reach)
        & (y > -0.5) & (y < shape[0] - 0.5) & (x > -0.5) & (x < shape[1] - 0.5)
    )  # fmt: skip
    y, x = np.where(ok, y, start[:, 0]), np.where(ok, x, start[:, 1])
    return Fit(y, x, amplitude, sigma, background, y_err, x_err, a_err, ok)


def _render(
    y: np.ndarray,
    x: np.ndarray,
    amplitude: np.ndarray,
    sigma: np.ndarray,
    shape: tuple[int, int],
    pad: int,
    typical: float,
) -> np.ndarray:
    """Model of all columns on the padded image, flat."""
    radius = int(np.clip(np.ceil(3.3 * np.median(sigma)), 2, np.clip(round(1.1 * typical), 2, 22)))
    size, stride = 2 * radius + 1, shape[1]
    strips: dict[int, tuple[int, np.ndarray]] = {}

    def draw(c: slice) -> None:
        first_y, fy = _axis(y[c], sigma[c], radius)
        first_x, fx = _axis(x[c], sigma[c], radius)
        # columns come sorted by row: a chunk touches a strip of the image only
        top = int(first_y.min()) + pad
        index = _patch_index(first_y + pad - top, first_x + pad, size, stride)
        tall = amplitude[c, None].astype(np.float32) * fy[:, 0]
        values = tall[:, :, None] * fx[:, 0][:, None, :]
        strips[c.start] = top * stride, np.bincount(index.ravel(), values.ravel())

    _each_chunk(draw, len(y))
    # summed in a fixed order, so that threads change nothing
    total = np.zeros(shape[0] * shape[1], np.float32)
    for key in sorted(strips):
        start, strip = strips[key]
        total[start : start + len(strip)] += strip.astype(np.float32)
    return total
