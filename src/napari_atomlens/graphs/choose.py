"""Rules from the image itself: which preset fits, and where the bounds lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.familiar import familiar
from napari_atomlens.graphs.geometry import as_species, in_nm
from napari_atomlens.graphs.rules import ANY, BondRule, Rules, SpeciesRule, preset, presets
from napari_atomlens.points import known_spacing, near_pairs
from napari_atomlens.tables import check_atoms

#: A preset fits if its distance of nearest columns is that near to the measured one.
TOLERANCE = 0.12
#: Classes of models for the brighter of two kinds of columns.
BRIGHT = ("bright column", "metal", "light metal", "heavy metal")
#: Share of the atoms that must have the coordination of a lattice to call it by its name.
CLEAR = 0.5


def generic(reference_nm: float, species: tuple[str, ...]) -> Rules:
    """Rules that know nothing but the distance of nearest columns: every species is at home."""
    return Rules(
        "generic",
        host=species or ("column",),
        bonds=(BondRule(ANY, ANY, 0.5 * reference_nm, 1.3 * reference_nm),),
        species=tuple(SpeciesRule(n, 0, 12) for n in species),
        reference_nm=reference_nm,
    )


def coordination(atoms: pd.DataFrame) -> tuple[int, float, float]:
    """Most frequent number of neighbours, its share, and the distance of nearest atoms in px.

    Neighbours are those within 1.3 times the typical distance of nearest atoms.
    """
    places = atoms[["y_px", "x_px"]].to_numpy(dtype=float)
    frame = atoms["frame"].to_numpy()
    nearest = known_spacing(places, frame)
    pairs, _ = near_pairs(places, frame, 1.3 * nearest)
    degree = np.bincount(pairs.ravel(), minlength=len(atoms))
    counts = np.bincount(degree, minlength=5)
    return int(counts.argmax()), float(counts.max() / len(atoms)), nearest


def choose_rules(atoms: pd.DataFrame) -> tuple[Rules, str]:
    """Choose the rules that fit the atoms of an image, and say why.

    The coordination of nearest columns tells a honeycomb from a square lattice, the pixel
    size, where it is known, graphene from a TMD. Where nothing fits, generic rules count
    every species as host and take their bounds from the nearest distance.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.

    Returns
    -------
    rules : Rules
    reason : str
        One sentence.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (128, 128), 10.0)[1].atoms()
    >>> rules, why = al.choose_rules(atoms)
    >>> rules.host
    ('C',)
    """
    clean = familiar(check_atoms(atoms))
    species = tuple(str(s) for s in clean["species"].unique())
    named = _by_species(species)
    if named is not None:
        return named, f"The species of the atoms are those of the rules {named.name}."
    try:
        most, share, nearest_px = coordination(clean)
    except CalibrationError:
        return generic(0.142, species), "There are too few atoms to tell a lattice."
    nm = clean.get("y_nm"), clean.get("x_nm")
    known = all(c is not None and np.isfinite(c.to_numpy(dtype=float)).all() for c in nm)
    nearest = nearest_px
    if known:
        places = clean[["y_nm", "x_nm"]].to_numpy(dtype=float)
        nearest = known_spacing(places, clean["frame"].to_numpy())
    bright = clean["species"].isin(BRIGHT).to_numpy()
    alternating = 0.3 < bright.mean() < 0.7
    if known and _near(nearest, 0.142, TOLERANCE) and not alternating:
        # no other crystal comes near to it; contamination may hide the coordination
        rules = preset("graphene-si" if bright.any() else "graphene")
        return rules, f"Nearest columns {1000 * nearest:.0f} pm apart: graphene."
    if alternating and most in (2, 3):
        most, share = 3, 1.0  # holes and noise open bonds; columns in turn say enough
    if share < CLEAR or most not in (3, 4):
        why = f"The lattice is none that has rules ({most} neighbours in {share:.0%} of the atoms)."
        return generic(nearest, species), why
    if most == 4:
        rules = preset("perovskite")
        if known and not _near(nearest, rules.reference_nm, 0.15):
            return generic(nearest, species), "A square lattice of no perovskite's spacing."
        return rules, "A square lattice: perovskite <001>."
    if known:
        tmds = [r for r in presets().values() if not r.share_neighbours and r.ring_size == 6]
        best = min(tmds, key=lambda r: abs(r.reference_nm / nearest - 1))
        if _near(nearest, best.reference_nm, TOLERANCE):
            return best, f"A honeycomb of {1000 * nearest:.0f} pm: nearest is {best.name}."
        metals = clean[bright]
        if alternating and _near(nearest, best.reference_nm, 0.3) and len(metals) > 12:
            # in a tilted film some bonds are short and some long; the metals tell the mean
            nearest = _mean_spacing(metals) / np.sqrt(3)
            # two kinds of columns in turn are a TMD, though the scale of the image is off
            why = (
                f"A honeycomb of two kinds of columns, {1000 * nearest:.0f} pm apart: {best.name}, "
            )
            return best.scaled(
                nearest / best.reference_nm
            ), why + "its lengths scaled to the image."
        return generic(nearest, species), f"A honeycomb of {1000 * nearest:.0f} pm has no rules."
    if alternating:
        return preset("mx2"), "A honeycomb of two kinds of columns in turn: a TMD."
    rules = preset("graphene-si" if bright.any() else "graphene")
    return rules, "A honeycomb of one kind of column: graphene (the pixel size is unknown)."


def _mean_spacing(atoms: pd.DataFrame) -> float:
    """Median over the atoms of the mean distance, in nm, of their six neighbours."""
    from scipy.spatial import cKDTree

    one = atoms[atoms["frame"] == atoms["frame"].iloc[0]]
    places = one[["y_nm", "x_nm"]].to_numpy(float)
    k = min(7, len(places))
    return float(np.median(cKDTree(places).query(places, k=k)[0][:, 1:].mean(axis=1)))


def _near(value: float, target: float, tolerance: float) -> bool:
    return abs(value / target - 1) <= tolerance


def _by_species(species: tuple[str, ...]) -> Rules | None:
    """Preset whose host and foreign species are those of the atoms, None where none is."""
    there = set(species)
    if there & {"column", "bright column", "metal"}:  # of any element: the lengths decide
        return None
    for rules in presets().values():
        classes = dict(rules.classes)
        # an adatom that is only known to be heavy says nothing about the crystal
        names = {classes.get(s, s) for s in there - {"heavy"}}
        if names & set(rules.host) and names <= set(rules.names()):
            return rules
    return None


def learn_bounds(atoms: pd.DataFrame, rules: Rules, *, fewest: int = 8) -> Rules:
    """Fit the bounds of every pair of species to the distances in the image.

    All lengths are first scaled with the lattice: the median distance of nearest host atoms
    counts as `reference_nm`. Where a pair has at least `fewest` distances in its first
    shell, its upper bound is then put at the lowest point of the (smoothed) histogram between
    the first and the second shell, and its lower bound below the shortest.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.
    rules : Rules
        Where the search starts.
    fewest : int
        Pairs with fewer distances keep their scaled bounds.

    Returns
    -------
    Rules
        With the same names, coordination and order.

    Raises
    ------
    ParameterError
        If there are fewer than two host atoms.
    """
    clean = familiar(check_atoms(atoms))
    names = as_species(clean["species"], rules)
    clean["species"] = names
    host = names.isin(rules.host).to_numpy()
    if host.sum() < 2:
        raise ParameterError("Bounds cannot be learned from fewer than two host atoms.")
    places, _ = in_nm(clean, rules)
    frame = clean["frame"].to_numpy()
    factor = 1.0
    if rules.reference_nm:
        factor = known_spacing(places[host], frame[host]) / rules.reference_nm
    start = rules.scaled(factor)
    pairs, length = near_pairs(places, frame, 1.6 * start.max_nm)
    a, b = (names.to_numpy(object)[pairs[:, k]] for k in (0, 1))
    bonds = []
    for rule in start.bonds:
        mine = ((a == rule.a) & (b == rule.b)) | ((a == rule.b) & (b == rule.a))
        bonds.append(_learn(rule, length[mine], fewest) if ANY not in (rule.a, rule.b) else rule)
    return dataclasses.replace(start, bonds=tuple(bonds), name=rules.name)


def _learn(rule: BondRule, length: np.ndarray, fewest: int) -> BondRule:
    """Put the upper bound of one pair into the gap after its first shell."""
    from scipy.ndimage import gaussian_filter1d

    middle = 0.5 * (rule.min_nm + rule.max_nm)
    near = length[(length >= 0.6 * rule.min_nm) & (length <= 1.15 * rule.max_nm)]
    if len(near) < fewest:
        return rule
    # the gap is looked for round the old bound only: a shell does not move by a quarter
    low, high = 0.85 * rule.max_nm, 1.2 * rule.max_nm
    edges = np.linspace(low, high, 57)
    width = edges[1] - edges[0]
    inside = length[(length > low - 0.3 * middle) & (length < high + 0.3 * middle)]
    wide = np.arange(low - 40 * width, high + 40 * width, width)
    counts, bins = np.histogram(inside, wide)
    smooth = gaussian_filter1d(counts.astype(float), max(2.0, 0.03 * middle / width))
    centre = 0.5 * (bins[1:] + bins[:-1])
    window = (centre >= low) & (centre <= high)
    least = smooth[window].min()
    # an empty gap is wide: stay as near to the old bound as it allows
    flat = centre[window][smooth[window] <= least + 0.02 * max(smooth.max(), 1e-9)]
    upper = float(flat[np.abs(flat - rule.max_nm).argmin()])
    lower = min(rule.min_nm, 0.9 * float(np.quantile(near, 0.01)))
    return dataclasses.replace(rule, min_nm=max(lower, 0.5 * rule.min_nm), max_nm=upper)
