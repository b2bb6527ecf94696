"""Defects in the terms of a crystal: what is missing, extra, replaced, or on the wrong site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays, tables
from napari_atomlens.graphs.finding import join_labels
from napari_atomlens.graphs.projection import brightness
from napari_atomlens.graphs.site_columns import OnSites
from napari_atomlens.graphs.views import View

#: Share of the columns that hold something else, before their brightness is looked at: one of
#: the kinds that the crystal knows, or anything.
OTHER, ANYTHING = 4e-3, 5e-4
#: Range of the logarithm of brightness over which anything is equally likely.
RANGE = 4.0
#: Columns whose fit went wrong: how many, and how much wider they spread.
TAIL, TAIL_WIDTH = 0.01, 3.0
#: Error of an expected change of brightness, over that change.
CHANGE_ERR = 0.15
#: Neighbours by which a slow change of brightness over the image is known, and fewest columns.
ROUND, FEWEST = 30, 60
#: Least spread of the logarithm of the brightness of equal columns.
LEAST_SPREAD = 0.03


@dataclass(frozen=True)
class Occupant:
    """Something that may stand in a column.

    Attributes
    ----------
    formula : str
        "" for what the crystal says.
    kind : str
    elements : str
    change : float
        Logarithm of its brightness over that of what the crystal says.
    """

    formula: str
    kind: str
    elements: str
    change: float


def occupants(view: View, column: int, exponent: float) -> list[Occupant]:
    """What may stand in a column of a crystal: first what should, then what is told from it."""
    weights = view.weights(exponent)
    own, atoms = view.labels[column], view.columns.atoms[column]
    found = [Occupant("", "", own, 0.0)]
    for label in dict.fromkeys(view.labels):
        if label != own:
            other = view.labels.index(label)
            change = float(np.log(weights[other] / weights[column]))
            found.append(Occupant(f"{label}_{own}", "antisite", label, change))
    if view.crystal.layer and len(atoms) > 1:  # of few atoms, one that is missing shows
        for symbol in dict.fromkeys(atoms):
            rest = list(atoms)
            rest.remove(symbol)
            change = float(np.log(brightness(rest, exponent) / weights[column]))
            found.append(Occupant(f"V_{symbol}", "vacancy", "".join(rest), change))
    return found


def flattened(places: np.ndarray, level: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Logarithm of the brightness over that of equal columns; slow changes are taken off."""
    off = np.full(len(level), np.nan)
    for k in np.unique(kind):
        mine = kind == k
        values = level[mine]
        if np.isfinite(values).any():
            off[mine] = values - np.nanmedian(values)
    good = np.flatnonzero(np.isfinite(off))
    if len(good) < FEWEST:
        return off
    near = scipy.spatial.cKDTree(places[good]).query(places[good], k=ROUND)[1]
    off[good] -= np.median(off[good][near], axis=1)
    for k in np.unique(kind):
        mine = np.flatnonzero((kind == k) & np.isfinite(off))
        if len(mine):
            off[mine] -= np.median(off[mine])
    return off


def judge_columns(
    view: View,
    column: np.ndarray,
    places: np.ndarray,
    level: np.ndarray,
    exponent: float,
) -> tuple[list[Occupant], np.ndarray, np.ndarray]:
    """Say what stands in each column, and how probable that is.

    Parameters
    ----------
    view : View
    column : ndarray of int, shape (k,)
        Column of the view.
    places : ndarray, shape (k, 2)
    level : ndarray, shape (k,)
        Logarithm of the brightness, NaN where it is unknown.
    exponent : float

    Returns
    -------
    list of Occupant
        Of each column.
    probability : ndarray, shape (k,)
        NaN where the brightness is unknown.
    brightness : ndarray, shape (k,)
        Over that of equal columns.
    """
    labels = np.array(view.labels, dtype=object)[column]
    off = flattened(places, level, labels)
    what: list[Occupant] = [Occupant("", "", str(label), 0.0) for label in labels]
    chance = np.full(len(column), np.nan)
    for label in dict.fromkeys(labels.tolist()):
        mine = np.flatnonzero((labels == label) & np.isfinite(off))
        if len(mine) < 8:
            continue
        values = off[mine]
        spread = max(arrays.spread(values, centre=0.0), LEAST_SPREAD)
        choices = occupants(view, view.labels.index(str(label)), exponent)
        odds = np.empty((len(mine), len(choices) + 1))
        odds[:, 0] = (1 - OTHER - ANYTHING) * (
            (1 - TAIL) * _normal(values, spread) + TAIL * _normal(values, TAIL_WIDTH * spread)
        )
        for c, choice in enumerate(choices[1:], 1):
            wide = float(np.hypot(spread, CHANGE_ERR * choice.change))
            odds[:, c] = OTHER / (len(choices) - 1) * _normal(values - choice.change, wide)
        odds[:, -1] = ANYTHING / RANGE
        odds /= odds.sum(1, keepdims=True)
        best = odds.argmax(1)
        chance[mine] = odds[np.arange(len(mine)), best]
        for i, b, d in zip(mine.tolist(), best.tolist(), values.tolist(), strict=True):
            if b == len(choices):
                word = "heavier" if d > 0 else "lighter"
                what[i] = Occupant(f"{word}_{label}", "substitution", "", d)
            elif b:
                what[i] = choices[b]
    return what, chance, np.exp(off)


def _normal(x: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)))


def defect_rows(
    frame: int,
    ids: np.ndarray,
    points: np.ndarray,
    on: OnSites,
    what: Sequence[Occupant],
    chance: np.ndarray,
    probability: np.ndarray,
    least: float,
) -> pd.DataFrame:
    """Defects of one region, as rows of the defects table.

    Parameters
    ----------
    frame : int
    ids : ndarray of int, shape (k,)
        Of the columns of the region.
    points : ndarray, shape (k, 2)
    on : OnSites
    what, chance
        What :func:`judge_columns` said of the columns that are on sites.
    probability : ndarray, shape (k,)
        That there is a column.
    least : float
        Least probability of a defect.
    """
    labels = np.array(on.pose.view.labels, dtype=object)
    rows: list[dict[str, object]] = []

    def add(place: np.ndarray, formula: str, kind: str, members: Sequence[int], p: float) -> None:
        if p >= least:
            rows.append({
                "y": place[0], "x": place[1], "formula": formula, "kind": kind,
                "n_atoms": len(members), "atom_ids": tuple(int(i) for i in members), "score": p,
            })  # fmt: skip

    for g in np.unique(on.vacant_group):
        mine = on.vacant_group == g
        name = join_labels([f"V_{x}" for x in labels[on.vacant_column[mine]]])
        add(on.vacant_site[mine].mean(0), name, "vacancy", [], float(on.support[mine].mean()))
    seated = np.flatnonzero(on.column >= 0)
    for k, occupant, p in zip(seated.tolist(), what, chance.tolist(), strict=True):
        if occupant.formula:
            add(points[k], occupant.formula, occupant.kind, [ids[k]], p)
    for k in np.flatnonzero(on.column < 0).tolist():
        add(points[k], "extra column", "extra", [ids[k]], float(probability[k]))
    data = {
        name: [row[name] for row in rows] for name in ("formula", "kind", "n_atoms", "score")
    } | {"frame": frame, "y_px": [r["y"] for r in rows], "x_px": [r["x"] for r in rows],
         "known": True}  # fmt: skip
    table = tables.make("defects", data, len(rows))
    table["atom_ids"] = pd.Series([r["atom_ids"] for r in rows], dtype=object)
    return table
