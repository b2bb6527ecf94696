"""Lattice, sublattices, strain, polar displacement and vacancies against known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import AtomLensError, CalibrationError, ParameterError, TableError
from napari_atomlens.lattice.cell import conventional, name_of, reduced
from napari_atomlens.lattice.lattice import MEASURED, LatticeParams
from napari_atomlens.lattice.measure import measure_lattice
from napari_atomlens.lattice.shrink import shrink_positions
from napari_atomlens.progress import Progress
from napari_atomlens.simulation import crystals
from napari_atomlens.simulation.scenes import scene_from_crystal, seed_for, thin_out

#: Name, vectors in nearest distances, angle (degrees) and kind of the lattice.
LATTICES = [
    ("honeycomb", (3**0.5, 3**0.5), 120, 2, "hexagonal"),
    ("tmd", (3**0.5, 3**0.5), 120, 2, "hexagonal"),
    ("hexagonal", (1, 1), 120, 1, "hexagonal"),
    ("square", (1, 1), 90, 1, "square"),
    ("perovskite", (2**0.5, 2**0.5), 90, 2, "square"),
    ("dumbbell", (6**0.5, 6**0.5), 109.47, 2, "centred rectangular"),
    ("dimer_rows", (1, 2), 90, 1, "rectangular"),
    ("oblique", (1, 1.2), 105.52, 1, "oblique"),
    ("seven_by_seven", (4.0415, 4.0415), 120, 12, "hexagonal"),
]


def atoms_of(
    position: np.ndarray, amplitude: np.ndarray | None = None, error: float = 0.1, **more: Any
) -> pd.DataFrame:
    n = len(position)
    columns = {
        "frame": 0, "atom_id": np.arange(n), "y_px": position[:, 0], "x_px": position[:, 1],
        "amplitude": np.ones(n) if amplitude is None else amplitude, "species": "column",
        "probability": 0.95, "y_err_px": error, "x_err_px": error, "background": 0.2,
        "source": "fit", **more,
    }  # fmt: skip
    return tables.make("atoms", columns, n)


def crystal(
    name: str, index: int, *, side: int = 320, spacing: float = 10.0, noise: float = 0.1,
    missing: float = 0.0, foreign: float = 0.0, boundary: bool = False,
    rotation: float | None = None, shear: np.ndarray | None = None,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # fmt: skip
    """Atoms of a crystal with noise; also the sublattice of each and the missing places."""
    rng = np.random.default_rng(seed_for("test", 700_000 + index))
    scene, basis = scene_from_crystal(
        crystals.CRYSTALS[name](), (side, side), spacing, rng, boundary=boundary,
        rotation_rad=rotation, shear=shear,
    )  # fmt: skip
    seen = scene.visible(0.2 * spacing)
    position, basis = np.c_[scene.y, scene.x][seen], basis[seen]
    amplitude = scene.amplitude[seen] * np.exp(0.05 * rng.standard_normal(seen.sum()))
    gone = rng.random(len(position)) < missing
    alien = rng.random(len(position)) < foreign
    amplitude[alien] *= 3
    places = position + noise * rng.standard_normal(position.shape)
    table = atoms_of(places[~gone], amplitude[~gone], error=noise)
    return table, basis[~gone], position[gone]


def real(found: Any) -> pd.DataFrame:
    return found.atoms[found.atoms["source"] != "lattice"]


@pytest.mark.parametrize(("name", "lengths", "angle", "n", "kind"), LATTICES)
def test_every_lattice_is_found_with_missing_and_foreign_atoms(
    name: str, lengths: tuple[float, float], angle: float, n: int, kind: str
) -> None:
    atoms, basis, _ = crystal(name, len(name), missing=0.15, foreign=0.05, noise=0.15)
    found = al.measure_lattice(atoms, pixel_size_nm=0.02)
    assert len(found.lattices) == 1
    row = found.lattices.iloc[0]
    assert row["n_sublattices"] == n and row["kind"] == kind
    for vector, length in zip("ab", lengths, strict=True):
        assert row[f"{vector}_px"] == pytest.approx(10 * length, rel=2e-3)
        assert abs(row[f"{vector}_px"] - 10 * length) < 5 * row[f"{vector}_err_px"] + 1e-9 * length
        assert row[f"{vector}_nm"] == pytest.approx(0.02 * row[f"{vector}_px"])
    assert np.degrees(row["angle_rad"]) == pytest.approx(angle, abs=0.3)
    # each sublattice is one of the basis, and nearly every atom has one
    sub = real(found)["sublattice"].to_numpy()
    assert (sub >= 0).mean() > 0.9
    for s in range(n):
        _, counts = np.unique(basis[sub == s], return_counts=True)
        assert counts.max() / counts.sum() > 0.99
    sites = real(found)[["site_y_px", "site_x_px"]].to_numpy()
    off = np.linalg.norm(sites - real(found)[["y_px", "x_px"]].to_numpy(), axis=1)
    assert np.nanmedian(off) < 0.4


@given(
    angle=st.floats(0, 2 * np.pi), scale=st.floats(0.3, 8.0),
    which=st.sampled_from(["honeycomb", "perovskite", "dumbbell", "square", "oblique"]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_rotation_scale_and_order_do_not_matter(angle: float, scale: float, which: str) -> None:
    atoms, basis, _ = crystal(which, 40, side=170, missing=0.05, rotation=0.3)
    c, s = np.cos(angle), np.sin(angle)
    turned = atoms.copy()
    turned[["y_px", "x_px"]] = scale * atoms[["y_px", "x_px"]].to_numpy() @ [[c, -s], [s, c]] + 7
    order = np.random.default_rng(int(1e6 * angle)).permutation(len(atoms))
    one, two = measure_lattice(atoms), measure_lattice(turned.iloc[order])
    assert len(two.lattices) == 1 and len(one.lattices) == 1
    a, b = one.lattices.iloc[0], two.lattices.iloc[0]
    assert b["n_sublattices"] == a["n_sublattices"]
    assert sorted((b["a_px"], b["b_px"])) == pytest.approx(
        scale * np.array(sorted((a["a_px"], a["b_px"]))), rel=3e-3
    )
    assert b["rms_px"] == pytest.approx(scale * a["rms_px"], rel=0.1)
    sub = two.atoms.set_index("atom_id")["sublattice"].reindex(atoms["atom_id"]).to_numpy()
    known = sub >= 0
    for k in range(int(a["n_sublattices"])):
        assert len(np.unique(basis[known & (sub == k)])) == 1


def test_two_grains_are_two_regions() -> None:
    hits = 0
    for index, name in enumerate(["honeycomb", "square", "perovskite", "dumbbell", "hexagonal"]):
        atoms, _, _ = crystal(name, 50 + index, side=420, boundary=True)
        found = measure_lattice(atoms)
        assert 1 <= len(found.lattices) <= 3
        assert (real(found)["region"] >= 0).mean() > 0.93
        two = real(found)[real(found)["region"].isin([0, 1])]
        if two["region"].nunique() < 2:
            continue
        # the regions lie on the two sides of a straight line
        p, r = two[["y_px", "x_px"]].to_numpy(), two["region"].to_numpy()
        design = np.c_[p - p.mean(0), np.ones(len(p))]
        weights, *_ = np.linalg.lstsq(design, 2.0 * r - 1, rcond=None)
        hits += ((design @ weights > 0) == r).mean() > 0.9
        turn = found.lattices["turn_rad"].iloc[1]
        spread = two.groupby("region")["rotation_rad"].median().abs().max()
        assert abs(turn) > 0.05 and spread < 0.01
    assert hits >= 4


def test_a_small_frame_and_a_sheared_one() -> None:
    atoms, _, _ = crystal("honeycomb", 60, side=64, noise=0.05)
    assert 25 <= len(atoms) <= 45
    found = measure_lattice(atoms)
    assert found.lattices["a_px"].tolist() == pytest.approx([10 * 3**0.5], rel=5e-3)
    shear = np.array([[1.0, 0.06], [0.0, 0.97]])
    atoms, basis, _ = crystal("perovskite", 61, shear=shear)
    # and a drift that bends the rows
    atoms["x_px"] += 4 * np.sin(atoms["y_px"] / 60)
    found = measure_lattice(atoms)
    assert len(found.lattices) == 1 and (found.atoms["region"] == 0).mean() > 0.97
    sub = real(found)["sublattice"].to_numpy()
    assert min((sub == basis).mean(), (sub >= 0).mean()) > 0.97


def test_no_lattice_is_said_not_invented() -> None:
    rng = np.random.default_rng(seed_for("test", 700_100))
    p = rng.uniform(0, 300, (1500, 2))
    p = p[thin_out(p, 8)]
    found = measure_lattice(atoms_of(p))
    assert not len(found.lattices) and not len(found.distances)
    assert (found.atoms["region"] == -1).all() and (found.atoms["sublattice"] == -1).all()
    assert found.messages and "No lattice" in found.messages[0]
    for n in (0, 1, 2, 5):
        few = measure_lattice(atoms_of(p[:n]))
        assert len(few.atoms) == n and len(few.messages) == 1
        assert set(MEASURED) <= set(few.atoms)
    line = measure_lattice(atoms_of(np.c_[np.zeros(50), 10.0 * np.arange(50)]))
    assert not len(line.lattices) and line.messages


def test_missing_atoms_become_vacancies() -> None:
    for index, name in enumerate(["tmd", "perovskite", "square", "dumbbell"]):
        atoms, _, gone = crystal(name, 70 + index, missing=0.05)
        found = measure_lattice(atoms)
        vacant = found.atoms[found.atoms["source"] == "lattice"]
        assert (vacant["species"] == "vacancy").all() and found.atoms["atom_id"].is_unique
        places = vacant[["y_px", "x_px"]].to_numpy()
        inner = ((gone > 30) & (gone < 290)).all(1)
        assert (cKDTree(places).query(gone[inner])[0] < 0.5).mean() > 0.97
        assert (cKDTree(gone).query(places)[0] < 0.5).all()
        assert vacant["probability"].between(0.2, 0.9501).all()
        assert found.lattices["n_vacant"].sum() == len(vacant)
        again = measure_lattice(found.atoms)  # vacant sites are made anew, not doubled
        pd.testing.assert_frame_equal(again.atoms, found.atoms)
    assert not (
        measure_lattice(atoms, LatticeParams(vacancies=False)).atoms["source"] == "lattice"
    ).any()


def test_holes_and_edges_are_no_vacancies() -> None:
    atoms, _, _ = crystal("hexagonal", 80, side=400)
    y, x = atoms["y_px"], atoms["x_px"]
    hole = np.hypot(y - 200, x - 200) < 45
    bay = (y < 60) & (abs(x - 100) < 25)
    single = np.hypot(y - 300, x - 100) < 5.5
    found = measure_lattice(atoms[~(hole | bay | single)])
    vacant = found.atoms[found.atoms["source"] == "lattice"]
    assert len(vacant) == single.sum() == 1
    assert len(found.holes) == 1
    row = found.holes.iloc[0]
    assert abs(row["n_sites"] - hole.sum()) <= 2
    assert row["y_px"] == pytest.approx(200, abs=5) and row["x_px"] == pytest.approx(200, abs=5)
    assert row["area_px2"] == pytest.approx(np.pi * 45**2, rel=0.15)
    assert "hole" in found.messages[0]
    many = measure_lattice(atoms[~hole], LatticeParams(largest_vacancy=1000))
    assert (many.atoms["source"] == "lattice").sum() == hole.sum()


def test_contamination_hides_no_vacancy() -> None:
    atoms, _, _ = crystal("square", 81, missing=0.03)
    excluded = np.zeros((320, 320), bool)
    excluded[:, :160] = True
    found = measure_lattice(atoms, excluded=excluded)
    vacant = found.atoms[found.atoms["source"] == "lattice"]
    assert len(vacant) and (vacant["x_px"] > 158).all()
    atoms["background"] = np.where(atoms["x_px"] < 40, 1.5, 0.2)
    found = measure_lattice(atoms)
    vacant = found.atoms[found.atoms["source"] == "lattice"]
    assert len(vacant) and (vacant["x_px"] > 30).all()
    assert any("contamination" in m for m in found.messages)
    atoms["background"] = np.where(atoms["x_px"] < 120, 1.5, 0.2)  # a terrace
    found = measure_lattice(atoms)
    assert (found.atoms.loc[found.atoms["source"] == "lattice", "x_px"] < 120).any()
    assert not found.messages


def test_a_displaced_atom_is_no_vacancy() -> None:
    atoms, _, _ = crystal("square", 82)
    k = int(np.argmin(np.hypot(atoms["y_px"] - 160, atoms["x_px"] - 160)))
    atoms.loc[k, "y_px"] += 4.2
    found = measure_lattice(atoms)
    assert not (found.atoms["source"] == "lattice").any()
    assert found.atoms["region"][k] == -1


def strained(name: str, index: int, gradient: np.ndarray, **more: Any) -> pd.DataFrame:
    """Crystal whose right half is deformed about the middle: du = F du0 in (y, x)."""
    atoms, _, _ = crystal(name, index, side=400, **more)
    p = atoms[["y_px", "x_px"]].to_numpy(copy=True)
    right = p[:, 1] > 200
    p[right] = (p[right] - [200, 200]) @ gradient.T + [200, 200]
    atoms[["y_px", "x_px"]] = p
    return atoms


@pytest.mark.parametrize("name", ["honeycomb", "perovskite", "dumbbell", "square"])
def test_known_strain_is_recovered_against_a_reference(name: str) -> None:
    # small enough in yy and xy that rows still meet in the middle
    gradient = np.eye(2) + np.array([[0.002, 0.0], [0.0, 0.01]])
    atoms = strained(name, 90, gradient, noise=0.04)
    found = measure_lattice(atoms, reference=(0, 0, 400, 190))
    a = real(found)
    inner = a["y_px"].between(30, 370)
    right, left = a[inner & a["x_px"].between(230, 370)], a[inner & a["x_px"].between(30, 170)]
    assert right["exx"].mean() == pytest.approx(0.01, rel=0.05)
    assert right["eyy"].mean() == pytest.approx(0.002, abs=2e-4)
    assert right["exy"].mean() == pytest.approx(0, abs=3e-4)
    assert left[["exx", "eyy", "exy", "rotation_rad"]].mean().abs().max() < 3e-4
    # windows overlap: only some thirty of these sites are independent
    z = (left["exx"] - left["exx"].mean()) / left["exx_err"]
    assert z.std() == pytest.approx(1, abs=0.3)
    # the sites are those of the reference: displacements grow with the strain
    slope = np.polyfit(right["x_px"], right["dx_px"], 1)[0]
    assert slope == pytest.approx(0.01, rel=0.1)
    polygon = [(0, 0), (0, 190), (400, 190), (400, 0)]
    other = measure_lattice(atoms, reference=polygon)
    np.testing.assert_allclose(other.atoms["exx"], found.atoms["exx"])


def test_shear_and_rotation_have_the_right_sign() -> None:
    atoms, _, _ = crystal("square", 91, rotation=0.2, noise=0.01)
    p = atoms[["y_px", "x_px"]].to_numpy()
    left = p[:, 1] < 130
    # a thin film whose lower half bends: only the local part matters, so the seam is kept small
    angle = 0.01  # counter-clockwise as drawn: a step to the right goes up (to smaller y)
    turned = p.copy()
    turned[:, 0] -= np.where(left, 0, angle * (p[:, 1] - 130))
    turned[:, 1] += np.where(left, 0, angle * (p[:, 0] - 160))
    found = measure_lattice(atoms_of(turned), reference=(0, 0, 320, 120))
    right = real(found)[
        real(found)["x_px"].between(170, 290) & real(found)["y_px"].between(40, 280)
    ]
    assert right["rotation_rad"].mean() == pytest.approx(angle, rel=0.02)
    assert right[["exx", "eyy", "exy"]].mean().abs().max() < 2e-4
    sheared = p.copy()
    sheared[:, 1] += np.where(left, 0, 0.01 * (p[:, 0] - 160))  # dx grows with y
    found = measure_lattice(atoms_of(sheared), reference=(0, 0, 320, 120))
    right = real(found)[
        real(found)["x_px"].between(170, 290) & real(found)["y_px"].between(40, 280)
    ]
    assert right["exy"].mean() == pytest.approx(0.005, rel=0.03)


def test_polar_displacement_and_its_error() -> None:
    atoms, basis, _ = crystal("perovskite", 92, side=420, noise=0.15)
    moved = (basis == 1) & (atoms["x_px"] > 210).to_numpy()
    atoms["y_px"] -= np.where(moved, 0.8, 0.0)
    found = measure_lattice(atoms, pixel_size_nm=0.02)
    a = real(found).assign(basis=basis)
    b = a[(a["basis"] == 1) & (a["x_px"] > 230)]
    assert (b["sublattice"] == 1).all()
    assert b["polar_dy_px"].mean() == pytest.approx(-0.8, abs=0.04)
    assert b["polar_dx_px"].mean() == pytest.approx(0, abs=0.04)
    assert b["polar_dy_nm"].mean() == pytest.approx(0.02 * b["polar_dy_px"].mean())
    z = (b["polar_dy_px"] + 0.8) / b["polar_dy_err_px"]
    assert z.std() == pytest.approx(1, abs=0.12)
    expected = 0.15 * np.sqrt(1 + 1 / 4)  # one atom against the mean of four
    np.testing.assert_allclose(b["polar_dy_err_px"].dropna(), expected, rtol=1e-6)
    left = a[(a["basis"] == 1) & (a["x_px"] < 190)]
    assert left["polar_dy_px"].mean() == pytest.approx(0, abs=0.04)
    # a constant polar displacement is no strain
    assert abs(a["exx"].mean()) < 5e-4
    # a pair has no centre of neighbours to be displaced from
    dumbbells, _, _ = crystal("dumbbell", 93)
    assert measure_lattice(dumbbells).atoms["polar_dy_px"].isna().all()


def test_pixels_that_are_not_square() -> None:
    atoms, _, _ = crystal("square", 94, rotation=0.3, noise=0.05)
    atoms["y_px"] /= 1.25  # pixels are 1.25 times as tall as wide
    found = measure_lattice(atoms, pixel_size_nm=(0.025, 0.02))
    row = found.lattices.iloc[0]
    assert row["kind"] == "square"
    assert row["a_nm"] == pytest.approx(0.2, rel=2e-3) == row["b_nm"]
    assert np.degrees(row["angle_rad"]) == pytest.approx(90, abs=0.1)
    assert found.distances["length_nm"].mean() == pytest.approx(0.2, rel=2e-3)
    shift = real(found)[["site_y_px", "y_px"]].diff(axis=1).iloc[:, 1]
    np.testing.assert_allclose(real(found)["dy_px"], shift, atol=1e-9)


def test_distances_join_neighbours_once() -> None:
    atoms, _, _ = crystal("honeycomb", 95, noise=0.05)
    found = measure_lattice(atoms, pixel_size_nm=0.0142)
    d = found.distances
    assert d["length_nm"].mean() == pytest.approx(0.142, rel=2e-3)
    assert (d["sublattice_a"] != d["sublattice_b"]).all()
    assert not d[["atom_a", "atom_b"]].duplicated().any()
    assert len(d) == pytest.approx(1.5 * len(atoms), rel=0.1)
    spread = (d["length_px"] - 10) / d["length_err_px"]
    assert spread.std() == pytest.approx(1, abs=0.1)


def test_a_movie_is_measured_frame_by_frame() -> None:
    first, _, _ = crystal("tmd", 96, missing=0.02, rotation=0.5)
    second = first.assign(
        frame=1, atom_id=first["atom_id"] + tables.IDS_PER_FRAME, y_px=first["y_px"] + 0.7
    )
    done: list[tuple[int, int]] = []
    found = measure_lattice(
        pd.concat([second, first]), progress=lambda k, n: done.append((k, n)), pixel_size_nm=0.018
    )
    assert done == [(1, 2), (2, 2)] and found.lattices["frame"].tolist() == [0, 1]
    assert found.atoms["atom_id"].is_unique and found.atoms["frame"].is_monotonic_increasing
    one, two = (found.atoms[found.atoms["frame"] == f] for f in (0, 1))
    np.testing.assert_array_equal(one["sublattice"], two["sublattice"])
    np.testing.assert_allclose(found.lattices["a_x_px"][0], found.lattices["a_x_px"][1], atol=1e-6)
    stopped = measure_lattice(pd.concat([second, first]), progress=Progress(stop=lambda: True))
    assert not len(stopped.lattices)


def test_stated_errors_of_the_vectors_are_true() -> None:
    z = []
    for k in range(45):
        atoms, _, _ = crystal("square", 1000 + k, side=120, noise=0.3)
        row = measure_lattice(atoms).lattices.iloc[0]
        z += [(row[f"{v}_px"] - 10) / row[f"{v}_err_px"] for v in "ab"]
    assert 0.8 < np.std(z) < 1.2 and abs(np.mean(z)) < 0.35


@pytest.mark.parametrize("name", [row[0] for row in LATTICES])
def test_perfect_positions(name: str) -> None:
    atoms, _, _ = crystal(name, 1200, side=260, noise=0.0)
    found = measure_lattice(atoms, pixel_size_nm=0.02)
    assert len(found.lattices) == 1 and found.lattices["rms_px"][0] < 1e-6
    a = real(found)
    assert np.nanmax(np.abs(a[["exx", "eyy", "exy", "rotation_rad", "dy_px", "dx_px"]])) < 1e-6


def test_sublattices_that_disagree_are_in_the_error() -> None:
    atoms, basis, _ = crystal("perovskite", 1100, side=400, noise=0.1)
    atoms["y_px"] -= np.where((basis == 1) & (atoms["x_px"] > 200).to_numpy(), 0.8, 0.0)
    row = measure_lattice(atoms).lattices.iloc[0]
    off = abs(row["angle_rad"] - np.pi / 2)
    assert 0.0005 < off < 3 * row["angle_err_rad"]


def test_minimal_tables_are_enough() -> None:
    atoms, _, _ = crystal("square", 97)
    found = measure_lattice(atoms[["y_px", "x_px"]])
    assert found.lattices["a_px"][0] == pytest.approx(10, rel=2e-3)
    assert found.atoms["exx"].notna().mean() > 0.9
    kept = measure_lattice(atoms.assign(note="x"))
    assert (kept.atoms["note"][: len(atoms)] == "x").all()
    # species tell sublattices apart where no intensity does
    atoms, basis, _ = crystal("perovskite", 98)
    bare = atoms[["y_px", "x_px"]].assign(species=np.where(basis == 0, "Sr", "Ti"))
    assert measure_lattice(bare).lattices["n_sublattices"][0] == 2


@pytest.mark.parametrize(
    ("change", "more", "error", "says"),
    [
        (lambda a: a.drop(columns="x_px"), {}, TableError, "x_px"),
        (lambda a: a.assign(y_px=np.nan), {}, TableError, "position"),
        (lambda a: a.assign(y_px="here"), {}, TableError, "numbers"),
        (lambda a: a.to_numpy(), {}, TableError, "table"),
        (lambda a: a, {"pixel_size_nm": -1}, CalibrationError, "positive"),
        (lambda a: a, {"pixel_size_nm": "x"}, CalibrationError, "pixel size"),
        (lambda a: a, {"reference": "half"}, ParameterError, "half"),
        (lambda a: a, {"reference": [1, 2, 3]}, ParameterError, "rectangle"),
        (lambda a: a, {"reference": (0, 0, 2, 2)}, ParameterError, "too few"),
        (lambda a: a, {"reference": (0, 0, np.nan, 2)}, ParameterError, "finite"),
        (lambda a: a, lambda: {"params": LatticeParams(min_atoms=2)}, ParameterError, "min_atoms"),
        (lambda a: a, lambda: {"params": LatticeParams(sites="here")}, ParameterError, "sites"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    change: Any, more: Any, error: type[AtomLensError], says: str
) -> None:
    atoms, _, _ = crystal("square", 99, side=120)
    with pytest.raises(error, match=says):
        measure_lattice(change(atoms), **(more() if callable(more) else more))


def test_local_sites_leave_long_distortions_out() -> None:
    atoms, _, _ = crystal("square", 100, noise=0.05)
    atoms["x_px"] += 2 * np.sin(atoms["y_px"] / 70)
    k = int(np.argmin(np.hypot(atoms["y_px"] - 160, atoms["x_px"] - 160)))
    atoms.loc[k, "y_px"] += 0.6
    far = measure_lattice(atoms).atoms
    near = measure_lattice(atoms, LatticeParams(sites="local")).atoms
    rest = np.arange(len(atoms)) != k
    assert near["dx_px"][rest].std() < 0.35 * far["dx_px"][rest].std()
    assert near["dy_px"][k] == pytest.approx(0.6, abs=0.15)


@given(
    a=st.floats(1, 3), ratio=st.floats(1, 3), angle=st.floats(0.6, np.pi - 0.6),
    turn=st.floats(0, 6.28), m=st.integers(-2, 2), n=st.integers(-2, 2),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_reduced_cells_span_the_same_lattice(
    a: float, ratio: float, angle: float, turn: float, m: int, n: int
) -> None:
    cell = a * np.array([[0, 1], [-ratio * np.sin(angle), ratio * np.cos(angle)]])
    c, s = np.cos(turn), np.sin(turn)
    cell = cell @ [[c, -s], [s, c]]
    other = np.array([[1 + m * n, m], [n, 1]]) @ cell  # determinant one
    short = reduced(other)
    index = short @ np.linalg.inv(cell)
    np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
    assert abs(abs(np.linalg.det(np.rint(index))) - 1) < 1e-9
    assert np.linalg.det(short) < 0 or np.linalg.det(short) > 0
    # b is counter-clockwise from a as drawn, 58 to 122 degrees away
    cross = short[0, 1] * -short[1, 0] - -short[0, 0] * short[1, 1]
    assert cross > 0
    degrees = np.degrees(np.arctan2(cross, short[0] @ short[1]))
    assert 57 < degrees < 123
    assert name_of(short) in (
        "square", "rectangular", "centred rectangular", "hexagonal", "oblique",
    )  # fmt: skip
    box = conventional(short)
    if name_of(short) == "centred rectangular":
        lengths = np.linalg.norm(box, axis=1)
        assert abs(box[0] @ box[1]) < 0.1 * lengths.prod()
        assert abs(np.linalg.det(box)) == pytest.approx(2 * abs(np.linalg.det(short)))


def test_shrunken_positions_are_better_and_their_bias_is_stated():
    rng = np.random.default_rng(8)
    a = 10.0
    site = np.mgrid[0:25, 0:25].reshape(2, -1).T * a + 12.3
    true = site + rng.normal(0, 0.25, site.shape)
    seen = true + rng.normal(0, 0.5, site.shape)
    atoms = tables.make(
        "atoms",
        {
            "frame": 0, "atom_id": np.arange(len(site)), "y_px": seen[:, 0], "x_px": seen[:, 1],
            "y_err_px": 0.5, "x_err_px": 0.5, "species": "column", "amplitude": 1.0,
            "probability": 1.0,
        },
        len(site),
    )  # fmt: skip
    table = shrink_positions(measure_lattice(atoms).atoms)
    table = table[table["source"] != "lattice"].sort_values("atom_id")
    new = table[["y_shrunken_px", "x_shrunken_px"]].to_numpy()
    assert np.mean((new - true) ** 2) < 0.5 * np.mean((seen - true) ** 2)
    slope = np.sum((new - site) * (true - site)) / np.sum((true - site) ** 2)
    assert abs(slope - table["shrinkage"].mean()) < 0.05 and slope < 0.4
    with pytest.raises(TableError):
        shrink_positions(atoms)
