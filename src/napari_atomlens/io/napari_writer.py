"""What napari asks of a writer plugin: a layer of atoms as CSV; no napari import here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError


def write_atoms_csv(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write the atoms of a points layer: where they are, and their table of features.

    Parameters
    ----------
    path : path
        ``.csv`` is added where it is missing.
    data : array-like, shape (n, 2) or (n, 3)
        (y, x) or (t, y, x) in pixels.
    attributes : mapping
        Of the layer; ``features``, ``scale`` and ``units`` are used.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    FormatError
        If the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".csv":
        target = target.with_name(target.name + ".csv")
    points = np.asarray(data, float)
    if points.ndim != 2 or points.shape[1] < 2:
        points = np.zeros((0, 2))
    features = attributes.get("features")
    table = pd.DataFrame() if features is None else pd.DataFrame(features).reset_index(drop=True)
    columns: dict[str, Any] = {}
    if points.shape[1] >= 3:
        columns["frame"] = np.round(points[:, -3]).astype(int)
    # a point that was dragged is where the layer shows it, whatever its old features say
    columns["y_px"], columns["x_px"] = points[:, -2], points[:, -1]
    units = [str(u) for u in attributes.get("units") or ()][-2:]
    scale = np.asarray(attributes.get("scale", ()), float)[-2:]
    if units in (["nm", "nm"], ["nanometer", "nanometer"]) and len(scale) == 2:
        columns["y_nm"], columns["x_nm"] = points[:, -2] * scale[0], points[:, -1] * scale[1]
    for name, values in columns.items():
        table[name] = values
    first = [c for c in ("frame", "atom_id", "y_px", "x_px", "y_nm", "x_nm") if c in table]
    table = table[[*first, *(c for c in table.columns if c not in first)]]
    try:
        table.to_csv(target, index=False)
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    return [str(target)]
