"""Drift by the spectrum, dimer rows told from other lattices, molecules followed with drift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_atomlens.errors import ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.simulation.molecules import simulate_flips
from napari_atomlens.simulation.scans import faulty_scan, seven_by_seven
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.stm import correct_drift, find_drift, follow_movie
from napari_atomlens.stm.rows import shows_dimer_rows
from napari_atomlens.tracking.transitions import transition_matrix

SEED = 2**33 + 6_000_000
PIXEL = 0.09


@pytest.mark.parametrize("bent", [((1.04, 0.0), (0.06, 1.0)), ((0.95, 0.0), (-0.08, 1.0))])
def test_drift_of_unresolved_dimers_is_measured(bent: tuple) -> None:
    scan = simulate_silicon(
        SiliconParams(size_px=400, pixel_size_nm=PIXEL, row_angle_rad=0.5, seed=SEED)
    ).image
    matrix = np.array(bent)
    drifted = correct_drift(scan, np.linalg.inv(matrix))[60:316, 60:316]
    drifted = np.nan_to_num(drifted, nan=float(np.nanmedian(drifted)))
    found = find_drift(drifted, 0.768 / PIXEL, 0.384 / PIXEL, np.pi / 2)
    np.testing.assert_allclose(found, matrix, atol=0.012)


def test_dimer_rows_are_told_from_other_surfaces() -> None:
    rng = np.random.default_rng(0)
    for k in range(4):
        p = SiliconParams(
            size_px=256,
            pixel_size_nm=PIXEL,
            row_angle_rad=0.3 + 0.7 * k,
            steps=k % 2,
            seed=SEED + k,
        )
        image = simulate_silicon(p).image
        assert shows_dimer_rows(image, (PIXEL, PIXEL))
        assert not shows_dimer_rows(image, (PIXEL, 2 * PIXEL))
        assert not shows_dimer_rows(image, (3 * PIXEL, 3 * PIXEL))
    # adatoms of Si(111)-7x7 are 0.77 nm apart as well, but in six directions
    image, _, _ = seven_by_seven((256, 256), 0.078, 0.4, rng)
    assert not shows_dimer_rows(image + 0.03 * rng.normal(size=image.shape), (0.078, 0.078))
    assert not shows_dimer_rows(faulty_scan(SEED, "featureless").image, (PIXEL, PIXEL))
    assert not shows_dimer_rows(np.zeros((20, 20)))


def test_the_universal_model_points_to_the_stm_dock() -> None:
    import napari_atomlens as al

    p = SiliconParams(size_px=192, pixel_size_nm=PIXEL, row_angle_rad=0.5, seed=SEED)
    image = simulate_silicon(p).image
    image = image - image.mean()
    said = al.analyze(image, pixel_size_nm=PIXEL, keep_maps=False).messages
    assert any("H-Si(100)" in m and "STM" in m for m in said)
    counts = np.random.default_rng(0).poisson(50, (192, 192))
    said = al.analyze(counts, pixel_size_nm=PIXEL, keep_maps=False).messages
    assert not any("H-Si(100)" in m for m in said)


def test_flips_are_found_although_the_movie_drifts() -> None:
    movie, up, truth = simulate_flips(8, 200, rate=0.03, seed=SEED)
    side = movie.shape[1] - 16
    crop = np.stack([f[16 - t : 16 - t + side - 16, 16 - t // 2 :][:, : side - 16]
                     for t, f in enumerate(movie)])  # fmt: skip
    found = follow_movie(crop)
    np.testing.assert_allclose(found.drift_px[-1], [7, 3], atol=1.0)
    first = found.tracks[found.tracks["frame"] == 0]
    off, j = cKDTree(truth[["y_px", "x_px"]].to_numpy() - 16).query(first[["y_px", "x_px"]])
    assert off.max() < 4
    true = up[1:, j] != up[:-1, j]
    state = (found.tracks["state"] == "up").to_numpy().reshape(len(crop), -1)
    flips = state[1:] != state[:-1]
    assert (flips & true).sum() >= 0.9 * true.sum() > 5
    assert (flips & ~true).sum() <= 0.01 * true.size
    assert len(found.events) == flips.sum()
    rates = transition_matrix(found.tracks, "state")
    assert set(rates["from"]) == {"up", "down"}


def test_flips_need_a_movie_and_stop_when_asked() -> None:
    movie, _, _ = simulate_flips(4, 120, seed=SEED)
    with pytest.raises(ParameterError, match="movie"):
        follow_movie(movie[0])
    calls = iter([False, False, True, True])
    found = follow_movie(movie, progress=Progress(stop=lambda: next(calls)))
    assert found.tracks["frame"].nunique() == 2


def test_a_flat_scan_shows_no_rows() -> None:
    assert not shows_dimer_rows(np.full((100, 100), 3e-9), (0.08, 0.08))
