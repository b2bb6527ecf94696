"""The tables that cross a boundary: their columns, dtypes and units.

Every stage takes and returns pandas DataFrames with these columns. ``frame`` and the
ids are the keys that tie layers, plots, graphs and tracks together. Lengths are in
pixels (``_px``) and, where the pixel size is known, in nanometres (``_nm``, otherwise
NaN). Angles are in radians, counter-clockwise from +x as drawn. The centre of the
first pixel is (0, 0), as in napari.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError

F, I, B, S = "float64", "int64", "bool", "object"
#: Atom ids of frame f start at f times this, so that they are unique in a movie whatever
#: the order in which frames are computed.
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
    "amplitude": F,
    "sigma_px": F,
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
    "bond_mean_px": F,
    "bond_mean_nm": F,
    "bond_std_nm": F,
    "angle_std_rad": F,
    "distorted": B,
    "rings": S,
    "graph_hash": S,
    "known": B,
}
TABLES: dict[str, dict[str, str]] = {
    "atoms": ATOMS,
    "contours": CONTOURS,
    "lattices": LATTICES,
    "sublattices": SUBLATTICES,
    "distances": DISTANCES,
    "holes": HOLES,
    "tracks": TRACKS,
    "dumbbells": DUMBBELLS,
    "bonds": BONDS,
    "defects": DEFECTS,
}


def empty(name: str) -> pd.DataFrame:
    """Return the empty table ``name`` (a key of `TABLES`) with its columns and dtypes."""
    return pd.DataFrame({c: pd.Series(dtype=d) for c, d in TABLES[name].items()})


def make(name: str, columns: Mapping[str, Any], n_rows: int) -> pd.DataFrame:
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
    ParameterError
        With one sentence that names those that are missing.
    """
    if not isinstance(table, pd.DataFrame):
        raise ParameterError(f"The {what} must be a pandas table, not {type(table).__name__}.")
    missing = [c for c in columns if c not in table]
    if missing:
        raise ParameterError(f"The {what} table has no column {', '.join(missing)}.")


NEEDED = ("y_px", "x_px", "species")


def check_atoms(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of an atoms table with clean rows, ids and frames; vacant sites left out.

    Raises
    ------
    ParameterError
        If a column is missing, a position is not finite, or an id appears twice.
    """
    missing = [c for c in NEEDED if c not in atoms]
    if missing:
        raise ParameterError(f"The atoms table has no column {', '.join(missing)}.")
    clean = atoms.reset_index(drop=True)
    if "source" in clean:
        # the lattice's vacant sites are no atoms
        clean = clean[clean["source"].astype(str) != "lattice"].reset_index(drop=True)
    if "frame" not in clean:
        clean = clean.assign(frame=0)
    if "atom_id" not in clean:
        clean = clean.assign(atom_id=np.arange(len(clean), dtype=np.int64))
    try:
        places = clean[["y_px", "x_px"]].to_numpy(dtype=float)
    except (TypeError, ValueError):
        raise ParameterError("The positions of the atoms are not all numbers.") from None
    if not np.isfinite(places).all():
        raise ParameterError("The positions of the atoms are not all finite numbers.")
    if clean["atom_id"].duplicated().any():
        raise ParameterError("Two atoms have the same atom_id.")
    return clean
