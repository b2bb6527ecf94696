"""Blobs of something amorphous and points along lines are marked; columns of lattices are not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.atoms.disorder import curvatures, disorder
from napari_atomlens.atoms.peaks import find_peaks

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, pairs, square

SIDE = 224


def counted(clean: np.ndarray, seed: int = 3) -> np.ndarray:
    """Poisson counts of an image."""
    return np.random.default_rng(seed).poisson(np.clip(clean, 0, None)).astype(np.float32)


def amorphous(wave: float, seed: int) -> np.ndarray:
    """Noise in which waves of one length prevail, as an amorphous film shows them; spread 1."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    keep = np.exp(-(((f - 1 / wave) * wave * 5) ** 2) / 2)
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(SIDE, SIDE)))
    image = np.fft.ifft2(noise * keep).real
    return np.asarray(image / image.std())


def unmarked(image: np.ndarray) -> tuple[int, int, str]:
    """Atoms of an image, those with nothing that marks them, and what is said."""
    result = al.analyze(image, contours=False, spacing_px=11.0)
    atoms = result.atoms
    sure = (atoms["probability"] > 0.9) & atoms["fit_ok"] & (atoms["unfamiliar"] <= 0.5)
    return len(atoms), int(sure.sum()), " ".join(result.messages)


@pytest.mark.needs_model
@pytest.mark.parametrize("seed", [1, 2])
def test_blobs_of_an_amorphous_film_are_unfamiliar(seed: int) -> None:
    image = counted(100 * (1 + 0.25 * amorphous(11.0, seed)))
    found, sure, said = unmarked(image)
    assert found == 0 or (sure <= 0.01 * found and "leave them out" in said)
    # the network took each for a column
    peaks, _, _ = find_peaks(al.segment(image, "universal", 11.0))
    assert len(peaks) > 100 and (disorder(image, peaks) > 0.5).mean() > 0.9


@pytest.mark.needs_model
def test_points_along_fringes_are_unfamiliar() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    found, sure, said = unmarked(counted(30 * (1 + 0.4 * np.cos((0.9 * x + 0.45 * y) * 0.6))))
    assert found == 0 or (sure <= 0.01 * found and said)


@pytest.mark.needs_model
def test_columns_twice_as_long_as_wide_are_none_of_these() -> None:
    """Nor are those of a particle on an amorphous film."""
    places = square((SIDE, 2 * SIDE), 26.0)
    tall = drawn((SIDE, 2 * SIDE), places, 60.0, 5.0)[:, ::2]  # half as wide as high
    atoms = al.analyze(counted(tall + 20), contours=False).atoms
    assert (atoms["unfamiliar"] > 0.5).mean() == 0

    places = square((SIDE, SIDE), 11.0)
    places = places[np.hypot(*(places - SIDE / 2).T) < 60]
    clean = drawn((SIDE, SIDE), places, 60.0, 2.6) + 20 + 6 * amorphous(11.0, 5)
    atoms = al.analyze(counted(clean), contours=False).atoms
    found, true = pairs(atoms[["y_px", "x_px"]].to_numpy(), places, 3.0)
    odd = atoms["unfamiliar"].to_numpy() > 0.5
    assert len(true) > 0.95 * len(places)
    assert odd[found].mean() <= 0.15  # of a small particle, whose rim is a third
    assert odd[np.setdiff1d(np.arange(len(atoms)), found)].mean() > 0.5


def test_curvatures_are_those_of_an_ellipse() -> None:
    """Along and across, wherever the centre lies within its pixel, with and without a slope."""
    y, x = np.mgrid[:60, :60]
    centre = np.array([[29.3, 31.6]])
    u = ((x - 31.6) * 0.8 + (y - 29.3) * 0.6) / 8
    v = ((y - 29.3) * 0.8 - (x - 31.6) * 0.6) / 4
    for slope in (0.0, 0.3):
        across, along = curvatures(np.exp(-(u**2 + v**2) / 2) + slope * x, centre, 2.0)
        assert along[0] / across[0] == pytest.approx((16 + 4) / (64 + 4), rel=0.06)
    across, along = curvatures(np.exp(-(v**2) / 2), centre, 2.0)
    assert abs(along[0]) < 0.01 * across[0]


def test_few_points_and_lattices_are_in_order() -> None:
    image = np.random.default_rng(0).normal(size=(96, 96))
    assert not disorder(image, np.array([[20.0, 30.0], [40.0, 50.0]])).any()
    assert not disorder(image, np.zeros((0, 2))).any()
    places = square((96, 96), 9.0)
    assert not disorder(drawn((96, 96), places, 1.0, 2.2), places).any()
