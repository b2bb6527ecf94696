"""Read images and movies of microscopes: one function for every format.

The content decides what a file is; its extension only has to agree. Each format has a
function in a module of its own family, which imports large libraries when they are needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_atomlens.errors import FormatError, printable
from napari_atomlens.image import Image
from napari_atomlens.io.formats.kinds import kind_of
from napari_atomlens.io.formats.numbered import joined
from napari_atomlens.untrusted import path_of


def read(path: str | Path) -> list[Image]:
    """Read every image and movie of a file.

    Parameters
    ----------
    path : path
        TIFF, PNG, JPEG, NumPy, HDF5 (HyperSpy, Berkeley and Velox EMD, NeXus ...), MRC,
        zarr, DigitalMicrograph, TIA, Nion, Nanonis, Gwyddion, Igor, RHK, Omicron MATRIX,
        Createc or MATLAB.

    Returns
    -------
    list of Image
        One or more; the channels of a scan are images of their own, images that differ in
        nothing but their number are one movie.

    Raises
    ------
    FormatError
        One sentence, if it is missing, damaged, of an unknown format, or holds no image.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np, tifffile
    >>> tifffile.imwrite("movie.tif", np.zeros((3, 64, 96), np.uint16), photometric="minisblack")
    >>> images = al.read("movie.tif")
    >>> images[0].name, images[0].axes, images[0].data.shape
    ('movie.tif', 'tyx', (3, 64, 96))
    """
    path = path_of(path)
    kind = kind_of(path)
    try:
        images = kind.read(path)
    except FormatError:
        raise
    except MemoryError as error:
        raise FormatError(f"{path.name} does not fit into the memory.") from error
    except Exception as error:  # the libraries raise errors of every type on damaged files
        why = reason(error)
        raise FormatError(f"{path.name} could not be read as {kind.words}: {why}") from error
    if not images:
        raise FormatError(f"{path.name} holds no image.")
    return joined(_unique_names(images))


def reason(error: BaseException) -> str:
    """Return the first line of an error as the end of a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."


def _unique_names(images: list[Image]) -> list[Image]:
    seen: dict[str, int] = {}
    out = []
    for image in images:
        name = printable(image.name)
        n = seen[name] = seen.get(name, 0) + 1
        out.append(replace(image, name=name if n == 1 else f"{name} ({n})"))
    return out
