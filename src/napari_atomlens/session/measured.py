"""What was measured on single atoms, and is true of these very atoms only.

A value belongs to an atom at a place. An atom that is new, or is no longer where it was, has
none, however it came about; one whose move is undone has its values back.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.session.edits.actions import COMPARED

#: What a value is measured on.
ANCHOR = ("atom_id", "y_px", "x_px", "species")


def unknown(dtype: np.dtype | object) -> float | int | bool | str:
    """Value that stands for "not measured" in a column."""
    kind = getattr(dtype, "kind", "O")
    return {"i": -1, "u": 0, "b": False, "f": float("nan")}.get(kind, "")


class Measured:
    """Columns of atoms that are not of the atoms table: anomalies, strain, moments."""

    def __init__(self) -> None:
        self._columns: dict[str, pd.DataFrame] = {}

    def note(self, table: pd.DataFrame, atoms: pd.DataFrame) -> None:
        """Keep what was measured.

        Parameters
        ----------
        table : pandas.DataFrame
            With ``atom_id`` and the columns that were measured; those of the atoms table are
            left out.
        atoms : pandas.DataFrame
            Atoms table on which it was measured.
        """
        anchor = atoms[list(ANCHOR)].assign(species=atoms["species"].astype(str))
        anchor = anchor.drop_duplicates("atom_id").set_index("atom_id")
        mine = table.drop_duplicates("atom_id").set_index("atom_id")
        mine = mine[mine.index.isin(anchor.index)]
        anchor = anchor.loc[mine.index]
        for column in mine:
            if column not in tables.ATOMS:
                self._columns[str(column)] = anchor.assign(value=mine[column])

    def forget(self) -> None:
        """Let go of everything."""
        self._columns.clear()

    def drop(self, prefixes: tuple[str, ...]) -> None:
        """Let go of the columns whose names begin so."""
        for name in [n for n in self._columns if n.startswith(prefixes)]:
            del self._columns[name]

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def join(self, atoms: pd.DataFrame) -> pd.DataFrame:
        """Atoms table with the columns, unknown where they were not measured on the atom."""
        more = {name: self.values(name, atoms) for name in self._columns if name not in atoms}
        return atoms.assign(**more)

    def values(self, column: str, atoms: pd.DataFrame) -> np.ndarray:
        """Values of a column for the atoms of a table."""
        known = self._columns[column].reindex(atoms["atom_id"].to_numpy())
        place = known[["y_px", "x_px"]].to_numpy(float)
        same = (place == atoms[["y_px", "x_px"]].to_numpy(float)).all(axis=1)
        if column.startswith(COMPARED):
            same &= known["species"].to_numpy() == atoms["species"].astype(str).to_numpy()
        dtype = self._columns[column]["value"].to_numpy().dtype
        kept = dtype if dtype.kind in "iufb" else np.dtype(object)
        out = np.full(len(atoms), unknown(dtype), kept)
        out[same] = known["value"].to_numpy()[same]
        return out
