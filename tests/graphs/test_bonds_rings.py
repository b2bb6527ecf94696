"""Bonds and rings against truth, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.graphs import trace_rings
from napari_atomlens.graphs.rules import preset
from napari_atomlens.simulation.graphene_defects import graphene_sheet


def pair_set(a: Any, b: Any) -> set[tuple[int, int]]:
    return {(min(p, q), max(p, q)) for p, q in zip(a, b, strict=True)}


@pytest.mark.parametrize("name", ["Si1C3", "Si1C4", "Si2C6", "Si3C6", "Stone-Wales", "5-8-5"])
def test_bonds_are_the_true_ones(
    name: str, sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    sheet = sheets[name]
    graph = al.bond(table(sheet), "graphene-si")
    assert pair_set(graph.bonds["atom_a"], graph.bonds["atom_b"]) == pair_set(*sheet.bonds.T)
    assert list(graph.bonds.columns) == list(tables.BONDS)
    assert graph.bonds["length_nm"].between(0.1, 0.25).all()
    np.testing.assert_allclose(graph.bonds["length_px"], 100 * graph.bonds["length_nm"])


def test_a_movie_is_frames_side_by_side(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    one, two = table(sheets["Si1C3"]), table(sheets["Si3C6"], frame=3)
    both = al.bond(pd.concat([one, two], ignore_index=True), "graphene-si")
    alone = [al.bond(t, "graphene-si") for t in (one, two)]
    pd.testing.assert_frame_equal(
        both.bonds, pd.concat([g.bonds for g in alone], ignore_index=True), check_dtype=False
    )
    assert len(both.rings) == sum(len(g.rings) for g in alone)
    graph = both.networkx(3)
    assert graph.number_of_nodes() == len(two) and graph.number_of_edges() == len(alone[1])
    assert set(nx.get_node_attributes(graph, "frame").values()) == {3}


def test_without_a_pixel_size_the_lattice_is_the_measure(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    known = al.bond(table(sheets["Si1C3"]), "graphene-si")
    unknown = al.bond(table(sheets["Si1C3"], pixel_size_nm=None), "graphene-si")
    assert pair_set(*known.pairs.T) == pair_set(*unknown.pairs.T)
    assert unknown.bonds["length_nm"].isna().all() and not unknown.calibrated


@settings(max_examples=15, deadline=None)
@given(
    angle=st.floats(0, 6.28),
    scale=st.floats(0.3, 5),
    seed=st.integers(0, 99),
    flip=st.booleans(),
)
def test_rotation_scale_order_and_mirror_change_nothing(
    angle: float, scale: float, seed: int, flip: bool
) -> None:
    sheet = graphene_sheet((1.8, 1.8), [("Si1C4", (0.9, 0.9))], seed=1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sheet.places_nm))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    places = (sheet.places_nm @ turn)[order] * (1, -1 if flip else 1)
    base = pd.DataFrame(sheet.places_nm * 100, columns=["y_px", "x_px"])
    other = pd.DataFrame(places * 100 * scale, columns=["y_px", "x_px"])
    base["species"], other["species"] = sheet.species, sheet.species[order]
    one, two = (al.bond(t, "graphene-si") for t in (base, other))
    assert len(one) == len(two)
    back = {(min(p, q), max(p, q)) for p, q in order[two.pairs].tolist()}
    assert back == pair_set(*one.pairs.T)
    np.testing.assert_array_equal(np.sort(one.rings.size), np.sort(two.rings.size))
    first, second = al.find_defects(one), al.find_defects(two)
    assert list(first["formula"]) == list(second["formula"]) == ["Si1C4"]
    assert list(first["graph_hash"]) == list(second["graph_hash"])


@pytest.mark.parametrize("name", ["Si1C3", "Si4C6", "Stone-Wales", "5-8-5", "V_C"])
def test_rings_are_the_faces_of_a_planar_embedding(
    name: str, sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    graph = al.bond(table(sheets[name]), "graphene-si")
    drawn = nx.k_core(graph.networkx(), 2)
    planar, embedding = nx.check_planarity(drawn)
    assert planar
    seen: set[tuple[Any, Any]] = set()
    sizes = []
    for u, v in embedding.edges:
        if (u, v) not in seen:
            sizes.append(len(embedding.traverse_face(u, v, seen)))
    # networkx may draw a graph that is not 3-connected otherwise: compare by Euler and size
    n, m = drawn.number_of_nodes(), drawn.number_of_edges()
    pieces = nx.number_connected_components(drawn)
    small = [s for s in graph.rings.size]
    assert len(graph.rings) == m - n + pieces
    assert sorted(small) == sorted(sizes)[: len(small)]


def test_ring_polygons_run_along_bonds(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    graph = al.bond(table(sheets["5-8-5"]), "graphene-si")
    bonds = pair_set(*graph.pairs.T)
    for k in range(len(graph.rings)):
        ring = graph.rings.polygon(k)
        assert len(set(ring.tolist())) == len(ring)
        assert pair_set(ring, np.roll(ring, 1)) <= bonds
    assert (graph.rings.area > 0).all()
    assert np.bincount(graph.rings.size)[[5, 8]].tolist() == [2, 1]


def test_dangling_and_crossing_bonds_make_no_rings() -> None:
    hexagon = np.array([[np.sin(t), np.cos(t)] for t in np.arange(6) * np.pi / 3])
    places = np.r_[hexagon, [[0.4, 0.0], [2.0, 0.0]]]
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [0, 5], [1, 6], [2, 7]])
    rings = trace_rings(places, pairs)
    assert rings.size.tolist() == [6]
    crossed = np.r_[pairs[:6], [[0, 3], [1, 4]]]
    assert sorted(trace_rings(places, crossed).size) == [4, 4]
    assert len(trace_rings(places, pairs[:2])) == 0
    assert len(trace_rings(np.zeros((0, 2)), np.zeros((0, 2)))) == 0


def test_over_coordinated_atoms_lose_what_is_longest(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    graph = al.bond(table(sheets["Si2C6"]), "graphene-si-published")
    most = {s.name: s.max_coordination for s in graph.rules.species}
    limit = graph.atoms["species"].map(most).to_numpy()
    assert (graph.degree <= limit).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_atoms(n: int) -> None:
    atoms = pd.DataFrame(
        {"y_px": np.arange(n) * 10.0, "x_px": np.zeros(n), "species": ["column"] * n}
    )
    graph = al.bond(atoms, "graphene")
    assert len(graph) == max(n - 1, 0) and len(al.find_defects(graph)) == 0
    assert len(al.bond(atoms)) == max(n - 1, 0)  # rules chosen


def test_bad_tables_are_one_sentence() -> None:
    good = pd.DataFrame({"y_px": [0.0, 9.0], "x_px": [0.0, 0.0], "species": ["C", "C"]})
    for bad, words in (
        (good.drop(columns="species"), "no column species"),
        (good.assign(y_px=[0, np.nan]), "finite"),
        (good.assign(y_px=["a", "b"]), "numbers"),
        (good.assign(atom_id=[3, 3]), "same atom_id"),
    ):
        with pytest.raises(ParameterError, match=words):
            al.bond(bad, "graphene")
    with pytest.raises(CalibrationError, match="distance"):
        al.bond(good.assign(y_px=0.0), preset("graphene"))


def test_vacant_sites_are_no_atoms(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["V_C"])
    hole = atoms.iloc[[0]].assign(
        atom_id=99_999, source="lattice",
        y_px=100 * sheets["V_C"].centres_nm[0, 0], x_px=100 * sheets["V_C"].centres_nm[0, 1],
    )  # fmt: skip
    with_site = al.bond(pd.concat([atoms, hole], ignore_index=True), "graphene-si")
    assert len(with_site) == len(al.bond(atoms, "graphene-si"))
