"""The pixel size of an image that does not say it: from a known distance or a scale bar."""

from __future__ import annotations

import math

import numpy as np
import scipy

from napari_atomlens.errors import CalibrationError
from napari_atomlens.image import as_pixels

#: Distance between nearest columns in nm, in the projection in which each is usually seen.
#: From the lattice constants (nm): graphene a = 0.2461, h-BN 0.2504, MoS2 0.3160, WS2 0.3153,
#: MoSe2 0.3289, WSe2 0.3282, SrTiO3 0.3905, PbTiO3 a 0.3904, Si 0.5431, Ge 0.5658, GaAs 0.5653,
#: CdTe 0.6482, Au 0.4078, Pt 0.3924. Honeycombs: a / sqrt(3); perovskites and fcc along
#: [001] with every column seen: a / sqrt(2) and a / 2; dumbbells along [110]: a / 4.
MATERIALS: dict[str, float] = {
    "graphene": 0.2461 / math.sqrt(3),
    "h-BN": 0.2504 / math.sqrt(3),
    "MoS2": 0.3160 / math.sqrt(3),
    "WS2": 0.3153 / math.sqrt(3),
    "MoSe2": 0.3289 / math.sqrt(3),
    "WSe2": 0.3282 / math.sqrt(3),
    "SrTiO3 [001]": 0.3905 / math.sqrt(2),
    "PbTiO3 [001]": 0.3904 / math.sqrt(2),
    "Si [110]": 0.5431 / 4,
    "Ge [110]": 0.5658 / 4,
    "GaAs [110]": 0.5653 / 4,
    "CdTe [110]": 0.6482 / 4,
    "Au [001]": 0.4078 / 2,
    "Pt [001]": 0.3924 / 2,
}


def from_length(length_px: float, length_nm: float, aspect: float = 1.0) -> tuple[float, float]:
    """Pixel size from a distance that is known.

    Parameters
    ----------
    length_px, length_nm : float
        The distance in pixels (along x where pixels are not square) and in nm.
    aspect : float
        Height over width of a pixel.

    Returns
    -------
    tuple of float
        (y, x) in nm.

    Raises
    ------
    CalibrationError
        If a number is not positive, or the pixel size that follows is absurd.
    """
    for name, value in (("length in pixels", length_px), ("length in nm", length_nm),
                        ("aspect", aspect)):  # fmt: skip
        if not (math.isfinite(value) and value > 0):
            raise CalibrationError(f"The {name} must be positive, but it is {value:g}.")
    size = length_nm / length_px
    if not 1e-5 <= size <= 1e4:
        raise CalibrationError(f"The pixel size would be {size:g} nm, which cannot be meant.")
    return aspect * size, size


def from_material(spacing_px: float, material: str, aspect: float = 1.0) -> tuple[float, float]:
    """Pixel size from the distance between nearest columns of a material.

    Parameters
    ----------
    spacing_px : float
        Distance between nearest columns in pixels, such as
        :func:`napari_atomlens.find_spacing` gives.
    material : str
        A name of `MATERIALS`.
    aspect : float
        Height over width of a pixel.

    Returns
    -------
    tuple of float
        (y, x) in nm.
    """
    if material not in MATERIALS:
        raise CalibrationError(
            f"The material {material!r} is not known; known are {', '.join(MATERIALS)}."
        )
    return from_length(spacing_px, MATERIALS[material], aspect)


def find_scale_bar(image: np.ndarray) -> float:
    """Length in pixels of a scale bar that is burnt into an image.

    A bar is a filled horizontal rectangle of one extreme grey value, at least six times as
    wide as high, in the outer third of the image; of several the longest counts.

    Parameters
    ----------
    image : ndarray, shape (H, W)

    Raises
    ------
    CalibrationError
        If there is none.
    """
    pixels = as_pixels(image)
    if pixels.ndim != 2 or min(pixels.shape) < 16:
        raise CalibrationError("A scale bar is looked for in an image of two axes.")
    height, width = pixels.shape
    longest = 0
    for extreme in (pixels.max(), pixels.min()):
        labels, n = scipy.ndimage.label(pixels == extreme)
        if not n:
            continue
        areas = np.bincount(labels.ravel())
        for k, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
            high, wide = (s.stop - s.start for s in box)
            bar = (
                wide >= max(6 * high, 0.03 * width) and high >= 2 and wide < 0.95 * width
                and areas[k] >= 0.97 * high * wide
            )  # fmt: skip
            outer = box[0].stop < height / 3 or box[0].start > 2 * height / 3
            if bar and outer and wide > longest:
                longest = wide
    if not longest:
        raise CalibrationError("No scale bar was found in this image.")
    return float(longest)
