"""Sheets of graphene with Si clusters, Stone-Wales defects and vacancies, relaxed by springs.

Topology is exact, geometry is that of a spring model (bond lengths and second-neighbour
distances): good enough to try rules and ring finding on known truth, no substitute for
a calculation of energies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from napari_atomlens.errors import ParameterError
from napari_atomlens.simulation.crystals import fill, honeycomb

C_C, SI_C, SI_SI, APART = 0.142, 0.178, 0.228, 0.27  # nm
#: Atoms taken out, and Si put in: at removed sites, or at the mean of several of them.
_CLUSTERS: dict[str, tuple[str, list[list[int]]]] = {
    "Si1C3": ("one", [[0]]),
    "Si1C4": ("pair", [[0, 1]]),
    "Si2C4": ("pair", [[0], [1]]),
    "Si2C5": ("chain3", [[0, 1], [1, 2]]),
    "Si2C6": ("chain4", [[0, 1], [2, 3]]),
    "Si3C4": ("star", [[1], [0], [2]]),
    "Si3C6": ("star", [[1], [2], [3]]),
    "Si4C6": ("star", [[0], [1], [2], [3]]),
}
NAMES = (*_CLUSTERS, "Stone-Wales", "5-8-5", "V_C")


@dataclass
class Sheet:
    """A relaxed sheet.

    Attributes
    ----------
    places_nm : ndarray, shape (n, 2)
        (y, x) of every atom.
    species : ndarray of str, shape (n,)
        "C" or "Si".
    bonds : ndarray of int, shape (m, 2)
        The true bonds.
    centres_nm : ndarray, shape (k, 2)
        Where the defects are.
    names : list of str
        What they are.
    """

    places_nm: np.ndarray
    species: np.ndarray
    bonds: np.ndarray
    centres_nm: np.ndarray
    names: list[str]


def _removed(kind: str, start: int, near: list[list[int]], places: np.ndarray) -> list[int]:
    """Atoms that a defect takes out."""
    a = near[start]
    if kind == "one":
        return [start]
    if kind == "pair":
        return [start, a[0]]
    if kind == "star":
        return [start, *a]
    if kind == "chain3":
        return [a[0], start, a[1]]
    # a zigzag of four: one more neighbour on the other side of the last bond
    far = [j for j in near[a[1]] if j != start]
    return [a[0], start, a[1], max(far, key=lambda j: np.hypot(*(places[j] - places[a[0]])))]


def graphene_sheet(
    shape_nm: tuple[float, float],
    defects: list[tuple[str, tuple[float, float]]],
    *,
    rotation_rad: float = 0.0,
    seed: int = 0,
) -> Sheet:
    """Make a relaxed sheet of graphene with defects at chosen places.

    Parameters
    ----------
    shape_nm : tuple of float
        (height, width) of the field of view; the sheet ends one bond outside of it.
    defects : list of (str, (float, float))
        Names of :data:`NAMES` and places (y, x) in nm.
    rotation_rad : float
        Direction of the lattice.
    seed : int
        Seed of the offset of the lattice.

    Returns
    -------
    Sheet

    Raises
    ------
    ParameterError
        If a name is unknown or two defects overlap.
    """
    rng = np.random.default_rng(seed)
    unit = 100.0  # `fill` thinks in pixels
    size = (int(np.ceil(shape_nm[0] * unit)), int(np.ceil(shape_nm[1] * unit)))
    offset = tuple(rng.uniform(0, 0.4 * unit, 2))
    places, _ = fill(honeycomb(), size, C_C * unit, rotation_rad, offset, None)
    places = places / unit
    pairs = cKDTree(places).query_pairs(1.2 * C_C, output_type="ndarray")
    near: list[list[int]] = [[] for _ in places]
    for a, b in pairs.tolist():
        near[a].append(b)
        near[b].append(a)
    full = np.array([len(n) == 3 for n in near])
    bonds = {(min(a, b), max(a, b)): C_C for a, b in pairs.tolist()}
    species = np.full(len(places), "C", dtype=object)
    gone: set[int] = set()
    used: set[int] = set()
    new_places: list[np.ndarray] = []
    names: list[str] = []
    core: list[list[int]] = []
    tree = cKDTree(places)
    for name, place in defects:
        if name not in NAMES:
            raise ParameterError(f"There is no defect {name!r}; there are {', '.join(NAMES)}.")
        inside = [i for i in tree.query(place, k=30)[1] if full[i]]
        start = int(inside[0])
        area = set(tree.query_ball_point(places[start], 4.5 * C_C))
        if area & used:
            raise ParameterError(f"The defect {name} at {place} overlaps another.")
        used |= area
        names.append(name)
        if name == "Stone-Wales":
            a, b = start, near[start][0]
            core.append([a, b])
            middle, half = (places[a] + places[b]) / 2, (places[a] - places[b]) / 2
            turned = np.array([half[1], -half[0]])
            places[a], places[b] = middle + turned, middle - turned
            rest = [j for k in (a, b) for j in near[k] if j not in (a, b)]
            for k in (a, b):
                for j in rest:
                    bonds.pop((min(k, j), max(k, j)), None)
                gap = np.linalg.norm(places[rest] - places[k], axis=1)
                for j in np.array(rest)[np.argsort(gap)[:2]].tolist():
                    bonds[min(k, j), max(k, j)] = C_C
            continue
        kind, sites = _CLUSTERS.get(name, ("pair" if name == "5-8-5" else "one", []))
        out = _removed(kind, start, near, places)
        gone |= set(out)
        dangling = [j for k in out for j in near[k] if j not in out]
        if name == "5-8-5":
            core.append(sorted(set(dangling)))
            for k in out:
                p, q = (j for j in near[k] if j not in out)
                bonds[min(p, q), max(p, q)] = C_C
        elif name == "V_C":
            core.append(dangling)
        else:
            first = len(places) + len(new_places)
            silicon = [places[[out[i] for i in where]].mean(axis=0) for where in sites]
            ids = list(range(first, first + len(silicon)))
            new_places += silicon
            core.append(ids)
            outer = ids if name not in ("Si4C6", "Si3C4") else ids[1:] if name == "Si4C6" else [
                ids[0], ids[2]
            ]  # fmt: skip
            at = {i: p for i, p in zip(ids, silicon, strict=True)}
            for j in set(dangling):
                if name == "Si3C4" and j in near[out[3]]:
                    continue
                gaps = [float(np.hypot(*(at[i] - places[j]))) for i in outer]
                i = outer[int(np.argmin(gaps))]
                bonds[j, i] = SI_C
            if len(ids) > 1:
                short = 0.66 * SI_SI if name in ("Si4C6", "Si3C4") else SI_SI
                links = (
                    [(ids[0], i) for i in ids[1:]] if name == "Si4C6"
                    else [(ids[0], ids[1]), (ids[1], ids[2])] if name == "Si3C4"
                    else [(i, j) for k, i in enumerate(ids) for j in ids[k + 1 :]]
                )  # fmt: skip
                for link in links:
                    bonds[link] = short
    if new_places:
        places = np.r_[places, np.array(new_places)]
        species = np.r_[species, np.full(len(new_places), "Si", dtype=object)]
    kept = np.array([i for i in range(len(places)) if i not in gone])
    renumber = np.full(len(places), -1)
    renumber[kept] = np.arange(len(kept))
    listed = [(a, b, r) for (a, b), r in bonds.items() if a not in gone and b not in gone]
    links = renumber[np.array([(a, b) for a, b, _ in listed])]
    rest_length = np.array([r for _, _, r in listed])
    relaxed = relax(places[kept], links, rest_length)
    centres = [
        relaxed[renumber[[c for c in group if c not in gone]]].mean(axis=0) for group in core
    ]
    return Sheet(relaxed, species[kept], links, np.array(centres).reshape(-1, 2), names)


def relax(places: np.ndarray, bonds: np.ndarray, rest_nm: np.ndarray) -> np.ndarray:
    """Relax atoms held by springs along bonds and, weaker, between second neighbours.

    The energy is ``sum (r - rest)^2 + 0.15 sum (d - d120)^2 + 0.5 sum min(0, d - 0.27)^2``: over
    the bonds, over two neighbours of one atom (``d120`` is their distance at an angle of 120
    degrees), and over atoms farther apart in the graph, which repel each other below 0.27 nm.
    Atoms with fewer than two bonds stay where they are.
    """
    n = len(places)
    around: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    for (a, b), r in zip(bonds.tolist(), rest_nm, strict=True):
        around[a].append((b, r))
        around[b].append((a, r))
    second = [
        (i, j, np.sqrt(r * r + s * s + r * s))
        for near in around
        for k, (i, r) in enumerate(near)
        for j, s in near[k + 1 :]
    ]
    linked = np.r_[bonds, np.array([(i, j) for i, j, _ in second], int).reshape(-1, 2)]
    known = np.unique(np.sort(linked, axis=1) @ np.array([n, 1]))
    apart = np.sort(cKDTree(places).query_pairs(0.36, output_type="ndarray"), axis=1)
    apart = apart[~np.isin(apart @ np.array([n, 1]), known)]
    first = np.r_[linked, apart]
    rest = np.r_[rest_nm, np.array([d for *_, d in second]), np.full(len(apart), APART)]
    stiff = np.r_[np.ones(len(bonds)), np.full(len(second), 0.15), np.full(len(apart), 0.5)]
    repels = np.arange(len(first)) >= len(linked)
    free = np.array([len(a) >= 2 for a in around])

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        p = flat.reshape(-1, 2)
        step = p[first[:, 0]] - p[first[:, 1]]
        length = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)
        stretch = length - rest
        stretch[repels] = np.minimum(stretch[repels], 0.0)
        pull = stiff * stretch
        force = (2 * pull / length)[:, None] * step
        gradient = np.zeros_like(p)
        np.add.at(gradient, first[:, 0], force)
        np.add.at(gradient, first[:, 1], -force)
        gradient[~free] = 0
        return float((pull * stretch).sum()), gradient.ravel()

    result = minimize(
        energy, places.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 400, "gtol": 1e-7}
    )
    return np.asarray(result.x.reshape(-1, 2))
