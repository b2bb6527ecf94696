"""Labels without labels: what lattice, volumes and rules are sure of teaches the network.

In an image that was analysed, most columns have a species that the lattice they stand on and their
volume make certain, and some sites are certainly empty. Both are labels that nobody had to draw.
What is not certain is left out: nothing is learned there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens import points, tables
from napari_atomlens.errors import TableError
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.params import number_between
from napari_atomlens.training.labelled import BRIGHTER, FEWEST, Labelled, label_frame

#: So far round a column or an empty site, over the distance of nearest columns, it is known what
#: the pixels show.
REACH = 0.75
NEEDED = ("y_px", "x_px", "probability", "species", "species_probability")


def chemistry_labels(
    image: np.ndarray,
    atoms: pd.DataFrame,
    vacancies: pd.DataFrame | None = None,
    sure: float = 0.99,
) -> Labelled:
    """Take the columns and vacancies of which an analysis is sure as training data.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame
        Atoms of that frame, with ``probability``, ``species`` and ``species_probability`` as
        :func:`napari_atomlens.analyze` finds them.
    vacancies : pandas.DataFrame, optional
        Vacant sites of the lattice, whose ``probability`` is their support.
    sure : float
        A label is more probable than this.

    Returns
    -------
    Labelled
        Usable only round what is sure, and not round what is not.

    Raises
    ------
    TableError
        If fewer than 8 columns are sure.
    ParameterError
        If `sure` is no probability of at least a half.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> from napari_atomlens import training
    >>> image, truth = al.simulate("tmd", (128, 128), 10.0, seed=1)
    >>> result = al.analyze(image)
    >>> labelled = training.chemistry_labels(image, result.atoms, result.vacancies)
    >>> 0 < labelled.bright.mean() < 1
    True
    """
    sure = number_between("sure", sure, 0.5, 1.0)
    tables.need_columns(atoms, NEEDED, "atoms")
    there = pd.DataFrame(atoms[np.isfinite(atoms[["y_px", "x_px"]]).all(axis=1)])
    there = there.reset_index(drop=True)
    chance = there[["probability", "species_probability"]].to_numpy(float).min(axis=1)
    known = (chance > sure) & ~is_unfamiliar(there)
    if known.sum() < FEWEST:
        raise TableError(
            f"Of {len(there):,} columns only {int(known.sum())} are told with a probability above "
            f"{sure:g}: too few to learn from."
        )
    places = there[["y_px", "x_px"]].to_numpy(float)
    spacing = points.spacing(places[known])
    shape = np.shape(image)[-2], np.shape(image)[-1]
    usable = _near(shape, np.r_[places[known], _empty(vacancies, sure)], REACH * spacing)
    usable &= ~_near(shape, places[~known], REACH * spacing)
    species = np.where(there["species"].isin(BRIGHTER), "bright column", "column")
    labels = there.assign(species=species)[known]
    return replace(label_frame(image, labels, float(spacing), usable), named=True)


def _empty(vacancies: pd.DataFrame | None, sure: float) -> np.ndarray:
    """Places of the sites that are certainly empty."""
    if vacancies is None or not len(vacancies):
        return np.zeros((0, 2))
    gone = vacancies["probability"].to_numpy(float) > sure
    return vacancies.loc[gone, ["y_px", "x_px"]].to_numpy(float)


def _near(shape: tuple[int, int], places: np.ndarray, reach: float) -> np.ndarray:
    """Mask of the pixels that are nearer than this to one of some places."""
    if not len(places):
        return np.zeros(shape, bool)
    grid = np.indices(shape).reshape(2, -1).T
    gap: np.ndarray = cKDTree(places).query(grid)[0]
    return np.asarray(gap < reach).reshape(shape)
