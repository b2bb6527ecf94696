"""Defects: formulas, kinds, geometry, scores and types."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs import DefectParams, count_types
from napari_atomlens.graphs.ring_defects import missing_atoms, ring_name
from napari_atomlens.graphs.rules import preset
from napari_atomlens.graphs.types import wl_hashes
from napari_atomlens.simulation.graphene_defects import graphene_sheet

KINDS = {
    "Si1C3": "three-fold dopant", "Si1C4": "four-fold dopant", "Si2C4": "dimer", "Si2C5": "dimer",
    "Si2C6": "dimer", "Si3C6": "trimer", "Si4C6": "cluster",
}  # fmt: skip


@pytest.mark.parametrize("name", list(KINDS))
def test_formula_and_kind_of_dopants(
    name: str, sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets[name])
    defects = al.find_defects(al.bond(atoms, "graphene-si"))
    assert list(defects["formula"]) == [name] and list(defects["kind"]) == [KINDS[name]]
    row = defects.iloc[0]
    assert set(tables.DEFECTS) <= set(defects)
    assert np.hypot(row.y_px - 100 * sheets[name].centres_nm[0, 0],
                    row.x_px - 100 * sheets[name].centres_nm[0, 1]) < 1  # fmt: skip
    inside = atoms[atoms["atom_id"].isin(row.atom_ids)]
    assert f"Si{(inside.species == 'Si').sum()}C{(inside.species == 'C').sum()}" == name
    assert row.n_atoms == len(inside) and bool(row.known)
    assert 0.13 < row.bond_mean_nm < 0.26


@pytest.mark.parametrize(
    ("name", "formula", "kind", "rings"),
    [
        ("Stone-Wales", "5-7-7-5", "Stone-Wales", "5-5-7-7"),
        ("5-8-5", "5-8-5", "reconstructed vacancy", "5-5-8"),
        ("V_C", "V_C", "vacancy", "12"),
    ],
)
def test_defects_of_rings(
    name: str, formula: str, kind: str, rings: str, sheets: dict[str, Any],
    table: Callable[..., pd.DataFrame],
) -> None:  # fmt: skip
    defects = al.find_defects(al.bond(table(sheets[name]), "graphene-si"))
    assert defects[["formula", "kind", "rings"]].values.tolist() == [[formula, kind, rings]]


def test_pristine_graphene_has_none(table: Callable[..., pd.DataFrame]) -> None:
    assert len(al.find_defects(table(graphene_sheet((3, 3), [])), rules="graphene-si")) == 0


def test_several_defects_are_told_apart_and_counted(table: Callable[..., pd.DataFrame]) -> None:
    wanted = ["Si1C3", "Si1C3", "Si3C6", "Stone-Wales"]
    places = [(1.0, 1.0), (1.0, 3.4), (3.4, 1.0), (3.4, 3.4)]
    sheet = graphene_sheet((4.4, 4.4), list(zip(wanted, places, strict=True)), seed=3)
    rules = preset("graphene-si")
    rules = dataclasses.replace(rules, known=tuple(k for k in rules.known if k != "Si3C6"))
    types = count_types(al.find_defects(table(sheet), rules=rules))
    assert dict(zip(types["formula"], types["count"], strict=True)) == {
        "Si3C6": 1, "Si1C3": 2, "5-7-7-5": 1,
    }  # fmt: skip
    assert types.iloc[0]["formula"] == "Si3C6" and not types.iloc[0]["known"]  # new types first


def test_ten_picometres_of_jitter_keep_the_formula(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    rng = np.random.default_rng(5)
    right = tried = 0
    for name in KINDS:
        frames = []
        for k in range(30):
            atoms = table(sheets[name], frame=k)
            shift = rng.normal(0, 0.010, (len(atoms), 2))
            atoms[["y_nm", "x_nm"]] += shift
            atoms[["y_px", "x_px"]] += 100 * shift
            frames.append(atoms)
        found = al.find_defects(pd.concat(frames, ignore_index=True), rules="graphene-si")
        si = found[found["formula"].str.startswith("Si")]
        right += int((si["formula"] == name).sum())
        tried += 30
    assert right >= 0.97 * tried


def test_the_score_carries_the_uncertainty_of_the_atoms(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["Si1C3"]).assign(probability=1.0)
    precise = al.find_defects(atoms.assign(y_err_px=0.2, x_err_px=0.2), rules="graphene-si")
    blurred = al.find_defects(atoms.assign(y_err_px=3.0, x_err_px=3.0), rules="graphene-si")
    doubted = al.find_defects(
        atoms.assign(y_err_px=0.2, x_err_px=0.2, probability=0.9), rules="graphene-si"
    )
    assert precise["score"][0] > 0.99 > blurred["score"][0]
    assert doubted["score"][0] == pytest.approx(0.9**4, rel=0.01)
    kept = DefectParams(min_score=0.9)
    assert len(al.find_defects(al.bond(atoms.assign(probability=0.6), "graphene-si"), kept)) == 0
    with pytest.raises(ParameterError, match="min_score"):
        al.find_defects(al.bond(atoms, "graphene-si"), DefectParams(min_score=2))


def test_distortion_is_seen_in_the_angles(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["Si1C3"])
    straight = al.find_defects(atoms, rules="graphene-si")
    assert not straight["distorted"][0] and straight["angle_std_rad"][0] < np.deg2rad(6)
    carbon = next(i for i in straight["atom_ids"][0] if atoms.loc[i, "species"] == "C")
    silicon = next(i for i in straight["atom_ids"][0] if atoms.loc[i, "species"] == "Si")
    arm = atoms.loc[carbon, ["y_nm", "x_nm"]] - atoms.loc[silicon, ["y_nm", "x_nm"]]
    a = np.deg2rad(40)
    turned = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) @ arm.to_numpy(float)
    bent = atoms.copy()
    bent.loc[carbon, ["y_nm", "x_nm"]] = atoms.loc[silicon, ["y_nm", "x_nm"]] + turned
    bent[["y_px", "x_px"]] = 100 * bent[["y_nm", "x_nm"]].to_numpy()
    row = al.find_defects(bent, rules="graphene-si")
    row = row[row["formula"].str.startswith("Si")].iloc[0]
    assert row.distorted
    # angles 120 + 40, 120 - 40, 120: their standard deviation, up to the relaxation
    assert row.angle_std_rad == pytest.approx(np.sqrt(2 * np.deg2rad(40) ** 2 / 3), rel=0.15)


def invented(atoms: pd.DataFrame, sheet: Any) -> pd.DataFrame:
    """An atom of nothing between the three Si of a trimer, of little but real probability."""
    y, x = 100 * sheet.centres_nm[0]
    return pd.concat(
        [atoms, atoms.iloc[[0]].assign(y_px=y, x_px=x, y_nm=y / 100, x_nm=x / 100, species="C",
                                       atom_id=77_777, probability=0.9)],
        ignore_index=True,
    )  # fmt: skip


def test_chemistry_outweighs_an_impossible_neighbour(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = invented(table(sheets["Si3C6"]), sheets["Si3C6"])
    weighed = al.find_defects(atoms, rules="graphene-si")
    plain = al.find_defects(atoms, rules=dataclasses.replace(preset("graphene-si"), weigh=False))
    assert list(weighed["formula"]) == ["Si3C6"]
    assert list(plain["formula"]) != ["Si3C6"]
    assert 77_777 in set(atoms["atom_id"])  # the table itself is left as it was


def tmd(n: int = 8) -> pd.DataFrame:
    """WS2 seen from above, spacing 18.2 px."""
    from napari_atomlens.simulation.crystals import fill
    from napari_atomlens.simulation.crystals import tmd as crystal

    places, basis = fill(crystal(), (28 * n, 28 * n), 18.2, 0.2, (3.0, 5.0), None)
    return pd.DataFrame(
        {
            "y_px": places[:, 0], "x_px": places[:, 1], "y_nm": places[:, 0] / 100,
            "x_nm": places[:, 1] / 100, "species": np.where(basis == 0, "W", "S2").astype(object),
        }
    )  # fmt: skip


def middle(atoms: pd.DataFrame, species: str, where: tuple[float, float]) -> int:
    d = np.hypot(atoms["y_px"] - where[0], atoms["x_px"] - where[1])
    return int(d[atoms["species"] == species].idxmin())


def test_point_defects_of_a_tmd_have_their_names() -> None:
    atoms = tmd()
    assert len(al.find_defects(atoms, rules="mx2")) == 0
    single = middle(atoms, "S2", (60, 60))
    metal = middle(atoms, "W", (60, 160))
    pair = middle(atoms, "W", (160, 60))
    beside = middle(atoms, "S2", tuple(atoms.loc[pair, ["y_px", "x_px"]]))
    hole_s, hole_w = middle(atoms, "S2", (160, 160)), middle(atoms, "W", (112, 112))
    changed = atoms.copy()
    changed.loc[[single, beside], "species"] = "S"
    changed.loc[[metal, pair], "species"] = "Mo"
    changed = changed.drop([hole_s, hole_w]).reset_index(drop=True)
    found = al.find_defects(changed, rules="mx2")
    assert sorted(found["formula"]) == sorted(["V_S", "Mo_W", "Mo_W+V_S", "V_S2", "V_W"])
    kinds = dict(zip(found["formula"], found["kind"], strict=True))
    assert kinds["V_S"] == kinds["V_W"] == kinds["V_S2"] == "vacancy"
    assert kinds["Mo_W"] == "substitution" and kinds["Mo_W+V_S"] == "complex"
    assert not found.set_index("formula").loc["Mo_W+V_S", "known"]


def test_patches_are_counted_by_euler() -> None:
    assert missing_atoms(1, 6, 0, 6) == 0  # one hexagon
    assert missing_atoms(3, 12, 0, 6) == 1  # a vacancy
    assert missing_atoms(4, 14, 0, 6) == 2  # a divacancy
    assert missing_atoms(4, 14, 2, 6) == 0  # Stone-Wales
    assert missing_atoms(4, 8, 0, 4) == 1  # a vacancy of a square lattice


def test_ring_names() -> None:
    assert ring_name([7, 5, 5, 7], {(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)}) == "5-7-7-5"
    assert ring_name([8, 5, 5], {(0, 1), (0, 2)}) == "5-8-5"
    assert ring_name([7, 5], {(0, 1)}) == "5-7"
    assert ring_name([5, 7] * 4, set()) == "5(4)7(4)"


def test_equal_hashes_mean_equal_graphs_up_to_numbering() -> None:
    rng = np.random.default_rng(0)
    star = np.array([[0, 1], [0, 2], [0, 3]])
    species = ["Si", "C", "C", "C"]
    order = rng.permutation(4)
    where = np.argsort(order)
    first = wl_hashes(species, star, np.zeros(4, int), 1)
    second = wl_hashes([species[i] for i in order], where[star], np.zeros(4, int), 1)
    path = wl_hashes(species, np.array([[0, 1], [1, 2], [2, 3]]), np.zeros(4, int), 1)
    other = wl_hashes(["N", "C", "C", "C"], star, np.zeros(4, int), 1)
    assert first == second and len({*first, *path, *other}) == 3


def test_the_exact_check_parts_what_the_hash_cannot() -> None:
    from napari_atomlens.graphs.defects import type_hashes
    from napari_atomlens.graphs.finding import Finding

    # a ring of six and two rings of three: every node has two equal neighbours
    ring = np.array([[i, (i + 1) % 6] for i in range(6)])
    twins = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5]]) + 6
    atoms = pd.DataFrame(
        {"y_px": np.arange(12.0) * 50, "x_px": 0.0, "y_nm": np.arange(12.0) * 5, "x_nm": 0.0,
         "species": "C"}
    )  # fmt: skip
    graph = al.bond(atoms, "graphene")
    found = [
        Finding(np.arange(6), np.arange(6), "a", "a", np.sort(ring, axis=1), 0.0),
        Finding(np.arange(6, 12), np.arange(6, 12), "b", "b", twins, 0.0),
    ]
    a, b = type_hashes(graph, found)
    assert a != b and b.startswith(a)


def test_a_result_computes_its_tables_once(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["Si1C4"])
    result = al.Result(
        atoms=atoms, contours=tables.empty("contours"), outlines={}, probabilities=None,
        unfamiliar=None, classes=(), frames=[0], provenance={},
    )  # fmt: skip
    assert list(result.defects["formula"]) == ["Si1C4"]
    assert result.bonds is result.bonds and result.defects is result.defects
    assert result.record()["rules"]["name"] == "graphene-si"
    before = result.defects
    result.bond("graphene-si-published")
    assert result.defects is not before and result.record()["rules_chosen"] == "given"


def test_what_the_border_cuts_is_no_type(table: Callable[..., pd.DataFrame]) -> None:
    sheet = graphene_sheet((5.0, 5.0), [("Si1C3", (2.5, 3.5)), ("Si1C3", (2.5, 1.2))])
    atoms = table(sheet)
    whole = al.find_defects(al.bond(atoms, "graphene-si", shape_px=(500, 500)))
    assert list(whole["formula"]) == ["Si1C3", "Si1C3"]
    # the image ends just beside the second Si
    silicon = atoms[atoms["species"] == "Si"]["x_px"].min()
    left = round(float(silicon)) - 5
    part = atoms[atoms["x_px"] >= left].assign(x_px=lambda t: t["x_px"] - left)
    graph = al.bond(part, "graphene-si", shape_px=(500, 500 - left))
    assert list(al.find_defects(graph)["formula"]) == ["Si1C3"]
    assert len(al.find_defects(graph, DefectParams(cut=True))) == 2
    # where the size of the image is unknown, nothing is known to be cut
    assert len(al.find_defects(al.bond(part, "graphene-si"))) == 2


def test_one_name_is_one_row_in_the_list_of_types() -> None:
    atoms = tmd()
    inner = [middle(atoms, "S2", p) for p in ((60, 60), (160, 160), (60, 160))]
    atoms.loc[inner, "species"] = "S"
    # one of them stands beside a foreign metal that it is not bonded to: another graph
    found = al.find_defects(atoms, rules="mx2")
    found.loc[0, "graph_hash"] = "another"
    types = count_types(found)
    assert types["formula"].tolist() == ["V_S"]
    assert types["count"].tolist() == [3] and types["shapes"].tolist() == [2]


def test_a_defect_has_at_most_sixty_atoms_and_a_region_an_area() -> None:
    atoms = tmd(20)
    size = 28 * 20
    patch = np.hypot(atoms["y_px"] - size / 2, atoms["x_px"] - size / 2) < 120
    foreign = atoms.assign(species=np.where(patch, "Si", "C").astype(object))
    scaled = foreign.assign(
        y_nm=foreign["y_nm"] * 0.142 / 0.182, x_nm=foreign["x_nm"] * 0.142 / 0.182
    )
    found = al.find_defects(scaled, rules="graphene-si")
    assert (found["n_atoms"] <= 60).all() and found["formula"].str.len().max() < 40
    region = found[found["kind"] == "disordered region"].iloc[0]
    assert np.hypot(region["y_px"] - size / 2, region["x_px"] - size / 2) < 30
    assert region["area_px2"] == pytest.approx(np.pi * 120**2, rel=0.5)


def test_a_crystal_without_rules_has_its_vacancies_and_no_rings() -> None:
    """A square lattice of gallium was one defect of a thousand atoms."""
    y, x = np.mgrid[:24, :24]
    atoms = pd.DataFrame(
        {"y_px": 20.0 * y.ravel(), "x_px": 12.0 * x.ravel(), "y_nm": 0.5 * y.ravel(),
         "x_nm": 0.3 * x.ravel(), "species": "column", "atom_id": np.arange(y.size)}
    )  # fmt: skip
    assert len(al.find_defects(atoms)) == 0
    gone = [24 * 10 + 10, 24 * 15 + 6]
    found = al.find_defects(atoms.drop(gone).reset_index(drop=True))
    assert found["formula"].tolist() == ["V", "V"]
    np.testing.assert_allclose(found[["y_px", "x_px"]], atoms.loc[gone, ["y_px", "x_px"]], atol=1)


def test_an_atom_without_bonds_is_no_vacancy() -> None:
    atoms = tmd()
    odd = middle(atoms, "S2", (112, 112))
    atoms["atom_id"], atoms["probability"] = np.arange(len(atoms)), 0.9
    atoms.loc[odd, "species"] = "something"  # no rule knows it
    found = al.find_defects(al.bond(atoms, "mx2"))
    place = atoms.loc[odd, ["y_px", "x_px"]].to_numpy(float)
    near = found[np.hypot(found["y_px"] - place[0], found["x_px"] - place[1]) < 12]
    assert not near["kind"].isin(["vacancy"]).any()


def test_a_column_that_the_border_cuts_has_no_name() -> None:
    atoms = tmd()
    shape = (int(atoms["y_px"].max()) + 3, int(atoms["x_px"].max()) + 3)
    inner = middle(atoms, "S2", (112, 112))
    top = int(atoms["y_px"].where(atoms["species"] == "S2").idxmin())
    atoms["y_px"] -= atoms.loc[top, "y_px"] - 1.0
    atoms["y_nm"] = atoms["y_px"] / 100
    atoms.loc[[inner, top], "species"] = "S"
    found = al.find_defects(al.bond(atoms, "mx2", shape_px=shape))
    assert found["formula"].tolist() == ["V_S"]
    assert found["y_px"][0] == pytest.approx(atoms.loc[inner, "y_px"])
