"""Atoms without a lattice: their simulation and the width that gives the scale."""

import numpy as np
import pytest

from napari_atomlens.segmentation.isolated import atom_width
from napari_atomlens.simulation import atom_scenes


def film(
    seed: int, width: float, counts: float = 1000.0
) -> tuple[np.ndarray, atom_scenes.FilmScene]:
    """First scene from a seed on that has atoms which can be seen."""
    for k in range(100):
        rng = np.random.default_rng(1000 * seed + k)
        scene = atom_scenes.film_scene((208, 208), rng, width=width, counts=counts)
        if 6 < (scene.snr() > 8).sum() < 40 and not scene.scene.contamination.any():
            return atom_scenes.expose_film(scene, rng, faulty=False), scene
    raise AssertionError("no such scene")


@pytest.mark.parametrize("width", [2.2, 3.5, 5.5])
def test_width_is_found_on_a_film(width: float) -> None:
    found = [atom_width(film(s, width)[0]) for s in range(2)]
    assert all(0.72 < f.width_px / width < 1.38 for f in found)
    assert all(f.bright > f.dark for f in found)


def test_nothing_stands_out_of_noise() -> None:
    image = np.random.default_rng(0).poisson(30, (192, 192))
    found = atom_width(image)
    assert found.bright < found.dark + 1.0


def test_signal_to_noise_falls_with_counts_and_speckle() -> None:
    _, few = film(3, 3.0, 60.0)
    rich = atom_scenes.FilmScene(few.scene, 3000.0, few.rough, few.grain)
    bare = atom_scenes.FilmScene(few.scene, 3000.0, 0 * few.rough, few.grain)
    assert (few.snr() < rich.snr()).all() and (rich.snr() <= bare.snr()).all()


def test_carbon_film_has_the_speckle_of_its_atoms() -> None:
    rng = np.random.default_rng(0)
    thin, thick = (
        atom_scenes.bare_carbon((192, 192), rng, thickness_nm=t, width_px=3.0, pixel_nm=0.03)
        for t in (5.0, 20.0)
    )
    mean = [f.scene.background.mean() for f in (thin, thick)]
    spread = [f.scene.background.std() for f in (thin, thick)]
    assert mean[1] / mean[0] == pytest.approx(4, rel=0.05)
    assert spread[1] / spread[0] == pytest.approx(2, rel=0.15)  # of random atoms, as the root
    assert 0.3 < mean[1] < 1.5  # a platinum atom on 20 nm of carbon


def test_training_pair_has_its_peaks_at_the_atoms() -> None:
    for seed in range(5):
        image, target = atom_scenes.training_pair((96, 96), seed)
        assert image.shape == (96, 96) and target.shape == (3, 96, 96)
        assert np.isfinite(image).all()
        assert target.min() >= 0 and target.max() <= 1
        scene = atom_scenes.draw((96, 96), seed)[1]
        again = atom_scenes.draw((96, 96), seed)[1]
        assert np.array_equal(scene.y, again.y)
