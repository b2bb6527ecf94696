"""Elongated columns: seen in the mean column, fitted as ellipses, said."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al


def counts(aspect: float, spacing: float = 14.0) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a square lattice of columns that are `aspect` times as long as wide."""
    n = np.arange(-25, 26)
    i, j = (v.ravel() for v in np.meshgrid(n, n))
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    at = spacing * np.c_[i, j] @ turn.T + 80
    at = at[np.all((at > -20) & (at < 180), axis=1)]
    y, x = np.mgrid[:160, :160].astype(float)
    image = np.zeros((160, 160))
    long, short = 0.19 * spacing * aspect**0.5, 0.19 * spacing / aspect**0.5
    for row, column in at:
        u = np.cos(0.5) * (y - row) + np.sin(0.5) * (x - column)
        v = np.cos(0.5) * (x - column) - np.sin(0.5) * (y - row)
        image += np.exp(-0.5 * (u / long) ** 2 - 0.5 * (v / short) ** 2)
    return np.random.default_rng(4).poisson(300 * (0.3 + image)).astype(np.float32), at


@pytest.mark.needs_model
def test_elongated_columns_are_fitted_as_ellipses_and_said() -> None:
    image, places = counts(2.0)
    result = al.analyze(image)
    assert any("elongated (2.0 : 1)" in m for m in result.messages)
    assert result.atoms["aspect"].median() == pytest.approx(2.0, rel=0.1)
    found = result.atoms[["y_px", "x_px"]].to_numpy()
    distance, _ = cKDTree(places).query(found)
    assert (distance < 4).mean() > 0.98
    round_ones = al.analyze(image, column_width="shared")
    assert not any("elongated" in m for m in round_ones.messages)  # told how to fit


@pytest.mark.needs_model
def test_round_columns_stay_round() -> None:
    result = al.analyze(counts(1.1)[0])
    assert result.messages == []
    assert "aspect" not in result.atoms
