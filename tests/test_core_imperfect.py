"""Lattices that are not perfect, as exact points with a little noise: what must come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_atomlens import tables
from napari_atomlens.lattice.lattice import Lattice
from napari_atomlens.lattice.measure import measure_lattice

NOISE, POISSON = 0.05, 0.3


def table_of(points: np.ndarray, noise: float = NOISE, **more: object) -> pd.DataFrame:
    n = len(points)
    columns: dict[str, object] = {
        "frame": 0, "atom_id": np.arange(n), "y_px": points[:, 0], "x_px": points[:, 1],
        "amplitude": 1.0, "species": "column", "probability": 0.99, "y_err_px": noise,
        "x_err_px": noise, "source": "fit",
    }  # fmt: skip
    return tables.make("atoms", columns | more, n)


def grid(side: float, a: float, turn: float = 0.0, basis: tuple = ((0, 0),)) -> np.ndarray:
    """Points (y, x) of a square crystal about the origin."""
    n = int(side / a) + 2
    k = np.stack(np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij"), -1)
    c, s = np.cos(turn), np.sin(turn)
    return (a * (k.reshape(-1, 1, 2) + np.array(basis, float)) @ [[c, -s], [s, c]]).reshape(-1, 2)


def edge(p: np.ndarray, centre: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Displacement (y, x) that grows by b on a way round, counter-clockwise as drawn."""
    size = np.linalg.norm(b)
    axes = np.stack([b / size, np.array([-b[1], b[0]]) / size])
    x, y = ((p - centre) @ axes.T).T
    r2 = x * x + y * y
    k = 1 / (1 - POISSON)
    u = np.arctan2(y, x) + k * x * y / 2 / r2
    v = -((2 - k) / 4 * np.log(r2) + k * (x * x - y * y) / 4 / r2)
    return size / 2 / np.pi * np.c_[u, v] @ axes


