"""What is made anew for some frames equals what is made anew for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens.graphs.update import rebuild_frames

NAMES = ("Si1C3", "Si3C6", "Stone-Wales", "V_C")


def edited(atoms: pd.DataFrame, frame: int, seed: int) -> pd.DataFrame:
    """Delete, rename and move atoms of a frame at random."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(atoms["frame"] == frame)
    out = atoms.copy()
    carbon = rows[(out["species"].to_numpy()[rows] == "C")]
    one, two, three = rng.choice(carbon, 3, replace=False)
    out.loc[one, "species"] = "Si"
    out.loc[two, ["y_px", "x_px"]] += rng.normal(0, 1, 2)
    out.loc[two, ["y_nm", "x_nm"]] = 0.01 * out.loc[two, ["y_px", "x_px"]].to_numpy(float)
    return out.drop(index=[three]).reset_index(drop=True)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    frames=st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 1000),
)
def test_as_if_everything_was_made_anew(
    frames: list[int], seed: int, sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = pd.concat([table(sheets[n], frame=i) for i, n in enumerate(NAMES)], ignore_index=True)
    graph = al.bond(atoms, "graphene-si")
    before = al.find_defects(graph)
    now = atoms
    for f in frames:
        now = edited(now, f, seed + f)
    got, defects = rebuild_frames(graph, before, now, frames)
    want = al.bond(now, "graphene-si")
    key = ["frame", "atom_id"]
    pd.testing.assert_frame_equal(
        got.atoms.sort_values(key, ignore_index=True),
        want.atoms.sort_values(key, ignore_index=True),
    )
    key = ["frame", "atom_a", "atom_b"]
    pd.testing.assert_frame_equal(
        got.bonds.sort_values(key, ignore_index=True),
        want.bonds.sort_values(key, ignore_index=True),
    )
    pd.testing.assert_frame_equal(defects, al.find_defects(want))
    np.testing.assert_array_equal(
        got.atoms["atom_id"].to_numpy()[got.pairs], got.bonds[["atom_a", "atom_b"]]
    )
    assert rings_of(got) == rings_of(want)


def rings_of(graph: Any) -> set[frozenset[int]]:
    ids = graph.atoms["atom_id"].to_numpy()
    return {frozenset(ids[graph.rings.polygon(i)].tolist()) for i in range(len(graph.rings))}


def test_a_frame_that_loses_all_its_atoms(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = pd.concat([table(sheets["Si1C3"]), table(sheets["Si3C6"], frame=1)], ignore_index=True)
    graph = al.bond(atoms, "graphene-si")
    got, defects = rebuild_frames(graph, al.find_defects(graph), atoms[atoms["frame"] == 0], [1])
    assert set(got.bonds["frame"]) == {0}
    assert defects["formula"].tolist() == ["Si1C3"] and len(got.rings) < len(graph.rings)
