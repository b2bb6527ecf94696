"""The tables that cross a boundary: their columns, dtypes and units.

Every stage takes and returns pandas DataFrames with these columns. ``frame`` and the ids are the
keys that tie layers, plots, graphs and tracks together. Lengths are in pixels (``_px``) and, where
the pixel size is known, in nanometres (``_nm``, otherwise NaN). Angles are in radians,
counter-clockwise from +x as drawn. The centre of the first pixel is (0, 0), as in napari.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.meanings import MEANINGS, unit

F, I, B, S = "float64", "int64", "bool", "object"
#: Atom ids of frame f start at f times this: unique in a movie in whatever order it is computed.
IDS_PER_FRAME = 10_000_000

ATOMS: dict[str, str] = {
    "frame": I,
    "atom_id": I,
    "y_px": F,
    "x_px": F,
    "y_nm": F,
    "x_nm": F,
    "species": S,
    "probability": F,
    "species_probability": F,
    "unfamiliar": F,
    "amplitude": F,
    "sigma_px": F,
    "volume": F,
    "volume_err": F,
    "background": F,
    "y_err_px": F,
    "x_err_px": F,
    "fit_ok": B,
    "chi2": F,
    "sublattice": I,
    "site_y_px": F,
    "site_x_px": F,
    "seen_y_px": F,
    "seen_x_px": F,
    "edited": B,
    "source": S,
}
CONTOURS: dict[str, str] = {
    "frame": I,
    "atom_id": I,
    "area_px2": F,
    "perimeter_px": F,
    "major_px": F,
    "minor_px": F,
    "eccentricity": F,
    "orientation_rad": F,
    "solidity": F,
    "offset_y_px": F,
    "offset_x_px": F,
    "anomaly_p": F,
    "anomaly_class": I,
}
#: One row per region of one lattice; see :mod:`napari_atomlens.lattice.measure`.
LATTICES: dict[str, str] = {
    "frame": I,
    "region": I,
    "n_atoms": I,
    "n_vacant": I,
    "n_sublattices": I,
    "kind": S,
    "y_px": F,
    "x_px": F,
    "a_y_px": F,
    "a_x_px": F,
    "b_y_px": F,
    "b_x_px": F,
    **{
        f"{length}{error}_{unit}": F
        for unit in ("px", "nm")
        for length in (
            "a", "b", "conventional_a", "conventional_b", "spacing_10", "spacing_01", "spacing_11"
        )
        for error in ("", "_err")
    },
    "angle_rad": F,
    "angle_err_rad": F,
    "direction_rad": F,
    "direction_err_rad": F,
    "turn_rad": F,
    "nearest_px": F,
    "nearest_nm": F,
    "rms_px": F,
    "basis": S,
    "superstructure": S,
    "times": I,
    **dict.fromkeys(("moved_px", "moved_err_px", "moved_nm", "moved_err_nm"), F),
    **dict.fromkeys(("brighter", "brighter_err"), F),
}  # fmt: skip
#: One row per sublattice of a region.
SUBLATTICES: dict[str, str] = {
    "frame": I,
    "region": I,
    "sublattice": I,
    "n_atoms": I,
    "n_vacant": I,
    "along_a": F,
    "along_b": F,
    "along_a_err": F,
    "along_b_err": F,
    "amplitude": F,
    "species": S,
    "rms_px": F,
    "polar_dy_px": F,
    "polar_dx_px": F,
    "polar_dy_err_px": F,
    "polar_dx_err_px": F,
    "against": I,
}
#: One row per pair of atoms on neighbouring sites.
DISTANCES: dict[str, str] = {
    "frame": I,
    "region": I,
    "atom_a": I,
    "atom_b": I,
    "sublattice_a": I,
    "sublattice_b": I,
    "length_px": F,
    "length_err_px": F,
    "length_nm": F,
    "length_err_nm": F,
}
#: One row per gap that is too large to be made of vacancies.
HOLES: dict[str, str] = {"frame": I, "region": I, "n_sites": I, "y_px": F, "x_px": F, "area_px2": F}
#: One row per dislocation that is seen end on.
DISLOCATIONS: dict[str, str] = {
    "frame": I,
    "region": I,
    "other_region": I,
    **dict.fromkeys(("y_px", "x_px", "y_nm", "x_nm"), F),
    "burgers_a": I,
    "burgers_b": I,
    **dict.fromkeys(("burgers_y_px", "burgers_x_px", "burgers_px", "burgers_err_px"), F),
    **dict.fromkeys(("burgers_nm", "burgers_err_nm", "direction_rad", "next_px"), F),
}
TRACKS: dict[str, str] = {"frame": I, "track_id": I, "atom_id": I, "y_px": F, "x_px": F}
DUMBBELLS: dict[str, str] = {
    "frame": I,
    "dumbbell_id": I,
    "atom_a": I,
    "atom_b": I,
    "y_px": F,
    "x_px": F,
    "length_px": F,
    "length_nm": F,
    "angle_rad": F,
    "length_err_px": F,
    "angle_err_rad": F,
    "intensity_ratio": F,
}
BONDS: dict[str, str] = {
    "frame": I,
    "atom_a": I,
    "atom_b": I,
    "species_a": S,
    "species_b": S,
    "length_px": F,
    "length_nm": F,
}
DEFECTS: dict[str, str] = {
    "frame": I,
    "defect_id": I,
    "y_px": F,
    "x_px": F,
    "formula": S,
    "kind": S,
    "n_atoms": I,
    "atom_ids": S,
    "score": F,
    "coordination": I,
    **dict.fromkeys(("bond_mean_px", "bond_mean_nm", "bond_std_nm", "angle_std_rad"), F),
    **dict.fromkeys(("length_px", "length_nm", "area_px2", "area_nm2"), F),
    "distorted": B,
    "rings": S,
    "graph_hash": S,
    "known": B,
}
#: One row per column of an image that was matched with a crystal.
MATCHED: dict[str, str] = {
    "frame": I,
    "atom_id": I,
    "region": I,
    "y_px": F,
    "x_px": F,
    "site": I,
    "elements": S,
    "cell_m": I,
    "cell_n": I,
    "site_y_px": F,
    "site_x_px": F,
    "dy_px": F,
    "dx_px": F,
    "dy_nm": F,
    "dx_nm": F,
    "relative_brightness": F,
    "occupant": S,
    "occupant_probability": F,
}
#: One row per region of an image that was matched with a crystal.
MATCHES: dict[str, str] = {
    "frame": I,
    "region": I,
    "crystal": S,
    "zone_axis": S,
    "n_atoms": I,
    "n_on_sites": I,
    "n_vacant": I,
    "along": S,
    "rotation_rad": F,
    "scale": F,
    "strain": F,
    "exponent": F,
    "rms_px": F,
    "match_score": F,
    "lead": F,
    "match_probability": F,
    "runner_up": S,
    "polarity_rad": F,
    "polarity_ratio": F,
    "polarity_ratio_err": F,
    "polarity_probability": F,
    "n_dumbbells": I,
}
TABLES: dict[str, dict[str, str]] = {
    "atoms": ATOMS,
    "contours": CONTOURS,
    "lattices": LATTICES,
    "sublattices": SUBLATTICES,
    "distances": DISTANCES,
    "holes": HOLES,
    "dislocations": DISLOCATIONS,
    "tracks": TRACKS,
    "dumbbells": DUMBBELLS,
    "bonds": BONDS,
    "defects": DEFECTS,
    "matched": MATCHED,
    "matches": MATCHES,
}


def meaning(table: str, column: str) -> str:
    """Return what a column of a table says, in a few words.

    Examples
    --------
    >>> meaning("lattices", "a_err_nm")
    'standard error: length of vector a, the short one nearest to +x'
    """
    stem = column.removesuffix(f"_{column.rpartition('_')[2]}") if unit(column) else column
    plain = stem.removesuffix("_err")
    for name in (f"{table}.{column}", column, f"{table}.{stem}", stem):
        if name in MEANINGS:
            return MEANINGS[name]
    known = MEANINGS[f"{table}.{plain}" if f"{table}.{plain}" in MEANINGS else plain]
    return f"standard error: {known}"


def empty(name: str) -> pd.DataFrame:
    """Return the empty table ``name`` (a key of `TABLES`) with its columns and dtypes."""
    return pd.DataFrame({c: pd.Series(dtype=d) for c, d in TABLES[name].items()})


def make(name: str, columns: Mapping[str, object], n_rows: int) -> pd.DataFrame:
    """Build a table from the columns that are known; the others get their "unknown" value.

    Parameters
    ----------
    name : str
        A key of `TABLES`: "atoms", "contours", ...
    columns : mapping of str to array or scalar
        Known columns, each of length `n_rows` or a scalar. Extra columns are kept, last.
    n_rows : int
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        NaN for unknown floats, -1 for unknown integers, False and "" for the rest.
    """
    unknown = {F: float("nan"), I: -1, B: False, S: ""}
    index = pd.RangeIndex(n_rows)
    data = {
        column: pd.Series(columns.get(column, unknown[dtype]), index=index).astype(dtype)  # type: ignore[call-overload]
        for column, dtype in TABLES[name].items()
    }
    for c, v in columns.items():
        if c not in data:  # texts stay objects, as in the columns above
            kind = object if str(getattr(v, "dtype", "")) == "object" else None
            data[c] = pd.Series(v, index=index, dtype=kind)
    return pd.DataFrame(data, index=index)


def need_columns(table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Check that a table has the columns that are needed.

    Raises
    ------
    TableError
        With one sentence that names those that are missing, or there twice.
    """
    if not isinstance(table, pd.DataFrame):
        raise TableError(f"The {what} must be a pandas table, not {type(table).__name__}.")
    missing = [c for c in columns if c not in table]
    if missing:
        raise TableError(f"The {what} table has no column {', '.join(missing)}.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise TableError(f"The {what} table has two columns {twice}.")


#: What a column holds, by its name.
_HOLDS = {c: kind for name in reversed(TABLES) for c, kind in TABLES[name].items()}
#: No place lies farther out than this, in pixels.
FARTHEST_PX = 1e7


def check_table(
    table: pd.DataFrame,
    needed: Iterable[str] = ("y_px", "x_px"),
    what: str = "atoms",
    *,
    places: bool = True,
) -> pd.DataFrame:
    """Return a table whose columns hold what their names say: the one check of what is given.

    Numbers that were written as texts become numbers, species become texts ("" where there is
    none); the rows and their index stay as they are.

    Parameters
    ----------
    table : pandas.DataFrame
    needed : iterable of str
        Columns that it must have.
    what : str
        What the rows are.
    places : bool
        Every row has a place: positions without one are refused, nothing is left out silently.

    Raises
    ------
    TableError
        If it is no table, lacks a column or has it twice, a column of numbers holds others, or a
        place or a frame is none.
    """
    need_columns(table, needed, what)
    for y, x in (("site_y_px", "site_x_px"), ("seen_y_px", "seen_x_px"), ("y_nm", "x_nm")):
        if (y in table) != (x in table):
            raise TableError(f"The {what} table has no column {x if y in table else y}.")
    if isinstance(table.index, pd.MultiIndex) or table.index.name in table:
        table = table.reset_index(drop=True)  # pandas cannot tell the two apart
    changed: dict[str, pd.Series] = {}
    for column in table.columns:
        values, kind = table[column], None
        if isinstance(column, str):
            kind = _HOLDS.get(column) or (F if unit(column) else None)
        if kind in (F, I) and values.dtype.kind not in "iuf":
            changed[column] = values = _as_numbers(values, what)
        elif kind == S and column.startswith("species"):
            texts = values.astype(object).where(values.notna(), "")
            changed[column] = texts.map(str).astype(object)
        if column in ("frame", "atom_id"):
            exact = values.to_numpy(float)
            if not (np.abs(exact) < 2.0**62).all() or (exact != np.floor(exact)).any():
                raise TableError(f"The {column} of some {what} is not a whole number.")
            if values.dtype.kind != "i":
                changed[column] = values.astype(np.int64)
        elif places and column in ("y_px", "x_px") and len(values):
            if not np.isfinite(values.to_numpy(float)).all():
                raise TableError(
                    f"Some {what} have no position ({column} is not a finite number); leave them "
                    "out first."
                )
            if np.abs(values.to_numpy(float)).max() > FARTHEST_PX:
                raise TableError(f"Some {what} lie absurdly far out ({column}).")
    return table.assign(**changed) if changed else table


def _as_numbers(values: pd.Series, what: str) -> pd.Series:
    """Return a column as numbers, where it holds some in another way."""
    try:
        if values.dtype.kind == "c" or values.dtype.kind in "mM":
            raise TypeError("other numbers")
        numbers = pd.to_numeric(values.astype(object))
        if numbers.dtype.kind == "c":
            raise TypeError("complex")
        return pd.Series(numbers.astype(float), index=values.index)
    except (TypeError, ValueError, OverflowError):
        raise TableError(
            f"The column {values.name} of the {what} table does not hold numbers."
        ) from None


def chosen_rows(rows: object, n: int) -> np.ndarray:
    """Return the numbers of rows that were chosen: by number, or by a mask of all `n`.

    Raises
    ------
    ParameterError
        If that chooses no rows of a table of `n`.
    """
    try:
        array = np.asarray(rows)
    except (TypeError, ValueError):
        array = np.zeros((), object)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.dtype.kind == "b" and array.shape == (n,):
        return np.flatnonzero(array)
    if array.dtype.kind in "iu" and array.ndim == 1 and array.min() >= 0 and array.max() < n:
        return array.astype(np.int64)
    raise ParameterError(f"The rows must be numbers from 0 to {n - 1}, or a mask of all {n} rows.")


NEEDED = ("y_px", "x_px", "species")


def check_atoms(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of an atoms table with clean rows, ids and frames; vacant sites left out.

    Raises
    ------
    TableError
        If a column is missing, a position is not finite, or an id appears twice.
    """
    need_columns(atoms, NEEDED, "atoms")
    clean = atoms.reset_index(drop=True)
    if "source" in clean:
        # the lattice's vacant sites are no atoms
        clean = clean[clean["source"].astype(str) != "lattice"].reset_index(drop=True)
    if "frame" not in clean:
        clean = clean.assign(frame=0)
    if "atom_id" not in clean:
        clean = clean.assign(atom_id=np.arange(len(clean), dtype=np.int64))
    clean = check_table(clean)
    if clean["atom_id"].duplicated().any():
        raise TableError("Two atoms have the same atom_id.")
    return clean
