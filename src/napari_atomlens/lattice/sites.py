"""Sites: which sublattice each atom belongs to, where it should sit, and where one is missing.

What a measured lattice says (``sublattice``, ``site_y_px``, ``site_x_px`` and rows of source
"lattice" in the atoms table) is taken as it is. Where nothing is known, the translations of
the lattice are found as the frequent differences between atoms of about the same height.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_atomlens import tables
from napari_atomlens.points import near_pairs, typical_spacing

#: Translations are looked for up to so many nearest distances.
REACH = 3.2
#: Two atoms are a translation apart when it leads from one to within this part of the nearest
#: distance of the other.
NEAR = 0.3
#: Fewest atoms of a sublattice.
FEWEST = 8
MOST_TRANSLATIONS = 24


def translations(positions: np.ndarray, amplitude: np.ndarray, spacing: float) -> np.ndarray:
    """Vectors that lead from most atoms to another one like it, shortest first.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    amplitude : ndarray, shape (n,)
        Heights; NaN where they are not known.
    spacing : float
        Distance between nearest atoms.

    Returns
    -------
    ndarray, shape (m, 2)
        With every vector its opposite.
    """
    n = len(positions)
    if n < FEWEST:
        return np.zeros((0, 2))
    tree = cKDTree(positions)
    some = np.arange(0, n, max(1, n // 1200))
    near = tree.query_ball_point(positions[some], REACH * spacing)
    i = np.repeat(some, [len(v) for v in near])
    j = np.concatenate([np.asarray(v, np.int64) for v in near])
    i, j = i[i != j], j[i != j]
    difference = positions[j] - positions[i]
    if not len(difference):
        return np.zeros((0, 2))
    lookup = cKDTree(difference)
    found: list[np.ndarray] = []
    # each frequent difference, from a few atoms that have all their neighbours
    middle = np.argsort(np.linalg.norm(positions[some] - positions.mean(0), axis=1))[:60]
    guesses = difference[np.isin(i, some[middle])]
    votes = lookup.query_ball_point(guesses, 0.15 * spacing, return_length=True)
    low, high = positions.min(0), positions.max(0)
    for k in np.argsort(-votes, kind="stable"):
        t = guesses[k]
        if any(np.hypot(*(t - f)) < 0.35 * spacing for f in found):
            continue
        members = lookup.query_ball_point(t, 0.2 * spacing)
        t = difference[members].mean(0)
        target = positions[some] + t
        fits = np.all((target >= low) & (target <= high), axis=1).sum()
        if fits < FEWEST or len(members) < 0.6 * fits:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.abs(np.log(amplitude[j[members]] / amplitude[i[members]]))
        ratio = ratio[np.isfinite(ratio)]
        if np.hypot(*t) < 1.2 * spacing and len(ratio) and np.median(ratio) > 0.3:
            continue  # leads to another kind of atom, as from A to B in a perovskite
        found += [t, -t]
        if len(found) >= MOST_TRANSLATIONS:
            break
    if not found:
        return np.zeros((0, 2))
    vectors = np.array(found)
    return vectors[np.argsort(np.hypot(*vectors.T), kind="stable")]


def links(positions: np.ndarray, vectors: np.ndarray, spacing: float) -> np.ndarray:
    """Atom that each translation leads to from each atom, -1 where there is none; (n, m)."""
    n = len(positions)
    target = (positions[:, None] + vectors).reshape(-1, 2)
    _, index = cKDTree(positions).query(target, distance_upper_bound=NEAR * spacing)
    return np.where(index < n, index, -1).reshape(n, -1)


def sublattices(link: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Sublattice of each atom: what translations connect, the highest atoms first; -1 unknown."""
    n = len(link)
    i, k = np.nonzero(link >= 0)
    graph = sparse.csr_array((np.ones(len(i)), (i, link[i, k])), shape=(n, n))
    graph = ((graph + graph.T) > 0).astype(float)
    # one wrong link would make two sublattices one: each must close two triangles of others
    closed = (graph @ graph).multiply(graph)
    graph = (closed >= 2).astype(float) if closed.nnz else graph
    _, part = connected_components(graph, directed=False)
    size = np.bincount(part)
    large = np.flatnonzero(size >= max(FEWEST, 0.02 * n))
    height = [np.nan_to_num(np.nanmedian(amplitude[part == p])) for p in large]
    order = large[np.argsort(-np.asarray(height), kind="stable")]
    number = np.full(len(size), -1)
    number[order] = np.arange(len(order))
    return number[part]


