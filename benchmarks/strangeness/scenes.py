"""Lattices, columns, noise and films, with numpy and scipy alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

#: Share of the volume of a column in its tails, and how much wider these are.
TAIL, WIDER = 0.06, 2.2


@dataclass
class Scene:
    """An image and what is in it.

    Attributes
    ----------
    image : ndarray, (H, W) or (T, H, W)
    true : ndarray, shape (N, 2)
        Row and column of every column that must be found.
    spacing : float
        Distance between nearest columns, in pixels.
    optional : ndarray, shape (M, 2)
        Columns that may be found or not, such as those of the rim of a particle.
    ignored : ndarray of bool, shape (H, W), or None
        Where neither a found nor a missed column counts.
    heights : ndarray, shape (N,), or None
        True heights, in grey values, where they are judged.
    pixel_size_nm : float, tuple of float or None
    empty_frames : tuple of int
        Frames of a movie without any column; `true` holds for the others.
    """

    image: np.ndarray
    true: np.ndarray
    spacing: float
    optional: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    ignored: np.ndarray | None = None
    heights: np.ndarray | None = None
    pixel_size_nm: float | tuple[float, float] | None = None
    empty_frames: tuple[int, ...] = ()


#: Name, second vector over the first (length, angle in degrees), and the basis: place along both
#: vectors and weight. The spacing is that of nearest columns: `nearest` of a cell of length 1.
LATTICES: dict[str, tuple[float, float, list[tuple[float, float, float]], float]] = {
    "square": (1.0, 90.0, [(0, 0, 1.0)], 1.0),
    "hexagonal": (1.0, 60.0, [(0, 0, 1.0)], 1.0),
    "honeycomb": (1.0, 60.0, [(0, 0, 1.0), (1 / 3, 1 / 3, 1.0)], 1 / np.sqrt(3)),
    "tmd": (1.0, 60.0, [(0, 0, 1.0), (1 / 3, 1 / 3, 0.45)], 1 / np.sqrt(3)),
    "perovskite": (1.0, 90.0, [(0, 0, 1.0), (0.5, 0.5, 0.5)], 1 / np.sqrt(2)),
    "oxide": (1.0, 90.0, [(0, 0, 1.0), (0.5, 0.5, 0.75), (0.5, 0, 0.37), (0, 0.5, 0.37)], 0.5),
    "dumbbell": (np.sqrt(2), 90.0,
                 [(0, 0, 1.0), (0, 0.25, 1.0), (0.5, 0.5, 1.0), (0.5, 0.75, 1.0)], 0.25 * np.sqrt(2)),
}  # fmt: skip
ORDINARY = ("square", "hexagonal", "honeycomb", "tmd", "perovskite")
#: Width of a column in nearest spacings.
WIDTH = {"dumbbell": 0.34, "oxide": 0.27}


def lattice(
    kind: str, shape: tuple[int, int], spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of a lattice turned and shifted by chance, a margin included."""
    ratio, angle, basis, nearest = LATTICES[kind]
    size = spacing / nearest
    turn = rng.uniform(0, 2 * np.pi)
    a = size * np.array([np.sin(turn), np.cos(turn)])
    b = size * ratio * np.array(
        [np.sin(turn + np.radians(angle)), np.cos(turn + np.radians(angle))]
    )  # fmt: skip
    n = int(1.5 * (max(shape) + 4 * size) / (size * min(ratio, 1.0) * np.sin(np.radians(angle))))
    i, j = (k.ravel() for k in np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1)))
    origin = np.array(shape) / 2 + rng.uniform(-0.5, 0.5, 2) * size
    places, weights = [], []
    for along_a, along_b, weight in basis:
        places.append(
            origin + (i + along_a)[:, None] * a[None] + (j + along_b)[:, None] * b[None]
        )  # fmt: skip
        weights.append(np.full(len(i), weight))
    p, w = np.concatenate(places), np.concatenate(weights)
    margin = 1.5 * spacing
    near = ((p > -margin) & (p < np.array(shape) - 1 + margin)).all(1)
    return p[near], w[near]


def columns(
    shape: tuple[int, int],
    places: np.ndarray,
    height: np.ndarray | float,
    sigma: np.ndarray | float,
    *,
    stretch: float = 1.0,
    direction: float = 0.0,
    tail: float = TAIL,
) -> np.ndarray:
    """Sum of columns: Gaussians of peak `height` with wider tails.

    Elongated `stretch` times along `direction` (radians from +x) at the same area.
    """
    image = np.zeros(shape)
    heights = np.broadcast_to(np.asarray(height, float), len(places))
    sigmas = np.broadcast_to(np.asarray(sigma, float), len(places))
    cos, sin = np.cos(direction), np.sin(direction)
    for (y, x), h, s in zip(places, heights, sigmas, strict=True):
        reach = int(np.ceil(4.5 * s * np.sqrt(stretch) * (WIDER if tail else 1)))
        top, left = max(0, round(y) - reach), max(0, round(x) - reach)
        bottom, right = min(shape[0], round(y) + reach + 1), min(shape[1], round(x) + reach + 1)
        if bottom <= top or right <= left:
            continue
        dy = (np.arange(top, bottom) - y)[:, None]
        dx = (np.arange(left, right) - x)[None]
        if stretch == 1.0:
            r2 = (dy**2 + dx**2) / s**2
        else:
            r2 = (
                (cos * dx + sin * dy) ** 2 / stretch + (cos * dy - sin * dx) ** 2 * stretch
            ) / s**2
        share = tail / WIDER**2  # in height, as `tail` is one of volumes
        value = (1 - tail) * np.exp(-r2 / 2)
        if tail:
            value = value + share * np.exp(-r2 / 2 / WIDER**2)
        image[top:bottom, left:right] += h * value
    return image


def peak(counts: float, sigma: float) -> float:
    """Height of a column of so many counts."""
    return counts / (2 * np.pi * sigma**2)


def inside(places: np.ndarray, shape: tuple[int, int], margin: float) -> np.ndarray:
    """Which places lie so far within the frame."""
    return ((places >= margin) & (places <= np.array(shape) - 1 - margin)).all(1)


def speckle(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Speckle of an amorphous film: mean 0, spread 1, grains of a Gaussian of `size` pixels."""
    field_ = ndimage.gaussian_filter(rng.normal(size=shape), size, mode="wrap")
    return field_ / field_.std()


def scan_noise(image: np.ndarray, rms_px: float, rng: np.random.Generator) -> np.ndarray:
    """Every line shifted by chance, as flicker of the scan does."""
    shifts = rng.normal(0, rms_px, image.shape[0])
    x = np.arange(image.shape[1], dtype=float)
    return np.stack([np.interp(x - s, x, row) for s, row in zip(shifts, image, strict=True)])


def counted(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts of a clean image, as float32."""
    return rng.poisson(np.clip(clean, 0, None)).astype(np.float32)
