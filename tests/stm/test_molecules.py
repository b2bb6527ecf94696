"""Films of molecules: states, order, flips; and the field solved exactly on a small graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.simulation.molecules import simulate_film, simulate_flips
from napari_atomlens.simulation.scoring import match
from napari_atomlens.stm.molecules import (
    MoleculeParams,
    belief,
    film_neighbours,
    find_flips,
    follow_film,
    pair_distribution,
    psi6,
    read_film,
)


def test_belief_is_exact_on_a_tree() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 1, (5, 3))
    pairs = np.array([[0, 1], [1, 2], [1, 3], [3, 4]])
    potential = rng.normal(0, 1, (3, 3))
    potential = potential + potential.T
    weight = {}
    for state in itertools.product(range(3), repeat=5):
        energy = sum(evidence[i, s] for i, s in enumerate(state))
        weight[state] = np.exp(energy + sum(potential[state[i], state[j]] for i, j in pairs))
    total = sum(weight.values())
    exact = np.zeros((5, 3))
    joint = np.zeros((4, 3, 3))
    for state, w in weight.items():
        for i, s in enumerate(state):
            exact[i, s] += w / total
        for k, (i, j) in enumerate(pairs):
            joint[k, state[i], state[j]] += w / total
    single, pair = belief(evidence, pairs, potential, rounds=200)
    assert np.allclose(single, exact, atol=1e-3)
    assert np.allclose(pair, joint, atol=1e-3)


def test_states_are_read_and_the_field_helps() -> None:
    image, truth = simulate_film(400, seed=2**33)
    film = read_film(image)
    m = film.molecules
    a, b = match(m[["y_px", "x_px"]].to_numpy(), truth[["y_px", "x_px"]].to_numpy(), 6)
    assert len(a) > 0.95 * len(m)
    up, rotation = truth["up"].to_numpy()[b], truth["rotation"].to_numpy()[b]
    assert (m["up"].to_numpy()[a] == up).mean() > 0.96
    assert (m["rotation"].to_numpy()[a] == rotation).mean() > 0.9
    joint, bare = (
        (m[name].to_numpy()[a] == rotation).mean() for name in ("rotation", "bare_rotation")
    )
    assert joint >= bare
    # stated probabilities are honest: those near one are right
    sure = np.abs(m["up_p"].to_numpy()[a] - 0.5) > 0.49
    assert (m["up"].to_numpy()[a] == up)[sure].mean() > 0.97
    assert m["psi6"].median() > 0.85


def test_flips_are_found_and_quiet_molecules_do_not_flip() -> None:
    movie, up, truth = simulate_flips(20, 150, seed=2**33 + 1)
    inner = ((truth[["y_px", "x_px"]] > 11) & (truth[["y_px", "x_px"]] < movie.shape[1] - 12)).all(
        axis=1
    )
    inner = inner.to_numpy()
    found, flips, odds, events = follow_film(movie, truth.loc[inner, ["y_px", "x_px"]].to_numpy())
    true = up[1:, inner] != up[:-1, inner]
    assert (flips & true).sum() / true.sum() > 0.85
    assert (flips & ~true).sum() / (~true).sum() < 0.005
    assert len(events) == flips.sum() and odds.shape == found.shape


def test_viterbi_bridges_a_doubtful_frame() -> None:
    odds = np.full((9, 2), 5.0)
    odds[4, 0] = -1.0  # one weak frame is no flip, a clear stretch is
    odds[3:6, 1] = -6.0
    up, flips = find_flips(odds, rate=0.02)
    assert up[:, 0].all() and not up[3:6, 1].any()
    assert flips.sum() == 2
    with pytest.raises(ParameterError):
        find_flips(np.zeros(3))


def test_psi6_and_pair_distribution_of_known_lattices() -> None:
    i, j = np.mgrid[:20, :20]
    hexagonal = np.c_[(j * np.sqrt(3) / 2).ravel(), (i + 0.5 * (j % 2)).ravel()] * 10
    pairs = film_neighbours(hexagonal, 10.0)
    count = np.bincount(pairs.ravel())
    assert np.abs(psi6(hexagonal, pairs))[count == 6].min() > 0.99
    rng = np.random.default_rng(0)
    random = rng.uniform(0, 300, (4000, 2))
    _, g = pair_distribution(random, (300, 300), r_max=100, bins=25)
    assert np.abs(g[2:] - 1).max() < 0.05  # the correction of the border is right
    _, ordered = pair_distribution(hexagonal, (175, 205), r_max=30, bins=60)
    assert ordered[:18].max() < 1e-9 < ordered[19:21].max()
    with pytest.raises(ParameterError):
        pair_distribution(random, (300, 300), r_max=400)


def test_bad_films_are_refused() -> None:
    with pytest.raises(ImageError):
        read_film(np.zeros((64, 64)))
    with pytest.raises(ParameterError):
        read_film(np.random.default_rng(0).normal(size=(64, 64)), places=[[1, 2]])
    with pytest.raises(ParameterError):
        read_film(np.random.default_rng(0).normal(size=(64, 64)), MoleculeParams(rotations=0))
