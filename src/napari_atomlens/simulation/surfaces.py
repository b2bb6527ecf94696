"""Two worked systems with exact truth: a manganite-like surface, and WS2 with point defects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns

#: Kinds of anomalous sites of the manganite-like surface.
MANGANITE_KINDS = ("ordinary", "stretched", "moved")
#: Types of defects of the WS2 simulation. V_S: one sulphur of a pair is missing, V_S2: both;
#: M_W: another metal (molybdenum) on a tungsten site; M_W+V_S: that, and a sulphur missing
#: beside it.
WS2_TYPES = ("V_S", "V_S2", "M_W", "M_W+V_S")


def manganite(
    n_sites: int = 1000,
    *,
    spacing_px: float = 16.2,
    anomalous: float = 0.03,
    aspect: float = 1.3,
    shift: float = 0.1,
    preferred_rad: float = 0.6,
    axis_spread_rad: float = 0.12,
    snr: float = 5.0,
    line_noise: float = 0.5,
    sigma: float = 0.27,
    rotation_rad: float = 0.12,
    seed: int = 0,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Simulate the STM image of a square oxide surface with a few anomalous charge clouds.

    Parameters
    ----------
    n_sites : int
        About so many sites lie in the image.
    spacing_px : float
        Lattice constant in pixels.
    anomalous : float
        Part of the sites that is anomalous: half of them with an elongated charge cloud, half
        off their site.
    aspect, shift : float
        Aspect of the elongated ones; displacement of the others over the lattice constant.
    preferred_rad, axis_spread_rad : float
        The elongated clouds lie along this axis (counter-clockwise from +x as drawn), with
        this standard deviation.
    snr : float
        Corrugation (highest minus lowest place of the clean surface) over the rms of all noise.
    line_noise : float
        rms of the offsets of scan lines, and of slow noise along them, over that of the
        white noise.
    sigma : float
        Width of a charge cloud over the lattice constant.
    rotation_rad : float
        Rotation of the lattice.
    seed : int

    Returns
    -------
    image : ndarray, shape (H, W)
    truth : pandas.DataFrame
        ``y_px``, ``x_px`` (of the cloud), ``site_y_px``, ``site_x_px``, ``kind`` (see
        :data:`MANGANITE_KINDS`), ``aspect``, ``angle_rad``; columns beyond the image included.
    """
    rng = np.random.default_rng(seed)
    side = round(np.sqrt(n_sites) * spacing_px)
    shape = (side, side)
    sites, _ = crystals.fill(
        crystals.square(), shape, spacing_px, rotation_rad, tuple(rng.uniform(0, spacing_px, 2))
    )
    n = len(sites)
    kind = np.zeros(n, int)
    chosen = rng.random(n) < anomalous
    kind[chosen] = 1 + (rng.random(int(chosen.sum())) < 0.5)
    angle = preferred_rad + axis_spread_rad * rng.standard_normal(n)
    direction = rng.uniform(0, 2 * np.pi, n)
    moved = (kind == 2)[:, None] * np.c_[np.sin(direction), np.cos(direction)]
    places = sites + shift * spacing_px * moved
    ratio = np.where(kind == 1, aspect, 1.0)
    clean = render_columns(
        shape, places[:, 0], places[:, 1], np.ones(n), np.full(n, sigma * spacing_px), ratio, angle
    )
    inner = clean[side // 4 : -side // 4, side // 4 : -side // 4]
    noise = (inner.max() - inner.min()) / snr / np.hypot(1, line_noise)
    lines = faults.pink_rows(shape, rng, 1.0) + rng.standard_normal(side)[:, None]
    image = clean + noise * rng.standard_normal(shape)
    image += line_noise * noise * lines / np.sqrt(2)
    truth = pd.DataFrame(
        {
            "y_px": places[:, 0], "x_px": places[:, 1], "site_y_px": sites[:, 0],
            "site_x_px": sites[:, 1], "kind": np.asarray(MANGANITE_KINDS, object)[kind],
            "aspect": ratio, "angle_rad": angle,
        }
    )  # fmt: skip
    return image, truth


def ws2(
    counts: float = 1000.0,
    *,
    shape: tuple[int, int] = (512, 512),
    pixel_size_nm: float = 0.0165,
    vacancies: float = 0.03,
    metals: float = 0.03,
    background: float = 0.05,
    chalcogen: float = 0.30,
    metal: float = 0.42,
    sigma: float = 0.25,
    jitter: float = 0.01,
    rotation_rad: float = 0.35,
    seed: int = 0,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Simulate the HAADF image of WS2 with sulphur vacancies and another metal, in counts.

    Parameters
    ----------
    counts : float
        Counts integrated over an intact pair of sulphurs; infinity leaves the noise out.
    shape : tuple of int
    pixel_size_nm : float
        Pixel size; the lattice constant is 0.315 nm.
    vacancies : float
        Part of the sulphur pairs of which something is missing: two thirds one, one third both.
    metals : float
        Part of the tungsten sites with the other metal; one half of them with a sulphur
        missing beside it.
    background : float
        Over the peak of a tungsten column.
    chalcogen, metal : float
        Peaks of an intact pair and of the other metal (Mo: (42/74)^1.55) over that of W.
    sigma, jitter : float
        Width and rms displacement of columns over the distance of nearest ones.
    rotation_rad : float
    seed : int

    Returns
    -------
    image : ndarray, shape (H, W)
        Counts per pixel.
    truth : pandas.DataFrame
        One row per site: ``y_px``, ``x_px``, ``sublattice`` (0 metal, 1 chalcogen),
        ``amplitude`` (counts per pixel at the peak), ``expected`` (that of an intact site),
        ``sigma_px``, ``defect`` (of :data:`WS2_TYPES`, "" for none), ``defect_id`` (-1 for none);
        ``attrs["background"]`` in counts per pixel.
    """
    rng = np.random.default_rng(seed)
    spacing = 0.315 / np.sqrt(3) / pixel_size_nm
    places, lattice = crystals.fill(
        crystals.tmd(chalcogen), shape, spacing, rotation_rad, tuple(rng.uniform(0, spacing, 2))
    )
    n = len(places)
    places = places + rng.normal(0, jitter * spacing, places.shape)
    intact = np.where(lattice == 0, 1.0, chalcogen)
    amplitude, defect = intact.copy(), np.full(n, "", object)
    number = np.full(n, -1)
    near = cKDTree(places).query(places, k=4)[1][:, 1:]
    for i in np.flatnonzero((lattice == 0) & (rng.random(n) < metals)):
        around = near[i]
        if (number[around] >= 0).any() or (number[near[around]] >= 0).any():
            continue  # so far apart that each has one name
        amplitude[i], number[i], defect[i] = metal, i, "M_W"
        if rng.random() < 0.5:
            pair = rng.choice(around)
            amplitude[pair] *= 0.5
            number[pair], defect[[i, pair]] = i, "M_W+V_S"
    # lone vacancies stay away from the other metal, so that each has one name
    beside = np.isin(np.arange(n), near[(number >= 0) & (lattice == 0)])
    free = (lattice == 1) & (number < 0) & ~beside & (rng.random(n) < vacancies)
    both = free & (rng.random(n) < 1 / 3)
    amplitude[free] *= np.where(both[free], 0.0, 0.5)
    defect[free] = np.where(both[free], "V_S2", "V_S")
    number[free] = np.flatnonzero(free)
    width = sigma * spacing
    scale = 1.0 if not np.isfinite(counts) else counts / (2 * np.pi * width**2 * chalcogen)
    clean = scale * (
        background + render_columns(shape, places[:, 0], places[:, 1], amplitude, width)
    )
    image = faults.shot_noise(clean, rng) if np.isfinite(counts) else clean
    truth = pd.DataFrame(
        {
            "y_px": places[:, 0], "x_px": places[:, 1], "sublattice": lattice,
            "amplitude": scale * amplitude, "expected": scale * intact, "sigma_px": width,
            "defect": defect, "defect_id": number,
        }
    )  # fmt: skip
    truth.attrs["background"] = scale * background
    return image, truth
