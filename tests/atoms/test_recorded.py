"""Nothing is found, and nothing is measured, where nothing was recorded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

import napari_atomlens as al
from napari_atomlens import arrays
from napari_atomlens.image import recorded
from napari_atomlens.tracking import rolling_mean

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, pairs, square

SIDE = 160
PLACES = square((SIDE, SIDE), 12.0)


def scan(seed: int, counts: float = 100.0, background: float = 10.0) -> np.ndarray:
    """Poisson counts of a square lattice."""
    clean = drawn((SIDE, SIDE), PLACES, counts, 2.6) + background
    return np.random.default_rng(seed).poisson(clean).astype(np.float32)


def particle(background: float, radius: float = 45.0) -> np.ndarray:
    """Poisson counts of a round particle on a support that counts so much."""
    inside = np.hypot(*(PLACES - SIDE / 2).T) < radius
    clean = drawn((SIDE, SIDE), PLACES[inside], 6.0, 2.6)
    clean = np.where(clean > 1e-4, clean, 0)
    return np.random.default_rng(4).poisson(clean + background).astype(np.float32)


BANDS = {
    "stopped": [np.s_[97:]], "begun late": [np.s_[:40]], "moved to the left": [np.s_[:, 131:]],
    "moved both ways": [np.s_[:9], np.s_[:, :14]],
}  # fmt: skip


def filled(image: np.ndarray, band: str, value: float) -> tuple[np.ndarray, np.ndarray]:
    """The image with bands of one value, and where they are not."""
    out, there = image.copy(), np.ones(image.shape, bool)
    for part in BANDS[band]:
        out[part], there[part] = value, False
    return out, there


@pytest.mark.parametrize("value", [0.0, 31.0, 1e6, np.nan, np.inf])
@pytest.mark.parametrize("band", BANDS)
def test_bands_of_one_value_at_the_border_were_not_recorded(band: str, value: float) -> None:
    image, there = filled(scan(1), band, value)
    np.testing.assert_array_equal(recorded(image), there)
    if np.isfinite(value) and value < 1e6:
        np.testing.assert_array_equal(recorded(image.astype(np.uint16)), there)


def test_masks_holes_and_single_pixels_were_not_recorded() -> None:
    image = scan(2)
    mask = np.zeros(image.shape, bool)
    mask[60:70, 30:44] = mask[5, 7] = True
    np.testing.assert_array_equal(recorded(np.ma.masked_array(image, mask)), ~mask)
    np.testing.assert_array_equal(recorded(np.where(mask, np.inf, image)), ~mask)


@pytest.mark.parametrize("background", [0.0, 0.003, 0.05])
def test_a_vacuum_was_recorded(background: float) -> None:
    image = particle(background)
    assert (image == 0).all(axis=1).any() or background > 0.01
    assert recorded(image).all()
    # a particle cut by one border of the scan, and one that fills it from side to side
    assert recorded(image[80:]).all() and recorded(image[:, 60:100]).all()
    assert recorded(np.minimum(image, 1).astype(np.uint8)).all()
    assert recorded(np.full((40, 40), 3.0)).all()


def test_a_particle_in_a_vacuum_can_be_stopped_too() -> None:
    image = particle(0.0)
    image[85:] = 0  # half of the particle is missing
    assert not recorded(image)[85:].any() and recorded(image)[:85].all()


def test_a_gap_is_bridged_by_the_mirror_image_of_what_lies_beside_it() -> None:
    image = scan(3).astype(float)
    there = np.ones(image.shape, bool)
    there[100:] = False
    filled_up = arrays.bridge(np.where(there, image, np.nan), there)
    np.testing.assert_array_equal(filled_up[100:150], image[98:48:-1])
    assert np.isfinite(filled_up).all()
    there[:] = False
    there[3, 5] = True
    assert (arrays.bridge(np.where(there, image, np.nan), there) == image[3, 5]).all()


@pytest.mark.needs_model
@pytest.mark.parametrize(("band", "value"), [("stopped", np.nan), ("stopped", 0.0),
                                             ("moved both ways", 31.0)])  # fmt: skip
def test_no_atom_lies_where_nothing_was_recorded(band: str, value: float) -> None:
    image, there = filled(scan(5), band, value)
    result = al.analyze(image)
    atoms = result.atoms
    found = atoms[["y_px", "x_px"]].to_numpy()
    depth = distance_transform_edt(~there)
    at = np.clip(np.rint(found), 0, SIDE - 1).astype(int)
    assert depth[at[:, 0], at[:, 1]].max() <= 1
    inner = np.all((PLACES > 5) & (PLACES < SIDE - 6), axis=1)
    edge = distance_transform_edt(there)[tuple(np.rint(PLACES[inner]).astype(int).T)]
    seen, whole = PLACES[inner][edge > 3], PLACES[inner][edge > 8]
    whole = whole[np.all((whole > 9) & (whole < SIDE - 10), axis=1)]
    i, k = pairs(found, seen, 3)
    assert len(k) == len(seen)
    # errors are true beside the gap, too
    z = (found[i] - seen[k]) / atoms[["y_err_px", "x_err_px"]].to_numpy()[i]
    assert 0.85 < z.std() < 1.2
    i, k = pairs(found, whole, 3)
    assert abs(atoms["amplitude"].to_numpy()[i] / 100 - 1).max() < 0.15
    # maps hold nothing there, the picture of what is unfamiliar covers it, and it is said
    assert not al.segment(image, spacing_px=12.0).columns[~there].any()
    assert (result.unfamiliar[0][~there] == 1).all()
    assert any("was not recorded" in m for m in result.messages)
    sites = al.describe_sites(image, atoms)
    near = distance_transform_edt(there)[at[:, 0], at[:, 1]] < 3
    assert near.any() and sites["raw_strength"].to_numpy()[: len(atoms)][near].size
    assert np.isnan(sites["raw_strength"].to_numpy()[: len(atoms)][near]).all()


@pytest.mark.needs_model
def test_single_dead_pixels_cost_no_atom() -> None:
    image = scan(6)
    inner = PLACES[np.all((PLACES > 8) & (PLACES < SIDE - 9), axis=1)]
    image[tuple(np.rint(inner[::3]).astype(int).T)] = np.nan
    atoms = al.analyze(image).atoms
    i, _ = pairs(atoms[["y_px", "x_px"]].to_numpy(), inner, 2)
    assert len(i) == len(inner)


@pytest.mark.needs_model
def test_a_movie_of_registered_frames_has_no_atoms_in_their_borders() -> None:
    movie = np.stack([scan(k, counts=30) for k in range(5)])
    for k in range(5):
        movie[k, :, SIDE - 6 * k :] = np.nan if k else movie[k, :, SIDE - 6 * k :]
    mean = rolling_mean(movie, 2, 5)
    assert np.isfinite(mean).all() and abs(mean[:, SIDE - 6 :].mean() / mean.mean() - 1) < 0.2
    params = al.AnalysisParams(window=5, spacing_px=12)
    atoms = al.analyze(movie, params=params).atoms
    for k, mine in atoms.groupby("frame"):
        assert len(mine) > 60 and mine["x_px"].max() < SIDE - 6 * k + 0.5


def test_too_little_that_was_recorded_is_said() -> None:
    image = scan(7)
    image[12:] = 0
    with pytest.raises(al.ImageError, match="was recorded"):
        al.find_spacing(image)
