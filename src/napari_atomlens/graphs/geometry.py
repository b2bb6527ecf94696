"""Geometry under bonds: units, positions as seen, coordination, chords of rings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens.errors import CalibrationError
from napari_atomlens.graphs.rules import Rules
from napari_atomlens.points import known_spacing


def in_nm(atoms: pd.DataFrame, rules: Rules) -> tuple[np.ndarray, bool]:
    """Positions in the unit of the rules, and whether the pixel size is known.

    Without a pixel size the median distance of nearest atoms counts as `reference_nm`.

    Raises
    ------
    CalibrationError
        If neither is known.
    """
    if {"y_nm", "x_nm"} <= set(atoms):
        known = atoms[["y_nm", "x_nm"]].to_numpy(dtype=float)
        if len(known) == 0 or np.isfinite(known).all():
            return known, True
    places = atoms[["y_px", "x_px"]].to_numpy(dtype=float)
    if len(atoms) < 2:
        return np.array(places), False
    if not rules.reference_nm:
        raise CalibrationError(
            "The pixel size is unknown and the rules name no reference distance, so bond lengths "
            "cannot be measured."
        )
    nearest = known_spacing(places, atoms["frame"].to_numpy())
    return places * (rules.reference_nm / nearest), False


def as_seen(atoms: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    """Positions at which the detector saw the atoms, in the unit of `places`.

    An atom that the user has moved, or that has no such position, stays where it is.
    """
    if not {"seen_y_px", "seen_x_px"} <= set(atoms) or len(atoms) < 2:
        return places
    fitted = atoms[["y_px", "x_px"]].to_numpy(dtype=float)
    seen = atoms[["seen_y_px", "seen_x_px"]].to_numpy(dtype=float)
    span = np.ptp(fitted, axis=0)
    unit = np.ptp(places, axis=0) / np.where(span > 0, span, np.nan)
    unit = np.where(np.isfinite(unit), unit, np.nanmax(unit) if np.isfinite(unit).any() else 0.0)
    good = np.isfinite(seen).all(axis=1)
    if "edited" in atoms:
        good &= ~atoms["edited"].to_numpy(bool)
    shift = np.where(good[:, None], (seen - fitted) * unit, 0.0)
    return places + shift


def as_species(names: pd.Series, rules: Rules) -> pd.Series:
    """Species that the classes of a model stand for under `rules`."""
    return names.astype(str).replace(dict(rules.classes)).astype(object)


def relax_coordination(
    pairs: np.ndarray, length: np.ndarray, most: np.ndarray, host: np.ndarray
) -> np.ndarray:
    """Mask of the bonds that stay when no atom may have more than it is allowed.

    In rounds, every atom above its limit loses the bond that is longest over its usual
    length; a foreign atom gives up bonds to host atoms first.

    Parameters
    ----------
    pairs, length : ndarray, shape (m, 2) and (m,)
        Lengths over the usual ones.
    most : ndarray of int, shape (n,)
        Allowed coordination of each atom.
    host : ndarray of bool, shape (n,)
    """
    keep = np.ones(len(pairs), bool)
    while True:
        degree = np.bincount(pairs[keep].ravel(), minlength=len(most))
        over = degree > most
        touched = np.flatnonzero(keep & over[pairs].any(axis=1))
        if not len(touched):
            return keep
        atom = np.r_[pairs[touched, 0], pairs[touched, 1]]
        partner = np.r_[pairs[touched, 1], pairs[touched, 0]]
        which = np.r_[touched, touched]
        mine = over[atom]
        atom, partner, which = atom[mine], partner[mine], which[mine]
        order = np.lexsort((-length[which], ~host[partner] & ~host[atom], atom))
        first = np.r_[True, np.diff(atom[order]) > 0]
        keep[which[order[first]]] = False


def drop_chords(pairs: np.ndarray, length: np.ndarray, n: int, ratio: float) -> np.ndarray:
    """Mask of the bonds that stay when second neighbours are not taken for first ones.

    The longest bond of a triangle goes if it is longer than `ratio` times the mean of the
    other two.

    Parameters
    ----------
    pairs, length : ndarray, shape (m, 2) and (m,)
        Each pair with the lower row first, sorted, and its length over the usual one.
    n : int
        Number of atoms.
    ratio : float
        0 keeps every bond.
    """
    keep = np.ones(len(pairs), bool)
    if not ratio or len(pairs) < 3:
        return keep
    # only bonds that are long for one of their atoms can be the chord of a triangle
    shortest = np.full(n, np.inf)
    np.minimum.at(shortest, pairs[:, 0], length)
    np.minimum.at(shortest, pairs[:, 1], length)
    long = np.flatnonzero(length > ratio * shortest[pairs].min(axis=1))
    if not len(long):
        return keep
    origin = np.r_[pairs[:, 0], pairs[:, 1]]
    target = np.r_[pairs[:, 1], pairs[:, 0]]
    which = np.r_[np.arange(len(pairs)), np.arange(len(pairs))]
    order = np.lexsort((target, origin))
    code, which = (origin * n + target)[order], which[order]
    target = target[order]
    begin = np.searchsorted(origin[order], np.arange(n + 1))
    a, b = pairs[long, 0], pairs[long, 1]
    count = begin[a + 1] - begin[a]
    bond_of = np.repeat(np.arange(len(long)), count)
    step = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    side = begin[a][bond_of] + step  # bonds from a to any third atom
    third = target[side]
    wanted = third * n + b[bond_of]
    at = np.minimum(np.searchsorted(code, wanted), len(code) - 1)
    closed = code[at] == wanted
    one, two = length[which[side[closed]]], length[which[at[closed]]]
    chord = length[long[bond_of[closed]]]
    bad = (chord > ratio * 0.5 * (one + two)) & (chord > np.maximum(one, two))
    keep[long[bond_of[closed][bad]]] = False
    return keep
