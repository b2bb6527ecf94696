"""What :func:`napari_atomlens.measure_lattice` found as layer data and as text. No Qt here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from napari_atomlens.lattice.lattice import Lattice
from napari_atomlens.widgets.layers import convert

T = TypeVar("T")
FROM_SITES, POLAR, NO_ARROWS = "from the sites", "polar", "none"
#: Longest arrows are drawn this long, in distances between nearest atoms.
ARROW_LENGTH = 0.8
DIVERGING, SEQUENTIAL = "coolwarm", "viridis"


@dataclass(frozen=True)
class Quantity:
    """Something that a map can show.

    Attributes
    ----------
    column : str
        Of the atoms table; its error column is ``error``, "" where there is none.
    unit : str
        Of what is shown: the column times ``factor``.
    around_zero : bool
        Zero is in the middle of the colours.
    """

    column: str
    error: str
    unit: str
    factor: float
    around_zero: bool = True


#: Maps by the name that the user reads.
QUANTITIES: dict[str, Quantity] = {
    "strain xx": Quantity("exx", "exx_err", "%", 100),
    "strain yy": Quantity("eyy", "eyy_err", "%", 100),
    "strain xy": Quantity("exy", "exy_err", "%", 100),
    "rotation": Quantity("rotation_rad", "rotation_err_rad", "°", 180 / np.pi),
    "nearest distance": Quantity("nn", "", "", 1, around_zero=False),
    "displacement": Quantity("moved", "", "", 1, around_zero=False),
    "polar displacement": Quantity("polar", "", "", 1, around_zero=False),
    "region": Quantity("region", "", "", 1, around_zero=False),
    "sublattice": Quantity("sublattice", "", "", 1, around_zero=False),
}


def has_nm(atoms: pd.DataFrame) -> bool:
    """Whether lengths in nm are known."""
    return "nn_nm" in atoms and bool(np.isfinite(atoms["nn_nm"].to_numpy(float)).any())


def values_of(atoms: pd.DataFrame, name: str) -> tuple[np.ndarray, str]:
    """Values that a map shows, and their unit: lengths in pm where the pixel size is known."""
    quantity = QUANTITIES[name]
    known = has_nm(atoms)
    unit, factor = ("pm", 1000.0) if known else ("px", 1.0)
    suffix = "nm" if known else "px"
    if quantity.column == "nn":
        return factor * atoms[f"nn_{suffix}"].to_numpy(float), unit
    if quantity.column in ("moved", "polar"):
        prefix = "" if quantity.column == "moved" else "polar_"
        parts = atoms[[f"{prefix}dy_{suffix}", f"{prefix}dx_{suffix}"]].to_numpy(float)
        return factor * np.linalg.norm(parts, axis=1), unit
    return quantity.factor * atoms[quantity.column].to_numpy(float), quantity.unit


def limits_of(values: np.ndarray, around_zero: bool) -> tuple[float, float]:
    """Colour limits that leave out the 2 % at either end."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (-1.0, 1.0) if around_zero else (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(finite, [2, 98]))
    if around_zero:
        high = max(abs(low), abs(high))
        low = -high
    if high - low < 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    return low, high


def real_atoms(atoms: pd.DataFrame) -> pd.DataFrame:
    """Rows that are atoms, not vacant sites."""
    return atoms[(atoms["source"].astype(str) != "lattice").to_numpy()]


def vacancies_of(atoms: pd.DataFrame) -> pd.DataFrame:
    """Rows of vacant sites."""
    return atoms[(atoms["source"].astype(str) == "lattice").to_numpy()]


