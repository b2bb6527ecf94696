"""Sites of a surface in a raw STM scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_atomlens.contours.anomalies import AnomalyParams
from napari_atomlens.contours.report import describe_all
from napari_atomlens.files import Json
from napari_atomlens.image import check_pixel_size
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.runs.analysis import analyze
from napari_atomlens.segmentation.probabilities import column_probability
from napari_atomlens.segmentation.zoo import roles_of
from napari_atomlens.stm.levelling import level


@dataclass
class SurfaceSites:
    """Sites of a surface, found in a raw STM scan.

    Attributes
    ----------
    sites : pandas.DataFrame
        Atoms table; after a search for anomalies with the columns of
        :func:`napari_atomlens.find_anomalies`, vacant sites included.
    spacing_px : float
        Distance of nearest sites.
    flat : ndarray, shape (H, W)
        The levelled scan, not-a-number where nothing was recorded.
    messages : list of str
    provenance : dict
    """

    sites: pd.DataFrame
    spacing_px: float
    flat: np.ndarray
    messages: list[str]
    provenance: Json


def find_on_surface(
    image: ArrayLike,
    pixel_size_nm: float | tuple[float, float] | None = None,
    anomalies: AnomalyParams | None = None,
    *,
    model: str = "auto",
    progress: ProgressLike = None,
) -> SurfaceSites:
    """Level a raw STM scan, find its sites, and flag charge clouds unlike the others.

    Parameters
    ----------
    image : array-like, shape (H, W)
    pixel_size_nm : float or tuple of float, optional
    anomalies : AnomalyParams, optional
        How the unusual is told (:func:`napari_atomlens.find_anomalies`); not at all without.
    model : str
    progress : Progress, optional
        Asked between the stages whether to stop; what is left is left out then.

    Returns
    -------
    SurfaceSites

    Raises
    ------
    ImageError, ParameterError, ModelError
        If the scan, a parameter or the model cannot be used.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("square", (128, 128), 10.0, counts=1e5)
    >>> found = al.find_on_surface(image)
    >>> round(found.spacing_px)
    10
    """
    watch = as_progress(progress)
    flat = level(image)
    result = analyze(flat, model, pixel_size_nm, keep_maps=anomalies is not None)
    sites, messages = result.atoms, list(result.messages)
    if anomalies is not None and len(sites) and not watch.stopped:
        probability = column_probability(result.probabilities[0], roles_of(result.classes))
        size = check_pixel_size(pixel_size_nm)
        for _, _, table in describe_all(
            flat,
            sites,
            probability,
            pixel_size_nm=size,
            params=anomalies,
            progress=watch,
        ):
            sites = sites if table is None else table
    return SurfaceSites(sites, result.spacing_px, flat, messages, result.provenance)
