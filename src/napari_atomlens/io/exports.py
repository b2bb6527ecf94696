"""Atoms for other programs: extended XYZ (ASE, OVITO) and the arrays of AtomAI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError, TableError

#: Columns of an extended XYZ file beside species and position, where the table has them.
EXTRA = (("atom_id", "I"), ("probability", "R"), ("amplitude", "R"), ("sigma_px", "R"))


def xyz_text(atoms: pd.DataFrame, pixel_size_nm: tuple[float, float] | None = None) -> str:
    """Atoms as extended XYZ, one block per frame.

    Positions are in ångström where the pixel size is known, else in pixels (the comment
    line says which, as ``unit=``); x runs to the right, y upwards, z is 0.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.
    pixel_size_nm : tuple of float, optional
        (y, x).

    Raises
    ------
    TableError
        If it has no positions.
    """
    if missing := {"y_px", "x_px"} - set(atoms.columns):
        raise TableError(f"The atoms lack {', '.join(sorted(missing))}.")
    size = np.array(pixel_size_nm or (0.1, 0.1)) * 10
    unit = "angstrom" if pixel_size_nm else "pixel"
    extra = [(c, kind) for c, kind in EXTRA if c in atoms]
    properties = "species:S:1:pos:R:3" + "".join(f":{c}:{kind}:1" for c, kind in extra)
    frame = atoms["frame"] if "frame" in atoms else pd.Series(0, index=atoms.index)
    lines = []
    for f, part in atoms.groupby(frame.to_numpy(), sort=True):
        lines.append(str(len(part)))
        lines.append(f'Properties={properties} frame={f} unit={unit} pbc="F F F"')
        species = part["species"].astype(str) if "species" in part else pd.Series("X", part.index)
        # a name with a blank would be two columns
        names = species.str.replace(r"\s+", "_", regex=True).replace("", "X").to_numpy()
        x, y = part["x_px"].to_numpy() * size[1], -part["y_px"].to_numpy() * size[0]
        others = [part[c].to_numpy() for c, _ in extra]
        for k in range(len(part)):
            cells = [names[k], f"{x[k]:.6f}", f"{y[k]:.6f}", "0.0", *(f"{v[k]:g}" for v in others)]
            lines.append(" ".join(cells))
    return "\n".join(lines) + ("\n" if lines else "")


def atomai_coordinates(atoms: pd.DataFrame) -> dict[int, np.ndarray]:
    """Atoms as AtomAI has them: by frame an array (n, 3) of row, column and class.

    Classes are numbered in the alphabetical order of the species.

    Raises
    ------
    TableError
        If it has no positions.
    """
    if missing := {"frame", "y_px", "x_px", "species"} - set(atoms.columns):
        raise TableError(f"The atoms lack {', '.join(sorted(missing))}.")
    names = sorted(set(atoms["species"].astype(str)))
    number = atoms["species"].astype(str).map({n: i for i, n in enumerate(names)})
    values = np.c_[atoms[["y_px", "x_px"]].to_numpy(float), number.to_numpy(float)]
    frames = atoms["frame"].to_numpy()
    return {int(f): values[frames == f] for f in np.unique(frames)}


def write_atoms_xyz(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write the atoms of a points layer as extended XYZ.

    Parameters
    ----------
    path : path
        ``.xyz`` is added where it is missing.
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
    if target.suffix.lower() != ".xyz":
        target = target.with_name(target.name + ".xyz")
    points = np.asarray(data, float)
    points = points if points.ndim == 2 and points.shape[1] >= 2 else np.zeros((0, 2))
    features = attributes.get("features")
    table = pd.DataFrame() if features is None else pd.DataFrame(features).reset_index(drop=True)
    table = table.assign(y_px=points[:, -2], x_px=points[:, -1])
    if points.shape[1] >= 3:
        table["frame"] = np.round(points[:, -3]).astype(int)
    units = [str(u) for u in attributes.get("units") or ()][-2:]
    scale = tuple(float(s) for s in np.asarray(attributes.get("scale", ()), float)[-2:])
    known = units in (["nm", "nm"], ["nanometer", "nanometer"]) and len(scale) == 2
    try:
        target.write_text(xyz_text(table, scale if known else None), encoding="utf-8")  # type: ignore[arg-type]
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    return [str(target)]
