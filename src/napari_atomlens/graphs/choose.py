"""Rules from the image itself: which preset fits, and where the bounds lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.familiar import familiar
from napari_atomlens.graphs.geometry import as_species, in_nm
from napari_atomlens.graphs.occupancy import site_species
from napari_atomlens.graphs.rules import ANY, GENERIC, BondRule, Rules, SpeciesRule, preset, presets
from napari_atomlens.lattice.sites import honeycomb_sublattices
from napari_atomlens.points import known_spacing, near_pairs
from napari_atomlens.tables import check_atoms

#: A preset fits if its distance of nearest columns is that near to the measured one.
TOLERANCE = 0.12
#: The same for boron nitride, whose distance is nearly that of graphene.
NITRIDE = 0.06
#: Rules are scaled to the image where its distance leaves theirs by more than this.
OWN = 0.04
#: A pair of S over the metal is dimmer than this on W (0.15 to 0.25) and brighter on Mo (0.38 to
#: 0.55 in linear imaging, multislice and real images).
MOLYBDENUM = 0.3
#: The shortest bonds of a honeycomb that is tilted are at least this share of their mean.
TILTED = 0.85
#: Sublattices of different columns differ by at least this factor.
UNLIKE = 1.18
#: More faint columns than this share are a sublattice.
FAINT_SHARE = 0.15
#: Classes of models for the brighter of two kinds of columns.
BRIGHT = ("bright column", "metal", "light metal", "heavy metal")
#: Share of the atoms that must have the coordination of a lattice to call it by its name.
CLEAR = 0.5


def generic(reference_nm: float, species: tuple[str, ...]) -> Rules:
    """Rules that know nothing but the distance of nearest columns: every species is at home."""
    return Rules(
        GENERIC,
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
    if clean["species"].eq("faint column").mean() > FAINT_SHARE:
        why = "The lattice has more than two kinds of columns, for which there are no rules."
        return generic(nearest, species), why
    if most == 1 and share >= CLEAR:
        return generic(nearest, species), "The columns stand in pairs (dumbbells): no rules."
    if known and _near(nearest, 0.142, TOLERANCE) and not alternating:
        # no other crystal comes near to it; contamination may hide the coordination
        rules = preset("graphene-si" if bright.any() else "graphene")
        return rules, f"Nearest columns {1000 * nearest:.0f} pm apart: graphene."
    if alternating and most in (2, 3):
        most, share = 3, 1.0  # holes and noise open bonds; columns in turn say enough
    if share < CLEAR or most not in (3, 4):
        of = f"{most} neighbours in {100 * share:.0f} % of the atoms"
        why = f"The lattice is none that has rules ({of})."
        return generic(nearest, species), why
    if most == 4:
        rules = preset("perovskite")
        if known and not _near(nearest, rules.reference_nm, 0.15):
            return generic(nearest, species), "A square lattice of no perovskite's spacing."
        return rules, "A square lattice: perovskite <001>."
    if known:
        return _honeycomb(clean, bright, nearest, species, alternating)
    if alternating:
        return preset("MX2"), (
            "A honeycomb of two kinds of columns in turn: a TMD, or another crystal like it; the "
            "pixel size is unknown, so that no element is named."
        )
    rules = preset("graphene-si" if bright.any() else "graphene")
    return rules, "A honeycomb of one kind of column: graphene (the pixel size is unknown)."


def _honeycomb(
    clean: pd.DataFrame,
    bright: np.ndarray,
    nearest: float,
    species: tuple[str, ...],
    alternating: bool,
) -> tuple[Rules, str]:
    """Choose the rules of a honeycomb whose distances are known in nm."""
    if not alternating and (seen := _two_kinds(clean)) is not None:
        bright, alternating = seen, True
    if alternating and bright.sum() > 12:
        # in a tilted film some bonds are short and some long; the metals tell the mean
        mean = _mean_spacing(clean[bright]) / np.sqrt(3)
        if nearest < TILTED * mean:
            return generic(
                nearest, species
            ), "Two kinds of columns that form no honeycomb: no rules."
        nearest = mean
    nitride = preset("h-BN")
    tmds = [r for r in presets().values() if r.ring_size == 6 and r.host[-1].endswith("2")]
    tmds = [r for r in tmds if r.name != "MX2"]
    best = min(tmds, key=lambda r: abs(r.reference_nm / nearest - 1))
    if alternating and _near(nearest, nitride.reference_nm, NITRIDE):
        return nitride, f"A honeycomb of two kinds of columns, {1000 * nearest:.0f} pm apart: h-BN."
    if not alternating or not _near(nearest, best.reference_nm, TOLERANCE):
        why = f"A honeycomb of {1000 * nearest:.0f} pm has no rules."
        if alternating:
            why += " If it is a TMD, the pixel size is wrong."
        return generic(nearest, species), why
    told = site_species(clean, "M", "X2", "X")
    if told is not None and told.note:
        # a chalcogen that is mixed changes distances and brightness alike
        mixed = preset("MX2")
        why = (
            f"A honeycomb of {1000 * nearest:.0f} pm with mixed chalcogens (an alloy): which "
            "elements these are cannot be told, so M and X stand for them; choose other rules to "
            "name them."
        )
        return mixed.scaled(nearest / mixed.reference_nm), why
    ratio = _ratio(clean, bright)
    if best.host[-1] == "S2" and np.isfinite(ratio):
        best = preset("MoS2" if ratio > MOLYBDENUM else "mx2")
    why = f"A honeycomb of {1000 * nearest:.0f} pm: nearest is {best.name}."
    if best.host[-1] == "Se2":  # MoSe2 has the same distances, but its Se2 is the brighter column
        best = preset("WSe2")
        why = (
            f"A honeycomb of {1000 * nearest:.0f} pm: WSe2, if the brighter columns are the metal "
            "(in MoSe2, as wide, they are Se2)."
        )
    if not _near(nearest, best.reference_nm, OWN):
        return best.scaled(nearest / best.reference_nm), f"{why} Its lengths are scaled."
    return best, why


def _two_kinds(clean: pd.DataFrame) -> np.ndarray | None:
    """Which columns stand on the brighter of two sublattices; None where they are alike."""
    if "amplitude" not in clean or not np.isfinite(clean["amplitude"]).any():
        return None
    places = clean[["y_px", "x_px"]].to_numpy(float)
    try:
        side = honeycomb_sublattices(places, clean["frame"].to_numpy())
    except CalibrationError:
        return None
    height = clean["amplitude"].to_numpy(float)
    groups = [height[(side == k) & np.isfinite(height)] for k in (0, 1)]
    if min(len(g) for g in groups) <= 12:
        return None
    low, high = sorted(float(np.median(g)) for g in groups)
    if not high > UNLIKE * low:
        return None
    return np.asarray(side == int(np.median(groups[1]) > np.median(groups[0])))


def _ratio(clean: pd.DataFrame, bright: np.ndarray) -> float:
    """Fitted volume of the dimmer columns over that of the brighter ones, NaN where unknown."""
    for name in ("volume", "amplitude"):
        if name in clean:
            value = clean[name].to_numpy(float)
            both = [value[m & np.isfinite(value)] for m in (~bright, bright)]
            if min(len(v) for v in both) > 12:
                return float(np.median(both[0]) / np.median(both[1]))
    return float("nan")


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
