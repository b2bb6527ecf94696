"""Columns of a crystal as a table of atoms, with a truth and without an image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.graphs.views import View

#: Error of the place of a column on a background, over its width and the root of its counts.
WIDER = 1.45


@dataclass(frozen=True)
class Told:
    """How well columns are known, and what is wrong with the crystal.

    Attributes
    ----------
    counts : float
        Electrons in the faintest column that is seen: places and volumes are as uncertain as the
        fit of a lone column on a background of a fifth of its height.
    unlike : float
        Relative standard deviation of the volumes of equal columns, whatever the counts.
    strain : float
        Largest principal strain of an image that is distorted, area kept.
    wave_px : float
        Height of slow waves of the scan.
    missing, extra, replaced : float
        Shares of the columns that are vacant, between sites, or hold what another column does.
    exponent : float
        Power of Z of the volumes.
    faintest : float
        Columns dimmer than this, over the brightest, are not seen.
    """

    counts: float = 300.0
    unlike: float = 0.03
    strain: float = 0.0
    wave_px: float = 0.0
    missing: float = 0.0
    extra: float = 0.0
    replaced: float = 0.0
    exponent: float = 1.7
    faintest: float = 0.1


@dataclass(frozen=True, eq=False)
class ColumnList:
    """Columns as they would be found, and what they are.

    Attributes
    ----------
    atoms : pandas.DataFrame
        Atoms table, in no order.
    elements : ndarray of object
        What the crystal has at the site of each; "" for an extra column.
    occupant : ndarray of object
        What stands there.
    vacant : ndarray, shape (k, 2)
        Places (y, x) of the vacant sites, in pixels.
    vacant_elements : ndarray of object
    matrix : ndarray, shape (2, 2)
        ``place_nm @ matrix`` in pixels, without waves and noise.
    pixel_size_nm : float
    sigma_px : float
        Width of the columns.
    """

    atoms: pd.DataFrame
    elements: np.ndarray
    occupant: np.ndarray
    vacant: np.ndarray
    vacant_elements: np.ndarray
    matrix: np.ndarray
    pixel_size_nm: float
    sigma_px: float


def nearest_of(view: View, chosen: np.ndarray) -> float:
    """Distance in nm between the nearest two of some columns of a view."""
    shifts = np.array(list(product((-1, 0, 1), repeat=2))) @ view.columns.cell_nm
    places = view.columns.places_nm[chosen]
    gap = np.linalg.norm(places[:, None, None] + shifts - places[None, :, None], axis=-1)
    return float(gap[gap > 1e-6].min())


def _turned(rotation_rad: float, strain: float, rng: np.random.Generator) -> np.ndarray:
    """Rotation, and a stretch along a random direction that keeps the area."""
    c, s = np.cos(rotation_rad), np.sin(rotation_rad)
    axis = rng.uniform(0, np.pi)
    u = np.array([np.cos(axis), np.sin(axis)])
    stretch = (1 - 0.5 * strain) * np.eye(2) + strain * np.outer(u, u)
    turned = np.array([[c, s], [-s, c]]) @ stretch
    return np.asarray(turned / np.sqrt(np.linalg.det(stretch)))


def _waves(at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow displacements (y, x) of height one of a scan, at places in units of its side."""
    y, x = 2 * np.pi * at.T
    phase = rng.uniform(0, 2 * np.pi, 4)
    return np.stack(
        [np.sin(x + phase[0]) + 0.5 * np.sin(2 * y + phase[1]),
         np.sin(y + phase[2]) + 0.5 * np.sin(2 * x + phase[3])], axis=-1,
    )  # fmt: skip


def _replaced(
    site: np.ndarray,
    seen: np.ndarray,
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Columns of which some hold what another that is seen holds."""
    there = site.copy()
    for k in np.flatnonzero(rng.random(len(site)) < share).tolist():
        choice = seen[labels[seen] != labels[site[k]]]
        if len(choice):
            there[k] = rng.choice(choice)
    return there


def list_columns(
    view: View,
    rng: np.random.Generator,
    told: Told = Told(),
    *,
    n_columns: int = 600,
    pixel_size_nm: float = 0.0,
    rotation_rad: float = 0.0,
    scale: float = 1.0,
) -> ColumnList:
    """Draw the columns of a field of view.

    Parameters
    ----------
    view : View
        The crystal along an axis.
    rng : numpy.random.Generator
    told : Told
    n_columns : int
        About so many that are seen.
    pixel_size_nm : float
        0 takes an eighth of the distance between the nearest two columns that are seen.
    rotation_rad : float
        Counter-clockwise as drawn.
    scale : float
        Size in the image over that of the crystal.
    """
    weights = view.weights(told.exponent)
    seen = np.flatnonzero(weights >= told.faintest * weights.max())
    nearest = nearest_of(view, seen)
    pixel_size_nm = pixel_size_nm or nearest / 8
    sigma = 0.28 * nearest * scale / pixel_size_nm
    matrix = scale / pixel_size_nm * _turned(rotation_rad, told.strain, rng)
    side = np.sqrt(n_columns / len(seen) * view.area_nm2) * scale / pixel_size_nm
    reach = int(np.ceil(2.5 * side / np.linalg.svd(view.columns.cell_nm @ matrix)[1].min())) + 2
    cells = np.array(list(product(range(-reach, reach + 1), repeat=2)))
    places = (cells @ view.columns.cell_nm)[:, None] + view.columns.places_nm[seen]
    places = places.reshape(-1, 2) @ matrix + rng.uniform(0, side, 2)
    site = np.tile(seen, len(cells))
    inside = ((places > 0) & (places < side)).all(1)
    places, site = places[inside], site[inside]
    places = places + told.wave_px * _waves(places / side, rng)
    labels = np.array(view.labels, dtype=object)
    there, n = _replaced(site, seen, labels, told.replaced, rng), len(site)
    gone = rng.random(n) < told.missing
    extra = rng.uniform(0, side, (rng.poisson(told.extra * n), 2))
    if len(extra):
        gap = np.linalg.norm(extra[:, None] - places[None], axis=-1).min(1)
        extra = extra[gap > 0.45 * nearest * scale / pixel_size_nm]
    volume = np.r_[weights[there][~gone], np.full(len(extra), np.median(weights[seen]))]
    spread = WIDER / np.sqrt(told.counts * volume / weights[seen].min())
    found = np.r_[places[~gone], extra]
    found = found + sigma * spread[:, None] * rng.normal(size=found.shape)
    off = np.hypot(spread, told.unlike) * rng.normal(size=len(volume))
    volume = volume * np.maximum(1 + off, 0.01)
    order, blank = rng.permutation(len(found)), np.full(len(extra), "", dtype=object)
    elements, occupant = (np.r_[labels[k][~gone], blank][order] for k in (site, there))
    return ColumnList(
        _table(found[order], volume[order]), elements, occupant, places[gone],
        labels[site][gone], matrix, pixel_size_nm, sigma,
    )  # fmt: skip


def _table(places: np.ndarray, volume: np.ndarray) -> pd.DataFrame:
    """Return columns as if they had been found."""
    n = len(places)
    values = {
        "frame": 0, "atom_id": np.arange(n), "y_px": places[:, 0], "x_px": places[:, 1],
        "species": "column", "volume": 1e3 * volume, "amplitude": 100 * volume,
        "probability": 1.0, "source": "fit",
    }  # fmt: skip
    return tables.make("atoms", values, n)
