"""Films of bowl-shaped molecules with known states, and movies of their flips."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.stm.molecules import DOWN, UP, bowl, domains, film_neighbours


def simulate_film(
    n_molecules: int = 1000,
    *,
    spacing_px: float = 20.0,
    down: float = 0.2,
    order: float = 0.8,
    domain_size: float = 25.0,
    snr: float = 3.0,
    height_spread: float = 0.08,
    jitter: float = 0.02,
    rotations: int = 4,
    rotation_rad: float = 0.2,
    seed: int = 0,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Simulate a film.

    Parameters
    ----------
    n_molecules : int
        About so many lie in the image.
    spacing_px : float
    down : float
        Share of molecules whose bowl points down.
    order : float
        0: downs at random; 1: downs avoid each other as neighbours wherever that is possible.
    domain_size : float
        Molecules of one rotation in a domain, about.
    snr : float
        Corrugation (99th minus 1st percentile) over the rms of all noise.
    height_spread : float
        rms of the heights of molecules over their mean.
    jitter : float
        rms displacement over the spacing.
    rotations : int
        Equally likely states of rotation within a third of a turn.
    rotation_rad : float
        Of the lattice.
    seed : int

    Returns
    -------
    image : ndarray, shape (H, W)
    truth : pandas.DataFrame
        ``y_px``, ``x_px``, ``up``, ``rotation``, ``domain``; molecules in the image.
    """
    rng = np.random.default_rng(seed)
    side = round(np.sqrt(n_molecules * np.sqrt(3) / 2) * spacing_px)
    shape = (side, side)
    place, _ = crystals.fill(
        crystals.hexagonal(), shape, spacing_px, rotation_rad, tuple(rng.uniform(0, spacing_px, 2))
    )
    n = len(place)
    pairs = film_neighbours(place, spacing_px)
    near: list[list[int]] = [[] for _ in range(n)]
    for i, j in pairs:
        near[i].append(j)
        near[j].append(i)
    up = np.ones(n, bool)
    wanted = round(down * n)
    for i in rng.permutation(n):
        if (~up).sum() >= wanted:
            break
        if rng.random() < order and not up[near[i]].all():
            continue
        up[i] = False
    # rotations: domains round random seeds
    seeds = rng.choice(n, max(2, round(n / domain_size)), replace=False)
    owner = np.hypot(
        place[:, None, 0] - place[None, seeds, 0], place[:, None, 1] - place[None, seeds, 1]
    ).argmin(1)
    rotation = rng.integers(0, rotations, len(seeds))[owner]
    stray = rng.random(n) < 0.04
    rotation[stray] = rng.integers(0, rotations, int(stray.sum()))
    place = place + rng.normal(0, jitter * spacing_px, place.shape)
    height = 1 + height_spread * rng.standard_normal(n)
    clean = draw_film(shape, place, up, rotation, height, spacing_px, rotations)
    image = clean + noise_of(clean, snr, rng)
    inside = ((place >= 0) & (place <= side - 1)).all(1)
    truth = pd.DataFrame(
        {"y_px": place[:, 0], "x_px": place[:, 1], "up": up, "rotation": rotation,
         "domain": domains(up, rotation, pairs), "height": height, "inside": inside}
    )  # fmt: skip
    return image, truth


def draw_film(
    shape: tuple[int, int],
    place: np.ndarray,
    up: np.ndarray,
    rotation: np.ndarray,
    height: np.ndarray,
    spacing_px: float,
    rotations: int = 4,
) -> np.ndarray:
    """Draw molecules, overlaps add."""
    image = np.zeros(shape)
    r = int(np.ceil(0.75 * spacing_px))
    offset = np.arange(-r, r + 1)
    corner = np.rint(place).astype(int)
    for state in (DOWN, UP):
        for k in range(rotations):
            which = np.flatnonzero((up == bool(state)) & (rotation == k))
            rows = corner[which, 0, None, None] + offset[None, :, None]
            cols = corner[which, 1, None, None] + offset[None, None, :]
            angle = k * 2 * np.pi / 3 / rotations
            value = height[which, None, None] * bowl(
                state, rows - place[which, 0, None, None], cols - place[which, 1, None, None],
                angle, spacing_px,
            )  # fmt: skip
            good = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
            np.add.at(image.ravel(), (rows * shape[1] + cols)[good], value[good])
    return image


def noise_of(clean: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """White, 1/f and line noise with this ratio of corrugation to rms."""
    low, high = np.percentile(clean, [1, 99])
    rms = (high - low) / snr
    noise = 0.85 * rng.standard_normal(clean.shape)
    noise += (
        0.4 * faults.pink_rows(clean.shape, rng) + 0.3 * rng.standard_normal(len(clean))[:, None]
    )
    return np.asarray(rms * noise / noise.std())


def simulate_flips(
    frames: int = 50,
    n_molecules: int = 300,
    *,
    rate: float = 0.02,
    snr: float = 3.0,
    spacing_px: float = 20.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Simulate a movie in which molecules flip between up and down.

    Returns
    -------
    movie : ndarray, shape (frames, H, W)
    up : ndarray of bool, shape (frames, n)
    places : pandas.DataFrame
        ``y_px``, ``x_px``, ``inside`` of the molecules.
    """
    rng = np.random.default_rng(seed)
    first, truth = simulate_film(n_molecules, snr=np.inf, spacing_px=spacing_px, seed=seed)
    up = np.empty((frames, len(truth)), bool)
    up[0] = truth["up"]
    for t in range(1, frames):
        up[t] = up[t - 1] ^ (rng.random(len(truth)) < rate)
    place = truth[["y_px", "x_px"]].to_numpy(float)
    movie = np.empty((frames, *first.shape))
    for t in range(frames):
        clean = draw_film(
            first.shape, place, up[t], truth["rotation"].to_numpy(), truth["height"].to_numpy(),
            spacing_px,
        )  # fmt: skip
        movie[t] = clean + noise_of(clean, snr, rng)
    return movie, up, truth
