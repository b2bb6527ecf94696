"""Images too large to be held several times: windows change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from napari_atomlens.analysis import analyze_frames
from napari_atomlens.atoms import find, windows
from napari_atomlens.atoms.background import Background
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
    monkeypatch.setattr(find, "LARGE", 1000)
    monkeypatch.setitem(windows.fit_in_windows.__kwdefaults__, "part_px", 240)
    monkeypatch.setattr(tiles.predict_tiled, "__defaults__", (128,))


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
    error = float(np.hypot(whole.atoms["y_err_px"], whole.atoms["x_err_px"]).median())
    rim = ((p < 3 * SPACING) | (p > np.subtract(pixels.shape, 1 + 3 * SPACING))).any(1)
    assert apart[~rim].max() < 0.08 * error  # a seam of pixels would be far more than an error
    own = np.hypot(tiled.atoms["y_err_px"], tiled.atoms["x_err_px"]).fillna(0.5)
    # the first row depends on which columns are taken to lie beyond the border
    assert (apart < 5 * own).all() and (apart < own).mean() > 0.99
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=2e-3)
    other = whole.atoms.iloc[which]
    np.testing.assert_allclose(tiled.atoms["probability"], other["probability"], atol=5e-3)
    np.testing.assert_array_equal(tiled.atoms["species"], other["species"])
    np.testing.assert_allclose(tiled.atoms["y_err_px"][~rim], other["y_err_px"][~rim], rtol=0.05)


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


def test_nodes_of_a_window_are_nodes_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    whole = Background((300, 200), 37.0)
    values = rng.normal(size=whole.n).ravel()
    everywhere = whole.image(values)
    for origin, shape in (((0, 0), (120, 90)), ((77, 41), (150, 100)), ((200, 120), (100, 80))):
        part = Background(shape, 37.0, (300, 200), origin)
        first = [round((o - f) / s) for o, f, s in zip(origin, part.offset, part.step, strict=True)]
        own = values.reshape(whole.n)[
            first[0] : first[0] + part.n[0], first[1] : first[1] + part.n[1]
        ]
        inside = everywhere[origin[0] : origin[0] + shape[0], origin[1] : origin[1] + shape[1]]
        np.testing.assert_allclose(part.image(own.ravel()), inside, atol=1e-4)
        y, x = rng.uniform(0, shape[0] - 1, 50), rng.uniform(0, shape[1] - 1, 50)
        np.testing.assert_allclose(
            part.at(own.ravel(), y, x), whole.at(values, y + origin[0], x + origin[1]), atol=1e-9
        )


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
