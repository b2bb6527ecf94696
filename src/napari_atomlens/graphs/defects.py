"""From bonds and rings to defects with a formula, a kind, a geometry and a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.graphs import ring_defects
from napari_atomlens.graphs.bonds import BondGraph, bond
from napari_atomlens.graphs.finding import Finding, bounded, hill, join_labels
from napari_atomlens.graphs.rules import ANY, Rules
from napari_atomlens.graphs.types import defect_graph, same_type, wl_hashes
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.points import connected, near_pairs

if TYPE_CHECKING:
    import networkx as nx


#: Standard error of a position that the table does not tell, over the reference distance.
UNKNOWN_ERROR = 0.05
#: A column nearer to the border than this, over the length of its bonds, is cut by it.
RIM = 0.35
FOLD = {2: "two-fold", 3: "three-fold", 4: "four-fold", 5: "five-fold", 6: "six-fold"}


@dataclass(frozen=True)
class DefectParams(Params):
    """What counts as a defect.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (128, 128), 10.0)[1].atoms()
    >>> len(al.find_defects(atoms, al.DefectParams(rings=False), "graphene-si"))
    0
    """

    distorted_deg: float = param(
        15.0,
        "a defect is distorted if the bond angles about a foreign atom spread by more than this "
        "(standard deviation)",
        unit="deg",
        ge=0,
        le=180,
    )
    rings: bool = param(True, "report odd rings and vacancies too, not only foreign atoms")
    max_ring: int = param(24, "larger rings count as holes and edges", ge=3, le=24)
    cut: bool = param(
        False,
        "also report defects so near to the border of the image that neighbours of their foreign "
        "atoms may lie outside",
    )
    min_score: float = param(0.0, "defects below this score are left out", ge=0, le=1)


def find_defects(
    graph: BondGraph | pd.DataFrame,
    params: DefectParams = DefectParams(),
    rules: Rules | str = "auto",
) -> pd.DataFrame:
    """Find the defects of a bond graph.

    Three kinds of departure from the perfect crystal are looked for: foreign atoms and the
    host atoms bonded to them; missing atoms, seen as large rings with under-coordinated
    host atoms; and rings of another size. What touches belongs together as the rules say.

    Parameters
    ----------
    graph : BondGraph or pandas.DataFrame
        What :func:`napari_atomlens.graphs.bond` gave, or an atoms table, which is then bonded
        with `rules`.
    params : DefectParams
    rules : Rules or str
        Only for an atoms table.

    Returns
    -------
    pandas.DataFrame
        Defects table (see :mod:`napari_atomlens.tables`), sorted by frame, row and column.
        ``atom_ids`` are tuples; ``score`` is the probability that every atom of the defect
        is there and that every bond of its core was decided rightly, given the errors of the
        positions; ``known`` tells named formulas from new types; ``graph_hash`` is equal for
        isomorphic defects (species included); angles and bond lengths are those about the core.

    Raises
    ------
    ParameterError
        If a parameter is out of bounds, or the atoms cannot be bonded.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (128, 128), 10.0)[1].atoms()
    >>> foreign = ((atoms["y_px"] - 64) ** 2 + (atoms["x_px"] - 64) ** 2).idxmin()
    >>> atoms.loc[foreign, "species"] = "Si"
    >>> al.find_defects(atoms, rules="graphene-si")["formula"].tolist()
    ['Si1C3']
    """
    params = of_kind(DefectParams, params)
    made = graph if isinstance(graph, BondGraph) else bond(graph, rules)
    if not len(made.atoms):
        return tables.empty("defects")
    odds = _Odds(made)
    found = _foreign(made, odds)
    if not params.cut and made.shape_px is not None:
        beyond = _at_border(made)
        # the height of a column that the border cuts says nothing
        rim = _at_border(made, RIM)
        found = [f for f in found if not (rim if f.named else beyond)[f.core].any()]
    if params.rings:
        found = ring_defects.add_rings(made, found, odds, params.max_ring)
    if len(made.pairs):
        spacing = float(np.median(made.bonds["length_px"]))
        found = [bounded(f, odds.places_px, spacing) for f in found]
    return _rows(made, found, params)


class _Odds:
    """Logarithms of the probabilities that atoms are there and bonds decided rightly."""

    def __init__(self, graph: BondGraph) -> None:
        self.graph = graph
        atoms, rules = graph.atoms, graph.rules
        n = len(atoms)
        chance = atoms["probability"].to_numpy(float) if "probability" in atoms else np.ones(n)
        self.atom = np.log(np.clip(np.nan_to_num(chance, nan=1.0), 1e-12, 1.0))
        reference = rules.reference_nm or 0.8 * rules.max_nm
        unknown = UNKNOWN_ERROR * reference
        error = np.full(n, unknown)
        if {"y_err_px", "x_err_px"} <= set(atoms):
            place = atoms[["y_px", "x_px"]].to_numpy(float)
            span_px, span = np.ptp(place, axis=0).sum(), np.ptp(graph.places_nm, axis=0).sum()
            unit = span / span_px if n > 1 and span_px > 0 else np.nan
            each = atoms[["y_err_px", "x_err_px"]].to_numpy(float)
            measured = unit * np.sqrt(0.5 * (each**2).sum(axis=1))
            error = np.where(np.isfinite(measured) & (measured > 0), measured, unknown)
        self.error = error
        self.places_px = atoms[["y_px", "x_px"]].to_numpy(float)

        names = tuple(atoms["species"].unique())
        codes = pd.Categorical(atoms["species"], categories=list(names)).codes
        self._code = codes.astype(np.int64)
        self._low, self._high = rules.bounds(names)
        pairs = np.sort(graph.pairs, axis=1)
        code = pairs[:, 0] * n + pairs[:, 1]
        order = np.argsort(code)
        self._bonds, self._bond_odds = code[order], np.zeros(0)
        step = graph.drawn_nm[pairs[:, 0]] - graph.drawn_nm[pairs[:, 1]]
        self._bond_odds = self.pair(pairs, np.hypot(step[:, 0], step[:, 1]))[order]

    def _is_bond(self, code: np.ndarray) -> np.ndarray:
        if not len(self._bonds):
            return np.zeros(len(code), bool)
        at = np.minimum(np.searchsorted(self._bonds, code), len(self._bonds) - 1)
        return np.asarray(self._bonds[at] == code)

    def bonds(self, code: np.ndarray) -> float:
        """Log probability that all these bonds (row times n plus row) are bonds."""
        return float(self._bond_odds[np.searchsorted(self._bonds, code)].sum())

    def pair(self, pairs: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Log probability that each pair (lower row first) was rightly decided to be bonded."""
        from scipy.special import log_ndtr

        kinds = self._code[pairs[:, 0]], self._code[pairs[:, 1]]
        sigma = np.hypot(self.error[pairs[:, 0]], self.error[pairs[:, 1]])
        to_high = (self._high[kinds] - length) / sigma
        to_low = (length - self._low[kinds]) / sigma
        bonded = self._is_bond(pairs[:, 0] * len(self._code) + pairs[:, 1])
        right = np.where(bonded, log_ndtr(np.minimum(to_high, to_low)), log_ndtr(-to_high))
        # within bounds, but given up because its atom had too many
        given_up = ~bonded & (to_high > 0) & (to_low > 0)
        return np.where(self._high[kinds] > 0, np.where(given_up, np.log(0.5), right), 0.0)


