"""Images too large to be held several times: windows change nothing."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_atomlens.atoms import background
from napari_atomlens.atoms.refine import fit_columns
from napari_atomlens.progress import Progress
from napari_atomlens.runs.frame import analyze_frames
from napari_atomlens.segmentation import predict, tiles
from napari_atomlens.simulation import seed_for, simulate

SPACING = 13.0


def image(lattice: str, side: int) -> np.ndarray:
    pixels, _ = simulate(
        lattice, (side, side - 60), SPACING, rotation_deg=17, counts=20_000, vacancies=0.02,
        seed=seed_for("test", 9_100),
    )  # fmt: skip
    return pixels.astype(np.float32)


@pytest.fixture
def in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "LARGE", 1000)
    monkeypatch.setattr(tiles.predict_tiled, "__defaults__", (128, Progress(), None))


@pytest.mark.needs_model
@pytest.mark.parametrize("lattice", ["square", "perovskite"])
def test_seams_cannot_be_seen(lattice: str, request: pytest.FixtureRequest) -> None:
    pixels = image(lattice, 560)
    whole = next(analyze_frames(pixels))
    request.getfixturevalue("in_windows")
    tiled = next(analyze_frames(pixels))
    p, q = (r.atoms[["y_px", "x_px"]].to_numpy() for r in (tiled, whole))
    assert len(p) == len(q)
    apart, which = cKDTree(q).query(p)
    assert len(set(which)) == len(q)
    assert apart.max() < 1e-3
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=2e-3)
    other = whole.atoms.iloc[which]
    np.testing.assert_allclose(tiled.atoms["probability"], other["probability"], atol=5e-3)
    np.testing.assert_array_equal(tiled.atoms["species"], other["species"])
    np.testing.assert_allclose(tiled.atoms["y_err_px"], other["y_err_px"], rtol=0.01)


def test_every_place_lies_in_one_part() -> None:
    rng = np.random.default_rng(0)
    shape, side = (70, 53), 32
    places = np.r_[
        rng.uniform(-1, 71, (500, 2)) * [1, 53 / 70], [[-0.5, -0.5], [69.5, 52.5], [31.5, 31.5]]
    ]
    parts = [
        tiles.own_part(places, (y, x), side, shape)
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]
    np.testing.assert_array_equal(np.sum(parts, axis=0), 1)


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, scene = simulate(
        "square", (400, 340), SPACING, rotation_deg=17, counts=20_000, seed=seed_for("test", 9_101)
    )
    places = np.c_[scene.y, scene.x]
    places = places[((places > 0) & (places < np.subtract(pixels.shape, 1))).all(1)]
    pixels = np.minimum(pixels, np.quantile(pixels, 0.99)).astype(np.float32)  # clipped
    whole = fit_columns(pixels, places, SPACING)
    monkeypatch.setattr(background, "STRIP_PX", 7_000)
    part = fit_columns(pixels, places, SPACING)
    np.testing.assert_array_equal(part.ok, whole.ok)
    for name in ("y", "x", "amplitude", "y_err", "chi2"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), rtol=1e-4, atol=1e-4)


@given(st.integers(1, 90), st.integers(1, 70), st.integers(1, 9), st.integers(1, 900))
def test_strips_cover_every_row_once(h: int, w: int, height: int, most: int) -> None:
    with mock.patch.object(background, "STRIP_PX", most):
        parts = background.strips((h, w), height)
    rows = np.concatenate([np.arange(h)[p] for p in parts])
    np.testing.assert_array_equal(rows, np.arange(h))
    assert all(p.start % height == 0 for p in parts)
    assert all((p.stop - p.start) * w <= max(most, height * w) for p in parts)


def test_views_of_a_window_are_those_of_the_whole() -> None:
    from napari_atomlens.segmentation.normalise import grey_range, two_views

    pixels = torch.from_numpy(image("honeycomb", 320))[None]
    whole = two_views(pixels)
    part = two_views(pixels[:, 64:256, 32:240], grey_range(pixels))
    torch.testing.assert_close(
        part[..., 56:-56, 56:-56], whole[..., 120:200, 88:184], atol=1e-4, rtol=1e-4
    )


@pytest.mark.usefixtures("in_windows")
def test_an_image_of_nothing_but_a_corner() -> None:
    pixels = np.random.default_rng(0).normal(0, 0.01, (400, 380)).astype(np.float32)
    pixels[:150, :140] += image("square", 200)[:150, :140] / 100
    result = next(analyze_frames(pixels))
    assert 60 < len(result.atoms) < 150
    assert result.atoms[["y_px", "x_px"]].to_numpy().max() < 160
