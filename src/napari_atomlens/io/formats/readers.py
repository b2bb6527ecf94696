"""Read images and movies of microscopes: one function for every format.

The content decides what a file is; its extension only has to agree. Each format has a
function in a module of its own family, which imports large libraries when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from napari_atomlens.errors import FormatError, printable
from napari_atomlens.image import Image
from napari_atomlens.io.formats.kinds import find_files, is_store, kind_of
from napari_atomlens.io.formats.numbered import as_movies
from napari_atomlens.io.formats.series import check_names, read_series
from napari_atomlens.untrusted import path_of

#: A file, or the files of a movie of one file per frame.
Files = str | Path | Sequence[str | Path]


def is_paths(given: object) -> TypeGuard[Sequence[str | Path]]:
    """Whether something is a list of files."""
    return (
        isinstance(given, (list, tuple))
        and len(given) > 0
        and all(isinstance(one, (str, Path)) for one in given)
    )


def read(path: Files) -> list[Image]:
    """Read every image and movie of a file.

    Parameters
    ----------
    path : path or list of path
        Several files of one image each, or a folder of such, are the frames of one movie, in the
        order of the numbers in their names. Else a file: TIFF, PNG, JPEG, NumPy, HDF5
        (HyperSpy, EMD of Berkeley, emdfile and Velox, NeXus ...), MRC, zarr, DigitalMicrograph,
        TIA, Nion, Nanonis, Createc, Gwyddion, Igor, RHK, Omicron MATRIX, Aarhus, MATLAB, or a
        matrix in text.

    Returns
    -------
    list of Image
        One or more; the channels of a scan are images of their own, images that differ in
        nothing but their number are one movie.

    Raises
    ------
    FormatError
        One sentence, if it is missing, damaged, of an unknown format, or holds no image; if
        frames differ in size.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np, tifffile
    >>> tifffile.imwrite("movie.tif", np.zeros((3, 64, 96), np.uint16), photometric="minisblack")
    >>> images = al.read("movie.tif")
    >>> images[0].name, images[0].axes, images[0].data.shape
    ('movie.tif', 'tyx', (3, 64, 96))
    """
    if is_paths(path):
        files = [path_of(one) for one in path]
    elif isinstance(path, (str, Path)):
        whole = path_of(path)
        if not (whole.is_dir() and not is_store(whole)):
            return read_file(whole)
        files = find_files(whole)
        if not files:
            raise FormatError(f"{whole.name} is a folder without images.")
        check_names(files, printable(whole.name))
    else:
        raise FormatError("A path is needed, or a list of paths.")
    files = list(dict.fromkeys(files))
    return read_file(files[0]) if len(files) == 1 else read_series(files, read_file)


def read_file(path: Path) -> list[Image]:
    """Read every image and movie of one file; see :func:`read`."""
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
    return as_movies(_unique_names(images))


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
