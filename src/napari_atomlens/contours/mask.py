"""Descriptors of labels: moments as sums over pixels, equal to scikit-image's regionprops."""

from __future__ import annotations

import numpy as np

from napari_atomlens.contours import polygons
from napari_atomlens.contours.follow import label_outlines


class LabelPixels:
    """The pixels of every label of an image.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        0 is background.

    Attributes
    ----------
    ids : ndarray of int, shape (n,)
        Labels, ascending.
    first : ndarray of int, shape (n,)
        Flat index of the first pixel of each.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = np.asarray(labels)
        flat = self.labels.ravel()
        self.at = np.flatnonzero(flat)
        self.found = flat[self.at].astype(np.int64)
        self.n = int(self.found.max(initial=0)) + 1
        self.count = np.bincount(self.found, minlength=self.n)
        self.ids = np.flatnonzero(self.count)
        first = np.zeros(self.n, np.int64)
        first[self.found[::-1]] = self.at[::-1]  # the last assignment wins
        self.first = first[self.ids]

    def sums(self, weight: np.ndarray) -> np.ndarray:
        """Sum of a weight of every pixel, for each label."""
        return np.bincount(self.found, weight, self.n)[self.ids]

    def moments(self, order: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Central moments of every label, each pixel a point of weight one.

        Returns
        -------
        centroid : ndarray, shape (n, 2)
        mu : ndarray, shape (n, order + 1, order + 1)
            ``[:, p, q]``: sum of (row - mean)^p (column - mean)^q.
        """
        rows, cols = np.divmod(self.at, self.labels.shape[1])
        count = np.maximum(self.count, 1)
        cy = np.bincount(self.found, rows, self.n) / count
        cx = np.bincount(self.found, cols, self.n) / count
        dy, dx = rows - cy[self.found], cols - cx[self.found]
        mu = np.zeros((len(self.ids), order + 1, order + 1))
        mu[:, 0, 0] = self.count[self.ids]
        row_power = np.ones(len(self.at))
        for p in range(order + 1):
            weight = row_power.copy()
            for q in range(order + 1 - p):
                if p + q > 1:
                    mu[:, p, q] = self.sums(weight)
                weight *= dx
            row_power *= dy
        return np.stack([cy[self.ids], cx[self.ids]], 1), mu

    def values(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum and maximum of an image over every label."""
        values = np.asarray(image, float).ravel()[self.at]
        top = np.full(self.n, -np.inf)
        np.maximum.at(top, self.found, values)
        return self.sums(values), top[self.ids]


def describe_labels(pixels: LabelPixels) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Describe every label: moments from its pixels, the rest from its outline.

    Returns
    -------
    ids : ndarray of int, shape (n,)
    vertices : ndarray, shape (n, m, 2)
        Outlines half-way between inner and outer pixels.
    shape : dict of str to ndarray, shape (n,)
    """
    vertices, _ = label_outlines(pixels.labels, pixels.ids, pixels.first)
    shape = polygons.basic_shape(vertices, 3)
    centroid, mu = pixels.moments()
    shape |= polygons.from_moments(mu)
    shape |= {"centroid_y_px": centroid[:, 0], "centroid_x_px": centroid[:, 1]}
    return pixels.ids, vertices.astype(float), shape
