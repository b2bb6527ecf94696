"""Defects that are seen in the rings: missing atoms, Stone-Wales defects, grain boundaries."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy

from napari_atomlens.graphs.finding import Finding, join_labels
from napari_atomlens.graphs.vacant import Vacancies
from napari_atomlens.points import connected, near_pairs

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.graphs.rings import Rings

#: More odd rings than this in one piece, drawn out in a line, are a grain boundary.
MANY_RINGS = 7
#: Atoms nearer than this to a vacant site, over the usual length of a bond, point at it.
OPEN_BOND = 1.35
#: What pieces of odd rings are called in a crystal of hexagons.
NAMED = {
    "5-7": "dislocation",
    "5-7-7-5": "Stone-Wales",
    "5-8-5": "reconstructed vacancy",
    "5-9": "reconstructed vacancy",
}
#: Names of up to so many rings are searched by permutation.
MOST_NAMED = 6


def ring_name(sizes: list[int], links: set[tuple[int, int]]) -> str:
    """Name of a piece of odd rings, such as 5-7-7-5.

    Parameters
    ----------
    sizes : list of int
        Atoms in each ring.
    links : set of (int, int)
        Pairs of rings, the lower first, that share a bond.

    Returns
    -------
    str
        Up to six rings: the sizes along a path through rings that share a bond, palindromes
        first, then the lowest. Otherwise the number of rings of each size, such as 5(8)7(8).
    """
    if len(sizes) <= MOST_NAMED:
        paths = [
            [sizes[i] for i in order]
            for order in permutations(range(len(sizes)))
            if all((min(a, b), max(a, b)) in links for a, b in pairwise(order))
        ]
        if paths:
            best = min(paths, key=lambda p: (p != p[::-1], p))
            return "-".join(map(str, best))
    counts = Counter(sizes)
    return "".join(f"{size}({counts[size]})" for size in sorted(counts))


def missing_atoms(n_rings: int, n_outline: int, n_inside: int, ring_size: int) -> float:
    """Number of atoms that a patch lacks against the perfect crystal.

    From Euler's formula: a patch of `n_rings` perfect rings with `n_outline` atoms on its
    outline holds ``1 + n_rings (ring_size / 2 - 1) - n_outline / 2`` atoms inside.
    """
    return 1 + n_rings * (ring_size / 2 - 1) - n_outline / 2 - n_inside


def shared_bonds(rings: Rings, chosen: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Bonds round the `chosen` rings, as (position in `chosen`, code of the bond)."""
    owner, code = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    members, sizes = rings.members[chosen], rings.size[chosen]
    for k in range(int(sizes.max(initial=0))):
        inside = np.flatnonzero(k < sizes)
        a = members[inside, k]
        b = members[inside, np.where(k + 1 < sizes[inside], k + 1, 0)]
        owner.append(inside)
        code.append(np.minimum(a, b) * n + np.maximum(a, b))
    return np.concatenate(owner), np.concatenate(code)


class Odds(Protocol):
    """What is known of how sure atoms and bonds are."""

    #: Log probability of each atom, shape (n,), and positions (n, 2) in pixels.
    atom: np.ndarray
    places_px: np.ndarray

    def bonds(self, code: np.ndarray) -> float:
        """Log probability that all these bonds (row times n plus row) are bonds."""
        ...


def add_rings(graph: BondGraph, found: list[Finding], odds: Odds, max_ring: int) -> list[Finding]:
    """Add the defects of rings, and the vacant sites, to the defects of foreign atoms.

    Parameters
    ----------
    graph : BondGraph
    found : list of Finding
        Defects of foreign atoms; the odd rings that hold one of their core atoms are noted
        in them.
    odds : Odds
        Knows the log probabilities of atoms and pairs.
    max_ring : int
        Larger rings are no defects.
    """
    rings, rules = graph.rings, graph.rules
    if rules.is_generic:
        return [*found, *_by_lattice_alone(graph, odds)]
    need = {s: rules.species_rule(s).min_coordination for s in rules.host}
    species = graph.atoms["species"].to_numpy(object)
    least = np.array([need.get(str(s), 0) for s in species])
    under = graph.degree < least
    normal = rings.size == rules.ring_size
    odd = np.flatnonzero(~normal & (rings.size <= max_ring))
    sites = Vacancies(graph, odd, under)
    out = list(found)
    if len(odd):
        out += _pieces(graph, found, odds, odd, under, sites)
    out += _open_sites(graph, odds, under, sites)
    return _merge_labels(graph, out, len(found))


