"""Descriptors of labels: moments as sums over pixels, equal to scikit-image's regionprops."""

from __future__ import annotations

import numpy as np

from napari_atomlens.contours import polygons
from napari_atomlens.contours.follow import label_outlines


def pixel_moments(labels: np.ndarray, order: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Central moments of every label, each pixel a point of weight one.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        0 is background.
    order : int
        Highest order, p + q.

    Returns
    -------
    ids : ndarray of int, shape (n,)
        Labels, ascending.
    centroid : ndarray, shape (n, 2)
    mu : ndarray, shape (n, order + 1, order + 1)
        ``[:, p, q]``: sum of (row - mean)^p (column - mean)^q.
    """
    flat = np.asarray(labels).ravel()
    at = np.flatnonzero(flat)
    found = flat[at].astype(np.int64)
    n = int(found.max(initial=0)) + 1
    rows, cols = np.divmod(at, labels.shape[1])
    count = np.bincount(found, minlength=n)
    ids = np.flatnonzero(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        cy = np.bincount(found, rows, n) / count
        cx = np.bincount(found, cols, n) / count
    dy, dx = rows - cy[found], cols - cx[found]
    mu = np.zeros((len(ids), order + 1, order + 1))
    mu[:, 0, 0] = count[ids]
    for p in range(order + 1):
        for q in range(order + 1 - p):
            if p + q > 1:
                weight = np.ones(len(at))
                for _ in range(p):
                    weight *= dy
                for _ in range(q):
                    weight *= dx
                mu[:, p, q] = np.bincount(found, weight, n)[ids]
    return ids, np.stack([cy[ids], cx[ids]], 1), mu


def pixel_values(labels: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and maximum of an image over every label, in the order of :func:`pixel_moments`."""
    flat = np.asarray(labels).ravel()
    at = np.flatnonzero(flat)
    found, values = flat[at].astype(np.int64), np.asarray(image, float).ravel()[at]
    n = int(found.max(initial=0)) + 1
    ids = np.flatnonzero(np.bincount(found, minlength=n))
    top = np.full(n, -np.inf)
    np.maximum.at(top, found, values)
    return np.bincount(found, values, n)[ids], top[ids]


def describe_labels(
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Describe every label: moments from its pixels, the rest from its outline.

    Returns
    -------
    ids : ndarray of int, shape (n,)
    vertices : ndarray, shape (n, m, 2)
        Outlines half-way between inner and outer pixels.
    shape : dict of str to ndarray, shape (n,)
    """
    ids, vertices, _ = label_outlines(labels)
    shape = polygons.basic_shape(vertices, 3)
    _, centroid, mu = pixel_moments(labels)
    shape |= polygons.from_moments(mu)
    shape |= {"centroid_y_px": centroid[:, 0], "centroid_x_px": centroid[:, 1]}
    return ids, vertices.astype(float), shape
