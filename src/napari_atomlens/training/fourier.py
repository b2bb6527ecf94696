"""Labels without labels: the Fourier-subtraction recipe of the field, on one frame.

The middle of the spectrum (the slow part of the image) is taken out, and of the rest the
sharp spots are kept: the lattice. What it cannot explain is left in the difference. Where
the two agree the maxima of the lattice are labels that a network can learn from; elsewhere
nobody is asked. The recipe works where a frame is one crystal and mostly perfect; where it
is not, it draws a lattice all the same. It is a teacher, not a tool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from napari_atomlens import points, tables
from napari_atomlens.errors import CalibrationError
from napari_atomlens.segmentation.normalise import remove_hot_pixels
from napari_atomlens.segmentation.pixels import as_frame
from napari_atomlens.segmentation.scale import spectral_guess
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.training.labelled import FEWEST, Labelled, label_frame
from napari_atomlens.training.params import FourierParams


@dataclass(frozen=True)
class FourierLabels:
    """What the recipe says of a frame.

    Attributes
    ----------
    atoms : pandas.DataFrame
        Atoms table: the maxima of the lattice.
    difference : ndarray, shape (H, W)
        What the lattice does not explain, 0 to 1.
    lattice, defect : ndarray of bool, shape (H, W)
        Where the difference is below the low, above the high threshold.
    """

    atoms: pd.DataFrame
    difference: np.ndarray
    lattice: np.ndarray
    defect: np.ndarray


def fourier_recipe(image: np.ndarray, p: FourierParams = FourierParams()) -> FourierLabels:
    """Find atoms by taking the middle out of the spectrum of a frame.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    p : FourierParams

    Returns
    -------
    FourierLabels

    Raises
    ------
    ImageError
        If the image cannot be used.
    CalibrationError
        If there is no lattice in it.
    """
    frame = remove_hot_pixels(as_frame(image)).astype(float)
    h, w = frame.shape
    guess = check_spacing(p.spacing_px, (h, w)) or spectral_guess(frame.astype(np.float32))
    if not np.isfinite(guess) or guess < 2:
        raise CalibrationError("No lattice was found in this frame for the Fourier recipe.")
    # the disc must stay inside of the first ring of spots, whatever the sampling
    radius = min(p.centre, 0.7 / (1.3 * guess))
    centred = frame - frame.mean()
    # the border is a step that spreads over the spectrum: fade it out, and divide again
    window = np.maximum(np.outer(np.hanning(h + 2)[1:-1], np.hanning(w + 2)[1:-1]), 1e-3)
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None])
    spectrum = np.fft.fft2(centred * window)
    keep = _spots(np.abs(spectrum), f, radius, p.spots)
    if not keep.any():
        raise CalibrationError("No lattice was found in this frame for the Fourier recipe.")
    lattice = np.fft.ifft2(np.where(keep, spectrum, 0)).real / window
    slow = np.fft.ifft2(np.where(f <= radius, np.fft.fft2(centred), 0)).real
    blur = 0.12 * guess
    difference = np.abs(
        ndi.gaussian_filter(centred - slow, blur) - ndi.gaussian_filter(lattice, blur)
    )
    inner = np.zeros((h, w), bool)
    rim = round(0.06 * min(h, w))
    inner[rim : h - rim, rim : w - rim] = True
    low, high = np.percentile(difference[inner], [1, 99.8])
    difference = np.clip((difference - low) / max(high - low, 1e-12), 0, 1)
    difference[~inner] = 1.0  # where the window has faded nobody knows
    size = 2 * max(1, round(0.3 * guess)) + 1
    top = (lattice == ndi.maximum_filter(lattice, size)) & inner
    floor, ceiling = np.percentile(lattice[inner], [1, 99])
    high_enough = lattice > floor + p.peaks * max(ceiling - floor, 1e-12)
    places = _vertices(lattice, np.argwhere(top & high_enough))
    atoms = tables.make(
        "atoms",
        {"frame": 0, "atom_id": np.arange(len(places)), "y_px": places[:, 0],
         "x_px": places[:, 1], "species": "column", "source": "model"},
        len(places),
    )  # fmt: skip
    return FourierLabels(atoms, difference, difference < p.low, difference > p.high)


def _spots(amplitude: np.ndarray, f: np.ndarray, radius: float, times: float) -> np.ndarray:
    """Sharp spots of a spectrum, the disc left out; bool, shape (H, W)."""
    ring = np.rint(f * max(f.shape)).astype(int)
    level = np.asarray(ndi.median(amplitude, ring, np.arange(ring.max() + 1)))[ring]
    strong = (f > radius) & (f < 0.5) & (amplitude > times * level)
    shifted = np.fft.fftshift(strong)
    return np.asarray(np.fft.ifftshift(ndi.binary_dilation(shifted, iterations=1))) & (f > radius)


def _vertices(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Maxima of an image, shape (n, 2), with the sub-pixel part of a parabola."""
    inside = np.all((places > 0) & (places < np.array(image.shape) - 1), axis=1)
    y, x = places[inside].T
    here = image[y, x]
    out = np.c_[y, x].astype(float)
    for axis, (a, b) in enumerate(
        ((image[y - 1, x], image[y + 1, x]), (image[y, x - 1], image[y, x + 1]))
    ):
        bend = np.minimum(a + b - 2 * here, -1e-12)
        out[:, axis] += np.clip(0.5 * (a - b) / bend, -0.5, 0.5)
    return out


def fourier_labels(image: np.ndarray, p: FourierParams = FourierParams()) -> Labelled:
    """Return a frame labelled by the recipe; pixels it is not sure of are left out.

    Raises
    ------
    ImageError, CalibrationError
        See :func:`fourier_recipe`; also where it finds fewer than 8 atoms.
    """
    found = fourier_recipe(image, p)
    if len(found.atoms) < FEWEST:
        raise CalibrationError("The Fourier recipe finds too few atoms in this frame.")
    spacing = p.spacing_px or points.spacing(found.atoms[["y_px", "x_px"]].to_numpy())
    # between the thresholds nobody knows, and above the high one the lattice is no guide
    reach = max(1, round(0.25 * spacing))
    usable = ~ndi.binary_dilation(found.difference > p.high, iterations=reach)
    return label_frame(image, found.atoms, spacing, usable)
