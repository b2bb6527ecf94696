"""Names of point defects: rules, as data, on how strong a site is beside its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens.errors import ParameterError
from napari_atomlens.points import nearest_distance


@dataclass(frozen=True)
class Rule:
    """A site of `kind` whose relative strength lies in [low, high) is a `name`.

    Attributes
    ----------
    kind : str
        As in the column ``kind`` of the sites; sublattice A is the one of the highest columns.
    low, high : float
        Bounds of ``raw_strength``.
    name : str
    """

    kind: str
    low: float
    high: float
    name: str


#: A 2H monolayer with tungsten: bounds lie half-way between 0, 1 and 2 sulphurs of a pair, and
#: between molybdenum (0.42 of the height) and its neighbours on the scale.
WS2_RULES = (
    Rule("sublattice A", -np.inf, 0.21, "V_W"),
    Rule("sublattice A", 0.21, 0.71, "M_W"),
    Rule("sublattice A", 1.29, np.inf, "heavier on W"),
    Rule("sublattice B", -np.inf, 0.25, "V_S2"),
    Rule("sublattice B", 0.25, 0.75, "V_S"),
    Rule("sublattice B", 1.25, np.inf, "more on S"),
)


def name_defects(
    sites: pd.DataFrame,
    rules: Sequence[Rule] = WS2_RULES,
    *,
    flagged_only: bool = True,
    join: Sequence[tuple[str, str]] = (("M_W", "V_S"),),
) -> pd.DataFrame:
    """Name the flagged sites, and join neighbours that belong together.

    Parameters
    ----------
    sites : pandas.DataFrame
        From :func:`napari_atomlens.contours.find_anomalies`, with ``raw_strength`` and ``kind``.
    rules : sequence of Rule
        The first that fits counts; a flagged site that none fits is "other".
    flagged_only : bool
        Name flagged sites only; otherwise all that a rule fits.
    join : sequence of tuple of str
        A site of the first name with neighbours of the second is one defect, "first+second",
        and so are those neighbours.

    Returns
    -------
    pandas.DataFrame
        The table with ``defect`` ("" where there is none).
    """
    for column in ("raw_strength", "kind", "anomaly", "frame", "y_px", "x_px"):
        if column not in sites:
            raise ParameterError(f"Sites without the column {column!r} cannot be named.")
    strength = sites["raw_strength"].to_numpy(float)
    kind = sites["kind"].astype(str).to_numpy()
    flagged = sites["anomaly"].to_numpy(bool)
    name = np.where(flagged, "other", "").astype(object)
    open_ = flagged.copy() if flagged_only else np.ones(len(sites), bool)
    for rule in rules:
        fits = open_ & (kind == rule.kind) & (strength >= rule.low) & (strength < rule.high)
        name[fits] = rule.name
        open_ &= ~fits
    places = sites[["y_px", "x_px"]].to_numpy(float)
    for _, group in pd.Series(np.arange(len(sites))).groupby(sites["frame"].to_numpy()):
        rows = group.to_numpy()
        if len(rows) < 2:
            continue
        spacing = nearest_distance(places[rows])
        for first, second in join:
            a, b = rows[name[rows] == first], rows[name[rows] == second]
            if not len(a) or not len(b):
                continue
            near = scipy.spatial.cKDTree(places[a]).sparse_distance_matrix(
                scipy.spatial.cKDTree(places[b]), 1.35 * spacing, output_type="coo_matrix"
            )
            name[a[np.unique(near.row)]] = f"{first}+{second}"
            name[b[np.unique(near.col)]] = f"{first}+{second}"
    return sites.assign(defect=name)
