"""First least-squares refinement: every column a Gaussian, neighbours taken off.

All columns of a frame take a damped Gauss-Newton step together; between steps the model
of the whole frame is rendered, so that each column is fitted to what its neighbours
leave. The joint maximum-likelihood fit replaces this function behind the same signature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

#: Columns per batch of the normal equations: bounds memory.
CHUNK = 8192


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
    ok: np.ndarray


def bin_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of factor x factor blocks; an incomplete last block is left out."""
    if factor == 1:
        return image
    h, w = (s // factor * factor for s in image.shape)
    return image[:h, :w].reshape(h // factor, factor, w // factor, factor).mean((1, 3))


def refine(image: np.ndarray, positions: np.ndarray, spacing_px: float, steps: int = 8) -> Fit:
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
    data = bin_image(np.asarray(image, np.float64), factor)
    spacing = spacing_px / factor
    start = (positions + 0.5) / factor - 0.5
    fit = _refine(data, start, spacing, steps)
    fit.y, fit.x = (fit.y + 0.5) * factor - 0.5, (fit.x + 0.5) * factor - 0.5
    for name in ("sigma", "y_err", "x_err"):
        setattr(fit, name, getattr(fit, name) * factor)
    return fit


def _axes(
    y: np.ndarray, x: np.ndarray, sigma: np.ndarray, shape: tuple[int, int], radius: int
) -> tuple[np.ndarray, ...]:
    """Patch pixel indices and the separable Gaussian factors along both axes."""
    t = np.arange(-radius, radius + 1)
    rows = np.rint(y).astype(np.int64)[:, None] + t
    cols = np.rint(x).astype(np.int64)[:, None] + t
    dy, dx = rows - y[:, None], cols - x[:, None]
    inside = (
        ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((cols >= 0) & (cols < shape[1]))[:, None, :]
    )
    gy, gx = np.exp(-0.5 * (dy / sigma[:, None]) ** 2), np.exp(-0.5 * (dx / sigma[:, None]) ** 2)
    flat = np.clip(rows, 0, shape[0] - 1)[:, :, None] * shape[1] + np.clip(cols, 0, shape[1] - 1)[
        :, None, :
    ]
    return dy, dx, gy, gx, inside, flat


def _render(
    y: np.ndarray, x: np.ndarray, a: np.ndarray, s: np.ndarray, shape: tuple[int, int], radius: int
) -> np.ndarray:
    out = np.zeros(shape[0] * shape[1])
    for i in range(0, len(y), CHUNK):
        c = slice(i, i + CHUNK)
        _, _, gy, gx, inside, flat = _axes(y[c], x[c], s[c], shape, radius)
        values = a[c, None, None] * gy[:, :, None] * gx[:, None, :]
        out += np.bincount(flat[inside], values[inside], minlength=out.size)
    return out


def _refine(image: np.ndarray, start: np.ndarray, spacing: float, steps: int) -> Fit:
    n, shape = len(start), image.shape
    if n == 0:
        return Fit(*(np.zeros(0) for _ in range(7)), ok=np.zeros(0, bool))
    y, x = start[:, 0].copy(), start[:, 1].copy()
    nearest = (
        cKDTree(start).query(start, k=2)[0][:, 1] if n > 1 else np.full(1, spacing)
    )
    reach = np.clip(nearest, 0.5 * spacing, 1.5 * spacing)
    typical = float(np.median(reach))
    radius = int(np.clip(round(0.55 * typical), 2, 12))
    wide = int(np.clip(round(1.3 * typical), radius, 24))
    # first values: flat background of a patch, half of the spacing between the flanks
    iy = np.clip(np.rint(y).astype(int), 0, shape[0] - 1)
    ix = np.clip(np.rint(x).astype(int), 0, shape[1] - 1)
    flat = image.ravel()
    prior = 0.28 * typical
    sigma = np.full(n, prior)
    patch_low = np.empty(n)
    for i in range(0, n, CHUNK):
        c = slice(i, i + CHUNK)
        _, _, _, _, inside, index = _axes(y[c], x[c], sigma[c], shape, radius)
        values = np.where(inside, flat[index], np.nan).reshape(index.shape[0], -1)
        patch_low[c] = np.nanpercentile(values, 15, axis=1)
    background = patch_low
    amplitude = np.maximum(image[iy, ix] - background, 1e-3 * max(image.std(), 1e-12))
    # the relative freedom of the width; a shared guess steadies faint columns
    freedom = 0.25
    y_err, x_err = np.full(n, np.nan), np.full(n, np.nan)
    damping = 1.0
    for step in range(steps):
        model = _render(y, x, amplitude, sigma, shape, wide)
        residual = flat - model
        moved = 0.0
        for i in range(0, n, CHUNK):
            c = slice(i, i + CHUNK)
            dy, dx, gy, gx, inside, index = _axes(y[c], x[c], sigma[c], shape, radius)
            own = gy[:, :, None] * gx[:, None, :]
            a, s = amplitude[c, None, None], sigma[c, None, None]
            weight = inside * np.exp(-0.5 * (dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / (0.5 * typical) ** 2)
            r = residual[index] - background[c, None, None]
            jac = np.stack(
                [
                    a * own * dy[:, :, None] / s**2,
                    a * own * dx[:, None, :] / s**2,
                    own,
                    a * own * (dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / s**2,
                    np.broadcast_to(1.0, own.shape),
                ],
                axis=1,
            ).reshape(len(own), 5, -1)
            w = weight.reshape(len(own), 1, -1)
            jw = jac * w
            normal = jw @ jac.transpose(0, 2, 1)
            gradient = (jw @ r.reshape(len(own), -1, 1))[:, :, 0]
            variance = (w[:, 0] * r.reshape(len(own), -1) ** 2).sum(1) / np.maximum(
                w[:, 0].sum(1) - 5, 1
            )
            # prior on log sigma: a quarter either way costs one standard deviation
            tie = variance / freedom**2
            normal[:, 3, 3] += tie
            gradient[:, 3] += tie * np.log(prior / sigma[c])
            ridge = 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-30
            normal[:, range(5), range(5)] += ridge
            delta = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
            limit = 0.15 * reach[c]
            sy, sx = (np.clip(damping * delta[:, k], -limit, limit) for k in (0, 1))
            y[c] += sy
            x[c] += sx
            amplitude[c] = np.maximum(amplitude[c] + damping * delta[:, 2], 1e-6 * abs(amplitude[c]))
            sigma[c] = np.clip(
                sigma[c] * np.exp(np.clip(damping * delta[:, 3], -0.25, 0.25)), 0.35, 0.6 * typical + 0.35
            )
            background[c] += damping * delta[:, 4]
            moved = max(moved, float(np.quantile(np.hypot(sy, sx), 0.98)))
            # weighted least squares: sandwich of the weights round the noise
            squared = (jac * w**2) @ jac.transpose(0, 2, 1)
            inverse = np.linalg.inv(normal)
            covariance = inverse @ squared @ inverse * variance[:, None, None]
            y_err[c] = np.sqrt(np.maximum(covariance[:, 0, 0], 0))
            x_err[c] = np.sqrt(np.maximum(covariance[:, 1, 1], 0))
        if step == 1:
            prior = float(np.median(sigma))
        if step > 2 and moved < 2e-3:
            break
    shift = np.hypot(y - start[:, 0], x - start[:, 1])
    ok = (
        np.isfinite(y) & np.isfinite(x) & np.isfinite(sigma)
        & (shift < 0.35 * reach) & (amplitude > 1e-3 * np.median(amplitude))
        & (y > -0.5) & (y < shape[0] - 0.5) & (x > -0.5) & (x < shape[1] - 0.5)
    )  # fmt: skip
    y, x = np.where(ok, y, start[:, 0]), np.where(ok, x, start[:, 1])
    return Fit(y, x, amplitude, sigma, background, y_err, x_err, ok)
