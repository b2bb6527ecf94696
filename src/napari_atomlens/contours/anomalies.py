"""Sites unlike the others of their kind: a distance, a p-value, and the reason in words.

Within each kind (sublattice, else species) every descriptor is compared with the median and
the median absolute deviation, with a robust covariance (minimum covariance determinant). The
squared distance becomes a p-value, and the Benjamini-Hochberg procedure flags sites so that
the expected part of false alarms among them stays below a rate that the user sets.

An anomaly mostly shows in one respect: a cloud is stretched, or a column is weaker. So the
distance is taken in each respect (:data:`RESPECTS`) as well as in all together, and the least
of their p-values counts, corrected for their number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens import arrays
from napari_atomlens.contours.evidence import FAINTEST, kinds
from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.tables import check_table

#: What is looked at where nothing else is asked for, in words for low and high.
#: Only columns that are there and vary are used; those of the raw image come first.
WORDS: dict[str, tuple[str, str]] = {
    "raw_strength": ("weaker", "stronger"),
    "raw_moved_y_px": ("moved up", "moved down"),
    "raw_moved_x_px": ("moved left", "moved right"),
    "raw_wider": ("narrower", "wider"),
    "raw_stretch_x": ("stretched along y", "stretched along x"),
    "raw_stretch_diagonal": (
        "stretched along the falling diagonal",
        "stretched along the rising diagonal",
    ),
    "log raw_misfit": ("smoother", "of another shape"),
}
CONTOUR_WORDS: dict[str, tuple[str, str]] = {
    "log area_px2": ("smaller", "larger"),
    "stretch_x": ("contour stretched along y", "contour stretched along x"),
    "stretch_diagonal": (
        "contour stretched along the falling diagonal",
        "contour stretched along the rising diagonal",
    ),
    "site_offset_y_px": ("contour above its site", "contour below its site"),
    "site_offset_x_px": ("contour left of its site", "contour right of its site"),
    "mean_probability": ("less probable", "more probable"),
    "intensity_net": ("darker", "brighter"),
}
#: Columns that are compared as changes of the image, not of the column itself.
SHAPE_OF_COLUMN = (
    "raw_moved_y_px", "raw_moved_x_px", "raw_wider", "raw_stretch_x", "raw_stretch_diagonal",
)  # fmt: skip
#: Descriptors that belong together: the components of one vector.
RESPECTS = (
    ("raw_strength", "raw_wider"),
    ("raw_moved_y_px", "raw_moved_x_px"),
    ("raw_stretch_x", "raw_stretch_diagonal"),
    ("stretch_x", "stretch_diagonal"),
    ("site_offset_y_px", "site_offset_x_px"),
)


@dataclass(frozen=True)
class AnomalyParams(Params):
    """How unusual sites are found.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> strict = al.AnomalyParams(rate=0.001)
    >>> flagged = al.find_anomalies(al.describe_sites(image, atoms), strict)
    """

    rate: float = param(
        0.05, "highest expected part of false alarms among what is flagged", ge=1e-6, le=0.5
    )
    columns: str = param("", "descriptors to compare, separated by commas; empty chooses")
    by_frame: bool = param(False, "compare the sites of each frame with each other only")
    fewest: int = param(30, "kinds with fewer sites are not judged", ge=10, le=100000)


def _judged(
    table: pd.DataFrame, names: list[str], params: AnomalyParams
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judge the sites of each kind that has enough of them (see `judge_sites`), else NaN."""
    n = len(table)
    values = (
        np.stack([_values(table, name) for name in names], 1) if n else np.zeros((0, len(names)))
    )
    kind = _groups(table, params.by_frame)
    distance, p = np.full(n, np.nan), np.full(n, np.nan)
    z = np.full(values.shape, np.nan)
    for rows in pd.Series(np.arange(n)).groupby(kind).indices.values():
        rows = np.asarray(rows)
        sound = rows[np.isfinite(values[rows]).all(1)]
        if len(sound) >= params.fewest:
            z[sound], distance[sound], p[sound] = judge_sites(values[sound], names)
    return z, distance, p


