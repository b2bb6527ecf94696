"""What goes wrong on the way to a file: noise, scan faults, detectors, and post-processing."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def smooth_field(
    shape: tuple[int, int], scale_px: float, rng: np.random.Generator, octaves: int = 1
) -> np.ndarray:
    """Random field with zero mean and unit variance, smooth over `scale_px` pixels."""
    total = np.zeros(shape)
    for octave in range(octaves):
        step = max(scale_px / 2**octave / 2, 1.0)
        coarse = (int(np.ceil(shape[0] / step)) + 4, int(np.ceil(shape[1] / step)) + 4)
        noise = ndi.gaussian_filter(rng.standard_normal(coarse), 1.0, mode="wrap")
        factors = (
            (np.arange(shape[0]) + rng.uniform(0, step)) / step,
            (np.arange(shape[1]) + rng.uniform(0, step)) / step,
        )
        grid = np.meshgrid(*factors, indexing="ij")
        field = ndi.map_coordinates(noise, grid, order=1 if step < 2 else 3, mode="reflect")
        total += field / max(field.std(), 1e-9) / 2**octave
    return (total - total.mean()) / max(total.std(), 1e-9)


def pink_rows(
    shape: tuple[int, int], rng: np.random.Generator, exponent: float = 1.0
) -> np.ndarray:
    """1/f noise in the order of the scan (row after row), unit variance."""
    n = shape[0] * shape[1]
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n), 1 / n / 4)
    signal = np.fft.irfft(spectrum / frequency ** (exponent / 2), n)
    return (signal / signal.std()).reshape(shape)


def row_walk(n_rows: int, rng: np.random.Generator, jitter_px: float) -> np.ndarray:
    """Shift of each scan row along x: independent jitter plus a slow wander, in pixels."""
    wander = np.cumsum(rng.standard_normal(n_rows))
    wander -= ndi.uniform_filter1d(wander, min(n_rows, 31), mode="nearest")
    wander /= max(wander.std(), 1e-9)
    return jitter_px * (0.8 * rng.standard_normal(n_rows) + 0.6 * wander)


def shot_noise(intensity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts of an expected number of counts per pixel."""
    return rng.poisson(np.clip(intensity, 0, 1e9)).astype(float)


def hot_pixels(image: np.ndarray, n: int, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Set `n` random pixels to `factor` times the maximum of the image."""
    out = image.copy()
    rows, cols = rng.integers(0, image.shape[0], n), rng.integers(0, image.shape[1], n)
    out[rows, cols] = factor * image.max()
    return out


def skip_lines(image: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Replace `n` scan rows by the row before (a frozen scan) or by a flat value."""
    out = image.copy()
    for row in rng.integers(1, image.shape[0], n):
        out[row] = out[row - 1] if rng.random() < 0.5 else np.median(image)
    return out


def flyback(image: np.ndarray, width_px: float, strength: float) -> np.ndarray:
    """Smear of the first pixels of each row after the beam flew back."""
    x = np.arange(image.shape[1])
    return image + strength * image.std() * np.exp(-x / max(width_px, 1e-3))[None, :]


def to_8_bit(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Clip to percentiles and round to 256 levels, as people publish images."""
    a, b = np.percentile(image, [low, high])
    return np.rint(np.clip((image - a) / max(b - a, 1e-12), 0, 1) * 255)


def sharpen(image: np.ndarray, sigma_px: float, amount: float) -> np.ndarray:
    """Unsharp mask."""
    return image + amount * (image - ndi.gaussian_filter(image, sigma_px))
