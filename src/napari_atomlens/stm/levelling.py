"""Levelling of scans: planes, polynomials, lines, facets and terraces.

Every function returns a new image; NaN pixels stay NaN and do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_atomlens.image import PixelSize, check_pixel_size
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.stm.background import finite_image, fit_surface, level_lines, subtract_facet
from napari_atomlens.stm.scars import remove_scars
from napari_atomlens.stm.terraces import find_terraces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Surface = Literal["none", "plane", "polynomial", "facet", "terraces"]
Lines = Literal["none", "median", "difference", "polynomial"]


@dataclass(frozen=True)
class LevelParams(Params):
    """How a scan is levelled.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.LevelParams(surface="polynomial", degree=3).degree
    3
    """

    surface: Surface = param(
        "facet", "what is subtracted: facet follows the most frequent slope, terraces knows steps"
    )
    degree: int = param(2, "degree of the polynomial surface", ge=1, le=6)
    lines: Lines = param("median", "line by line: median, median of differences, or a polynomial")
    line_degree: int = param(1, "degree of the polynomial of a line", ge=0, le=5)
    scars: bool = param(True, "bridge scars: parts of lines that jump and come back")


def level(
    image: ArrayLike,
    params: LevelParams = LevelParams(),
    *,
    pixel_size_nm: float | PixelSize | None = None,
) -> np.ndarray:
    """Level a scan: scars, surface, lines.

    Parameters
    ----------
    image : array-like, shape (H, W)
    params : LevelParams
    pixel_size_nm : float or tuple of float, optional
        Pixel size, for terraces.

    Returns
    -------
    ndarray of float64, shape (H, W)
        A new image; with "terraces" every terrace keeps its height, and is flat.

    Raises
    ------
    ImageError, ParameterError
        If the image or a parameter cannot be used.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> slope = np.add.outer(np.linspace(0, 5, 64), np.linspace(0, 3, 96))
    >>> flat = al.level(slope, al.LevelParams(surface="plane", lines="none"))
    >>> bool(np.abs(flat).max() < 1e-6)
    True
    """
    params = of_kind(LevelParams, params)
    z, size = finite_image(image), check_pixel_size(pixel_size_nm)
    if params.scars:
        z = remove_scars(z)
    if params.surface == "plane":
        z = z - fit_surface(z, 1)
    elif params.surface == "polynomial":
        z = z - fit_surface(z, params.degree)
    elif params.surface == "facet":
        z = subtract_facet(z)
    elif params.surface == "terraces":
        return find_terraces(
            z, pixel_size_nm=None if size is None else math.sqrt(size[0] * size[1])
        ).levelled
    if params.lines != "none":
        z = level_lines(z, params.lines, params.line_degree)
    return np.asarray(z)
