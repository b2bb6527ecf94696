"""Which atoms are to be trusted: unfamiliar neighbourhoods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi

import napari_atomlens as al
from napari_atomlens import familiar
from napari_atomlens.atoms import evidence, surroundings, trust
from napari_atomlens.atoms.ghosts import ghosts
from napari_atomlens.simulation.formation import render_columns


def square(n: int, spacing: float = 10.0) -> np.ndarray:
    return np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) * spacing


def test_a_step_of_a_lattice_goes_on_and_random_places_have_none() -> None:
    steps = surroundings.steps_of_lattice(square(8), 10.0)
    assert steps.min() >= 8
    rng = np.random.default_rng(3)
    random = rng.uniform(0, 80, (64, 2))
    assert np.median(surroundings.steps_of_lattice(random, 10.0)) < surroundings.LATTICE


def test_what_stands_beside_a_lattice_is_led_to_by_no_row_of_it() -> None:
    lattice = square(9)
    beside = surroundings.beside_a_lattice
    assert not beside(lattice, 10.0).any()
    assert not beside(np.delete(lattice, [30, 40, 41], axis=0), 10.0).any()
    assert not beside(lattice[lattice @ [1, 0.4] < 70], 10.0).any()
    blobs = np.array([[35.0, 96.0], [52.0, 93.0], [93.0, 14.0], [94.0, 66.0], [34.0, 34.5]])
    assert np.flatnonzero(beside(np.r_[lattice, blobs], 10.0)).tolist() == [81, 82, 83, 84, 85]
    # where there is no lattice nothing stands beside one
    assert not beside(np.random.default_rng(3).uniform(0, 80, (64, 2)), 10.0).any()


def test_blobs_beside_a_clear_lattice_are_doubtful_unless_familiar() -> None:
    known = dict.fromkeys(evidence.NAMES, 0.0) | {
        "network": 4.0, "snr": 3.0, "place error": -4.0, "steps": 14.0, "steps round it": 14.0,
        "nearest": 1.0, "fit": 1.0, "border": 1.5, "snr of the image": 3.0,
        "lattice of the image": 1.0, "network of the image": 6.0,
    }  # fmt: skip
    rows = np.array([list(known.values())] * 12)
    chance = np.full(12, 0.982)
    beside = np.arange(12) == 0
    plain = trust.decided(rows, chance)
    rows[0, evidence.NAMES.index("strange")] = 0.3
    assert plain[0] > 0.9
    assert trust.decided(rows, chance, beside)[0] <= 0.5 + 1e-9
    assert trust.decided(rows, chance, beside)[1:] == pytest.approx(plain[1:])
    rows[:, evidence.NAMES.index("snr")] = 1.0  # in noise nobody can say
    assert trust.decided(rows, chance, beside) == pytest.approx(trust.decided(rows, chance))


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


def test_the_trees_are_added_up() -> None:
    tree = {"feature": [1, 0, 0], "threshold": [0.5, 0, 0], "left": [1, 1, 2], "right": [2, 1, 2],
            "value": [0.0, -2.0, 3.0]}  # fmt: skip
    record = {"names": list(evidence.NAMES), "trees": [tree, tree], "depth": 1, "start": 0.5,
              "scale": 1.0, "offset": 0.0, "card": {}}  # fmt: skip
    rows = np.zeros((2, len(evidence.NAMES)))
    rows[1, 1] = 1.0
    assert trust.stage_of(record).total(rows) == pytest.approx([-3.5, 6.5])
    with pytest.raises(ValueError, match="other evidence"):
        trust.stage_of({**record, "names": ["network"]})


def test_the_stage_says_what_it_was_made_of_and_how_true_it_is() -> None:
    card = trust.bundled().card
    assert card["candidates"] > 10_000 and len(card["kinds"]) >= 20
    assert card["expected_calibration_error"] <= 0.02


WHOLE = (82, 82)


def weak_between(
    strong: np.ndarray, hollow: np.ndarray, heights: np.ndarray, share: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which maxima between strong columns are none, and which are doubtful."""
    places = np.r_[strong, hollow]
    amplitude = np.r_[heights, np.broadcast_to(share, len(hollow))]
    found = ghosts(places, amplitude, np.ones(len(places), bool), 10.0, WHOLE)
    assert not (found.none | found.doubtful)[: len(strong)].any()
    return found.none[len(strong) :], found.doubtful[len(strong) :]


