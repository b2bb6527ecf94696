"""The one reader of tables of atoms: files of every kind, and projects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from napari_atomlens.errors import TableError
from napari_atomlens.io.formats.atoms import SUFFIXES, read_file
from napari_atomlens.io.formats.positions import TEXTS, Unit, looks_like_positions
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.untrusted import path_of


def holds_atoms(path: str | Path) -> bool:
    """Whether a path is that of a table of atoms or of a project, by its name."""
    place = Path(path)
    suffix = place.suffix.lower()
    if suffix in TEXTS and suffix not in SUFFIXES:
        return place.is_file() and looks_like_positions(place)
    return suffix in SUFFIXES or layout.is_results(place)


def read_atoms(
    path: str | Path,
    *,
    unit: Unit = "",
    first_pixel: Literal[0, 1] = 0,
    order: Literal["xy", "yx"] = "xy",
    pixel_size_nm: float | tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Read a table of atoms: CSV, Parquet, extended XYZ, CIF, a project, or text of others.

    Parameters
    ----------
    path : path
        A file, a ``.atomlens`` project (of a window the corrected atoms) or another folder of
        results; or positions of another program as text, with columns x and y or two columns of
        numbers without names.
    unit, first_pixel, order, pixel_size_nm
        Of positions of another program: unit ("px", "nm", "angstrom", "pm"; by default what the
        names of the columns say, else pixels), number of the first pixel (1 in MATLAB and
        StatSTEM), order of columns without names, and the pixel size, which lengths that count
        from pixel 1 need.

    Returns
    -------
    pandas.DataFrame
        With ``frame`` (0 where the file has none), and positions in pixels, in nm, or both.

    Raises
    ------
    FormatError
        If it cannot be read, or holds no atoms.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> pd.DataFrame({"y_px": [1.0, 2.0], "x_px": [3.0, 4.0]}).to_csv("atoms.csv", index=False)
    >>> al.read_atoms("atoms.csv")
       y_px  x_px  frame
    0   1.0   3.0      0
    1   2.0   4.0      0
    """
    place = path_of(path)
    table = layout.read_saved(place).atoms if place.is_dir() else read_file(
        place, unit=unit, first_pixel=first_pixel, order=order if order != "xy" else "",
        pixel_size_nm=pixel_size_nm,
    )  # fmt: skip
    return table if "frame" in table else table.assign(frame=0)


def pixel_size_in(atoms: pd.DataFrame) -> tuple[float, float] | None:
    """Return the pixel size (y, x) in nm that a table with both kinds of positions tells."""
    sizes = []
    for axis in "yx":
        if not {f"{axis}_px", f"{axis}_nm"} <= set(atoms):
            return None
        px, nm = atoms[f"{axis}_px"].to_numpy(float), atoms[f"{axis}_nm"].to_numpy(float)
        use = np.isfinite(px) & np.isfinite(nm) & (np.abs(px) > 1e-6)
        sizes.append(float(np.median(nm[use] / px[use])) if use.any() else float("nan"))
    return (sizes[0], sizes[1]) if all(s > 0 for s in sizes) else None


def in_pixels(
    atoms: pd.DataFrame, pixel_size_nm: float | tuple[float, float] | None
) -> pd.DataFrame:
    """Return the atoms with their positions in pixels.

    Raises
    ------
    TableError
        If they are in nm only, and the pixel size is not known.
    """
    if {"y_px", "x_px"} <= set(atoms):
        return atoms
    if pixel_size_nm is None:
        raise TableError("The atoms are in nm only; the pixel size must be given.")
    y, x = np.broadcast_to(np.asarray(pixel_size_nm, float), (2,))
    return atoms.assign(y_px=atoms["y_nm"] / y, x_px=atoms["x_nm"] / x)
