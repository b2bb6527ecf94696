"""Sites: which sublattice each atom belongs to, where it should sit, and where one is missing.

What a measured lattice says (``sublattice``, ``site_y_px``, ``site_x_px`` and rows of source
"lattice" in the atoms table) is taken as it is. Where nothing is known, the translations of
the lattice are found as the frequent differences between atoms of about the same height.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

from napari_atomlens.lattice.measure import measure_lattice
from napari_atomlens.points import known_spacing, near_pairs, nearest_distance

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
    tree = scipy.spatial.cKDTree(positions)
    some = np.arange(0, n, max(1, n // 1200))
    near = tree.query_ball_point(positions[some], REACH * spacing)
    i = np.repeat(some, [len(v) for v in near])
    j = np.concatenate([np.asarray(v, np.int64) for v in near])
    i, j = i[i != j], j[i != j]
    difference = positions[j] - positions[i]
    if not len(difference):
        return np.zeros((0, 2))
    lookup = scipy.spatial.cKDTree(difference)
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
    _, index = scipy.spatial.cKDTree(positions).query(target, distance_upper_bound=NEAR * spacing)
    return np.where(index < n, index, -1).reshape(n, -1)


def sublattices(link: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Sublattice of each atom: what translations connect, the highest atoms first; -1 unknown."""
    n = len(link)
    i, k = np.nonzero(link >= 0)
    graph = scipy.sparse.csr_array((np.ones(len(i)), (i, link[i, k])), shape=(n, n))
    graph = ((graph + graph.T) > 0).astype(float)
    # one wrong link would make two sublattices one: each must close two triangles of others
    closed = (graph @ graph).multiply(graph)
    graph = (closed >= 2).astype(float) if closed.nnz else graph
    _, part = scipy.sparse.csgraph.connected_components(graph, directed=False)
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
    opposites = [int(np.argmin(np.hypot(*(vectors + v).T))) for v in vectors]
    if not n or not any(k < o for k, o in enumerate(opposites)):
        return out
    there = np.where((link >= 0)[..., None], positions[link], np.nan)
    half = [k for k, o in enumerate(opposites) if k < o]
    middles = np.stack([0.5 * (there[:, k] + there[:, opposites[k]]) for k in half], axis=1)
    step = np.nanmedian(there - positions[:, None], axis=0)
    one_sided = there - step
    for values, fewest in ((one_sided, 3), (middles, 2)):
        enough = np.isfinite(values[..., 0]).sum(1) >= fewest
        out[enough] = np.nanmedian(values[enough], axis=1)
    return out


def vacant_sites(atoms: pd.DataFrame, label: np.ndarray | None = None) -> pd.DataFrame:
    """Sites where an atom is missing: the one answer, whoever asks.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table. Rows of vacant sites that it holds are taken as they are; without them the
        lattice is measured (:func:`napari_atomlens.measure_lattice`, whose notes say what
        counts as a vacancy).
    label : array-like, shape (n,), optional
        Something known of each row, such as its species.

    Returns
    -------
    pandas.DataFrame
        Atoms table of the vacant sites; with a column ``label``, the most frequent one among
        the atoms of the same region and sublattice, where labels were given.
    """
    labels = pd.Series(np.full(len(atoms), np.nan) if label is None else np.asarray(label))
    known = atoms.reset_index(drop=True)
    if not _is_vacant(known).any():
        row = np.arange(len(known))
        known = measure_lattice(known.assign(_row=row)).atoms
        there = known["_row"].notna().to_numpy()
        labels = pd.Series(
            [labels[int(r)] if ok else np.nan for r, ok in zip(known["_row"], there, strict=True)],
            dtype=object,
        )
        known = known.drop(columns="_row")
    vacant = _is_vacant(known)
    found = known[vacant].reset_index(drop=True)
    if label is None:
        return found
    keys = [k for k in ("frame", "region", "sublattice") if k in known]
    usual = (
        known.loc[~vacant, keys].assign(label=labels[~vacant].to_numpy())
        .groupby(keys)["label"].agg(lambda v: v.mode().iloc[0] if v.notna().any() else np.nan)
    )  # fmt: skip
    return found.join(usual, on=keys)