def find_anomalies(table: pd.DataFrame, params: AnomalyParams = AnomalyParams()) -> pd.DataFrame:
    """Flag the sites unlike the others of their kind.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`napari_atomlens.contours.describe_sites` or
        :func:`napari_atomlens.describe_contours` (or both joined). Kinds are the column
        ``kind`` where it is there, else sublattice, else species, else all alike.
    params : AnomalyParams

    Returns
    -------
    pandas.DataFrame
        The table with

        - ``anomaly_distance``: robust (Mahalanobis) distance from the middle of the kind;
        - ``anomaly_p``: probability of anything so unusual among ordinary sites;
        - ``anomaly_score``: the same in standard deviations (a two-sided normal variable);
        - ``anomaly_q``: lowest rate at which the site is flagged (Benjamini-Hochberg);
        - ``anomaly``: flagged at the rate of `params`;
        - ``anomaly_reason``: which descriptors, in words, the strongest first.

        NaN where a descriptor is missing or the kind has too few sites.

    Raises
    ------
    ParameterError
        If a column does not exist or none can be used.

    References
    ----------
    P. J. Rousseeuw and K. Van Driessen, "A fast algorithm for the minimum covariance
    determinant estimator", Technometrics 41, 212 (1999). Y. Benjamini and Y. Hochberg,
    "Controlling the false discovery rate", J. R. Stat. Soc. B 57, 289 (1995).

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> flagged = al.find_anomalies(al.describe_sites(image, atoms))
    >>> bool(flagged["anomaly"].mean() < 0.1)
    True
    """
    from scipy import stats  # here and below: it takes a quarter of a second to load

    params, table = of_kind(AnomalyParams, params), check_table(table, (), "sites", places=False)
    names = chosen(table, params.columns)
    z, distance, p = _judged(table, names, params)
    q = benjamini_hochberg(p)
    flagged = q <= params.rate
    return table.assign(
        anomaly_score=stats.norm.isf(0.5 * p),
        anomaly_distance=distance,
        anomaly_p=p,
        anomaly_q=q,
        anomaly=flagged,
        anomaly_reason=reasons(table, names, z, flagged),
    )


def chosen(table: pd.DataFrame, columns: str) -> list[str]:
    """Descriptors to compare: those asked for, else the first set that is there."""
    if columns.strip():
        names = [c.strip() for c in columns.split(",") if c.strip()]
        if not names:
            raise ParameterError("columns names no column to compare sites by.")
        missing = [c for c in names if c.removeprefix("log ") not in table]
        if missing:
            raise ParameterError(f"There is no column {missing[0]!r} to compare sites by.")
        return names
    for words in (WORDS, CONTOUR_WORDS):
        names = [
            c for c in words
            if c.removeprefix("log ") in table and table[c.removeprefix("log ")].notna().sum() > 1
        ]  # fmt: skip
        if len(names) >= 2:
            return names
    if not len(table):
        return list(WORDS)[:0]
    raise ParameterError("There is no descriptor to compare sites by; describe the contours first.")


def _values(table: pd.DataFrame, name: str) -> np.ndarray:
    try:
        values = np.array(table[name.removeprefix("log ")], dtype=float)
    except (TypeError, ValueError):
        raise TableError(f"The column {name} of the sites table does not hold numbers.") from None
    if name.startswith("log "):
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(values > 0, np.log(values), np.nan)
    if name in SHAPE_OF_COLUMN and "raw_strength" in table:
        # place and shape were divided by the strength: of a faint site they are mostly noise
        values *= np.maximum(table["raw_strength"].to_numpy(float), FAINTEST)
    return values


def _groups(table: pd.DataFrame, by_frame: bool) -> np.ndarray:
    n = len(table)
    names: np.ndarray
    if "kind" in table:
        names = table["kind"].astype(str).to_numpy()
    elif "sublattice" in table or "species" in table:
        names = kinds(table.reset_index(drop=True)).astype(str)
    else:
        names = np.full(n, "")
    if by_frame and "frame" in table:
        names = np.char.add(
            names.astype(str), np.char.add(" ", table["frame"].astype(str).to_numpy(str))
        )
    return np.asarray(names, dtype=object)


