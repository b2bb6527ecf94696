"""Which defects are of one type: a Weisfeiler-Lehman hash first, an exact check after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import networkx as nx

    from napari_atomlens.graphs.bonds import BondGraph

#: Rounds of refinement; the defects that matter have a smaller diameter.
ROUNDS = 4
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64: equal in, equal out, on every machine."""
    with np.errstate(over="ignore"):
        x = x + _STEP
        x = (x ^ (x >> np.uint64(30))) * _M1
        x = (x ^ (x >> np.uint64(27))) * _M2
        return np.asarray(x ^ (x >> np.uint64(31)))


def _word(text: str) -> np.uint64:
    """Stable 64-bit number of a text."""
    import hashlib

    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def wl_hashes(
    species: Sequence[str], pairs: np.ndarray, group: np.ndarray, n_groups: int
) -> list[str]:
    """Weisfeiler-Lehman hash of many labelled graphs at once.

    Parameters
    ----------
    species : sequence of str
        Label of each node of all graphs together.
    pairs : ndarray of int, shape (m, 2)
        Edges; both ends are nodes of one graph.
    group : ndarray of int, shape (n,)
        Graph of each node, 0 to `n_groups` - 1.
    n_groups : int

    Returns
    -------
    list of str
        16 hexadecimal digits each. Isomorphic graphs have equal hashes; the reverse is
        almost always true (see :func:`same_type`).

    References
    ----------
    N. Shervashidze et al., Weisfeiler-Lehman graph kernels, J. Mach. Learn. Res. 12 (2011).
    """
    names, code = np.unique(np.asarray(species, dtype=str), return_inverse=True)
    words = np.array([_word(n) for n in names], np.uint64)
    label = words[code] if len(names) else np.zeros(0, np.uint64)
    a, b = np.asarray(pairs, np.int64).reshape(-1, 2).T
    total = np.zeros(n_groups, np.uint64)
    with np.errstate(over="ignore"):
        for _ in range(ROUNDS):
            around = np.zeros(len(label), np.uint64)
            mixed = _mix(label)
            np.add.at(around, a, mixed[b])
            np.add.at(around, b, mixed[a])
            label = _mix(label * _M2 + _mix(around))
        np.add.at(total, group, _mix(label))
    return [f"{int(h):016x}" for h in total]


def defect_graph(graph: BondGraph, rows: np.ndarray, pairs: np.ndarray) -> nx.Graph:
    """Graph of one defect: rows of atoms with their species, and the bonds among them."""
    import networkx as nx

    found = nx.Graph()
    species = graph.atoms["species"].to_numpy(object)
    found.add_nodes_from((int(r), {"species": str(species[r])}) for r in rows)
    found.add_edges_from((int(a), int(b)) for a, b in pairs)
    return found


def same_type(first: nx.Graph, second: nx.Graph) -> bool:
    """Whether two defects are isomorphic, species included (VF2)."""
    from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

    return bool(GraphMatcher(first, second, categorical_node_match("species", "")).is_isomorphic())


def count_types(defects: pd.DataFrame) -> pd.DataFrame:
    """Count the defects of every type: one row for each name.

    Parameters
    ----------
    defects : pandas.DataFrame
        Defects table of :func:`napari_atomlens.graphs.find_defects`.

    Returns
    -------
    pandas.DataFrame
        ``formula``, ``kind``, ``graph_hash`` (the most frequent), ``known``, ``count``, ``shapes``
        (in how many ways its atoms are bonded), ``mean_score`` and ``example`` (a defect_id of the
        most frequent shape), new types first, frequent ones first.
    """
    columns = [
        "formula", "kind", "graph_hash", "known", "count", "shapes", "mean_score", "example"
    ]  # fmt: skip
    if not len(defects):
        return pd.DataFrame(columns=columns)
    names = ["formula", "kind", "known"]
    shapes = defects.groupby([*names, "graph_hash"], sort=False).agg(
        times=("defect_id", "size"), example=("defect_id", "first")
    )
    usual = shapes.reset_index().sort_values("times", ascending=False, kind="stable")
    usual = usual.drop_duplicates(names).drop(columns="times")
    table = defects.groupby(names, sort=False).agg(
        count=("defect_id", "size"), shapes=("graph_hash", "nunique"), mean_score=("score", "mean")
    )
    return (
        table.reset_index()
        .merge(usual, on=names)
        .sort_values(
            ["known", "count", "formula"], ascending=[True, False, True], ignore_index=True
        )[columns]
    )