def _by_lattice_alone(graph: BondGraph, odds: Odds) -> list[Finding]:
    """Vacant sites of a crystal that no rules are for: they are told by the lattice, not by bonds.

    Nobody knows how many bonds its atoms have, so that an open bond or another ring means nothing.
    """
    table = graph.vacant
    if not len(table) or not len(graph.atoms):
        return []
    place, frame = table[["y_px", "x_px"]].to_numpy(float), table["frame"].to_numpy(np.int64)
    atoms = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    at = graph.atoms["frame"].to_numpy(np.int64)
    out = []
    for f in np.unique(frame):
        sites, here = np.flatnonzero(frame == f), np.flatnonzero(at == f)
        tree = scipy.spatial.cKDTree(atoms[here])
        nearest = float(np.median(tree.query(atoms[here], k=min(2, len(here)))[0][:, -1]))
        pairs, _ = near_pairs(place[sites], np.zeros(len(sites), np.int64), 1.2 * nearest)
        label = connected(pairs, len(sites))
        for g in np.unique(label):
            which = sites[label == g]
            near = tree.query(place[which], k=min(3, len(here)))[1]
            rows = here[np.unique(near)]
            out.append(
                Finding(
                    rows, rows, f"{len(which)}V" if len(which) > 1 else "V", "vacancy",
                    np.zeros((0, 2), np.int64), float(odds.atom[rows].sum()),
                    place=place[which].mean(axis=0),
                )
            )  # fmt: skip
    return out


def _open_sites(graph: BondGraph, odds: Odds, under: np.ndarray, sites: Vacancies) -> list[Finding]:
    """Vacant sites in no odd ring, as beside the border: open bonds point at them."""
    alone = np.flatnonzero(sites.ring < 0)
    if not len(alone) or not len(graph.pairs):
        return []
    reach = OPEN_BOND * float(np.median(graph.bonds["length_px"]))
    n = len(graph.atoms)
    frame = np.concatenate([graph.atoms["frame"].to_numpy(np.int64), sites.frame[alone]])
    place = np.concatenate([graph.atoms[["y_px", "x_px"]].to_numpy(float), sites.place[alone]])
    pairs, _ = near_pairs(place, frame, reach)
    pairs = pairs[(pairs[:, 0] < n) & (pairs[:, 1] >= n)]
    if graph.rules.share_neighbours:  # beside a foreign atom: told by its formula
        taken = np.unique(pairs[graph.foreign[pairs[:, 0]], 1])
        pairs = pairs[~np.isin(pairs[:, 1], taken)]
    pairs = pairs[under[pairs[:, 0]]]
    enough = np.bincount(pairs[:, 1] - n, minlength=len(alone)) >= 2
    pairs = pairs[enough[pairs[:, 1] - n]]
    label = connected(pairs, n + len(alone))
    if not graph.rules.share_neighbours:  # sites that only share an open bond are apart
        own = _touching(graph, place[n:])
        nearest = scipy.spatial.cKDTree(place[n:]).query(place[:n])[1]
        held = np.isin(np.arange(n), pairs[:, 0])
        label = np.r_[np.where(held, own[nearest], -1), own]
    out = []
    for g in np.unique(label[n:][enough]):
        which = alone[(label[n:] == g) & enough]
        rows = np.flatnonzero(label[:n] == g)
        if not len(rows):
            continue
        out.append(
            Finding(
                rows, rows, sites.name(which, graph.rules.host), "vacancy",
                np.zeros((0, 2), np.int64), float(odds.atom[rows].sum()),
                place=sites.place[which].mean(axis=0),
            )
        )  # fmt: skip
    return out


