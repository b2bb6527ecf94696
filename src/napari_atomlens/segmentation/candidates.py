"""What the network's maps say of the places that may hold a column, before any decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

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
    columns : ndarray, shape (n, n_classes - 2)
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
    centre: np.ndarray, soft: np.ndarray, strange: np.ndarray, least: float = LEAST_HEIGHT
) -> Candidates:
    """Find the peaks of the centre map and look up the other maps there.

    Parameters
    ----------
    centre, strange : ndarray of float32, shape (h, w)
    soft : ndarray of float32, shape (n_classes, h, w)
        See :class:`napari_atomlens.segmentation.probabilities.Probabilities`.
    least : float
        Least height of a peak.
    """
    positions, height = peak_positions(centre, least)
    columns = np.zeros((len(positions), len(soft) - 2))
    for k, one in enumerate(soft[1:-1]):
        columns[:, k] = ndi.map_coordinates(one, positions.T, order=1, mode="nearest")
    familiar = 1 - ndi.map_coordinates(strange, positions.T, order=1, mode="nearest")
    return Candidates(positions, height, columns, familiar)