def expected(positions: np.ndarray, link: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Where each atom should sit: the median of the middles of opposite neighbours.

    A middle does not change with strain, and the median not with a neighbour that is itself
    out of place. At borders, where few have opposites, a translation from the neighbours
    that there are. NaN where there are fewer than three.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    n = len(positions)
    out = np.full((n, 2), np.nan)
    if not n or not len(vectors):
        return out
    there = np.where((link >= 0)[..., None], positions[link], np.nan)
    opposite = [int(np.argmin(np.hypot(*(vectors + v).T))) for v in vectors]
    half = [k for k, o in enumerate(opposite) if k < o]
    middles = np.stack([0.5 * (there[:, k] + there[:, opposite[k]]) for k in half], axis=1)
    step = np.nanmedian(there - positions[:, None], axis=0)
    one_sided = there - step
    for values, fewest in ((one_sided, 3), (middles, 2)):
        enough = np.isfinite(values[..., 0]).sum(1) >= fewest
        out[enough] = np.nanmedian(values[enough], axis=1)
    return out


def vacant(
    positions: np.ndarray,
    sublattice: np.ndarray,
    link: np.ndarray,
    vectors: np.ndarray,
    spacing: float,
    shape: tuple[int, int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Places that at least three neighbours, and half of those looked at, say are sites.

    Returns
    -------
    places : ndarray, shape (m, 2)
    sublattice : ndarray of int, shape (m,)
    """
    nothing = np.zeros((0, 2)), np.zeros(0, np.int64)
    i, k = np.nonzero((link < 0) & (sublattice >= 0)[:, None])
    if not len(i):
        return nothing
    guess = positions[i] + vectors[k]
    low, high = positions.min(0), positions.max(0)
    if shape is not None:
        low, high = np.full(2, 0.25 * spacing), np.subtract(shape, 1) - 0.25 * spacing
    free = cKDTree(positions).query(guess)[0] > 0.45 * spacing
    free &= np.all((guess >= low) & (guess <= high), axis=1)
    guess, voter = guess[free], sublattice[i[free]]
    if not len(guess):
        return nothing
    shells = np.hypot(*vectors.T)
    nearest_shell = int((shells < 1.15 * shells[0]).sum())
    tree = cKDTree(guess)
    groups = tree.query_ball_point(guess, 0.25 * spacing)
    count = np.array([len(g) for g in groups])
    places, kinds = [], []
    taken = np.zeros(len(guess), bool)
    for g in np.argsort(-count, kind="stable"):
        members = np.asarray(groups[g])
        if taken[g] or len(members) < max(3, 0.5 * min(nearest_shell + 2, len(vectors))):
            continue
        kind = np.bincount(voter[members]).argmax()
        taken[tree.query_ball_point(guess[g], 0.6 * spacing)] = True
        places.append(np.median(guess[members], axis=0))
        kinds.append(kind)
    if not places:
        return nothing
    return np.array(places), np.array(kinds, np.int64)


def complete_sites(atoms: pd.DataFrame, shape: tuple[int, int] | None = None) -> pd.DataFrame:
    """Atoms with their sublattices and sites, and a row for every site that is vacant.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table, of one frame or many.
    shape : tuple of int, optional
        (H, W) of the image; without it vacant sites are looked for between the atoms only.

    Returns
    -------
    pandas.DataFrame
        Atoms table with ``sublattice``, ``site_y_px`` and ``site_x_px`` filled where they
        could be found. Vacant sites come last in each frame, with ``source`` "lattice",
        position on the site, probability 0 and ids of their own.
    """
    parts = []
    for _, mine in atoms.groupby("frame", sort=True):
        parts.append(_complete(mine.reset_index(drop=True), shape))
    return pd.concat(parts, ignore_index=True) if parts else atoms.copy()


def _complete(atoms: pd.DataFrame, shape: tuple[int, int] | None) -> pd.DataFrame:
    positions = atoms[["y_px", "x_px"]].to_numpy(float)
    n = len(atoms)
    amplitude = np.full(n, np.nan)
    if "amplitude" in atoms:
        amplitude = atoms["amplitude"].to_numpy(float).copy()
    known = np.full(n, -1)
    if "sublattice" in atoms:
        known = atoms["sublattice"].to_numpy(np.int64).copy()
    if n < FEWEST or not np.isfinite(positions).all() or (known >= 0).mean() > 0.5:
        return atoms.copy()  # measured already, or too little to go by
    spacing = float(np.median(cKDTree(positions).query(positions, k=2)[0][:, 1]))
    vectors = translations(positions, amplitude, spacing)
    if not len(vectors):
        return atoms.copy()
    link = links(positions, vectors, spacing)
    found = sublattices(link, amplitude)
    out = atoms.assign(sublattice=found)
    site = expected(positions, link, vectors)
    for axis, name in enumerate(("site_y_px", "site_x_px")):
        measured = atoms[name].to_numpy(float) if name in atoms else np.full(n, np.nan)
        out[name] = np.where(np.isfinite(measured), measured, site[:, axis])
    places, kinds = vacant(positions, found, link, vectors, spacing, shape)
    if not len(places):
        return out
    frame = int(atoms["frame"].iloc[0])
    first = int(atoms["atom_id"].max()) + 1 if "atom_id" in atoms else n
    more = tables.make(
        "atoms",
        {
            "frame": frame, "atom_id": first + np.arange(len(places)), "y_px": places[:, 0],
            "x_px": places[:, 1], "site_y_px": places[:, 0], "site_x_px": places[:, 1],
            "sublattice": kinds, "probability": 0.0, "source": "lattice",
        },
        len(places),
    )  # fmt: skip
    return pd.concat([out, more[[c for c in more if c in out]]], ignore_index=True)


#: Columns nearer than this, over the spacing, to an expected site are on it.
ON_SITE = 0.45


def honeycomb_sublattices(
    places: np.ndarray, frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Tell the two sublattices of a honeycomb by the directions of the bonds.

    With ``z`` the sum of ``exp(3 i angle)`` over the bonds of an atom, the two sublattices have
    opposite ``z``; the phase of the mean of ``z^2`` gives the orientation of the crystal.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    frame : ndarray of int, shape (n,)

    Returns
    -------
    sublattice : ndarray of int, shape (n,)
        0 or 1, -1 where it cannot be told.
    pairs : ndarray of int, shape (m, 2)
        Neighbours.
    phase : ndarray of complex, shape (n,)
        ``exp(3 i angle)`` of the bonds of sublattice 0.
    spacing : float
        Distance of nearest atoms.

    Raises
    ------
    CalibrationError
        If there are no neighbours.
    """
    n = len(places)
    spacing = typical_spacing(places, frame)
    pairs, length = near_pairs(places, frame, 1.35 * spacing)
    pairs = pairs[length > 0.6 * spacing]
    step = places[pairs[:, 1]] - places[pairs[:, 0]]
    turn = np.exp(3j * np.arctan2(-step[:, 0], step[:, 1]))
    z = np.zeros(n, complex)
    np.add.at(z, pairs[:, 0], turn)
    np.add.at(z, pairs[:, 1], -turn)  # the way back is turned by pi
    phase = np.sqrt((z**2).sum() / max(np.abs(z**2).sum(), 1e-12))
    phase = phase / max(abs(phase), 1e-12)
    along = (z * np.conj(phase)).real
    sublattice = np.where(np.abs(along) < 0.6, -1, (along < 0).astype(int))
    return sublattice, pairs, np.full(n, phase), spacing


def empty_sites(
    places: np.ndarray, frame: np.ndarray, sublattice: np.ndarray, phase: complex, spacing: float
) -> pd.DataFrame:
    """Sites that at least two neighbours of the crystal expect and where no atom is.

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``y_px``, ``x_px``, ``sublattice``.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    known = np.flatnonzero(sublattice >= 0)
    # bond length from the crystal: nearest distances are short by the noise
    base = np.angle(phase) / 3
    guess, owner = [], []
    for k in range(3):
        angle = base + 2 * np.pi / 3 * k + np.pi * sublattice[known]
        way = spacing * 1.03 * np.column_stack([-np.sin(angle), np.cos(angle)])
        guess.append(places[known] + way)
        owner.append(known)
    site, by = np.concatenate(guess), np.concatenate(owner)
    apart = 100 * (np.ptp(places) + 1)
    here = np.column_stack([apart * frame[by], site])
    there = np.column_stack([apart * frame, places])
    vacant = cKDTree(there).query(here)[0] > ON_SITE * spacing
    low, high = places.min(axis=0), places.max(axis=0)
    vacant &= ((site > low - 0.2 * spacing) & (site < high + 0.2 * spacing)).all(axis=1)
    site, by, here = site[vacant], by[vacant], here[vacant]
    columns = ["frame", "y_px", "x_px", "sublattice"]
    if not len(site):
        return pd.DataFrame(columns=columns).astype(
            {"frame": int, "y_px": float, "x_px": float, "sublattice": int}
        )
    links = cKDTree(here).query_pairs(ON_SITE * spacing, output_type="ndarray")
    graph = coo_array(
        (np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(len(site), len(site))
    )
    n, label = connected_components(graph, directed=False)
    votes = np.bincount(label, minlength=n)
    mean = np.column_stack([np.bincount(label, site[:, k]) / votes for k in (0, 1)])
    first = np.unique(label, return_index=True)[1]
    found = pd.DataFrame(
        {
            "frame": frame[by][first], "y_px": mean[:, 0], "x_px": mean[:, 1],
            "sublattice": 1 - sublattice[by][first],
        }
    )  # fmt: skip
    return found[votes >= 2].reset_index(drop=True)
