"""Whether a file can be read at all: tried where it may hang or crash without harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError, printable
from napari_atomlens.io.formats.kinds import named
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs.apart import ApartError, borrow, give_back

#: Kinds that are read by what NumPy and the pictures' libraries do: they come to an end.
SOUND = ("npy", "npz", "tiff", "png", "jpeg", "text", "zarr")


def check_readable(path: Path, limit_s: float) -> None:
    """Read a file of a vendor's format in a process of its own, before it is read here.

    Parameters
    ----------
    path : pathlib.Path
    limit_s : float
        Seconds that it may take.

    Raises
    ------
    FormatError
        If it cannot be read, or does not come to an end.
    """
    kind = named(path)
    if kind is not None and kind.name in SOUND:
        return
    process = borrow()
    try:
        process.call(limit_s, _read_a_frame, path)
    except ApartError as error:
        name = printable(path.name)
        raise FormatError(f"{name} could not be read. {str(error).rstrip('.')}.") from None
    finally:
        give_back(process)


def _read_a_frame(path: Path) -> None:
    data = read(path)[0].data
    np.asarray(data if data.ndim == 2 else data[0])
