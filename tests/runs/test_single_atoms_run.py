"""Atoms without a lattice from end to end: `auto` takes their model, says so, and finds them."""

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.simulation import atom_scenes
from napari_atomlens.simulation.scoring import match


@pytest.fixture(scope="module")
def film() -> tuple[np.ndarray, np.ndarray]:
    """Clear atoms on a flat film, far from one another and in no order."""
    rng = np.random.default_rng(3)
    places = rng.uniform(12, 188, (200, 2))
    kept: list[np.ndarray] = []
    for p in places:
        if all(np.hypot(*(p - q)) > 14 for q in kept):
            kept.append(p)
    true = np.array(kept[:40])
    y, x = np.indices((200, 200))
    clean = np.full((200, 200), 4.0)
    for at in true:
        clean += 14 * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 3.2**2)
    return rng.poisson(clean).astype(np.float32), true


def test_auto_finds_atoms_without_a_lattice_and_says_so(
    film: tuple[np.ndarray, np.ndarray],
) -> None:
    image, true = film
    result = al.analyze(image, pixel_size_nm=0.03)
    assert result.provenance["model"] == "single-atoms"
    assert any("no lattice was found" in m for m in result.messages)
    places = result.atoms[["y_px", "x_px"]].to_numpy()
    hits = len(match(places, true, 2.0)[0])
    assert hits >= 0.95 * len(true) and len(places) <= hits + 2
    fitted = result.atoms[result.atoms["fit_ok"]]
    assert len(fitted) >= 0.9 * len(places)
    assert fitted["sigma_px"].median() == pytest.approx(3.2, rel=0.1)
    assert fitted["volume_err"].notna().all()
    assert len(result.contours) == len(result.atoms)


def test_a_crystal_keeps_its_model() -> None:
    image, _ = al.simulate("honeycomb", (128, 128), 10.0, counts=100)
    assert al.analyze(image, refine="off").provenance["model"] == "universal"


def test_noise_and_a_bare_film_hold_no_likely_atom() -> None:
    rng = np.random.default_rng(5)
    bare = atom_scenes.bare_carbon(
        (192, 192), rng, thickness_nm=8, width_px=3.0, pixel_nm=0.03, counts=300
    )
    for image in (rng.poisson(30, (192, 192)), atom_scenes.expose_film(bare, rng, faulty=False)):
        result = al.analyze(np.asarray(image, np.float32))
        assert (result.atoms["probability"] < 0.9).all() and len(result.atoms) <= 3
        if not len(result.atoms):
            assert any("no single atom" in m for m in result.messages)


def test_a_spacing_that_was_given_means_a_lattice(film: tuple[np.ndarray, np.ndarray]) -> None:
    result = al.analyze(film[0], spacing_px=14.0, refine="off")
    assert result.provenance["model"] == "universal"


def test_atoms_on_a_hilly_film_keep_their_width_and_place() -> None:
    rng = np.random.default_rng(8)
    grid = np.mgrid[20:200:27, 20:200:27].reshape(2, -1).T + rng.uniform(-6, 6, (49, 2))
    y, x = np.indices((220, 220))
    hills = 90 * np.sin(2 * np.pi * y / 70) * np.sin(2 * np.pi * x / 74)
    clean = 200 + hills
    for at in grid:
        clean = clean + 70 * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 3.2**2)
    image = rng.poisson(clean).astype(np.float32)
    atoms = al.analyze(image, model="single-atoms", spacing_px=3.5 * 3.2).atoms
    places = atoms[["y_px", "x_px"]].to_numpy()
    found, true = match(places, grid, 2.0)
    assert len(found) >= 15
    assert atoms["sigma_px"].iloc[found].median() == pytest.approx(3.2, rel=0.25)
    assert np.sqrt(np.mean((places[found] - grid[true]) ** 2)) < 1.0
