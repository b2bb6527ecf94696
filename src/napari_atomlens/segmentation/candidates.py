"""What the network's maps say of the places that may hold a column, before any decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from napari_atomlens.arrays import peak_positions

#: Peaks of the centre map below this are nothing.
LEAST_HEIGHT = 0.12


@dataclass(frozen=True)
class Candidates:
    """Peaks of the centre map.

    Attributes
    ----------
    positions : ndarray, shape (n, 2)
        (y, x) at the network's sampling.
    height : ndarray, shape (n,)
        Height of the peak.
    columns : ndarray, shape (n, n_kinds)
        Probability of each class of columns there.
    familiar : ndarray, shape (n,)
        1 where the image looks like the training images, 0 where it does not.
    """

    positions: np.ndarray
    height: np.ndarray
    columns: np.ndarray
    familiar: np.ndarray

    def __getitem__(self, which: np.ndarray) -> Candidates:
        return Candidates(*(getattr(self, f)[which] for f in self.__dataclass_fields__))


def find_candidates(
    centre: np.ndarray,
    soft: np.ndarray,
    strange: np.ndarray,
    kinds: Sequence[int],
    least: float = LEAST_HEIGHT,
) -> Candidates:
    """Find the peaks of the centre map and look up the other maps there.

    Parameters
    ----------
    centre, strange : ndarray of float32, shape (h, w)
    soft : ndarray of float32, shape (n_classes, h, w)
        See :class:`napari_atomlens.segmentation.probabilities.Probabilities`.
    kinds : sequence of int
        Numbers of the classes that are columns.
    least : float
        Least height of a peak.
    """
    positions, height = peak_positions(centre, least)
    columns = np.zeros((len(positions), len(kinds)))
    for k, kind in enumerate(kinds):
        columns[:, k] = scipy.ndimage.map_coordinates(
            soft[kind], positions.T, order=1, mode="nearest"
        )
    familiar = 1 - scipy.ndimage.map_coordinates(strange, positions.T, order=1, mode="nearest")
    return Candidates(positions, height, columns, familiar)