def angle_spread(graph: BondGraph) -> np.ndarray:
    """Standard deviation of the angles between neighbouring bonds of each atom, in radians.

    NaN for atoms with fewer than two bonds. Of two bonds the smaller angle counts, against
    the 120 degrees of a trigonal host.
    """
    n = len(graph.atoms)
    if not len(graph.pairs):
        return np.full(n, np.nan)
    origin = np.r_[graph.pairs[:, 0], graph.pairs[:, 1]]
    target = np.r_[graph.pairs[:, 1], graph.pairs[:, 0]]
    step = graph.places_nm[target] - graph.places_nm[origin]
    angle = np.arctan2(-step[:, 0], step[:, 1])
    order = np.lexsort((angle, origin))
    origin, angle = origin[order], angle[order]
    degree = graph.degree
    begin = np.r_[0, np.cumsum(degree)[:-1]]
    place = np.arange(len(origin)) - begin[origin]
    following = begin[origin] + (place + 1) % degree[origin]
    gap = np.mod(angle[following] - angle, 2 * np.pi)
    gap[gap == 0] = 2 * np.pi  # the only bond of its atom
    mean = 2 * np.pi / np.maximum(degree, 1)
    spread = np.sqrt(
        np.bincount(origin, (gap - mean[origin]) ** 2, minlength=n) / np.maximum(degree, 1)
    )
    two = degree == 2
    smaller = np.full(n, np.inf)
    np.minimum.at(smaller, origin, gap)
    spread[two] = np.abs(smaller[two] - 2 * np.pi / 3)
    spread[degree < 2] = np.nan
    return spread