def arrows(atoms: pd.DataFrame, kind: str, ndim: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Displacements as the data and features of a Vectors layer.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Of a :class:`napari_atomlens.atoms.Lattice`.
    kind : str
        "from the sites" (they start on the site) or "polar" (they start on the atom; those of
        sublattice 0, against which the others are measured, are left out).
    ndim : int
        2 for an image, 3 for a movie.

    Returns
    -------
    data : ndarray, shape (n, 2, ndim)
        Start and displacement in pixels, not yet enlarged.
    features : pandas.DataFrame
        ``atom_id``, ``sublattice``, ``length`` (pm or px) and ``angle_rad`` (as drawn).
    """
    prefix = "" if kind == FROM_SITES else "polar_"
    moved = atoms[[f"{prefix}dy_px", f"{prefix}dx_px"]].to_numpy(float)
    some = np.isfinite(moved).all(1) & (atoms["source"].astype(str) != "lattice").to_numpy()
    if kind == POLAR:
        # the other side of a pair moves the opposite way: draw each displacement once
        some &= (atoms["sublattice"] > 0).to_numpy()
    rows, moved = atoms[some], moved[some]
    start = convert.points_from_atoms(rows, ndim)
    if kind == FROM_SITES:
        start[:, -2:] = rows[["site_y_px", "site_x_px"]].to_numpy(float)
    data = np.zeros((len(rows), 2, ndim))
    data[:, 0], data[:, 1, -2:] = start, moved
    length, _ = values_of(rows, "displacement" if kind == FROM_SITES else "polar displacement")
    features = pd.DataFrame(
        {
            "atom_id": rows["atom_id"].to_numpy(),
            "sublattice": rows["sublattice"].to_numpy(),
            "length": length,
            "angle_rad": np.arctan2(-moved[:, 0], moved[:, 1]),
        }
    )
    return data, features


def arrow_factor(data: np.ndarray, spacing_px: float) -> float:
    """Enlargement, a round number, with which long arrows (98th percentile) look good."""
    if not len(data):
        return 1.0
    long = float(np.percentile(np.linalg.norm(data[:, 1, -2:], axis=1), 98))
    if not (long > 0 and np.isfinite(spacing_px)):
        return 1.0
    wanted = max(ARROW_LENGTH * spacing_px / long, 1.0)
    power = 10 ** np.floor(np.log10(wanted))
    return float(max(r * power for r in (1, 2, 5) if r * power <= wanted * 1.0000001))


@dataclass(frozen=True)
class LatticeView:
    """Which layers to show.

    Attributes
    ----------
    arrows : str
        "from the sites", "polar" or "none".
    factor : float
        Enlargement of the arrows, 0 to choose it.
    map_name : str
        A key of :data:`QUANTITIES`, "none" for no map.
    vacancies, dislocations : bool
    """

    arrows: str = FROM_SITES
    factor: float = 0.0
    map_name: str = "strain xx"
    vacancies: bool = True
    dislocations: bool = True


@dataclass(frozen=True)
class LatticeMap:
    """A quantity on the atoms as the data of a layer.

    Attributes
    ----------
    name : str
    points : ndarray, shape (n, ndim)
    features : pandas.DataFrame
        With the column ``value``.
    limits : tuple of float
        Of the colours.
    colormap, unit : str
    """

    name: str
    points: np.ndarray
    features: pd.DataFrame
    limits: tuple[float, float]
    colormap: str
    unit: str


@dataclass(frozen=True)
class LatticeDrawing:
    """What the layers of a measured lattice are given.

    Attributes
    ----------
    map : LatticeMap or None
    arrows : ndarray, shape (n, 2, ndim), or None
        Start and displacement, not yet enlarged.
    arrow_features : pandas.DataFrame
    arrows_name : str
    factor : float
        Enlargement.
    vacancies : ndarray, shape (m, ndim), or None
    vacancy_features : pandas.DataFrame
    spacing_px : float
        Between nearest atoms, NaN where there is no lattice.
    cores : ndarray, shape (c, ndim), or None
        Dislocations, None where there is none to show.
    burgers : ndarray, shape (c, 2, ndim), or None
        Core and Burgers vector of each.
    core_features : pandas.DataFrame
    """

    map: LatticeMap | None
    arrows: np.ndarray | None
    arrow_features: pd.DataFrame
    arrows_name: str
    factor: float
    vacancies: np.ndarray | None
    vacancy_features: pd.DataFrame
    spacing_px: float
    cores: np.ndarray | None = None
    burgers: np.ndarray | None = None
    core_features: pd.DataFrame = field(default_factory=pd.DataFrame)


def draw_lattice(found: Lattice, view: LatticeView, ndim: int) -> LatticeDrawing:
    """Turn a measured lattice into the data of layers.

    Parameters
    ----------
    found : Lattice
    view : LatticeView
    ndim : int
        2 for an image, 3 for a movie.
    """
    nearest = found.lattices["nearest_px"].to_numpy(float)
    spacing = float(np.nanmedian(nearest)) if len(nearest) else float("nan")
    data, features, factor = None, pd.DataFrame(), 1.0
    if view.arrows != NO_ARROWS:
        data, features = arrows(found.atoms, view.arrows, ndim)
        factor = view.factor if view.factor > 0 else arrow_factor(data, spacing)
    vacant = vacancies_of(found.atoms).reset_index(drop=True)
    cores, burgers = None, None
    if view.dislocations and len(found.dislocations):
        cores = convert.points_from_atoms(found.dislocations, ndim)
        burgers = np.zeros((len(cores), 2, ndim))
        vector = found.dislocations[["burgers_y_px", "burgers_x_px"]].to_numpy(float)
        burgers[:, 0], burgers[:, 1, -2:] = cores, vector
    return LatticeDrawing(
        None if view.map_name == "none" else draw_map(found, view.map_name, ndim),
        data, features,
        "displacements" if view.arrows == FROM_SITES else "polar displacements", factor,
        convert.points_from_atoms(vacant, ndim) if view.vacancies else None, vacant, spacing,
        cores, burgers, found.dislocations,
    )  # fmt: skip


def draw_map(found: Lattice, name: str, ndim: int) -> LatticeMap:
    """Turn a quantity into coloured points on the atoms that have it."""
    atoms = real_atoms(found.atoms)
    atoms = atoms[(atoms["region"] >= 0).to_numpy()]
    values, unit = values_of(atoms, name)
    known = np.isfinite(values)
    atoms, values = atoms[known], values[known]
    around = QUANTITIES[name].around_zero
    return LatticeMap(
        name, convert.points_from_atoms(atoms, ndim),
        atoms.reset_index(drop=True).assign(value=values), limits_of(values, around),
        DIVERGING if around else SEQUENTIAL, unit,
    )  # fmt: skip


def with_error(value: float, error: float, unit: str = "") -> str:
    """Write "246.012 ± 0.040 pm": as many digits as the error has meaning (two)."""
    if not np.isfinite(value):
        return "–"
    tail = f" {unit}" if unit else ""
    if not (np.isfinite(error) and error > 0):
        return f"{value + 0.0:.5g}{tail}"  # no -0
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 8))
    return f"{value:.{digits}f} ± {error:.{digits}f}{tail}"


def _texts(records: Sequence[T], write: Callable[[T], str]) -> list[str]:
    return [write(r) for r in records]


def summary(found: Lattice, frame: int, most: int = 6) -> list[tuple[str, list[str]]]:
    """Rows of (quantity, text per region) for the regions of a frame."""
    lattices = found.lattices[found.lattices["frame"] == frame].head(most)
    if not len(lattices):
        return []
    unit = "nm" if np.isfinite(lattices["a_nm"].to_numpy(float)).any() else "px"
    # in pm, as what is beside them: in nm an error is a row of zeros, and the unit is cut off
    factor, short = (1000.0, "pm") if unit == "nm" else (1.0, "px")
    records = lattices.to_dict("records")

    def length(name: str) -> list[str]:
        return _texts(
            records,
            lambda r: with_error(
                factor * r[f"{name}_{unit}"], factor * r[f"{name}_err_{unit}"], short
            ),
        )

    def angle(name: str) -> list[str]:
        return _texts(
            records,
            lambda r: with_error(
                float(np.degrees(r[f"{name}_rad"])), float(np.degrees(r[f"{name}_err_rad"])), "°"
            ),
        )

    rows = [
        ("region", _texts(records, lambda r: str(r["region"]))),
        ("lattice", _texts(records, lambda r: r["kind"])),
        ("a", length("a")),
        ("b", length("b")),
        ("angle a, b", angle("angle")),
    ]
    if (lattices["kind"] == "centred rectangular").any():
        rows += [("a of the rectangle", length("conventional_a")),
                 ("b of the rectangle", length("conventional_b"))]  # fmt: skip
    rows += [
        ("planes (10)", length("spacing_10")),
        ("planes (01)", length("spacing_01")),
        ("direction of a", angle("direction")),
    ]
    if len(records) > 1:
        rows.append(("turned", _texts(records, lambda r: f"{np.degrees(r['turn_rad']):.2f}°")))
    rows.append(
        ("nearest atoms", _texts(records, lambda r: f"{factor * r[f'nearest_{unit}']:.4g} {short}"))
    )
    scale = np.array([r["a_nm"] / r["a_px"] if unit == "nm" else 1.0 for r in records])
    rows.append(
        ("rms from the sites",
         [f"{factor * s * r['rms_px']:.3g} {short}" for s, r in zip(scale, records, strict=True)])
    )  # fmt: skip
    rows += _counted_rows(found, records, frame)
    n_sublattices = int(lattices["n_sublattices"].max())
    here = found.sublattices[found.sublattices["frame"] == frame]
    return rows + _sublattice_rows(here, records, n_sublattices, scale * factor, short)


def _counted_rows(
    found: Lattice, records: list[dict[Hashable, Any]], frame: int
) -> list[tuple[str, list[str]]]:
    """Rows of what there are so many of in each region."""
    rows = [
        ("atoms", _texts(records, lambda r: f"{r['n_atoms']:,}")),
        ("vacant sites", _texts(records, lambda r: f"{r['n_vacant']:,}")),
    ]
    cores = found.dislocations[found.dislocations["frame"] == frame]["region"].to_numpy()
    if len(cores):
        count = _texts(records, lambda r: f"{int((cores == r['region']).sum())}")
        rows.append(("dislocations", count))
    return rows


def _sublattice_rows(
    subs: pd.DataFrame, records: list[dict[Hashable, Any]], n: int, scale: np.ndarray, unit: str
) -> list[tuple[str, list[str]]]:
    """Rows of the sublattices of some regions; `scale` are units per pixel of each region."""
    rows: list[tuple[str, list[str]]] = []
    for s in range(n):
        texts, polar = [], []
        for r, one in zip(records, scale, strict=True):
            row = subs[(subs["region"] == r["region"]) & (subs["sublattice"] == s)]
            if not len(row):
                texts.append("–")
                polar.append("–")
                continue
            v = row.iloc[0]
            texts.append(f"({v['along_a']:.3f}, {v['along_b']:.3f}) · {int(v['n_atoms']):,}")
            moved = np.array([v["polar_dy_px"], v["polar_dx_px"]]) * one
            error = np.array([v["polar_dy_err_px"], v["polar_dx_err_px"]]) * one
            size = float(np.linalg.norm(moved))
            spread = float(np.sqrt(((moved / max(size, 1e-12)) ** 2 * error**2).sum()))
            polar.append(with_error(size, spread, unit))
        rows.append((f"sublattice {s}", texts))
        if any(p != "–" for p in polar):
            rows.append((f"polar, mean of {s}", polar))
    return rows
