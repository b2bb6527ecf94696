"""Atoms for other programs, and back: CSV, Parquet, ASE (extended XYZ, CIF), HyperSpy, Atomap.

ASE, HyperSpy and Atomap are imported when they are asked for; none of them is needed by
the rest. In structures (ASE and its files) lengths are in ångström, x points right and y
up, so that nothing is mirrored; in everything else y points down, as in the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens.elements import SYMBOLS
from napari_atomlens.errors import CalibrationError, FormatError, ParameterError, TableError
from napari_atomlens.files import new_file_beside, user_file, write_whole
from napari_atomlens.image import PixelSize, check_pixel_size
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.io.formats.atoms import CARRIED, UNKNOWN, join_names, optional_library
from napari_atomlens.tables import check_table, need_columns
from napari_atomlens.untrusted import path_of

if TYPE_CHECKING:
    from ase import Atoms
    from atomap.api import Atom_Lattice
    from hyperspy.signals import BaseSignal

_ELEMENTS = frozenset(SYMBOLS[:92])
#: Empty space above and below the atoms of a structure, in nm.
_VACUUM_NM = 1.0


def checked(atoms: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return a table of atoms with their frames, where its positions can be used.

    Raises
    ------
    TableError
        If a column is missing (positions in pixels by default) or a position is no number.
    """
    needed = columns or ("y_px", "x_px")
    table = check_table(atoms, needed, places="y_px" in needed)
    if not np.isfinite(table[list(needed)].to_numpy(float)).all():
        raise TableError("Some atoms have no position (it is not a finite number).")
    return table if "frame" in table else table.assign(frame=0)


def _in_nm(atoms: pd.DataFrame, pixel_size_nm: tuple[float, float] | None) -> pd.DataFrame:
    """Atoms with their positions in nm, from the pixel size where it is given."""
    need_columns(atoms, (), "atoms")
    if pixel_size_nm is not None:
        atoms = checked(atoms)
        y, x = pixel_size_nm
        atoms = atoms.assign(y_nm=atoms["y_px"] * y, x_nm=atoms["x_px"] * x)
    if not {"y_nm", "x_nm"} <= set(atoms) or (len(atoms) and atoms["y_nm"].isna().all()):
        raise TableError(
            "The pixel size is not known; calibrate the image first, or give the pixel size."
        )
    return checked(atoms, "y_nm", "x_nm")


def _box(size_nm: object) -> tuple[float, float] | None:
    """Height and width of an image, checked as the size of a pixel is."""
    try:
        return check_pixel_size(size_nm)
    except CalibrationError:
        raise CalibrationError("The size of the image must be (height, width), in nm.") from None


def element_of(species: str) -> str:
    """Return the chemical element that a species names, "X" where it names none."""
    return species if species in _ELEMENTS else UNKNOWN


# Tables ---------------------------------------------------------------------------------------