def _foreign(graph: BondGraph, odds: _Odds) -> list[Finding]:
    """Defects round foreign atoms."""
    foreign, rules = graph.foreign, graph.rules
    n = len(graph.atoms)
    core_rows = np.flatnonzero(foreign)
    if not len(core_rows):
        return []
    touching = graph.pairs[foreign[graph.pairs].any(axis=1)]
    linking = touching if rules.share_neighbours else touching[foreign[touching].all(axis=1)]
    label = connected(linking, n)
    groups, group_of = np.unique(label[core_rows], return_inverse=True)
    n_groups = len(groups)
    group = np.full(n, -1)
    group[core_rows] = group_of
    # every atom bonded to a core atom belongs to the defect of that core atom
    both = np.r_[touching, touching[:, ::-1]]
    both = both[group[both[:, 0]] >= 0]
    member = np.unique(
        np.r_[np.c_[group_of, core_rows], np.c_[group[both[:, 0]], both[:, 1]]], axis=0
    )
    edge_group = np.where(group[touching[:, 0]] >= 0, group[touching[:, 0]], group[touching[:, 1]])
    # what could have been decided otherwise: all near pairs of a core atom
    reach = 1.35 * rules.max_nm
    near, length = near_pairs(graph.drawn_nm, graph.atoms["frame"].to_numpy(), reach)
    mine = foreign[near].any(axis=1)
    near, length = near[mine], length[mine]
    log_pair = odds.pair(near, length)
    owner = np.where(group[near[:, 0]] >= 0, group[near[:, 0]], group[near[:, 1]])
    log_score = np.bincount(owner, log_pair, minlength=n_groups)
    log_score += np.bincount(member[:, 0], odds.atom[member[:, 1]], minlength=n_groups)
    spread = angle_spread(graph)
    worst = np.full(n_groups, -np.inf)
    np.fmax.at(worst, group_of, spread[core_rows])
    species = graph.atoms["species"].to_numpy(object)
    rows = np.split(member[:, 1], np.cumsum(np.bincount(member[:, 0], minlength=n_groups))[:-1])
    order = np.argsort(edge_group, kind="stable")
    edges = np.split(touching[order], np.cumsum(np.bincount(edge_group, minlength=n_groups))[:-1])
    found = []
    for g in range(n_groups):
        mine_rows = rows[g]
        is_core = group[mine_rows] == g
        centre = mine_rows[is_core]
        formula, kind = _name(graph, species[mine_rows], species[centre], centre)
        found.append(
            Finding(
                mine_rows,
                centre,
                formula,
                kind,
                edges[g],
                float(log_score[g]),
                coordination=int(graph.degree[centre].max()),
                angle_std=float(worst[g]) if np.isfinite(worst[g]) else float("nan"),
                named=all(graph.rules.species_rule(str(s)).label for s in species[centre]),
            )
        )
    return found


def _at_border(graph: BondGraph, times: float = 1.0) -> np.ndarray:
    """Mask of the atoms nearer to the border of the image than so many times their bonds."""
    assert graph.shape_px is not None
    place = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    border = np.minimum(place, np.asarray(graph.shape_px) - 1 - place).min(axis=1)
    span, span_px = np.ptp(graph.places_nm, axis=0).sum(), np.ptp(place, axis=0).sum()
    unit = span / span_px if span_px > 0 else np.nan
    names = tuple(graph.atoms["species"].unique())
    _, high, usual = graph.rules.lengths(names)
    host = np.array([n in graph.rules.host for n in names])
    bonded = np.where((high > 0) & host, usual, 0.0).max(axis=1)
    codes = pd.Categorical(graph.atoms["species"], categories=list(names)).codes.astype(np.int64)
    return np.asarray(border * unit < times * bonded[codes])


def _name(
    graph: BondGraph, species: np.ndarray, core_species: np.ndarray, core: np.ndarray
) -> tuple[str, str]:
    """Formula and kind of a defect round foreign atoms."""
    labels = [graph.rules.species_rule(str(s)).label for s in core_species]
    if all(labels):
        kind = "complex" if len(labels) > 1 else _label_kind(labels[0])
        return join_labels(labels), kind
    formula = hill(Counter(str(s) for s in species), graph.rules.host)
    if not graph.degree[core].any():
        ruled = set(graph.rules.names()) | {ANY}
        return formula, "adatom" if ruled & set(core_species) else "no rule for it"
    if len(core) == 1:
        fold = FOLD.get(int(graph.degree[core[0]]))
        return formula, f"{fold} dopant" if fold else "dopant"
    return formula, {2: "dimer", 3: "trimer"}.get(len(core), "cluster")


def _label_kind(label: str) -> str:
    return "vacancy" if label.startswith("V_") else "substitution" if "_" in label else "dopant"


