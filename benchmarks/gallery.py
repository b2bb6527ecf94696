"""Scenes that only benchmarks and tests draw: WS2 with every defect in every orientation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns

#: Six defects round a metal site of a monolayer: height of the metal over the ordinary one,
#: and of the three chalcogen pairs round it. Each looks different in its three orientations;
#: none is the mirror image of another.
SIX_DEFECTS: dict[str, tuple[float, tuple[float, float, float]]] = {
    "V_S": (1.0, (0.5, 1.0, 1.0)),
    "V_S2": (1.0, (0.0, 1.0, 1.0)),
    "2 V_S": (1.0, (0.5, 0.5, 1.0)),
    "V_S2+V_S": (1.0, (0.0, 0.5, 1.0)),
    "M_W+V_S": (0.42, (0.5, 1.0, 1.0)),
    "M_W+V_S2": (0.42, (0.0, 1.0, 1.0)),
}


def defect_gallery(
    counts: float = 1000.0,
    *,
    each: int = 15,
    pixel_size_nm: float = 0.0165,
    background: float = 0.05,
    chalcogen: float = 0.30,
    sigma: float = 0.25,
    jitter: float = 0.01,
    rotation_rad: float = 0.35,
    seed: int = 0,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Simulate WS2 with six types of defects in three orientations, `each` of every one.

    Parameters
    ----------
    counts : float
        Counts integrated over an intact pair of sulphurs.
    each : int
        Defects of each type and orientation.
    pixel_size_nm, background, chalcogen, sigma, jitter, rotation_rad, seed
        As in :func:`napari_atomlens.simulation.surfaces.ws2`.

    Returns
    -------
    image : ndarray, shape (H, W)
    sites : pandas.DataFrame
        One row per defect: ``frame``, ``y_px``, ``x_px`` (of the metal), ``defect`` (key of
        :data:`SIX_DEFECTS`), ``turn`` (0, 1, 2), ``n_neighbours`` (3); ``attrs["spacing_px"]``.
    """
    rng = np.random.default_rng(seed)
    spacing = 0.315 / np.sqrt(3) / pixel_size_nm
    total = 3 * each * len(SIX_DEFECTS)
    # centres four lattice constants apart, so that defects do not meet
    side = int(np.ceil(np.sqrt(total * 1.9) * 3.3 * np.sqrt(3) * spacing))
    shape = (side, side)
    ideal, lattice = crystals.fill(
        crystals.tmd(chalcogen), shape, spacing, rotation_rad, tuple(rng.uniform(0, spacing, 2))
    )
    metals = np.flatnonzero(
        (lattice == 0) & (ideal > 3 * spacing).all(1) & (ideal < side - 3 * spacing).all(1)
    )
    chosen: list[int] = []
    taken = np.zeros(len(ideal), bool)
    tree = cKDTree(ideal)
    for i in rng.permutation(metals):
        if len(chosen) == total:
            break
        if not taken[i]:
            chosen.append(int(i))
            taken[tree.query_ball_point(ideal[i], 3.3 * np.sqrt(3) * spacing)] = True
    sites = np.asarray(chosen)
    name = np.resize(np.repeat(list(SIX_DEFECTS), 3), len(sites))
    turn = np.resize(np.tile([0, 1, 2], len(SIX_DEFECTS)), len(sites))
    amplitude = np.where(lattice == 0, 1.0, chalcogen)
    near = tree.query(ideal[sites], k=4)[1][:, 1:]
    d = ideal[near] - ideal[sites][:, None]
    # pairs in the order of their angles, from the same direction everywhere
    angle = (np.arctan2(-d[..., 0], d[..., 1]) - rotation_rad + 0.1) % (2 * np.pi)
    near = np.take_along_axis(near, np.argsort(angle, axis=1), 1)
    for i, pairs, what, t in zip(sites, near, name, turn, strict=True):
        metal, heights = SIX_DEFECTS[str(what)]
        amplitude[i] *= metal
        amplitude[np.roll(pairs, t)] *= heights
    places = ideal + rng.normal(0, jitter * spacing, ideal.shape)
    width = sigma * spacing
    scale = counts / (2 * np.pi * width**2 * chalcogen)
    clean = render_columns(shape, places[:, 0], places[:, 1], amplitude, width)
    image = faults.shot_noise(scale * (background + clean), rng)
    table = pd.DataFrame(
        {
            "frame": 0, "y_px": places[sites, 0], "x_px": places[sites, 1],
            "defect": name.astype(object), "turn": turn, "n_neighbours": 3,
        }
    )  # fmt: skip
    table.attrs |= {"spacing_px": spacing, "angle_rad": rotation_rad}
    return image, table