def in_frame(points: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    points = points + side / 2 + NOISE * rng.standard_normal(points.shape)
    return points[((points > 2) & (points < side - 3)).all(1)]


def xx_of(move: object, p: np.ndarray) -> np.ndarray:
    """True exx (left stretch less one) of a map of points (y, x)."""
    h = 1e-3
    f = np.stack(
        [(move(p + h * e) - move(p - h * e)) / (2 * h) for e in np.eye(2)],
        -1,  # type: ignore[operator]
    )
    angle = np.arctan2(f[:, 1, 0] - f[:, 0, 1], f[:, 0, 0] + f[:, 1, 1])
    return np.asarray(-f[:, 1, 0] * -np.sin(angle) + f[:, 1, 1] * np.cos(angle) - 1)


@pytest.mark.parametrize("turn", [0.0, 0.7])
@pytest.mark.parametrize("vector", [(0, 1), (-1, 0)])
@pytest.mark.parametrize("basis", [((0, 0),), ((0, 0), (0.5, 0.5))])
def test_a_dislocation_spoils_no_strain_and_is_found(
    turn: float, vector: tuple[int, int], basis: tuple
) -> None:
    """Its cut made exx wrong by 3 % everywhere, and drew bands of more than 10 %."""
    rng = np.random.default_rng(3)
    side, a = 340, 14.0 * len(basis) ** 0.5
    c, s = np.cos(turn), np.sin(turn)
    b = a * np.array(vector) @ [[c, -s], [s, c]]
    core = np.array([21.3, -14.7])

    def move(p: np.ndarray) -> np.ndarray:
        return p + edge(p, core, b)

    places = grid(side, a, turn, basis)
    points, truth = move(places), xx_of(move, places)
    inside = (np.abs(points) < side / 2 - 3).all(1)
    points, truth = points[inside] + NOISE * rng.standard_normal((inside.sum(), 2)), truth[inside]
    level = np.tile([1.0, 0.5][: len(basis)], len(inside) // len(basis))[inside]
    found = measure_lattice(table_of(points + side / 2, amplitude=level))
    assert len(found.lattices) == 1 and not (found.atoms["species"] == "vacancy").any()
    gap = np.linalg.norm(points - core, axis=1)
    off = found.atoms["exx"].to_numpy() - truth
    far = (gap > 70) & (np.abs(points) < side / 2 - 25).all(1)
    assert abs(np.nanmedian(off[far])) < 1e-3
    error = found.atoms["exx_err"].to_numpy()
    assert np.nanmean(np.abs(off[far]) > 0.03 + 3 * error[far]) < 0.005
    assert found.lattices["a_px"][0] == pytest.approx(a, rel=2e-3)
    row = found.dislocations.iloc[0]
    assert len(found.dislocations) == 1
    assert np.hypot(row["y_px"] - side / 2 - core[0], row["x_px"] - side / 2 - core[1]) < 2 * a
    assert row["burgers_px"] == pytest.approx(a, rel=5e-3)
    # the points are (y, x), so that the way round of `edge` is counter-clockwise as drawn
    assert np.allclose([row["burgers_y_px"], row["burgers_x_px"]], b, atol=0.05 * a)


def test_opposite_dislocations_and_none() -> None:
    rng = np.random.default_rng(4)
    a, b = 14.0, np.array([0.0, 14.0])
    one, two = np.array([10.3, -60.2]), np.array([-30.3, 57.2])
    places = grid(340, a)
    points = in_frame(places + edge(places, one, b) + edge(places, two, -b), 340, rng)
    found = measure_lattice(table_of(points))
    assert sorted(np.rint(found.dislocations["burgers_x_px"] / a)) == [-1, 1]
    assert not len(measure_lattice(table_of(in_frame(places, 340, rng))).dislocations)


def twin(turn: float, plane: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Close-packed rows that shift by a third, beyond the plane to the other side."""
    period, row = 14.0, 13.2
    rows, columns = np.arange(-18, 19), np.arange(-24, 25)
    phase = np.where(rows <= plane, rows, 2 * plane - rows) / 3 % 1
    place = np.stack(
        [np.repeat(rows * row, len(columns)), ((columns + phase[:, None]) * period).ravel()], -1
    )
    c, s = np.cos(turn), np.sin(turn)
    points = place @ [[c, -s], [s, c]] + 160 + NOISE * rng.standard_normal(place.shape)
    keep = ((points > 2) & (points < 317)).all(1)
    return points[keep], np.repeat(rows - plane, len(columns))[keep]


def test_twins_are_two_regions_with_the_primitive_cell() -> None:
    """11 of 16 became one region with the coincidence cell and atoms far from their sites."""
    rng = np.random.default_rng(5)
    for k in range(8):
        points, beyond = twin(rng.uniform(0, np.pi), int(rng.integers(-5, 6)), rng)
        found = measure_lattice(table_of(points))
        assert len(found.lattices) == 2, k
        assert np.allclose(found.lattices[["a_px", "b_px"]], 14.0, atol=0.15)
        region = found.atoms["region"].to_numpy()
        sides = [np.bincount(region[r] + 1).argmax() for r in (beyond < 0, beyond > 0)]
        assert sides[0] != sides[1]
        shift = np.hypot(found.atoms["dy_px"], found.atoms["dx_px"])[region >= 0]
        assert np.sqrt(np.mean(shift**2) / 2) < 1.5 * NOISE


@pytest.mark.parametrize("moved", [0.4, 1.2])
@pytest.mark.parametrize("kind", ["antipolar", "dimerised", "centre"])
def test_atoms_that_move_in_turns_double_the_cell(kind: str, moved: float) -> None:
    """They came out as the half cell, all atoms displaced, without a word."""
    rng = np.random.default_rng(8)
    n = 24
    m, k = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    turn = {"antipolar": m % 2, "dimerised": k % 2, "centre": (m + k) % 2}[kind]
    points = np.stack([14.0 * m, 14.0 * k + moved * (turn - 0.5)], -1).reshape(-1, 2) + 10
    found = measure_lattice(table_of(points + NOISE * rng.standard_normal(points.shape)))
    row = found.lattices.iloc[0]
    assert row["a_px"] * row["b_px"] * np.sin(row["angle_rad"]) == pytest.approx(392, rel=0.01)
    assert row["n_sublattices"] == 2 and row["superstructure"] == "movement" and row["times"] == 2
    assert abs(row["moved_px"] - moved) < 5 * row["moved_err_px"] < 0.05
    assert "2 times the simple one" in found.messages[0]
    assert np.nanstd(found.atoms["dx_px"]) < 1.2 * NOISE


def test_brightness_in_turns_doubles_the_cell_and_noise_does_not() -> None:
    rng = np.random.default_rng(9)
    points = grid(340, 14.0) + 170
    n = round(len(points) ** 0.5)
    level = np.repeat(np.where(np.arange(n) % 2, 1.0, 0.94), n)
    keep = ((points > 2) & (points < 337)).all(1)
    noisy = np.exp(0.03 * rng.standard_normal(keep.sum()))
    spread = NOISE * rng.standard_normal((keep.sum(), 2))
    found = measure_lattice(table_of(points[keep] + spread, amplitude=level[keep] * noisy))
    assert found.lattices["superstructure"][0] == "brightness"
    assert found.lattices["brighter"][0] == pytest.approx(-np.log(0.94), abs=0.02)
    plain = measure_lattice(table_of(points[keep] + spread, amplitude=noisy))
    assert plain.lattices["superstructure"][0] == "" and not plain.messages


def test_a_wall_of_dislocations_between_two_regions_is_told() -> None:
    """A boundary turned by 6 degrees: the lattice ends there on both sides."""
    rng = np.random.default_rng(10)
    a, half = 14.0, np.deg2rad(3.0)
    left, right = grid(400, a, half), grid(400, a, -half)
    points = np.r_[left[left[:, 1] < 0], right[right[:, 1] > 0.25 * a]]
    gap = np.linalg.norm(points[:, None] - points[None], axis=2) + 99 * np.eye(len(points))
    points = points[~((gap < 0.6 * a).any(1) & (points[:, 1] > 0))]
    found = measure_lattice(table_of(in_frame(points, 340, rng)))
    rows = found.dislocations
    # b / (2 sin(angle / 2)) apart
    inner = np.sort(rows["y_px"].to_numpy())
    assert np.median(np.diff(inner)) == pytest.approx(a / (2 * np.sin(half)), rel=0.15)
    assert (np.abs(rows["x_px"] - 170) < 2 * a).all()
    assert np.allclose(rows["burgers_px"], a, rtol=0.02)
    assert len({(m, n) for m, n in rows[["burgers_a", "burgers_b"]].to_numpy().tolist()}) == 1


def test_a_bent_lattice_is_one_region() -> None:
    rng = np.random.default_rng(6)
    radius = 340 / np.deg2rad(28)
    p = grid(420, 14.0, 0.4)
    angle = p[:, 1] / radius
    points = np.c_[(radius + p[:, 0]) * np.cos(angle) - radius, (radius + p[:, 0]) * np.sin(angle)]
    found = measure_lattice(table_of(in_frame(points, 340, rng)))
    assert (found.atoms["region"] == 0).mean() > 0.97
    turn = np.degrees(found.atoms["rotation_rad"])
    assert 20 < turn.max() - turn.min() < 34


@pytest.mark.parametrize("length", [14.4, 16.4])
def test_a_crystal_that_lies_on_another_is_another_region(length: float) -> None:
    """Cube on cube: rows go on over the interface, and one cell in between was told of both."""
    rng = np.random.default_rng(11)
    upper, lower = grid(420, 14.0) + 210, grid(420, length) + 210
    upper, lower = upper[upper[:, 0] < 200], lower[lower[:, 0] > 200 + 0.5 * length]
    points, phase = np.r_[upper, lower], np.r_[np.zeros(len(upper)), np.ones(len(lower))]
    keep = ((points > 2) & (points < 417)).all(1)
    spread = NOISE * rng.standard_normal((keep.sum(), 2))
    found = measure_lattice(table_of(points[keep] + spread))
    assert len(found.lattices) == 2
    assert np.allclose(np.sort(found.lattices["a_px"]), [14.0, length], rtol=2e-3)
    first, second = both(found, phase[keep])
    assert first != second
    assert (found.atoms["species"] == "vacancy").sum() <= 1


def both(found: Lattice, phase: np.ndarray) -> list[int]:
    region = found.atoms.loc[found.atoms["species"] != "vacancy", "region"].to_numpy()
    return [int(np.bincount(region[phase == p] + 1).argmax()) - 1 for p in (0, 1)]


@pytest.mark.parametrize(("length", "turn"), [(14.8, 0.6), (16.2, 0.0), (19.1, 0.6)])
def test_an_interface_invents_no_vacancies(length: float, turn: float) -> None:
    """Sites of one crystal beyond the interface, where the other one is, were called vacant."""
    rng = np.random.default_rng(7)
    whole, lower = grid(600, 28.0, 0, ((0, 0), (0.5, 0.5))) + 300, grid(600, length, turn) + 300
    upper, lower = whole[whole[:, 0] < 297], lower[lower[:, 0] > 303]
    level = np.tile([1.0, 0.55], len(whole) // 2)[whole[:, 0] < 297]
    points, phase = np.r_[upper, lower], np.r_[np.zeros(len(upper)), np.ones(len(lower))]
    level = np.r_[level, np.full(len(lower), 0.8)]
    keep = ((points > 2) & (points < 597)).all(1)
    points = points[keep] + 0.1 * rng.standard_normal((keep.sum(), 2))
    found = measure_lattice(table_of(points, 0.1, amplitude=level[keep]))
    assert not (found.atoms["species"] == "vacancy").any()
    crystals = both(found, phase[keep])
    region = found.atoms["region"].to_numpy()
    assert crystals[0] != crystals[1]
    assert min(np.mean(region[phase[keep] == p] == crystals[p]) for p in (0, 1)) > 0.95