def _rows(graph: BondGraph, found: list[Finding], params: DefectParams) -> pd.DataFrame:
    """Defects table."""
    found = [f for f in found if np.exp(f.log_score) >= params.min_score]
    if not found:
        return tables.empty("defects")
    atoms = graph.atoms
    places = atoms[["y_px", "x_px"]].to_numpy(float)
    ids = atoms["atom_id"].to_numpy(np.int64)
    frame = atoms["frame"].to_numpy(np.int64)
    centre = np.array(
        [f.place if f.place is not None else places[f.core].mean(axis=0) for f in found]
    )
    first = np.array([frame[f.rows[0]] for f in found])
    order = np.lexsort((centre[:, 1], centre[:, 0], first))
    found, centre, first = [found[i] for i in order], centre[order], first[order]
    hashes = type_hashes(graph, found)
    lengths = [_lengths(places, f.pairs) for f in found]
    nm = [_lengths(graph.places_nm, f.pairs) for f in found]
    angle = np.array([f.angle_std for f in found])

    def summary(of: list[np.ndarray], what: Callable[[np.ndarray], float]) -> np.ndarray:
        return np.array([what(v) if len(v) else np.nan for v in of])

    calibrated = graph.calibrated
    span_px, span = np.ptp(places, axis=0).sum(), np.ptp(graph.places_nm, axis=0).sum()
    unit = span / span_px if calibrated and span_px > 0 else np.nan
    extent = np.array([f.length_px for f in found]), np.array([f.area_px2 for f in found])
    return tables.make(
        "defects",
        {
            "frame": first,
            "defect_id": np.arange(len(found)),
            "y_px": centre[:, 0],
            "x_px": centre[:, 1],
            "formula": [f.formula for f in found],
            "kind": [f.kind for f in found],
            "n_atoms": [len(f.rows) for f in found],
            "atom_ids": [tuple(int(i) for i in ids[f.rows]) for f in found],
            "score": np.exp([f.log_score for f in found]),
            "coordination": [f.coordination for f in found],
            "bond_mean_px": summary(lengths, np.mean),
            "bond_mean_nm": summary(nm, np.mean) if calibrated else np.nan,
            "bond_std_nm": summary(nm, np.std) if calibrated else np.nan,
            "angle_std_rad": angle,
            "distorted": np.nan_to_num(angle) > np.deg2rad(params.distorted_deg),
            "length_px": extent[0],
            "length_nm": extent[0] * unit,
            "area_px2": extent[1],
            "area_nm2": extent[1] * unit**2,
            "rings": ["-".join(map(str, sorted(f.rings))) for f in found],
            "graph_hash": hashes,
            "known": [f.formula in graph.rules.known for f in found],
        },
        len(found),
    )


def _lengths(places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    step = places[pairs[:, 0]] - places[pairs[:, 1]]
    return np.asarray(np.hypot(step[:, 0], step[:, 1]))


def type_hashes(graph: BondGraph, found: list[Finding]) -> list[str]:
    """Hash of the type of each defect: equal if and only if they are isomorphic.

    The Weisfeiler-Lehman hash is checked exactly; should two graphs that differ share
    one, the later gets a suffix.
    """
    sizes = [len(f.rows) for f in found]
    rows = np.concatenate([f.rows for f in found])
    group = np.repeat(np.arange(len(found)), sizes)
    start = np.r_[0, np.cumsum(sizes)[:-1]]
    edges = []
    for f, begin in zip(found, start, strict=True):
        order = np.argsort(f.rows)
        edges.append(begin + order[np.searchsorted(f.rows[order], f.pairs)])
    species = graph.atoms["species"].to_numpy(object)[rows]
    hashes = wl_hashes(list(species), np.concatenate(edges), group, len(found))
    seen: dict[str, list[tuple[nx.Graph, set[bytes]]]] = {}
    out = []
    for k, (f, name) in enumerate(zip(found, hashes, strict=True)):
        # equal drawings of a graph need no search
        local = np.sort(edges[k] - start[k], axis=1)
        kinds = species[start[k] : start[k] + sizes[k]]
        rank = np.lexsort((np.bincount(local.ravel(), minlength=sizes[k]), kinds.astype(str)))
        place = np.argsort(rank)
        drawn = np.sort(place[local], axis=1)
        drawing = drawn[np.lexsort(drawn.T)].tobytes() + str(sorted(kinds)).encode()
        versions = seen.setdefault(name, [])
        which = next((i for i, v in enumerate(versions) if drawing in v[1]), None)
        if which is None:
            graph_k = defect_graph(graph, f.rows, f.pairs)
            which = next((i for i, v in enumerate(versions) if same_type(v[0], graph_k)), None)
            if which is None:
                which = len(versions)
                versions.append((graph_k, set()))
            versions[which][1].add(drawing)
        out.append(name if which == 0 else f"{name}-{which + 1}")
    return out
