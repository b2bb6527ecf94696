"""Levelling, scars, traces, geometry: simulated scans with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from napari_atomlens.errors import CalibrationError, ImageError, ParameterError
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.stm import (
    LevelParams,
    compare_traces,
    correct_drift,
    drift_matrix,
    find_drift,
    find_scars,
    fit_surface,
    level,
    level_lines,
    remove_scars,
    square_pixels,
    subtract_facet,
)


def texture(seed: int = 0, n: int = 96) -> np.ndarray:
    return ndi.gaussian_filter(np.random.default_rng(seed).standard_normal((n, n)), 2) * 5


@settings(max_examples=15, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 100))
def test_a_plane_is_removed_and_nothing_else(sy: float, sx: float, seed: int) -> None:
    z = texture(seed)
    y, x = np.mgrid[:96, :96]
    tilted = z + sy * y + sx * x
    a, b = (level(t, LevelParams(surface="plane", lines="none", scars=False)) for t in (z, tilted))
    assert np.abs(a - b).max() < 1e-3 * (1 + abs(sy) + abs(sx))


def test_facet_levels_the_terraces_of_a_staircase() -> None:
    y, x = np.mgrid[:128, :128]
    stairs = np.floor(x / 32.0) * 3.0
    z = stairs + 0.02 * x - 0.03 * y + 0.05 * np.random.default_rng(0).standard_normal(x.shape)
    flat = subtract_facet(z)
    left = flat[:, 2:30]
    slope = np.polyfit(np.arange(28), left.mean(0), 1)[0]
    assert abs(slope) < 0.003  # a plane fit tilts every terrace by 3/32 per pixel
    assert abs(np.polyfit(np.arange(128), left.mean(1), 1)[0]) < 0.003
    plane = z - fit_surface(z, 1)
    assert abs(np.polyfit(np.arange(28), plane[:, 2:30].mean(0), 1)[0]) > 0.05


def test_offsets_of_lines_are_removed_by_every_method() -> None:
    rng = np.random.default_rng(1)
    z = texture(2)
    offset = rng.normal(0, 10, 96)[:, None]
    for method in ("median", "difference", "polynomial"):
        out = level_lines(z + offset, method)
        assert (out - out.mean()).std() < 1.3 * z.std(), method


def test_median_of_differences_keeps_terraces_where_the_median_does_not() -> None:
    rng = np.random.default_rng(3)
    terrace = 5.0 * (np.mgrid[:96, :96][1] > np.linspace(20, 76, 96)[:, None])
    z = terrace + 0.05 * rng.standard_normal((96, 96)) + rng.normal(0, 1, 96)[:, None]
    kept = level_lines(z, "difference")
    lost = level_lines(z, "median")

    def high_minus_low(a: np.ndarray) -> float:
        return float(abs((a - terrace)[terrace > 0].std()))

    assert high_minus_low(kept) < 0.5 * high_minus_low(lost)


def test_nan_stay_nan_and_do_not_spread() -> None:
    z = texture(4)
    z[10:14, 20:40] = np.nan
    for surface in ("plane", "polynomial", "facet"):
        out = level(z, LevelParams(surface=surface, scars=False))
        assert np.isnan(out).sum() == 80 and np.isnan(out[10:14, 20:40]).all()


def test_levelling_changes_with_units_only_in_scale() -> None:
    z = texture(5)
    assert np.allclose(level(1e-9 * z), 1e-9 * level(z), rtol=1e-6, atol=1e-14)


def test_scars_are_found_and_nothing_else_is_touched() -> None:
    z = 0.02 * np.random.default_rng(0).standard_normal((128, 128)) + 0.1 * texture(1, 128)
    scarred = z.copy()
    scarred[40, 30:80] += 2.0
    scarred[90:92, 60:110] -= 1.5
    truth = np.zeros(z.shape, bool)
    truth[40, 30:80], truth[90:92, 60:110] = True, True
    found = find_scars(scarred)
    assert found[truth].mean() > 0.95
    assert found[~truth].mean() < 0.002
    mended = remove_scars(scarred)
    assert np.abs(mended - z)[truth].mean() < 0.15
    assert (mended[~found] == scarred[~found]).all()
    assert not find_scars(z).any()


def test_a_broad_island_is_no_scar() -> None:
    z = 0.02 * np.random.default_rng(0).standard_normal((96, 96))
    z[40:60, 20:80] += 1.0
    assert not find_scars(z)[42:58].any()


@settings(max_examples=8, deadline=None)
@given(st.floats(-4, 4), st.floats(-1, 1), st.integers(0, 50))
def test_shift_between_traces(dx: float, dy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = texture(seed, 128)
    backward = ndi.shift(z, (dy, dx), order=3, mode="reflect")
    found = compare_traces(
        z + 0.1 * rng.standard_normal(z.shape), backward + 0.1 * rng.standard_normal(z.shape)
    )
    assert abs(found.shift_px[0] + dy) < 0.15 and abs(found.shift_px[1] + dx) < 0.15
    assert found.correlation > 0.8
    assert 0.05 < found.noise < 0.2


def test_traces_that_disagree_say_where() -> None:
    z = texture(7, 128)
    other = z.copy()
    other[60:70, 60:70] += 6
    rng = np.random.default_rng(0)
    found = compare_traces(z, other + 0.05 * rng.standard_normal(z.shape))
    assert found.disagree[62:68, 62:68].all()
    assert found.disagree.mean() < 0.03
    with pytest.raises(ImageError, match="alike"):
        compare_traces(z, other[:-1])


def test_square_pixels_keeps_lengths() -> None:
    y, x = np.mgrid[:60, :120]
    blob = np.exp(-0.5 * (((y - 30) * 0.2) ** 2 + ((x - 60) * 0.1) ** 2) / 1.0)
    out, pixel = square_pixels(blob, (0.2, 0.1))
    assert pixel == 0.1 and out.shape == (120, 120)
    centre = ndi.center_of_mass(out)
    assert abs(centre[0] - ((30 + 0.5) * 2 - 0.5)) < 0.05
    moments = [
        ((np.arange(120) - c) ** 2 * out.sum(1 - a)).sum() / out.sum() for a, c in enumerate(centre)
    ]
    assert abs(moments[0] / moments[1] - 1) < 0.02
    with pytest.raises(CalibrationError):
        square_pixels(blob, (0.0, 0.1))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-0.3, 0.3), st.floats(-0.2, 0.2), st.floats(0, 3.1), st.floats(0.5, 2),
    st.floats(0.6, 2.4),
)  # fmt: skip
def test_drift_matrix_undoes_any_drift(
    s: float, e: float, turn: float, b: float, angle: float
) -> None:
    true = np.array(
        [[np.sin(turn), np.cos(turn)], [b * np.sin(turn + angle), b * np.cos(turn + angle)]]
    )
    drift = np.array([[1 + e, 0.0], [s, 1.0]])
    measured = true @ drift.T
    m = drift_matrix(measured, 1.0, b, angle)
    corrected = measured @ m.T
    assert np.allclose(np.hypot(*corrected.T), [1, b], atol=1e-9)
    cosine = corrected[0] @ corrected[1] / b
    assert np.isclose(cosine, np.cos(angle), atol=1e-9)
    assert m[0, 1] == 0  # the fast axis is not turned


def test_drift_is_found_in_the_scan_and_undone() -> None:
    y, x = np.mgrid[:256, :256].astype(float)
    # a square lattice of 14 px under drift: what is seen at (y, x) lies at (1.05 y, x + 0.08 y)
    yy, xx = 1.05 * y, x + 0.08 * y
    c, s = np.cos(0.3), np.sin(0.3)
    image = np.cos(2 * np.pi * (c * yy + s * xx) / 14) + np.cos(2 * np.pi * (c * xx - s * yy) / 14)
    image = image + 0.5 * np.random.default_rng(0).standard_normal(image.shape)
    m = find_drift(image, 14.0, 14.0, np.pi / 2)
    assert np.allclose(m, [[1.05, 0], [0.08, 1]], atol=0.01)
    fixed = correct_drift(image, m)
    after = find_drift(np.where(np.isfinite(fixed), fixed, 0)[:250, 20:250], 14.0, 14.0, np.pi / 2)
    assert np.allclose(after, np.eye(2), atol=0.015)
    with pytest.raises(CalibrationError):
        find_drift(np.random.default_rng(0).standard_normal((128, 128)), 14.0, 14.0, 1.57)


def test_bad_scans_are_refused_with_a_sentence() -> None:
    for bad in (
        np.zeros(5),
        np.zeros((3, 3)),
        np.full((20, 20), np.nan),
        np.zeros((20, 20), complex),
    ):
        with pytest.raises(ImageError, match=r"\."):
            level(bad)
    with pytest.raises(ParameterError):
        level(texture(), LevelParams(degree=40))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_terraces_have_the_heights_and_edges_of_the_simulation(seed: int) -> None:
    from scipy.spatial import cKDTree

    from napari_atomlens.stm import find_terraces

    scan = simulate_silicon(
        SiliconParams(size_px=384, pixel_size_nm=0.1, steps=2, contaminants=1, tilt=0.02,
                      row_angle_rad=0.7, pink_nm=0.006, noise_nm=0.005, seed=2**33 + seed)
    )  # fmt: skip
    found = find_terraces(scan.image, pixel_size_nm=0.1)
    assert np.allclose(found.table["height"], [0, 0.1358, 0.2716], atol=0.02)
    assert (found.labels == scan.terrace).mean() > 0.97
    true, line = np.concatenate(scan.steps), np.concatenate(found.lines)
    near = cKDTree(line).query(true)[0] * 0.1
    assert (near < 0.5).mean() > 0.9
    assert found.flat.std() < 0.06
    assert len(found.edges) == len(found.lines)


def test_a_flat_scan_is_one_terrace() -> None:
    from napari_atomlens.stm import find_terraces

    scan = simulate_silicon(SiliconParams(size_px=256, pixel_size_nm=0.1, tilt=0.01, seed=2**33))
    found = find_terraces(scan.image, pixel_size_nm=0.1)
    assert len(found.table) == 1 and found.edges.empty
