"""The atoms of one frame as writable columns, sorted by id, so that an edit costs microseconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import tables

#: One atom: values in the order of the columns of its journal.
Row = tuple[Any, ...]
NAN = float("nan")


def plain(value: Any) -> Any:
    """Value of a cell as a Python object that JSON can hold; one object for every NaN."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return sys.intern(value)
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return NAN
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two cells hold the same; NaN is the same as NaN."""
    return bool(a == b) or (a != a and b != b)


def typed(column: str, values: Any) -> np.ndarray:
    """Values as a writable array of the type that the atoms table has for this column.

    A column of the user's own keeps whole numbers and yes or no as they are; a number that is not
    known makes all of them floats.
    """
    dtype = tables.ATOMS.get(column)
    if dtype is None:
        array = np.array(values)
        kind = array.dtype.kind
        if kind in "iu" and (not array.size or array.max() <= np.iinfo(np.int64).max):
            return array.astype(np.int64)
        return array if kind == "b" else array.astype(float if kind in "uf" else object)
    if dtype == "object":
        array = np.empty(len(values), dtype=object)
        array[:] = [sys.intern(str(v)) if isinstance(v, str) else "" for v in values]
        return array
    return np.array(values, dtype=dtype)


def _common(first: np.ndarray, second: np.ndarray) -> np.dtype[Any]:
    """Type that holds the values of two columns."""
    if first.dtype == second.dtype:
        return first.dtype
    numbers = all(v.dtype.kind in "iufb" for v in (first, second))
    return np.dtype(float) if numbers else np.dtype(object)


def _made_for(column: np.ndarray, value: Any) -> np.ndarray:
    """Return the column itself where it can hold a value, else a copy of a wider type."""
    fits: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "f": (int, float)}
    if isinstance(value, fits.get(column.dtype.kind, (object,))):
        return column
    return column.astype(_common(column, typed("", [value])))


class Columns:
    """Atoms of one frame, sorted by id.

    Parameters
    ----------
    table : pandas.DataFrame
        Atoms table of one frame; columns beyond those of the contract are kept.
    columns : sequence of str
        Columns to hold, in this order; what the table lacks is unknown.
    """

    def __init__(self, table: pd.DataFrame, columns: Sequence[str]) -> None:
        whole = tables.make("atoms", {c: table[c].to_numpy() for c in table.columns}, len(table))
        self.names = tuple(columns)
        order = np.argsort(whole["atom_id"].to_numpy(), kind="stable")
        self.data: dict[str, np.ndarray] = {
            c: (typed(c, whole[c].to_numpy()[order]) if c in whole else np.full(len(whole), np.nan))
            for c in self.names
        }

    @property
    def ids(self) -> np.ndarray:
        """Ids of the atoms, ascending."""
        return self.data["atom_id"]

    @property
    def positions(self) -> np.ndarray:
        """(y, x) of the atoms in pixels, shape (n, 2)."""
        return np.c_[self.data["y_px"], self.data["x_px"]]

    def __len__(self) -> int:
        return len(self.ids)

    def copy(self) -> Columns:
        """Return a copy that can be changed on its own."""
        twin = object.__new__(Columns)
        twin.names = self.names
        twin.data = {c: v.copy() for c, v in self.data.items()}
        return twin

    def index(self, atom_id: int) -> int:
        """Row of an atom, -1 where it is not there."""
        at = int(np.searchsorted(self.ids, atom_id))
        return at if at < len(self) and self.ids[at] == atom_id else -1

    def row(self, atom_id: int) -> Row | None:
        """Return an atom as a row, None where it is not there."""
        at = self.index(atom_id)
        return None if at < 0 else self.row_at(at)

    def row_at(self, at: int) -> Row:
        """Return the atom in a row of the table."""
        return tuple(plain(self.data[c][at]) for c in self.names)

    def rows(self, atom_ids: Iterable[int]) -> tuple[Row, ...]:
        """Return several atoms; those that are not there are left out."""
        found = (self.row(int(i)) for i in atom_ids)
        return tuple(r for r in found if r is not None)

    def replace(self, gone: Iterable[int], new: Sequence[Row]) -> None:
        """Take atoms out and put rows in; a row whose id is there takes its place."""
        at_id = self.names.index("atom_id")
        fresh = {int(r[at_id]): r for r in new}
        drop = [k for i in gone if int(i) not in fresh and (k := self.index(int(i))) >= 0]
        if drop:
            for c in self.names:
                self.data[c] = np.delete(self.data[c], drop)
        added = []
        for atom_id, row in fresh.items():
            k = self.index(atom_id)
            if k < 0:
                added.append(row)
                continue
            for c, value in zip(self.names, row, strict=False):
                if c not in tables.ATOMS:
                    self.data[c] = _made_for(self.data[c], value)
                self.data[c][k] = value
        if added:
            added.sort(key=lambda r: int(r[at_id]))
            where = np.searchsorted(self.ids, [int(r[at_id]) for r in added])
            for k, c in enumerate(self.names):
                values = typed(c, [r[k] if k < len(r) else NAN for r in added])
                held = _common(self.data[c], values)
                self.data[c] = np.insert(self.data[c].astype(held), where, values.astype(held))

    def table(self) -> pd.DataFrame:
        """Return an atoms table of its own."""
        return pd.DataFrame({c: pd.Series(v.copy(), dtype=_dtype(v)) for c, v in self.data.items()})


def _dtype(values: np.ndarray) -> Any:
    return object if values.dtype == object else values.dtype


def as_row(values: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """Return a row of named values; unknown ones are what an empty table has."""
    unknown = {"float64": NAN, "int64": -1, "bool": False, "object": ""}
    return tuple(
        plain(values[c]) if c in values else unknown.get(tables.ATOMS.get(c, "float64"), NAN)
        for c in columns
    )