def _pieces(
    graph: BondGraph,
    found: list[Finding],
    odds: Odds,
    odd: np.ndarray,
    under: np.ndarray,
    sites: Vacancies,
) -> list[Finding]:
    """Defects that connected odd rings make; those that hold foreign atoms are noted there."""
    rings, rules = graph.rings, graph.rules
    n = len(graph.atoms)
    normal = rings.size == rules.ring_size
    cell = float(np.median(rings.area[normal])) if normal.any() else float("nan")
    owner, code = shared_bonds(rings, odd, n)
    order = np.argsort(code, kind="stable")
    same = np.flatnonzero(code[order][1:] == code[order][:-1])
    links = np.sort(np.c_[owner[order[same]], owner[order[same + 1]]], axis=1)
    label = connected(links, len(odd))
    core_of = {int(row): k for k, f in enumerate(found) for row in f.core}
    held = [
        {core_of[int(r)] for r in rings.polygon(i) if int(r) in core_of} if core_of else set()
        for i in odd.tolist()
    ]
    for where, i in zip(held, odd.tolist(), strict=True):
        for k in where:
            found[k].rings.append(int(rings.size[i]))
    out: list[Finding] = []
    link_group = label[links[:, 0]] if len(links) else np.zeros(0, int)
    by_label = np.argsort(label, kind="stable")
    pieces = np.split(by_label, np.cumsum(np.bincount(label))[:-1])
    for g, piece in enumerate(pieces):
        near_foreign = any(held[i] for i in piece)
        free = np.array([i for i in piece if not held[i]], int)
        if near_foreign and rules.share_neighbours and len(free) < 3:
            free = _vacant(graph, rings, odd, free, under)
        elif near_foreign and not rules.share_neighbours:
            free = piece
        if not len(free):
            continue
        inner = {tuple(p) for p in links[link_group == g].tolist()} if len(links) else set()
        # vacancies side by side are so many vacancies
        holes = [
            i
            for i in free.tolist()
            if len(free) > 1 and _is_hole(graph, rings, int(odd[i]), cell, under)
        ]
        rest = np.array([i for i in free.tolist() if i not in holes], int)
        for part in (*(np.array([i]) for i in holes), rest):
            if len(part):
                one = _piece(graph, rings, odd, part, inner, cell, under, odds, sites)
                empty = np.flatnonzero(np.isin(sites.ring, part))
                out += _apart(graph, one, empty, sites, odds)
    return out


def _touching(graph: BondGraph, place: np.ndarray) -> np.ndarray:
    """Group of each vacant site: those on neighbouring sites are one defect."""
    reach = OPEN_BOND * float(np.median(graph.bonds["length_px"]))
    pairs, _ = near_pairs(place, np.zeros(len(place), np.int64), reach)
    return connected(pairs, len(place))


def _apart(
    graph: BondGraph, one: Finding, empty: np.ndarray, sites: Vacancies, odds: Odds
) -> list[Finding]:
    """Vacancies that one ring goes round, each for itself where they only share a neighbour.

    Where foreign atoms share neighbours too, as in graphene, they stay one defect.
    """
    if one.kind != "vacancy" or len(empty) < 2 or graph.rules.share_neighbours:
        return [one]
    label = _touching(graph, sites.place[empty])
    if label.max() == 0:
        return [one]
    out = []
    nearest = scipy.spatial.cKDTree(sites.place[empty]).query(odds.places_px[one.rows])[1]
    for g in np.unique(label):
        which, rows = empty[label == g], one.rows[label[nearest] == g]
        core = one.core[np.isin(one.core, rows)]
        pairs = one.pairs[np.isin(one.pairs, rows).all(axis=1)]
        code = pairs.min(axis=1) * len(graph.atoms) + pairs.max(axis=1)
        out.append(
            Finding(
                rows, core if len(core) else rows, sites.name(which, graph.rules.host), "vacancy",
                pairs, float(odds.atom[rows].sum()) + odds.bonds(code), rings=one.rings,
                place=sites.place[which].mean(axis=0),
            )
        )  # fmt: skip
    return out


def _vacant(
    graph: BondGraph, rings: Rings, odd: np.ndarray, free: np.ndarray, under: np.ndarray
) -> np.ndarray:
    """Of odd rings beside a foreign atom, those that are surely vacancies of their own."""
    keep = [
        i
        for i in free
        if rings.size[odd[i]] > graph.rules.ring_size + 2
        and under[rings.polygon(int(odd[i]))].sum() >= 2
    ]
    return np.array(keep, int)


def _is_hole(graph: BondGraph, rings: Rings, ring: int, cell: float, under: np.ndarray) -> bool:
    """Whether one ring by itself lacks atoms and shows it by open bonds."""
    size = int(rings.size[ring])
    if not np.isfinite(cell) or not under[rings.polygon(ring)].any():
        return False
    patch = round(float(rings.area[ring]) / cell)
    return missing_atoms(patch, size, 0, graph.rules.ring_size) >= 1


