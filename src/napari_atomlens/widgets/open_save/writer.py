"""What napari asks of a writer plugin: a layer of atoms as a file; no napari import here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_atomlens.errors import AtomLensError, FormatError
from napari_atomlens.io.export.structures import write_atoms


@contextlib.contextmanager
def saying_why() -> Iterator[None]:
    """Write inside; napari takes a ValueError for "not my kind of file" and says only that.

    Raises
    ------
    AtomLensError
        One sentence, if it cannot be written.
    """
    try:
        yield
    except FormatError as error:
        raise AtomLensError(str(error)) from error


class Attributes(TypedDict, total=False):
    """What is used of the attributes of a layer."""

    features: pd.DataFrame | None
    units: Sequence[object] | None
    scale: ArrayLike


def atoms_table(data: ArrayLike, attributes: Attributes) -> pd.DataFrame:
    """Return the atoms of a points layer: where they are, and their table of features.

    Parameters
    ----------
    data : array-like, shape (n, 2) or (n, 3)
        (y, x) or (t, y, x) in pixels.
    attributes : mapping
        Of the layer; ``features``, ``scale`` and ``units`` are used.
    """
    points = np.asarray(data, float)
    if points.ndim != 2 or points.shape[1] < 2:
        points = np.zeros((0, 2))
    features = attributes.get("features")
    table = pd.DataFrame() if features is None else pd.DataFrame(features).reset_index(drop=True)
    columns: dict[str, np.ndarray] = {}
    if points.shape[1] >= 3:
        columns["frame"] = np.round(points[:, -3]).astype(int)
    # a point that was dragged is where the layer shows it, whatever its old features say
    columns["y_px"], columns["x_px"] = points[:, -2], points[:, -1]
    if size := pixel_size_of(attributes):
        columns["y_nm"], columns["x_nm"] = points[:, -2] * size[0], points[:, -1] * size[1]
    for name, values in columns.items():
        table[name] = values
    first = [c for c in ("frame", "atom_id", "y_px", "x_px", "y_nm", "x_nm") if c in table]
    return table[[*first, *(c for c in table.columns if c not in first)]]


def pixel_size_of(attributes: Attributes) -> tuple[float, float] | None:
    """Pixel size (y, x) in nm of a layer, None where its units are not nm."""
    units = [str(u) for u in attributes.get("units") or ()][-2:]
    scale = np.asarray(attributes.get("scale", ()), float)[-2:]
    if units not in (["nm", "nm"], ["nanometer", "nanometer"]) or len(scale) != 2:
        return None
    return float(scale[0]), float(scale[1])


def _write(path: str | Path, data: ArrayLike, attributes: Attributes, *known: str) -> list[str]:
    target = Path(path)
    if target.suffix.lower() not in known:
        target = target.with_name(target.name + known[0])
    plain = known[0] in (".csv", ".parquet")
    size = None if plain else pixel_size_of(attributes)
    with saying_why():
        return [str(write_atoms(target, atoms_table(data, attributes), pixel_size_nm=size))]


def write_atoms_csv(path: str | Path, data: ArrayLike, attributes: Attributes) -> list[str]:
    """Write the atoms of a points layer as CSV.

    Parameters
    ----------
    path : path
        The extension is added where it is missing.
    data, attributes
        See :func:`atoms_table`.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    AtomLensError
        If the file cannot be written.
    """
    return _write(path, data, attributes, ".csv")


def write_atoms_parquet(path: str | Path, data: ArrayLike, attributes: Attributes) -> list[str]:
    """Write the atoms of a points layer as Parquet; see :func:`write_atoms_csv`."""
    return _write(path, data, attributes, ".parquet")


def write_atoms_structure(path: str | Path, data: ArrayLike, attributes: Attributes) -> list[str]:
    """Write the atoms of a points layer as extended XYZ or CIF; see :func:`write_atoms_csv`."""
    return _write(path, data, attributes, ".extxyz", ".xyz", ".cif")
