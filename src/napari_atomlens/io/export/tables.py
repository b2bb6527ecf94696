"""The tables of a result as files for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from napari_atomlens.errors import AtomLensError
from napari_atomlens.files import write_whole

if TYPE_CHECKING:  # the command line starts without
    import pandas as pd

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
    """
    if Path(path).suffix.lower() == ".csv":
        return write_whole(path, lambda file: table.to_csv(file, index=False))
    plain = {c: str for c in table if table[c].dtype == "category"}
    return write_whole(path, lambda file: table.astype(plain).to_parquet(file, index=False))


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
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in WRITTEN:
        try:
            table = getattr(result, name, None)
        except AtomLensError as error:
            result.messages.append(f"There is no {name}.csv: {error}")
            continue
        if table is not None:
            written.append(write_csv(folder / f"{name}.csv", table))
    text = json.dumps(result.record(), indent=2, default=str) + "\n"
    return [*written, write_whole(folder / "provenance.json", text)]
