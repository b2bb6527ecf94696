"""Which atoms are to be trusted: unfamiliar neighbourhoods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi

import napari_atomlens as al
from napari_atomlens import familiar
from napari_atomlens.atoms import surroundings
from napari_atomlens.simulation.formation import render_columns


def square(n: int, spacing: float = 10.0) -> np.ndarray:
    return np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) * spacing


def test_a_step_of_a_lattice_goes_on_and_random_places_have_none() -> None:
    steps = surroundings.steps_of_lattice(square(8), 10.0)
    assert steps.min() >= 8
    rng = np.random.default_rng(3)
    random = rng.uniform(0, 80, (64, 2))
    assert np.median(surroundings.steps_of_lattice(random, 10.0)) < surroundings.LATTICE


def test_nothing_inside_a_familiar_lattice_is_unfamiliar_by_itself() -> None:
    """A dopant, a core, a single chalcogen: the map glows under it, the lattice goes on."""
    places = square(9)
    strange = np.zeros(len(places))
    strange[[40, 41, 0]] = 1.0  # in the middle, beside it, and in a corner
    assert surroundings.unfamiliarity(places, strange, 10.0).max() < 0.3


def test_speckle_is_unfamiliar_and_the_edge_of_a_lattice_beside_it_is_not() -> None:
    rng = np.random.default_rng(4)
    lattice = square(8)
    speckle = rng.uniform([0, 85], [80, 165], (64, 2))
    places = np.r_[lattice, speckle]
    strange = np.r_[np.zeros(64), np.ones(64)]
    found = surroundings.unfamiliarity(places, strange, 10.0)
    assert found[:64].max() < 0.5
    assert (found[64:] > 0.5).mean() > 0.8


@pytest.fixture(scope="module")
def particle() -> tuple[al.Result, np.ndarray]:
    """A rounded particle on a speckled support; the places of its columns."""
    shape, centre, radius = (288, 288), np.array([130.0, 140.0]), 80.0
    places = square(29, 10.4) + 3
    far = np.hypot(*(places - centre).T)
    places, far = places[far < radius], far[far < radius]
    height = np.sqrt(np.clip(1 - (far / radius) ** 2, 0.05, 1))
    rng = np.random.default_rng(7)
    speckle = ndi.gaussian_filter(rng.normal(size=shape), 2.2)
    image = np.clip(0.25 + 0.05 * speckle / speckle.std(), 0, None)
    image += render_columns(shape, places[:, 0], places[:, 1], height, np.full(len(places), 2.4))
    result = al.analyze(rng.poisson(200 * image).astype(np.float32), pixel_size_nm=0.02)
    return result, places[height > 0.3]


@pytest.mark.needs_model
def test_atoms_of_a_speckled_support_are_left_out(particle: tuple[al.Result, np.ndarray]) -> None:
    result, true = particle
    atoms = result.atoms
    out = familiar.is_unfamiliar(atoms)
    places = atoms[["y_px", "x_px"]].to_numpy()
    near = np.hypot(*(places[:, None] - true[None]).transpose(2, 0, 1)).min(1) < 3
    assert atoms["unfamiliar"].between(0, 1).all()
    assert out[near].mean() <= 0.02 and out[~near].mean() > 0.4
    assert near.sum() >= 0.98 * len(true)
    # what is made of atoms leaves them out, and one sentence counts them
    ids = set(atoms["atom_id"][out])
    lattice = result.lattice.atoms
    assert (lattice.loc[lattice["atom_id"].isin(ids), "region"] == -1).all()
    assert not ids & (set(result.bonds["atom_a"]) | set(result.bonds["atom_b"]))
    assert any(f"{out.sum():,} of {len(atoms):,} atoms" in m for m in result.messages)
    assert f"{out.sum():,} more left out" in repr(result)


@pytest.mark.needs_model
def test_the_user_takes_them_in(particle: tuple[al.Result, np.ndarray]) -> None:
    atoms = particle[0].atoms
    out = familiar.is_unfamiliar(atoms)
    everything = al.bond(atoms, unfamiliar=True)
    assert len(everything.atoms) == len(atoms)
    assert len(al.bond(atoms).atoms) <= (~out).sum()
    everywhere = al.measure_lattice(atoms.assign(unfamiliar=0.0)).atoms
    taken_in = al.measure_lattice(atoms, al.LatticeParams(unfamiliar=True)).atoms
    assert taken_in["region"].tolist() == everywhere["region"].tolist()
    assert not familiar.is_unfamiliar(atoms.assign(edited=True)).any()


def test_atoms_of_which_nothing_is_known_are_familiar() -> None:
    table = pd.DataFrame({"unfamiliar": [np.nan, 0.2, 0.8]})
    assert familiar.is_unfamiliar(table).tolist() == [False, False, True]
    assert not familiar.is_unfamiliar(table.drop(columns="unfamiliar")).any()
