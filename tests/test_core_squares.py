"""Pixels that are not square: columns are found as on square ones, and told in the image's own."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.image import as_stack
from napari_atomlens.runs.plan import make_plan, plan_of
from napari_atomlens.segmentation import seeming_stretch, squared, stretch_of
from napari_atomlens.segmentation.squares import stretched

SIDE, SPACING = 216, 16.0


def counts(ky: int, kx: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a square lattice whose pixels are ky x kx units, and its columns in pixels."""
    n = np.arange(-30, 31)
    i, j = (v.ravel() for v in np.meshgrid(n, n))
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    at = SPACING * np.c_[i, j] @ turn.T + 7
    at = at[np.all((at > -20) & (at < SIDE + 20), axis=1)]
    y, x = ((np.arange(SIDE // k) + 0.5) * k - 0.5 for k in (ky, kx))
    gy = np.exp(-0.5 * ((y - at[:, :1]) / (0.2 * SPACING)) ** 2)
    gx = np.exp(-0.5 * ((x - at[:, 1:]) / (0.2 * SPACING)) ** 2)
    mean = 400 * (0.3 + gy.T @ gx)
    image = np.random.default_rng(ky + 10 * kx).poisson(mean).astype(np.float32)
    return image, (at + 0.5) / (ky, kx) - 0.5


@pytest.mark.needs_model
@pytest.mark.parametrize("pixel", [(3, 1), (1, 3), (2, 1)])
def test_all_is_right_in_the_pixels_of_the_image(pixel: tuple[int, int]) -> None:
    image, places = counts(*pixel)
    size = np.array(pixel) * 0.01
    result = al.analyze(image, pixel_size_nm=(size[0], size[1]))
    atoms = result.atoms
    found = atoms[["y_px", "x_px"]].to_numpy()
    distance, which = cKDTree(places * pixel).query(found * pixel)
    inside = np.all((places > 1) & (places < np.array(image.shape) - 2), axis=1)
    missed = cKDTree(found * pixel).query(places[inside] * pixel)[0] > 4
    assert (distance < 4).mean() > 0.98 and missed.mean() < 0.02
    z = (found - places[which]) / atoms[["y_err_px", "x_err_px"]].to_numpy()
    rms = np.sqrt((z[(distance < 4) & atoms["fit_ok"]] ** 2).mean(0))
    assert np.all((rms > 0.6) & (rms < 1.2)), rms
    assert np.allclose(atoms[["y_nm", "x_nm"]], found * size)
    assert atoms["amplitude"].median() == pytest.approx(400, rel=0.03)
    area = 2 * np.pi * (0.2 * SPACING) ** 2 / np.prod(pixel)
    assert (2 * np.pi * atoms["sigma_px"] ** 2).median() == pytest.approx(area, rel=0.06)
    assert result.probabilities.shape[-2:] == result.unfamiliar.shape[-2:] == image.shape
    centres = np.array([o.mean(0) for o in result.outlines[0]])
    assert np.abs(cKDTree(found).query(centres)[0]).max() < 3


def test_pixels_that_are_square_stay() -> None:
    movie = squared(as_stack(np.eye(20)), stretch_of((0.01, 0.0101)))
    assert movie.shape == (1, 20, 20)
    assert stretch_of(None) == (1.0, 1.0)
    assert stretch_of((1.0, 40.0)) == (1.0, 1.0)  # lines, no image


def test_resampling_keeps_places_and_slopes() -> None:
    y, x = np.mgrid[:30, :20].astype(float)
    wide = stretched(2 * y + x, (90, 20))
    rows = (np.arange(90) + 0.5) / 3 - 0.5
    assert np.allclose(wide[9:-9], (2 * rows[:, None] + x[:1])[9:-9])


@pytest.mark.needs_model
def test_the_plan_of_unequal_pixels_can_be_written_down() -> None:
    image, _ = counts(3, 1)
    plan = make_plan(as_stack(image), pixel_size_nm=(0.03, 0.01))
    assert plan.stretch == (3.0, 1.0)
    assert plan_of(plan.record()).stretch == plan.stretch


@pytest.mark.needs_model
@pytest.mark.parametrize("pixel", [(3, 1), (1, 3)])
def test_unequal_pixels_that_nobody_told_are_seen_and_said(pixel: tuple[int, int]) -> None:
    """Columns and lattice are drawn out by the same factor along a side of the image."""
    image, places = counts(*pixel)
    result = al.analyze(image)
    found = result.atoms[["y_px", "x_px"]].to_numpy()
    distance = cKDTree(places * pixel).query(found * pixel)[0]
    inside = np.all((places > 1) & (places < np.array(image.shape) - 2), axis=1)
    missed = cKDTree(found * pixel).query(places[inside] * pixel)[0] > 4
    assert (distance < 4).mean() > 0.98 and missed.mean() < 0.02
    how = "higher than wide" if pixel[0] > 1 else "wider than high"
    assert any(f"seem not to be square (1:3.0, {how})" in m for m in result.messages)


def test_columns_or_a_lattice_that_are_drawn_out_alone_are_on_square_pixels() -> None:
    """Tilt draws out columns and no lattice; rows of a crystal may be further apart than its steps.

    A square lattice is turned to no side, so that nothing but the pixels can draw it out.
    """
    y, x = np.mgrid[:240, :240].astype(float)
    rng = np.random.default_rng(3)
    for step, width in (((16.0, 16.0), (2.4, 5.5)), ((8.0, 24.0), (2.4, 2.4))):
        image = np.zeros((240, 240))
        for cy in np.arange(3, 240, step[0]):
            for cx in np.arange(3, 240, step[1]):
                image += np.exp(
                    -0.5 * ((y - cy) / width[0]) ** 2 - 0.5 * ((x - cx) / width[1]) ** 2
                )
        assert seeming_stretch(rng.poisson(200 * image + 30)) == (1.0, 1.0)
    assert seeming_stretch(rng.poisson(30, (240, 240))) == (1.0, 1.0)
    assert seeming_stretch(np.full((240, 240), np.nan)) == (1.0, 1.0)
    assert seeming_stretch(np.ones((20, 20))) == (1.0, 1.0)
