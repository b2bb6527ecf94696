"""The tables of a result as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from napari_atomlens.errors import AtomLensError

# Tables that a result may have, in the order of the workflow; the first two always.
_TABLES = ("atoms", "contours", "bonds", "defects", "tracks", "dumbbells")


def write_tables(result: Any, folder: Path) -> list[Path]:
    """Write the tables of a result as CSV files and its provenance as JSON.

    Parameters
    ----------
    result : napari_atomlens.Result
        What :func:`napari_atomlens.analyze` gave.
    folder : pathlib.Path
        Where the files go; made if it is missing.

    Returns
    -------
    list of pathlib.Path
        The files, tables first. Tables that the result does not have are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in _TABLES:
        try:
            table = getattr(result, name, None)
        except AtomLensError as error:  # a later table that cannot be made costs no other
            typer.echo(f"There is no {name}.csv: {error}", err=True)
            continue
        if table is None:
            continue
        written.append(folder / f"{name}.csv")
        if "atom_ids" in table:  # a list in one cell, parted by blanks
            table = table.assign(atom_ids=[" ".join(map(str, ids)) for ids in table["atom_ids"]])
        table.to_csv(written[-1], index=False)
    written.append(folder / "provenance.json")
    written[-1].write_text(
        json.dumps(result.provenance, indent=2, default=str) + "\n", encoding="utf-8"
    )
    return written