def write_atoms(
    path: str | Path,
    atoms: pd.DataFrame,
    *,
    pixel_size_nm: float | PixelSize | None = None,
    elements: Mapping[str, str] | None = None,
    size_nm: tuple[float, float] | None = None,
) -> Path:
    """Write a table of atoms; the extension says how.

    Parameters
    ----------
    path : path
        ``.csv``, ``.parquet``, ``.xyz`` or ``.extxyz`` (extended XYZ), ``.cif`` (the first
        frame), or ``.npz`` (arrays of coordinates as AtomAI has them).
    atoms : pandas.DataFrame
    pixel_size_nm, elements, size_nm
        For structures, see :func:`to_ase`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FormatError
        If the extension is none of these, or the file cannot be written.
    TableError
        If a structure is asked for and the pixel size is not known.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> _, truth = al.simulate("honeycomb", (64, 64), 10.0)
    >>> atoms = truth.atoms()
    >>> al.write_atoms("sheet.csv", atoms).name
    'sheet.csv'
    >>> len(al.read_atoms("sheet.csv")) == len(truth.y)
    True
    """
    target = path_of(path)
    kind = target.suffix.lower()
    if kind not in (".csv", ".parquet", ".xyz", ".extxyz", ".cif", ".npz"):
        raise FormatError(f"Atoms cannot be written as {kind or 'a file without extension'}.")
    with user_file(target):
        if kind in (".csv", ".parquet"):
            write_table(target, atoms)
        elif kind == ".npz":
            arrays = {str(f): a for f, a in to_atomai(atoms).items()}
            write_whole(target, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
        else:
            structures = to_ase(
                atoms, pixel_size_nm=pixel_size_nm, elements=elements, size_nm=size_nm
            )
            write = optional_library("ase.io", "ase").write
            first, form = (1, "cif") if kind == ".cif" else (None, "extxyz")
            with new_file_beside(target) as fresh:
                write(str(fresh), structures[:first], format=form)
    return target


# Structures -----------------------------------------------------------------------------------


def to_ase(
    atoms: pd.DataFrame,
    *,
    pixel_size_nm: float | PixelSize | None = None,
    elements: Mapping[str, str] | None = None,
    size_nm: tuple[float, float] | None = None,
) -> list[Atoms]:
    """Return the atoms of every frame as an ``ase.Atoms``, in ångström, y upwards.

    Parameters
    ----------
    atoms : pandas.DataFrame
        With positions in nm, or in pixels and `pixel_size_nm`.
    pixel_size_nm : tuple of float, optional
        (y, x).
    elements : mapping of str to str, optional
        Element of each species; a species that is the name of an element is that element.
    size_nm : tuple of float, optional
        Height and width of the image, which become the cell; without it, those of the atoms.

    Returns
    -------
    list of ase.Atoms
        One per frame, z = 0, with a vacuum of 1 nm; ``arrays`` has the number of the species and
        what was measured, ``info`` what :func:`from_ase` needs to come back.
    """
    structure = optional_library("ase", "ase").Atoms
    size, box = check_pixel_size(pixel_size_nm), _box(size_nm)
    if not isinstance(elements, Mapping | None):
        raise ParameterError("elements must be a dictionary of species and elements.")
    table = _in_nm(atoms, size)
    out = []
    for frame in np.unique(table["frame"].to_numpy()):
        here = table[table["frame"] == frame]
        y, x = here["y_nm"].to_numpy(float), here["x_nm"].to_numpy(float)
        height, width = box or (float(y.max()), float(x.max()))
        names = here["species"].astype(str).to_list() if "species" in here else [""] * len(here)
        symbols = [element_of(str((elements or {}).get(n) or n)) for n in names]
        found = structure(
            symbols=symbols, positions=10 * np.c_[x, height - y, np.zeros(len(x))],
            cell=10 * np.array([max(width, 0.1), max(height, 0.1), _VACUUM_NM]), pbc=False,
        )  # fmt: skip
        # names may hold spaces, which columns of XYZ files may not
        kinds, kind = np.unique(names, return_inverse=True)
        found.set_array("kind", kind.astype(np.int64))
        for column in CARRIED:
            if column in here:
                found.set_array(column, here[column].to_numpy(copy=True))
        found.info.update(frame=int(frame), height_nm=height, kinds=join_names(kinds.tolist()))
        if size is not None:
            found.info.update(pixel_y_nm=size[0], pixel_x_nm=size[1])
        out.append(found)
    return out


# Arrays and objects of other programs ---------------------------------------------------------


def to_atomai(atoms: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return coordinates as AtomAI has them.

    Returns
    -------
    dict of int to ndarray, shape (n, 3)
        By frame: row, column in pixels, and the number of the class (species in the order
        of the alphabet).
    """
    table = checked(atoms)
    names = table["species"].astype(str) if "species" in table else pd.Series("", table.index)
    classes = names.map({n: k for k, n in enumerate(sorted(names.unique()))})
    rows = np.c_[table["y_px"], table["x_px"], classes.to_numpy(float)]
    frames = table["frame"].to_numpy()
    return {int(f): rows[frames == f] for f in np.unique(frames)}


def to_hyperspy(
    image: np.ndarray, atoms: pd.DataFrame, pixel_size_nm: float | PixelSize | None = None
) -> BaseSignal:
    """Return an image or movie as a ``hyperspy.signals.Signal2D`` with a marker on every atom.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (T, H, W)
    atoms : pandas.DataFrame
    pixel_size_nm : tuple of float, optional
        (y, x); the axes are in pixels without it.

    Returns
    -------
    hyperspy.signals.Signal2D
        The markers are permanent: they are saved with the signal.
    """
    api = optional_library("hyperspy.api", "hyperspy")
    table = checked(atoms)
    signal = api.signals.Signal2D(np.asarray(image))
    size = check_pixel_size(pixel_size_nm) or (1.0, 1.0)
    for axis, scale in zip(signal.axes_manager.signal_axes, size[::-1], strict=True):
        axis.scale = scale
        axis.units = "nm" if pixel_size_nm else "px"
    frames = table["frame"].to_numpy()
    offsets = table[["x_px", "y_px"]].to_numpy(float) * np.array(size[::-1])
    places: np.ndarray = offsets
    if signal.data.ndim == 3:
        places = np.empty(len(signal.data), dtype=object)
        for f in range(len(places)):
            places[f] = offsets[frames == f]
    points = api.plot.markers.Points(offsets=places, sizes=4, facecolors="none", edgecolors="red")
    signal.add_marker(points, permanent=True, plot_marker=False)
    return signal


def to_atomap(
    image: np.ndarray, atoms: pd.DataFrame, pixel_size_nm: float | PixelSize | None = None
) -> Atom_Lattice:
    """Return one frame as an ``atomap.Atom_Lattice`` with a sublattice per species.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame
        Of one frame.
    pixel_size_nm : tuple of float, optional
        Pixels must be square.

    Returns
    -------
    atomap.api.Atom_Lattice
    """
    api = optional_library("atomap.api", "atomap")
    table = checked(atoms)
    if table["frame"].nunique() > 1:
        raise TableError("Atomap takes one frame at a time.")
    y, x = check_pixel_size(pixel_size_nm) or (1.0, 1.0)
    if abs(y / x - 1) > 1e-3:
        raise TableError("Atomap knows square pixels only; resample the image first.")
    names = table["species"].astype(str) if "species" in table else pd.Series("", table.index)
    sublattices = []
    for name in sorted(names.unique()):
        here = table.loc[names == name, ["x_px", "y_px"]].to_numpy(float)
        sublattices.append(
            api.Sublattice(
                here, image=np.asarray(image), name=name or "atoms", pixel_size=x,
                units="nm" if pixel_size_nm else "pixels",
            )
        )  # fmt: skip
    return api.Atom_Lattice(image=np.asarray(image), sublattice_list=sublattices)
