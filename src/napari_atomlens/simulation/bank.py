"""What multislice images say of the columns that the simulator draws: a small bank of fits.

The bank was made by ``benchmarks/multislice.py`` with abTEM; nothing here needs abTEM.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError
from napari_atomlens.files import Json
from napari_atomlens.simulation.formation import PROFILE_STEP
from napari_atomlens.simulation.scenes import Scene

BANK = Path(__file__).with_name("multislice_bank.json")


@lru_cache(maxsize=1)
def _bank() -> Json:
    return dict(json.loads(BANK.read_text(encoding="utf-8")))


def load_bank() -> pd.DataFrame:
    """Return one row for each image of the bank.

    Returns
    -------
    pandas.DataFrame
        ``image`` (sample, thickness, voltage, defocus in nm, spherical aberration in um);
        ``sigma_nm``, ``wide_nm``, ``tail`` and ``residual`` of the fit of Gaussian columns with a
        wider Gaussian beneath; ``profile_residual`` of the fit with a free radial profile (both
        rms over the standard deviation of the image); ``power_of_z``, the mean over the pairs of
        species that tell it, NaN where none does.
    """
    rows = []
    for name, fit in _bank()["images"].items():
        powers = list(fit.get("power", {}).values())
        rows.append(
            {"image": name, **{k: fit[k] for k in ("sigma_nm", "wide_nm", "tail", "residual",
                                                   "profile_residual")},
             "power_of_z": float(np.mean(powers)) if powers else float("nan")}
        )  # fmt: skip
    return pd.DataFrame(rows)


def column_profile(image: str) -> tuple[np.ndarray, np.ndarray]:
    """Radial profile of the columns of one image of the bank.

    Returns
    -------
    radius_nm, height : ndarray, shape (n,)
        The height is 1 at the centre.

    Raises
    ------
    ParameterError
        If there is no such image.
    """
    images = _bank()["images"]
    if image not in images:
        raise ParameterError(f"The bank has no image {image!r}.")
    height = np.asarray(images[image]["profile"], float)
    return float(_bank()["knot_nm"]) * np.arange(len(height)), height


def sigma_profile(image: str) -> np.ndarray:
    """Profile of the columns of one image of the bank, for :func:`render_columns`.

    Returns
    -------
    ndarray, shape (k,)
        Height over the distance in units of the width of a Gaussian of the same area at half
        of the height, faded out before seven of these.

    Raises
    ------
    ParameterError
        If there is no such image.
    """
    radius, height = column_profile(image)
    height = height / height.max()
    below = int(np.argmax(height < 0.5))
    a, b = height[below - 1], height[below]
    half = radius[below - 1] + (a - 0.5) / (a - b) * (radius[below] - radius[below - 1])
    sigma = half / np.sqrt(2 * np.log(2))
    at = PROFILE_STEP * np.arange(int(7 / PROFILE_STEP))
    fade = np.clip((7 - at) / 2, 0, 1)
    return np.asarray(np.interp(at * sigma, radius, height, right=0.0) * fade)


#: Share of the scenes whose columns have a profile of the bank.
SHARE = 0.4


def with_profile(scene: Scene, seed: int, samples: tuple[str, ...]) -> Scene:
    """Give a scene, two times in five, the profile of an image of the bank.

    Parameters
    ----------
    scene : Scene
        Changed in place.
    seed : int
        Of the scene; nothing else of it depends on what is drawn here.
    samples : tuple of str
        How the names of images that fit begin.
    """
    rng = np.random.default_rng([seed, 0xBA4C])
    names = [n for n in _bank()["images"] if n.startswith(samples)]
    if names and rng.random() < SHARE:
        scene.profile = sigma_profile(names[int(rng.integers(len(names)))])
    return scene
