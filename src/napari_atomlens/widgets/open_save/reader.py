"""What napari asks of a reader plugin: layers of a file; no napari import here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_atomlens import io, session
from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image
from napari_atomlens.io.formats import positions
from napari_atomlens.io.formats.choice import name_in_file
from napari_atomlens.io.formats.kinds import find_files, is_store, kind_of, named
from napari_atomlens.io.formats.matrices import looks_like_matrix
from napari_atomlens.io.formats.readers import read
from napari_atomlens.io.formats.series import check_names
from napari_atomlens.widgets.open_save.beside import beside

if TYPE_CHECKING:
    from napari_atomlens.session.project import Workspace

LayerTuple = tuple[Any, dict[str, Any], str]


def get_reader(
    path: str | Path | Sequence[str | Path],
) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the function that opens a file, None where the file is not for us.

    Parameters
    ----------
    path : path or list of path
        Several files, or a folder of them, are the frames of one movie (napari hands over a list
        only where they are to be opened as a stack).

    Returns
    -------
    callable or None
        Takes the path, returns layer tuples.
    """
    paths = _paths(path)
    if len(paths) == 1 and paths[0].suffix.lower() == ".atomlens" and paths[0].is_dir():
        return read_project
    return read_layers if paths and all(_ours(p) for p in paths) else None


def _paths(path: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path)] if isinstance(path, (str, Path)) else [Path(p) for p in path]


def _ours(path: Path) -> bool:
    said = named(path)
    if path.is_dir() and not is_store(path):
        return _is_movie(path)
    if path.is_dir() or said is None or not path.exists():
        return said is not None and is_store(path)
    if path.suffix.lower() not in said.common:
        return True  # if it is damaged, our sentence says so
    try:
        kind = kind_of(path)
    except FormatError:
        return False
    return kind.name != "text" or looks_like_matrix(path)


def _is_movie(folder: Path) -> bool:
    """Whether a folder holds the frames of a movie, one in each file."""
    try:
        files = find_files(folder)
        check_names(files, folder.name)
    except (OSError, FormatError):
        return False
    return len(files) > 1


def read_project(path: str | Path) -> list[LayerTuple]:
    """Open a project for napari: its layers, and the lock that they hold together.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    return layers_of(beside(lambda: session.load_opened(path)))


def layers_of(space: Workspace) -> list[LayerTuple]:
    """Return the layers of a project that was read; what is to be said is a warning."""
    for message in space.messages:
        warnings.warn(message, stacklevel=3)
    return space.layers


def get_atoms_reader(
    path: str | Path | Sequence[str | Path],
) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the function that opens a table of atoms, None where the file is none.

    Parameters
    ----------
    path : path or list of path

    Returns
    -------
    callable or None
        Takes the path, returns layer tuples.
    """
    paths = _paths(path)
    return read_atoms_layers if paths and all(_is_atoms(p) for p in paths) else None


def _is_atoms(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() in positions.TEXTS:  # anybody's
        return is_own_table(path) or positions.looks_like_positions(path)
    return True


def is_own_table(path: Path) -> bool:
    """Whether a text is a table of atoms as we write it: it has our columns."""
    with path.open("rb") as file:
        columns = set(file.readline(4000).decode("utf-8", "replace").strip().split(","))
    return {"y_px", "x_px"} <= columns or {"y_nm", "x_nm"} <= columns


def read_atoms_layers(path: str | Path | Sequence[str | Path]) -> list[LayerTuple]:
    """Read tables of atoms as points layers: in pixels where they are known, else in nm.

    Raises
    ------
    FormatError
        One sentence, if a file cannot be read.
    """
    return [atoms_layer(io.read_atoms(p), p) for p in _paths(path)]


def atoms_layer(atoms: Any, path: Path) -> LayerTuple:
    """Return a table of atoms as the layer tuple that shows it."""
    import numpy as np

    in_pixels = {"y_px", "x_px"} <= set(atoms)
    places = ["y_px", "x_px"] if in_pixels else ["y_nm", "x_nm"]
    movie = "frame" in atoms and atoms["frame"].nunique() > 1
    scale, units = [1.0, 1.0], ["pixel", "pixel"]
    if not in_pixels:
        units = ["nm", "nm"]
    elif (size := io.pixel_size_in(atoms)) is not None:
        scale, units = list(size), ["nm", "nm"]
    columns = ["frame", *places] if movie else places
    keywords = {
        "name": path.name,
        "features": atoms,
        "scale": ([1.0] if movie else []) + scale,
        "units": (["pixel"] if movie else []) + units,
        "axis_labels": ("t", "y", "x") if movie else ("y", "x"),
        "face_color": "transparent",
        "border_color": "red",
        "size": 6,
        "metadata": {"file": {"path": str(path)}},
    }
    return np.array(atoms[columns], dtype=float), keywords, "points"


def read_layers(path: str | Path | Sequence[str | Path]) -> list[LayerTuple]:
    """Read files as layer tuples.

    Parameters
    ----------
    path : path or list of path
        Several files, or a folder of them, are the frames of one movie.

    Returns
    -------
    list of tuple
        (data, keyword arguments of ``napari.layers.Image``, "image").

    Raises
    ------
    FormatError
        One sentence, if a file cannot be read.
    """
    paths, layers = _paths(path), []
    images = read(paths if len(paths) > 1 else paths[0])
    names = [name_in_file(image.name) for image in images]
    for index, image in enumerate(images):
        data, keywords, kind = layer_tuple(image, paths[0])
        if index:  # the first is shown; a scan may bring 18 channels
            keywords["visible"] = False
        if len(images) > 1:
            keywords["metadata"]["file"] |= {"image": names[index], "images": names}
        layers.append((data, keywords, kind))
    return layers


def layer_tuple(image: Image, path: str | Path | None = None) -> LayerTuple:
    """Return an image as the layer tuple that shows it in nanometres and seconds."""
    calibrated = image.pixel_size_nm is not None
    scale: tuple[float, ...] = image.pixel_size_nm or (1.0, 1.0)
    units: tuple[str, ...] = ("nm", "nm") if calibrated else ("pixel", "pixel")
    if image.axes == "tyx":
        timed = image.time_step_s is not None
        scale = (image.time_step_s or 1.0, *scale)
        units = ("s" if timed else "pixel", *units)
    metadata = {
        "file": {} if path is None or "files" in image.metadata else {"path": str(path)},
        "pixel_size_nm": image.pixel_size_nm,
        "time_step_s": image.time_step_s,
        **image.metadata,
    }
    keywords: dict[str, Any] = {
        "name": image.name,
        "scale": scale,
        "units": units,
        "axis_labels": tuple(image.axes),
        "metadata": metadata,
    }
    if "files" in image.metadata:  # napari would keep every frame that was looked at
        keywords["cache"] = False
    return image.data, keywords, "image"
