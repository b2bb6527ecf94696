"""Tables and structures of atoms that are read: CSV, Parquet, extended XYZ, CIF."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

from napari_atomlens import cells, tables
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.io.formats import positions
from napari_atomlens.untrusted import path_of

if TYPE_CHECKING:
    from ase import Atoms

#: What is not a chemical element is this in a structure; its name is kept beside it.
UNKNOWN = "X"
#: Suffixes of files of atoms.
SUFFIXES = (".csv", ".parquet", ".xyz", ".extxyz", ".cif")
#: Columns that a structure carries beside positions and elements.
CARRIED = ("atom_id", "probability", "amplitude", "sigma_px", "y_err_px", "x_err_px")


def optional_library(name: str, install: str) -> ModuleType:
    """Import a library that not everybody has; a FormatError says how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise FormatError(
            f"This needs {name.split('.')[0]}; install it with `pip install {install}`."
        ) from error


def read_file(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a file of atoms: CSV, Parquet, extended XYZ, CIF, or positions of another program.

    :func:`napari_atomlens.io.projects.atoms.read_atoms` reads projects as well.

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
       y_px  x_px
    0   1.0   3.0
    1   2.0   4.0
    """
    source = path_of(path)
    kind = source.suffix.lower()
    if not source.exists():
        raise FormatError(f"{source.name} does not exist.")
    try:
        if kind in positions.TEXTS:
            table = _read_text(source, options)
        elif kind == ".parquet":
            table = pd.read_parquet(source)
        elif kind in (".xyz", ".extxyz", ".cif"):
            # the kind is said: by itself the library looks for others, and for "@" in the name
            with source.open(encoding="utf-8", errors="replace") as file:
                form = "cif" if kind == ".cif" else "extxyz"
                read = optional_library("ase.io", "ase").read
                table = from_ase(read(file, index=":", format=form))
        else:
            raise FormatError(f"{source.name} is not a table of atoms.")
    except (FormatError, ParameterError):
        raise
    except Exception as error:  # damaged files raise errors of every type
        raise FormatError(f"{source.name} could not be read as a table of atoms.") from error
    if not {"y_px", "x_px"} <= set(table) and not {"y_nm", "x_nm"} <= set(table):
        raise FormatError(f"{source.name} holds no atoms: it has no columns y_px and x_px.")
    for column in table.columns:
        if table[column].dtype in ("str", "object") or tables.ATOMS.get(column) == tables.S:
            table[column] = table[column].astype(object).where(table[column].notna(), "")
    return table


def _read_text(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    """Read a table of ours from CSV, or positions of another program."""
    if path.suffix.lower() == ".csv" and not any(options.values()):
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            table = read_csv(path)
            if {"y_px", "x_px"} <= set(table) or {"y_nm", "x_nm"} <= set(table):
                return table
    return positions.read_positions(path, **{k: v for k, v in options.items() if v})


def join_names(names: Sequence[str]) -> str:
    r"""Return names as one text of one line that no reader takes for a number.

    Examples
    --------
    >>> join_names(["C", "bright\ncolumn"])
    ':C|bright%0Acolumn'
    """
    return ":" + "|".join(re.sub(r"[^\w .+*/-]|[^\S ]", _quoted, n) for n in names)


def _quoted(found: re.Match[str]) -> str:
    return quote(found[0], safe="", errors="replace")


def split_names(text: str) -> list[str]:
    """Return the names that :func:`join_names` joined; files of earlier versions have them bare."""
    if not text.startswith(":"):
        return text.split("|")
    return [unquote(n) for n in text[1:].split("|")]


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table from CSV as it was written: numbers to the last digit, texts as they were."""
    table = pd.read_csv(path)
    # once more: "NA" and "007" are texts where the others are
    texts = [
        k for k, c in enumerate(table)
        if table[c].dtype in ("str", "object") or tables.ATOMS.get(str(c)) == tables.S
    ]  # fmt: skip
    if texts:
        raw = pd.read_csv(path, usecols=texts, dtype=str, keep_default_na=False)
        for at, k in enumerate(texts):
            texts_of = np.array([cells.unguarded(t) for t in raw.iloc[:, at]], dtype=object)
            table.isetitem(k, texts_of)
    table.columns = [cells.unguarded(str(c)) for c in table.columns]
    return table


def from_ase(structures: Sequence[Atoms]) -> pd.DataFrame:
    """Return structures as a table of atoms, y downwards; the reverse of :func:`to_ase`."""
    parts = []
    for k, structure in enumerate(structures):
        x, y, _ = structure.get_positions().T
        info = structure.info
        height = float(info.get("height_nm", structure.cell.lengths()[1] / 10))
        table = pd.DataFrame(
            {"frame": int(info.get("frame", k)), "y_nm": height - y / 10, "x_nm": x / 10}
        )
        if "pixel_y_nm" in info:
            table["y_px"] = table["y_nm"] / float(info["pixel_y_nm"])
            table["x_px"] = table["x_nm"] / float(info["pixel_x_nm"])
        known = [n.replace(UNKNOWN, "") for n in structure.get_chemical_symbols()]
        if "kind" in structure.arrays and "kinds" in info:
            kinds = np.array(split_names(str(info["kinds"])), dtype=object)
            known = list(kinds[structure.arrays["kind"]])
        table["species"] = pd.Series(known, dtype=object)
        for column in CARRIED:
            if column in structure.arrays:
                table[column] = structure.arrays[column]
        parts.append(table)
    if not parts:
        raise FormatError("There is no structure.")
    return pd.concat(parts, ignore_index=True)
