"""What was measured on single atoms, and is true of these very atoms only.

A value belongs to an atom at a place. An atom that is new, or is no longer where it was, has
none, however it came about; one whose move is undone has its values back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.session.edits.actions import COMPARED

#: What a value is measured on.
ANCHOR = ["atom_id", "y_px", "x_px", "species"]


def unknown(dtype: np.dtype | object) -> float | int | bool | str:
    """Value that stands for "not measured" in a column."""
    kind = getattr(dtype, "kind", "O")
    return {"i": -1, "u": 0, "b": False, "f": float("nan")}.get(kind, "")


@dataclass(frozen=True)
class _Anchor:
    """The atoms that columns were measured on: rows with other ids each."""

    atoms: pd.DataFrame

    @cached_property
    def index(self) -> pd.Index:
        return pd.Index(self.atoms["atom_id"])

    @cached_property
    def place(self) -> np.ndarray:
        return self.atoms[["y_px", "x_px"]].to_numpy(float)

    @cached_property
    def species(self) -> np.ndarray:
        return self.atoms["species"].astype(str).to_numpy(object)

    def find(self, atoms: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row of each atom, whether it is in its place, and whether of its species, too."""
        if not len(self.atoms):
            never = np.zeros(len(atoms), bool)
            return np.zeros(len(atoms), np.intp), never, never
        rows = self.index.get_indexer(pd.Index(atoms["atom_id"]))
        here = (rows >= 0) & (self.place[rows] == atoms[["y_px", "x_px"]].to_numpy(float)).all(1)
        return rows, here, here & (self.species[rows] == atoms["species"].astype(str).to_numpy())


class Measured:
    """Columns of atoms that are not of the atoms table: anomalies, strain, moments."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[_Anchor, np.ndarray]] = {}

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
        known = atoms[ANCHOR].drop_duplicates("atom_id")
        mine = table.drop_duplicates("atom_id")
        mine = mine[mine["atom_id"].isin(known["atom_id"])]
        at = pd.Index(known["atom_id"].to_numpy()).get_indexer(mine["atom_id"].to_numpy())
        anchor = _Anchor(known.iloc[at].reset_index(drop=True))
        for column in mine:
            if column not in tables.ATOMS:
                self._columns[str(column)] = anchor, mine[column].to_numpy()

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
        return atoms.assign(**self.values([n for n in self._columns if n not in atoms], atoms))

    def values(self, columns: Iterable[str], atoms: pd.DataFrame) -> dict[str, np.ndarray]:
        """Values of columns for the atoms of a table."""
        found: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        out: dict[str, np.ndarray] = {}
        for column in columns:
            anchor, values = self._columns[column]
            if id(anchor) not in found:
                found[id(anchor)] = anchor.find(atoms)
            rows, here, alike = found[id(anchor)]
            same = alike if column.startswith(COMPARED) else here
            kept = values.dtype if values.dtype.kind in "iufb" else np.dtype(object)
            out[column] = np.full(len(atoms), unknown(values.dtype), kept)
            out[column][same] = values[rows[same]]
        return out