def _piece(
    graph: BondGraph,
    rings: Rings,
    odd: np.ndarray,
    piece: np.ndarray,
    links: set[tuple[int, int]],
    cell: float,
    under: np.ndarray,
    odds: Odds,
    sites: Vacancies,
) -> Finding:
    """One connected piece of odd rings as a defect."""
    n, rules = len(graph.atoms), graph.rules
    chosen = odd[piece]
    rows = np.unique(np.concatenate([rings.polygon(i) for i in chosen.tolist()]))
    sizes = [int(s) for s in rings.size[chosen]]
    _, code = shared_bonds(rings, chosen, n)
    bonds, times = np.unique(code, return_counts=True)
    outline = int((times == 1).sum())
    on_outline = np.unique(np.r_[bonds[times == 1] // n, bonds[times == 1] % n])
    area = float(rings.area[chosen].sum())
    lacking = 0
    if np.isfinite(cell) and cell > 0:
        patch = round(area / cell)
        lacking = int(
            np.floor(missing_atoms(patch, outline, len(rows) - len(on_outline), rules.ring_size))
        )
    local = {int(i): k for k, i in enumerate(piece)}
    inner = {
        (min(local[a], local[b]), max(local[a], local[b]))
        for a, b in links
        if a in local and b in local
    }
    name = ring_name(sizes, inner)
    open_atoms = rows[under[rows]]
    kind = _kind(name, sizes, lacking, rings, chosen, graph.places_nm)
    empty = np.flatnonzero(np.isin(sites.ring, piece))
    frame = int(graph.atoms["frame"].iloc[int(rows[0])]) if len(rows) else 0
    # an atom that the rules could not bond is no vacancy
    held = not len(empty) and any(
        sites.taken(frame, odds.places_px[rings.polygon(i)]) for i in chosen.tolist()
    )
    if held:
        kind = "not told"
    elif len(piece) == 1 and (lacking >= 1 or len(empty)) and len(open_atoms):
        # what is missing is said by the lattice; where it has no sites, by the ring alone
        name = sites.name(empty, rules.host) if len(empty) else ""
        name, kind = name or _vacancy(graph, open_atoms, lacking), "vacancy"
    pairs = np.c_[bonds // n, bonds % n]
    log_score = float(odds.atom[rows].sum()) + odds.bonds(bonds)
    places = odds.places_px
    centre = np.average(
        [places[rings.polygon(i)].mean(axis=0) for i in chosen], axis=0, weights=rings.area[chosen]
    )
    return Finding(
        rows, open_atoms if kind == "vacancy" else rows, name, kind, pairs, log_score,
        rings=sizes, coordination=-1, place=centre,
    )  # fmt: skip


def _vacancy(graph: BondGraph, open_atoms: np.ndarray, lacking: int) -> str:
    """Name of a vacancy from the under-coordinated atoms round it."""
    host = graph.rules.host
    if len(host) == 1:
        return f"V_{host[0]}" if lacking == 1 else f"{lacking}V_{host[0]}"
    species = Counter(str(s) for s in graph.atoms["species"].to_numpy(object)[open_atoms])
    common = species.most_common(1)[0][0]
    _, high = graph.rules.bounds((common, *host))
    partners = [h for h, reach in zip(host, high[0, 1:], strict=True) if reach > 0]
    if lacking == 1 and len(partners) == 1:
        return f"V_{partners[0]}"
    return f"{lacking}V" if lacking > 1 else "V"


def _kind(
    name: str,
    sizes: list[int],
    lacking: int,
    rings: Rings,
    chosen: np.ndarray,
    places: np.ndarray,
) -> str:
    """What a piece of odd rings is called."""
    if len(sizes) >= MANY_RINGS:
        centres = np.array([places[rings.polygon(int(i))].mean(axis=0) for i in chosen])
        extent = float(np.hypot(*np.ptp(centres, axis=0)))
        # a line is as long as its rings side by side, a patch only as wide as their root
        if extent > 0.4 * len(sizes) * np.sqrt(float(rings.area[chosen].mean())):
            return "grain boundary"
    if name in NAMED:
        return NAMED[name]
    if lacking >= 1:
        return "reconstructed vacancy"
    return "odd ring" if len(sizes) == 1 else "odd rings"


def _merge_labels(graph: BondGraph, found: list[Any], n_foreign: int) -> list[Any]:
    """Where point defects have names, join vacancies with the foreign atoms beside them."""
    if graph.rules.share_neighbours:
        return found
    foreign, rest = found[:n_foreign], found[n_foreign:]
    gone: set[int] = set()
    out = []
    for f in rest:
        mine = set(f.core.tolist()) if f.kind == "vacancy" else set()
        near = [k for k, g in enumerate(foreign) if k not in gone and mine & set(g.core.tolist())]
        if not near:
            if f.kind == "vacancy" or not any(graph.foreign[f.rows]):
                out.append(f)
            continue
        gone |= set(near)
        labels = [f.formula]
        for k in near:
            labels += foreign[k].formula.split("+")
        parts = [f, *(foreign[k] for k in near)]
        out.append(
            Finding(
                np.unique(np.concatenate([p.rows for p in parts])),
                np.unique(np.concatenate([p.core for p in parts])),
                join_labels(labels),
                "complex",
                np.unique(np.sort(np.concatenate([p.pairs for p in parts]), axis=1), axis=0),
                sum(p.log_score for p in parts),
                rings=f.rings,
                coordination=max(p.coordination for p in parts),
            )
        )
    return [f for k, f in enumerate(foreign) if k not in gone] + out