def judge_sites(
    values: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Robust scores of one kind.

    Parameters
    ----------
    values : ndarray, shape (n, k)
    names : sequence of str
        Of the k descriptors.

    Returns
    -------
    z : ndarray, shape (n, k)
        Each descriptor: (value - median) / (1.4826 MAD); 0 where a descriptor does not vary.
    distance : ndarray, shape (n,)
        Robust distance of the vector.
    p : ndarray, shape (n,)
        See :func:`tail` and :func:`least_of`.
    """
    n = len(values)
    middle = np.median(values, axis=0)
    spread = arrays.spread(values, 0, centre=middle)
    varies = spread > 1e-12 * np.maximum(np.abs(middle), 1e-300)
    z = np.zeros_like(values)
    z[:, varies] = (values[:, varies] - middle[varies]) / spread[varies]
    used = z[:, varies]
    k = used.shape[1]
    if not k:
        return z, np.zeros(n), np.ones(n)
    location, covariance = robust_covariance(used)
    d = used - location
    kept = [name for name, there in zip(names, varies, strict=True) if there]
    parts = respects(kept)
    from scipy.stats import chi2

    ps = []
    distance = np.zeros(n)
    for columns in [list(range(k)), *parts]:
        inverse = np.linalg.pinv(covariance[np.ix_(columns, columns)])
        d2 = np.einsum("ni,ij,nj->n", d[:, columns], inverse, d[:, columns])
        dof = len(columns)
        d2 = d2 * chi2.ppf(0.5, dof) / max(float(np.median(d2)), 1e-300)
        ps.append(tail(d2, dof))
        if len(ps) == 1:
            distance = np.sqrt(d2)
            if len(parts) == 1:
                break  # all together is the only respect
    return z, distance, least_of(np.stack(ps))


def respects(names: Sequence[str]) -> list[list[int]]:
    """Columns that belong together, as lists of their places."""
    left = dict(zip(names, range(len(names)), strict=True))
    parts = []
    for group in RESPECTS:
        if all(name in left for name in group):
            parts.append([left.pop(name) for name in group])
    return parts + [[k] for k in left.values()]


def least_of(p: np.ndarray) -> np.ndarray:
    """p-value of the least of m p-values, shape (m, n) to (n,): 1 - (1 - p)^m (Sidak).

    Exact for independent ones, on the safe side for those that go together.
    """
    return np.asarray(-np.expm1(len(p) * np.log1p(-np.minimum(p.min(axis=0), 1 - 1e-16))))


def robust_covariance(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle (k,) and covariance (k, k) of the ordinary ones among standardised descriptors."""
    n, k = z.shape
    if n < 5 * k:
        return np.zeros(k), np.eye(k)  # too few for a covariance
    from sklearn.covariance import MinCovDet

    fit = MinCovDet(random_state=0, support_fraction=0.75 if n > 10 * k else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a singular covariance is dealt with by the inverse
        # far-away values say nothing of the middle, but may make the subsets degenerate
        found = fit.fit(np.clip(z, -50, 50))
    return np.asarray(found.location_), np.asarray(found.covariance_)


def tail(d2: np.ndarray, k: int) -> np.ndarray:
    """p-values of squared distances of k descriptors, scaled to the median of their law.

    Those of a chi-square variable with k degrees of freedom, or, where the distances between
    the median and the 90th percentile say that the tail is heavier, those of an F variable.
    """
    from scipy import stats

    p = stats.chi2.sf(d2, k)
    # a heavier tail shows in the quantiles of the ordinary sites: d2 ~ scale * F(k, m). What is
    # far out beyond chance is not ordinary, and the ratio has an error of its own
    n = len(d2)
    beyond = max(0.0, float((p < 1e-3).mean()) - 1e-3)
    low, high = np.quantile(d2, [0.5 * (1 - beyond), 0.9 * (1 - beyond)])
    ratio = high / max(low, 1e-300) / (1 + 1.3 / np.sqrt(n))
    if ratio > stats.chi2.ppf(0.9, k) / stats.chi2.ppf(0.5, k):
        freedom = np.geomspace(4, 2000, 120)
        expected = stats.f.ppf(0.9, k, freedom) / stats.f.ppf(0.5, k, freedom)
        m = freedom[np.argmin(np.abs(expected - ratio))]
        p = np.maximum(p, stats.f.sf(d2 / low * stats.f.ppf(0.5, k, m), k, m))
    return p


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values: the lowest rate at which each is flagged; NaN stays NaN."""
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if len(known):
        from scipy import stats

        q[known] = stats.false_discovery_control(p[known], method="bh")
    return q


def reasons(
    table: pd.DataFrame, names: list[str], z: np.ndarray, flagged: np.ndarray
) -> np.ndarray:
    """Why each flagged site is: descriptors beyond 2.5 deviations, at most three, in words."""
    out = np.full(len(z), "", dtype=object)
    words = WORDS | CONTOUR_WORDS
    for row in np.flatnonzero(flagged):
        order = np.argsort(-np.abs(z[row]))
        parts = [k for k in order if abs(z[row, k]) >= 2.5][:3] or [int(order[0])]
        texts = []
        for k in parts:
            name = names[k]
            low, high = words.get(name, (f"low {name}", f"high {name}"))
            text = f"{high if z[row, k] > 0 else low} ({z[row, k]:+.1f} σ)"
            if name == "raw_strength":
                text = _strength(float(table["raw_strength"].iloc[row]), text)
            texts.append(text)
        out[row] = ", ".join(texts)
    return out


def _strength(value: float, text: str) -> str:
    if value < 0.15:
        return "nothing there, of what its kind has"
    return f"{value:.2f} of the height of its kind: {text}"