def test_weak_maxima_of_a_rounded_particle_are_ghosts_up_to_its_rim() -> None:
    strong, hollow = square(17) - 40.0, square(16) - 35.0
    heights = np.sqrt(np.clip(1 - (np.hypot(*(strong - 40).T) / 62) ** 2, 0, 1))
    strong, heights = strong[heights > 0.38], heights[heights > 0.38]
    hollow = hollow[np.hypot(*(hollow - 40).T) < 56]
    for inside in (strong, strong + 200):  # a rim of its own, far from the border of the image
        moved = inside - strong
        places = np.r_[inside, hollow + moved[0]]
        amplitude = np.r_[heights, np.full(len(hollow), 0.12)]
        found = ghosts(places, amplitude, np.ones(len(places), bool), 10.0, (500, 500))
        if moved.any():
            assert found.none[len(strong) :].all() and not found.none[: len(strong)].any()
            assert not found.doubtful.any()


def test_weak_maxima_of_a_crystal_are_doubtful_where_it_is_of_one_kind() -> None:
    strong, hollow = square(9), square(8) + 5.0
    flat = np.ones(len(strong))
    for share, doubted in ((0.1, True), (0.3, False)):
        none, doubtful = weak_between(strong, hollow, flat, share)
        assert not none.any() and doubtful.all() == doubted == doubtful.any()
    # a single chalcogen among pairs
    share = np.full(len(hollow), 0.25)
    share[20] = 0.12
    none, doubtful = weak_between(strong, hollow, flat, share)
    assert not (none | doubtful).any()
    # the light columns of a compound of two heavy kinds
    other = np.where(np.add(*(strong / 10).astype(int).T) % 2, 0.6, 1.0)
    none, doubtful = weak_between(strong, hollow, other, 0.1)
    assert not (none | doubtful).any()
    # a light dopant stands on a site of the strong ones
    flat[40] = 0.1
    weak_between(strong, hollow[:0], flat, 0.0)


@pytest.mark.needs_model
def test_a_particle_has_no_ghosts_and_an_oxide_keeps_its_oxygen() -> None:
    rng = np.random.default_rng(21)
    shape, widths = (288, 288), 2.7
    strong = square(24, 12.3) + 4
    far = np.hypot(*(strong - 140).T) / 95
    strong, height = strong[far < 1], np.sqrt(np.clip(1 - far[far < 1] ** 2, 0.15, 1))
    hollow = square(23, 12.3) + 10.15
    hollow = hollow[np.hypot(*(hollow - 140).T) < 95]
    places = np.r_[strong, hollow]
    heights = np.r_[height, np.full(len(hollow), 0.12)]
    image = render_columns(shape, places[:, 0], places[:, 1], heights, np.full(len(places), widths))
    particle = rng.poisson(900 * (image + 0.03)).astype(np.float32)
    result = al.analyze(particle, contours=False)
    assert len(result.atoms) == pytest.approx(len(strong), rel=0.01)
    assert any("ghosts; faint keeps them" in m for m in result.messages)
    both = al.analyze(particle, contours=False, faint=True).atoms
    assert len(both) > 1.5 * len(strong)

    strong, hollow = square(14, 18.0) + 4, square(14, 18.0) + 13.0
    places = np.r_[strong, hollow]
    heights = np.r_[np.ones(len(strong)), np.full(len(hollow), 0.12)]
    image = render_columns(
        (240, 240), places[:, 0], places[:, 1], heights, np.full(len(places), widths)
    )
    oxide = rng.poisson(900 * (image + 0.1)).astype(np.float32)
    result = al.analyze(oxide, contours=False)
    atoms = result.atoms
    assert len(atoms) > 0.97 * (places < 239).all(1).sum()
    weak = atoms["amplitude"] < 0.4 * atoms["amplitude"].quantile(0.9)
    assert (atoms.loc[weak, "probability"] <= 0.9).mean() > 0.95
    assert (atoms.loc[~weak, "probability"] > 0.9).mean() > 0.98
    assert any("kept as doubtful" in m for m in result.messages)
    sure = al.analyze(oxide, contours=False, faint=True).atoms
    assert (sure["probability"] > 0.9).mean() > 0.95


@pytest.mark.needs_model
def test_few_counts_give_no_false_atoms_without_a_mark() -> None:
    """At 20 counts most of what the network saw was noise, and half of it was certain."""
    rng = np.random.default_rng(11)
    places = square(24, 11.0) + 4
    image = render_columns(
        (256, 256), places[:, 0], places[:, 1], np.full(len(places), 0.5),
        np.full(len(places), 2.5),
    )  # fmt: skip
    result = al.analyze(rng.poisson(image + 0.05).astype(np.float32), spacing_px=11.0)
    atoms = result.atoms
    apart = atoms[["y_px", "x_px"]].to_numpy()[:, None] - places[None]
    false = np.hypot(apart[..., 0], apart[..., 1]).min(1) > 2.75
    sure = (atoms["probability"] > 0.9) & atoms["fit_ok"] & (atoms["unfamiliar"] <= 0.5)
    assert (false & sure).sum() <= 0.02 * len(places)
    assert atoms["species_probability"].between(0, 1).all()
