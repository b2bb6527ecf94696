"""Two crystals in one image."""

from __future__ import annotations

import numpy as np
import pytest

from napari_atomlens import tables
from napari_atomlens.lattice.measure import measure_lattice

SIDE = 600
BORIDE = ((0, 0), (0.5, 0.5), (0.32, 0.18), (0.68, 0.82), (0.82, 0.32), (0.18, 0.68))
HEIGHT = (1.0, 1.0, 0.55, 0.55, 0.55, 0.55)


def points_of(length: float, basis: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Every point of a square lattice in the frame, shape (n, s, 2)."""
    n = int(SIDE / length) + 2
    cell = np.stack(np.meshgrid(np.arange(-1, n), np.arange(-1, n), indexing="ij"), -1)
    return (cell.reshape(-1, 1, 2) + np.array(basis)) * length


@pytest.mark.parametrize("length", [14.1, 14.3, 15.0])
def test_a_boride_over_a_square_lattice_is_measured(length: float) -> None:
    """All atoms of a supposed sublattice went to the other region: no site can be told of it."""
    rng = np.random.default_rng(0)
    top, below = points_of(45.0, BORIDE), points_of(length, ((0, 0),))
    position = np.concatenate([top.reshape(-1, 2), below.reshape(-1, 2)])
    amplitude = np.r_[np.tile(HEIGHT, len(top)), np.full(len(below), 0.8)]
    phase = np.r_[np.zeros(top.size // 2), np.ones(below.size // 2)]
    keep = np.where(phase == 0, position[:, 0] < 297, position[:, 0] > 303)
    keep &= ((position > 2) & (position < SIDE - 3)).all(1)
    n = int(keep.sum())
    position = position[keep] + rng.normal(0, 0.1, (n, 2))
    found = measure_lattice(
        tables.make("atoms", {
            "frame": 0, "atom_id": np.arange(n), "y_px": position[:, 0], "x_px": position[:, 1],
            "amplitude": amplitude[keep] * (1 + rng.normal(0, 0.03, n)), "species": "column",
            "probability": 0.99, "y_err_px": 0.1, "x_err_px": 0.1,
        }, n)
    )  # fmt: skip
    region = found.atoms.loc[found.atoms["species"] != "vacancy", "region"].to_numpy()
    crystals = [np.bincount(region[(phase[keep] == p) & (region >= 0)]).argmax() for p in (0, 1)]
    assert crystals[0] != crystals[1]
    assert np.mean(region[phase[keep] == 1] == crystals[1]) > 0.7
