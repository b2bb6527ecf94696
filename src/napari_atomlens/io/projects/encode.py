"""Attributes of layers as JSON, with large arrays and tables in files of their own.

What JSON cannot say is an object with one key that begins with "!":
``{"!tuple": [...]}``, ``{"!array": [...], "dtype": ...}``, ``{"!stored": name}`` (an array of
``arrays.npz``; with ``"list": true`` it was a list, with ``"dtype"`` an array of texts),
``{"!table": file}`` (a Parquet table), ``{"!rows": {column: ...}}`` (a table of few rows),
``{"!map": [[key, value], ...]}``, ``{"!float": "nan"}``; up to version 3 ``{"!zarr": name}``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import printable
from napari_atomlens.files import write_whole
from napari_atomlens.untrusted import inside

#: Arrays and lists with more values, and tables with more rows, have files of their own.
SMALL, FEW_ROWS = 64, 2


class CannotEncode(TypeError):
    """A value that a file cannot hold."""


class Encoder:
    """Turns values into what JSON can hold.

    Parameters
    ----------
    folder : pathlib.Path
        Of the project; tables are written to ``tables`` in it.
    put_array : callable
        Stores a large array under a name.

    Attributes
    ----------
    left_out : list of str
        Where values were that a file cannot hold.
    """

    def __init__(self, folder: Path, put_array: Callable[[str, np.ndarray], object]) -> None:
        self._folder, self._put = folder, put_array
        self.left_out: list[str] = []
        self._n = 0

    def attributes(self, where: str, values: Mapping[str, object]) -> dict[str, object]:
        """Encode a dictionary key by key; what cannot be encoded is left out."""
        out = {}
        for key, value in values.items():
            try:
                out[str(key)] = self.encode(f"{where}/{key}", value)
            except CannotEncode:
                self.left_out.append(f"{where}/{key}")
        return out

    def encode(self, where: str, value: object) -> object:
        """Encode one value.

        Raises
        ------
        CannotEncode
            If no file can hold it.
        """
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"!float": str(value)}
        if isinstance(value, np.ndarray):
            return self._array(where, value)
        if isinstance(value, pd.DataFrame):
            return self._table(where, value)
        if isinstance(value, tuple):
            return {"!tuple": [self.encode(where, v) for v in value]}
        if isinstance(value, (list, set, frozenset)):
            return self._list(where, list(value))
        if isinstance(value, Mapping):
            if all(isinstance(k, str) and not k.startswith("!") for k in value):
                return self.attributes(where, value)
            return {
                "!map": [[self.encode(where, k), self.encode(where, v)] for k, v in value.items()]
            }
        if isinstance(value, Path):
            return str(value)
        if type(value).__name__ == "Unit":  # of pint
            return str(value)
        if hasattr(value, "color_dict"):  # labels in colours of their own
            return self.encode(where, dict(value.color_dict))
        if hasattr(value, "colors") and hasattr(value, "background_value"):  # a cycle of colours
            return self.encode(where, np.asarray(value.colors, float))
        raise CannotEncode(where)

    def _array(self, where: str, value: np.ndarray) -> object:
        if value.ndim == 0:
            return self.encode(where, value.item())
        if value.dtype.kind in "OUS":
            texts = [v.value if isinstance(v, enum.Enum) else v for v in value.ravel().tolist()]
            if value.ndim == 1 and _are_long(texts, str):
                self._put(where, np.array(texts))
                return {"!stored": where, "dtype": value.dtype.str}
            encoded = [self.encode(where, v) for v in value.tolist()]
            return {"!objects": encoded, "dtype": value.dtype.str}
        value = np.asarray(value)  # also of subclasses
        if value.size <= SMALL and np.isfinite(value).all():
            return {"!array": value.tolist(), "dtype": value.dtype.str}
        if value.dtype.kind not in "biufc":
            raise CannotEncode(where)
        self._put(where, value)
        return {"!stored": where}

    def _list(self, where: str, value: list[object]) -> object:
        for kind in (str, float, int, bool):
            # an int beyond 64 bits makes an array of objects
            if _are_long(value, kind) and (made := np.array(value)).dtype.kind != "O":
                self._put(where, made)
                return {"!stored": where, "list": True}
        return [self.encode(where, v) for v in value]

    def _table(self, where: str, value: pd.DataFrame) -> object:
        few = len(value) <= FEW_ROWS or not len(value.columns)
        if few and value.columns.is_unique:
            return {"!rows": {str(c): self._column(where, value[c]) for c in value.columns},
                    "n": len(value)}  # fmt: skip
        name = f"tables/{self._n}.parquet"
        self._n += 1
        value = value.copy()
        value.columns = [str(c) for c in value.columns]
        objects = [c for c in value.columns if value[c].dtype == object]
        for column in objects:  # one type for each column of a file
            kinds = {type(v) for v in value[column]}
            if len(kinds) > 1:
                value[column] = value[column].map(str)
        try:
            write_whole(self._folder / name, value.to_parquet)
        except UnicodeEncodeError:  # the name of a file that is not UTF-8
            clean = value.map(lambda v: printable(v) if isinstance(v, str) else v)
            write_whole(self._folder / name, clean.to_parquet)
        return {"!table": name, "objects": objects}

    def _column(self, where: str, column: pd.Series) -> dict[str, object]:
        """Few values, with the categories that they may have."""
        kind: dict[str, object] = {"dtype": str(column.dtype)}
        if isinstance(column.dtype, pd.CategoricalDtype):
            kind["categories"] = self.encode(where, column.cat.categories.tolist())
            kind["ordered"] = bool(column.cat.ordered)
            values = [
                None if code < 0 else v for code, v in zip(column.cat.codes, column, strict=True)
            ]
        else:
            values = column.tolist()
        return {**kind, "values": [self.encode(where, v) for v in values]}


def _are_long(values: list[Any], kind: type) -> bool:
    """Whether there are many values, all of one type, that an array gives back as they were."""
    if len(values) <= SMALL or any(type(v) is not kind for v in values):
        return False
    return kind is not str or not any(v.endswith("\0") for v in values)


def decode(value: object, folder: Path, get_array: Callable[[str], np.ndarray]) -> Any:
    """Turn what :class:`Encoder` wrote back into values.

    Parameters
    ----------
    value : object
        Parsed JSON.
    folder : pathlib.Path
        Of the project.
    get_array : callable
        Returns a large array by its name.
    """

    def back(v: Any) -> Any:
        if isinstance(v, list):
            return [back(x) for x in v]
        if not isinstance(v, dict):
            return v
        if "!tuple" in v:
            return tuple(back(x) for x in v["!tuple"])
        if "!float" in v:
            return float(v["!float"])
        if "!array" in v:
            return np.array(v["!array"], dtype=v["dtype"])
        if "!objects" in v:
            out = np.empty(len(v["!objects"]), dtype=object)
            out[:] = [back(x) for x in v["!objects"]]
            return out.astype(v["dtype"])
        if "!stored" in v:
            stored = get_array(v["!stored"])
            if v.get("list"):
                return stored.tolist()
            return stored.astype(v["dtype"]) if "dtype" in v else stored
        if "!zarr" in v:  # up to version 3
            return get_array(v["!zarr"])
        if "!rows" in v:
            columns = {c: _series(x, back) for c, x in v["!rows"].items()}
            return pd.DataFrame(columns or None, index=pd.RangeIndex(v["n"]))
        if "!table" in v:
            table = pd.read_parquet(inside(folder, v["!table"]))
            return table.astype(dict.fromkeys(v.get("objects", []), object))
        if "!map" in v:
            return {_key(back(k)): back(x) for k, x in v["!map"]}
        return {k: back(x) for k, x in v.items()}

    return back(value)


def _series(column: dict[str, Any], back: Callable[[Any], Any]) -> pd.Series:
    values, kind = back(column["values"]), column["dtype"]
    if "categories" not in column:
        return pd.Series(values, dtype=kind)
    known = pd.CategoricalDtype(back(column["categories"]), ordered=column["ordered"])
    return pd.Series(pd.Categorical(values, dtype=known))


def _key(key: object) -> object:
    return tuple(key) if isinstance(key, list) else key
