"""Attributes of layers as JSON, with large arrays and tables in files of their own.

What JSON cannot say is an object with one key that begins with "!":
``{"!tuple": [...]}``, ``{"!array": [...], "dtype": ...}``, ``{"!zarr": name}`` (an array of
``arrays.zarr``), ``{"!table": file}`` (a Parquet table), ``{"!map": [[key, value], ...]}``,
``{"!float": "nan"}``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Larger arrays go to zarr.
SMALL = 64


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

    def __init__(self, folder: Path, put_array: Callable[[str, np.ndarray], None]) -> None:
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
            return self._table(value)
        if isinstance(value, tuple):
            return {"!tuple": [self.encode(where, v) for v in value]}
        if isinstance(value, (list, set, frozenset)):
            return [self.encode(where, v) for v in value]
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
            texts = [self.encode(where, v) for v in value.tolist()]
            return {"!objects": texts, "dtype": value.dtype.str}
        value = np.asarray(value)  # also of subclasses
        if value.size <= SMALL and np.isfinite(value).all():
            return {"!array": value.tolist(), "dtype": value.dtype.str}
        if value.dtype.kind not in "biufc":
            raise CannotEncode(where)
        self._put(where, value)
        return {"!zarr": where}

    def _table(self, value: pd.DataFrame) -> object:
        name = f"tables/{self._n}.parquet"
        self._n += 1
        (self._folder / "tables").mkdir(exist_ok=True)
        value = value.copy()
        value.columns = [str(c) for c in value.columns]
        objects = [c for c in value.columns if value[c].dtype == object]
        for column in objects:  # one type for each column of a file
            kinds = {type(v) for v in value[column]}
            if len(kinds) > 1:
                value[column] = value[column].map(str)
        value.to_parquet(self._folder / name)
        return {"!table": name, "objects": objects}


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
        if "!zarr" in v:
            return get_array(v["!zarr"])
        if "!table" in v:
            table = pd.read_parquet(folder / v["!table"])
            return table.astype(dict.fromkeys(v.get("objects", []), object))
        if "!map" in v:
            return {_key(back(k)): back(x) for k, x in v["!map"]}
        return {k: back(x) for k, x in v.items()}

    return back(value)


def _key(key: object) -> object:
    return tuple(key) if isinstance(key, list) else key