def _is_vacant(atoms: pd.DataFrame) -> np.ndarray:
    """Which rows are vacant sites, not atoms."""
    if "source" not in atoms:
        return np.zeros(len(atoms), bool)
    return np.asarray(atoms["source"].astype(str) == "lattice")


def complete_sites(atoms: pd.DataFrame) -> pd.DataFrame:
    """Atoms with their sublattices and sites, and a row for every site that is vacant.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table, of one frame or many.

    Returns
    -------
    pandas.DataFrame
        Atoms table with ``sublattice``, ``site_y_px`` and ``site_x_px`` filled where they
        could be found. Vacant sites (:func:`vacant_sites`) come last in each frame, with
        ``source`` "lattice", position on the site, probability 0 and ids of their own. A table
        that holds vacant sites comes back as it is.
    """
    if _is_vacant(atoms).any():
        return atoms.copy()
    parts = [
        _complete(mine.reset_index(drop=True)) for _, mine in atoms.groupby("frame", sort=True)
    ]
    return pd.concat(parts, ignore_index=True) if parts else atoms.copy()


def _complete(atoms: pd.DataFrame) -> pd.DataFrame:
    """Sites of one frame."""
    positions = atoms[["y_px", "x_px"]].to_numpy(float)
    if len(atoms) < FEWEST or not np.isfinite(positions).all():
        return atoms.copy()  # too little to go by
    out = _with_sites(atoms, positions)
    label = out["sublattice"].to_numpy() if "sublattice" in out else np.full(len(out), -1)
    found = vacant_sites(atoms, np.where(label >= 0, label, np.nan))
    if not len(found):
        return out
    # where the atoms round it put the site, as it is for the sites of atoms here
    more = found.assign(
        sublattice=found["label"].fillna(-1).astype(np.int64), site_y_px=found["y_px"],
        site_x_px=found["x_px"], probability=0.0, species="",
    )  # fmt: skip
    return pd.concat([out, more[[c for c in more if c in out]]], ignore_index=True)


def _with_sites(atoms: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Atoms of one frame with sublattices and sites, where these are not known."""
    n = len(atoms)
    known = atoms["sublattice"].to_numpy(np.int64) if "sublattice" in atoms else np.full(n, -1)
    if (known >= 0).mean() > 0.5:
        return atoms.copy()
    amplitude = np.full(n, np.nan)
    if "amplitude" in atoms:
        amplitude = atoms["amplitude"].to_numpy(float).copy()
    spacing = nearest_distance(positions)
    vectors = translations(positions, amplitude, spacing)
    if not len(vectors):
        return atoms.copy()
    link = links(positions, vectors, spacing)
    out = atoms.assign(sublattice=sublattices(link, amplitude))
    site = expected(positions, link, vectors)
    for axis, name in enumerate(("site_y_px", "site_x_px")):
        measured = atoms[name].to_numpy(float) if name in atoms else np.full(n, np.nan)
        out[name] = np.where(np.isfinite(measured), measured, site[:, axis])
    return out


def honeycomb_sublattices(places: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Tell the two sublattices of a honeycomb by the directions of the bonds.

    With ``z`` the sum of ``exp(3 i angle)`` over the bonds of an atom, the two sublattices have
    opposite ``z``; the phase of the mean of ``z^2`` gives the orientation of the crystal.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    frame : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of int, shape (n,)
        0 or 1, -1 where it cannot be told.

    Raises
    ------
    CalibrationError
        If there are no neighbours.
    """
    n = len(places)
    spacing = known_spacing(places, frame)
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
    return np.where(np.abs(along) < 0.6, -1, (along < 0).astype(int))
