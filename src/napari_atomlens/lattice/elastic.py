"""What edge dislocations do to an isotropic body: J. P. Hirth and J. Lothe, Theory of Dislocations.

With ``k = 1 / (1 - nu)``, x along the Burgers vector and y counter-clockwise from it, as drawn,
the displacement is ``b / (2 pi)`` times ``theta + k x y / (2 r^2)`` along x and
``-(2 - k) ln(r) / 2 - k (x^2 - y^2) / (4 r^2)`` along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StrainField:
    """The displacements round some dislocations.

    Attributes
    ----------
    places, burgers : ndarray, shape (c, 2)
        (y, x) in pixels; the displacement grows by the Burgers vector on a way round,
        counter-clockwise as drawn.
    stiffness : float
        ``1 / (1 - nu)``.
    """

    places: np.ndarray
    burgers: np.ndarray
    stiffness: float

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Gradient of the displacement at each place, shape (n, 2, 2)."""
        total = np.zeros((len(points), 2, 2))
        for place, vector in zip(self.places, self.burgers, strict=True):
            fixed, elastic = distortions(points, place, vector)
            total += fixed + self.stiffness * elastic
        return total

    def difference(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """How much more the ends are displaced than the starts, shape (n, 2), the short way."""
        total = np.zeros((len(start), 2))
        for place, vector in zip(self.places, self.burgers, strict=True):
            turned, scale = axes_of(vector)
            x0, y0 = ((start - place) @ turned).T
            x1, y1 = ((end - place) @ turned).T
            angle = np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
            along, across = np.zeros((2, len(start)))
            for x, y, sign in ((x0, y0, -1), (x1, y1, 1)):
                r2 = np.maximum(x * x + y * y, 1e-12)
                along += sign * self.stiffness * x * y / (2 * r2)
                across -= sign * (2 - self.stiffness) / 4 * np.log(r2)
                across -= sign * self.stiffness * (x * x - y * y) / (4 * r2)
            total += scale * np.stack([angle + along, across], -1) @ turned.T
        return total


def axes_of(burgers: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit vectors along a Burgers vector and counter-clockwise from it, as columns; b / 2 pi."""
    size = float(np.linalg.norm(burgers))
    e = burgers / size
    return np.stack([e, [-e[1], e[0]]], axis=1), size / (2 * np.pi)


def distortions(
    points: np.ndarray, place: np.ndarray, burgers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the displacement round an edge dislocation, (n, 2, 2) each, in (y, x).

    Returns
    -------
    fixed, elastic : ndarray
        The distortion is ``fixed + elastic / (1 - nu)``.
    """
    turned, scale = axes_of(burgers)
    x, y = ((points - place) @ turned).T
    r2 = np.maximum(x * x + y * y, 1e-12)
    r4 = r2 * r2
    fixed = np.stack([np.stack([-y / r2, x / r2], -1), np.stack([-x / r2, -y / r2], -1)], -2)
    elastic = np.stack(
        [
            np.stack([y * (y * y - x * x), x * (x * x - y * y)], -1) / 2,
            np.stack([x * r2 / 2 - x * y * y, y * r2 / 2 + x * x * y], -1),
        ],
        -2,
    ) / r4[:, None, None]  # fmt: skip
    return scale * (turned @ fixed @ turned.T), scale * (turned @ elastic @ turned.T)
