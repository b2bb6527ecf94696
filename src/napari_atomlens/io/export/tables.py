"""Tables as files for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pandas as pd

from napari_atomlens.cells import csv_text
from napari_atomlens.errors import AtomLensError, TableError, printable
from napari_atomlens.files import write_whole
from napari_atomlens.tables import need_columns

#: Tables that a result may have, in the order of the workflow; the first two always.
WRITTEN = ("atoms", "contours", "bonds", "defects", "tracks", "dumbbells")


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table as ``.csv`` or ``.parquet``; it is complete and on the disk, or not there.

    Parameters
    ----------
    path : path
        Its folder is made where it is missing.
    table : pandas.DataFrame
        The index is left out.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    OSError
        If it cannot be written; what was there is left as it was.
    TableError
        If a column holds what Parquet cannot.
    """
    need_columns(table, (), "written")
    if Path(path).suffix.lower() == ".csv":
        return write_whole(path, csv_text(table))
    out = table.astype({c: str for c in table if table[c].dtype == "category"})
    try:
        return write_whole(path, lambda file: out.to_parquet(file, index=False))
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        clean = out.map(lambda v: printable(v) if isinstance(v, str) else v)
        return write_whole(path, lambda file: clean.to_parquet(file, index=False))
    except (ValueError, TypeError, NotImplementedError) as error:
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        raise TableError(f"The table cannot be written as Parquet: {first}.") from error


class Tabled(Protocol):
    """A result: tables by their names as attributes, and what it has to say."""

    messages: list[str]

    def record(self) -> dict[str, object]:
        """Return what made it."""


def write_csv(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV, whole or not at all; a list in one cell is parted by blanks."""
    if "atom_ids" in table:
        table = table.assign(atom_ids=[" ".join(map(str, ids)) for ids in table["atom_ids"]])
    return write_table(path, table)


def write_tables(result: Tabled, folder: Path) -> list[Path]:
    """Write the tables of a result as CSV files and its provenance as JSON.

    Parameters
    ----------
    result : napari_atomlens.Result
        What :func:`napari_atomlens.analyze` gave. A later table that cannot be made costs no
        other; a sentence in its messages says so.
    folder : pathlib.Path
        Where the files go; made if it is missing.

    Returns
    -------
    list of pathlib.Path
        The files, tables first. Tables that the result does not have are not written.
    """
    found = {}
    for name in WRITTEN:
        try:
            table = getattr(result, name, None)
        except AtomLensError as error:
            result.messages.append(f"There is no {name}.csv: {error}")
            continue
        if table is not None:
            found[name] = table
    return write_named(found, folder, result.record())


def write_named(
    tables: Mapping[str, pd.DataFrame],
    folder: Path,
    record: Mapping[str, object],
    *,
    note: str = "provenance.json",
) -> list[Path]:
    """Write tables as CSV files of their names, and what made them as JSON.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
    folder : pathlib.Path
        Where the files go; made if it is missing. Each file is whole or not there.
    record : mapping
        What made the tables.
    note : str
        Name of the file of the record.

    Returns
    -------
    list of pathlib.Path
        The files, tables first.
    """
    written = [write_csv(folder / f"{name}.csv", table) for name, table in tables.items()]
    text = json.dumps(record, indent=2, default=str) + "\n"
    return [*written, write_whole(folder / note, text)]
