"""Kinds of files: THE list of suffixes, readers, contents; all that is said of suffixes is here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image
from napari_atomlens.io.formats import aarhus, gsf
from napari_atomlens.io.formats.aarhus import read_mul
from napari_atomlens.io.formats.arrays import (
    read_mrc,
    read_nion,
    read_npy,
    read_npz,
)
from napari_atomlens.io.formats.createc import read_createc
from napari_atomlens.io.formats.gsf import read_gsf
from napari_atomlens.io.formats.matlab import read_mat
from napari_atomlens.io.formats.matrices import looks_like_matrix, read_matrix
from napari_atomlens.io.formats.nanonis import read_sxm
from napari_atomlens.io.formats.pictures import read_picture, read_tiff
from napari_atomlens.io.formats.probes import read_gwy, read_ibw, read_mtrx
from napari_atomlens.io.formats.rhk import read_sm4
from napari_atomlens.io.formats.trees import read_hdf5, read_zarr
from napari_atomlens.io.formats.vendors import read_vendor


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name : str
    words : str
        What the user calls it.
    suffixes : tuple of str
        In lower case.
    read : callable
        Reads every image and movie of such a file.
    technique : str
        "STM" where only scanning probe microscopes write it, else "".
    signed : bool
        Its first bytes are always known; a file without them is something else.
    also : tuple of str
        Names of kinds whose content its suffixes may have as well.
    zipped : bool
        It may be a ZIP archive as well.
    common : tuple of str
        Those of its suffixes that many other programs use: only the content says whether such a
        file is ours to open in napari.
    left_to_napari : tuple of str
        Those of its suffixes that are not in our manifest, as napari opens them itself.
    """

    name: str
    words: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], list[Image]]
    technique: str = ""
    signed: bool = False
    also: tuple[str, ...] = ()
    zipped: bool = False
    common: tuple[str, ...] = ()
    left_to_napari: tuple[str, ...] = ()


KINDS = (
    Kind("tiff", "a TIFF file", (".tif", ".tiff"), read_tiff, signed=True),
    # pictures more often than measurements
    Kind("png", "a PNG file", (".png",), read_picture, signed=True, also=("jpeg",),
         left_to_napari=(".png",)),
    Kind("jpeg", "a JPEG file", (".jpg", ".jpeg"), read_picture, signed=True, also=("png",),
         left_to_napari=(".jpg", ".jpeg")),
    Kind("npy", "a NumPy file", (".npy",), read_npy, signed=True, common=(".npy",)),
    Kind("npz", "a NumPy archive", (".npz",), read_npz, signed=True, zipped=True,
         common=(".npz",)),
    Kind("hdf5", "an HDF5 file", (".h5", ".hdf5", ".hspy", ".nxs", ".emd", ".dm5"),
         read_hdf5, signed=True, common=(".h5", ".hdf5")),
    Kind("mrc", "an MRC file", (".mrc", ".mrcs"), read_mrc, signed=True),
    Kind("zarr", "a zarr store", (".zarr", ".zspy"), read_zarr, zipped=True,
         left_to_napari=(".zarr",)),
    Kind("dm3", "a DigitalMicrograph file", (".dm3",), read_vendor, signed=True, also=("dm4",)),
    Kind("dm4", "a DigitalMicrograph file", (".dm4",), read_vendor, signed=True, also=("dm3",)),
    Kind("ser", "a TIA series", (".ser",), read_vendor, signed=True),
    Kind("emi", "a TIA file", (".emi",), read_vendor, signed=True),
    Kind("sxm", "a Nanonis scan", (".sxm",), read_sxm, "STM", signed=True),
    Kind("gwy", "a Gwyddion file", (".gwy",), read_gwy, "STM", signed=True),
    Kind("gsf", "a Gwyddion Simple Field", (".gsf",), read_gsf, "STM", signed=True),
    Kind("mul", "an Aarhus file", (".mul",), read_mul, "STM", signed=True),
    Kind("ibw", "an Igor wave", (".ibw",), read_ibw, "STM"),
    Kind("createc", "a Createc scan", (".dat",), read_createc, "STM", signed=True,
         common=(".dat",)),
    Kind("sm4", "an RHK file", (".sm4",), read_sm4, "STM", signed=True),
    # of a scan NAME--1_1.Z_mtrx the channel is in the suffix
    Kind("mtrx", "an Omicron MATRIX file", (".mtrx", "_mtrx"), read_mtrx, "STM", signed=True),
    Kind("text", "an image in text", (".txt", ".asc", ".csv", ".tsv"), read_matrix,
         common=(".txt", ".asc", ".csv", ".tsv")),
    Kind("mat", "a MATLAB file", (".mat",), read_mat, also=("hdf5",), common=(".mat",)),
    Kind("nion", "a Nion Swift file", (".ndata", ".ndata1"), read_nion, zipped=True),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}
#: Suffix to kind of file; "_mtrx" is the end of many.
SUFFIXES = {suffix: kind for kind in KINDS for suffix in kind.suffixes}

#: First bytes of kinds of files; the content of a ZIP archive is not looked at.
_SIGNATURES = (
    (b"II*\0", "tiff"), (b"MM\0*", "tiff"), (b"II+\0", "tiff"), (b"MM\0+", "tiff"),
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"), (b"\x89HDF\r\n\x1a\n", "hdf5"), (b"\0\0\0\x03", "dm3"),
    (b"\0\0\0\x04", "dm4"), (b"II\x97\x01", "ser"), (b"JK\0\x02", "emi"),
    (b":NANONIS_VERSION:", "sxm"), (b"GWYP", "gwy"), (b"GWYO", "gwy"), (b"[Paramco", "createc"),
    (b"[Paramet32]", "createc"), (b"[Parameter]", "createc"), (gsf.MAGIC, "gsf"),
    (aarhus.MAGIC, "mul"),
    (b"MATLAB", "mat"), (b"ONTMATRX", "mtrx"),
)  # fmt: skip


def sniff(head: bytes) -> Kind | None:
    """Return the kind of a file from its first 512 bytes, None where they do not say."""
    for magic, name in _SIGNATURES:
        if head.startswith(magic):
            return BY_NAME[name]
    if head[2:16] == "STiMage".encode("utf-16-le"):
        return BY_NAME["sm4"]
    return BY_NAME["mrc"] if head[208:212] in (b"MAP ", b"MAP\0") else None


def named(path: str | Path) -> Kind | None:
    """Return the kind that the name of a file says, None where it says none that we read."""
    name = (path if isinstance(path, Path) else Path(path)).name.lower()
    if name.endswith("_mtrx"):
        return SUFFIXES.get("_mtrx")
    # as pathlib's suffix, which is slow for folders of thousands
    stem, dot, end = name.rpartition(".")
    return SUFFIXES.get(f".{end}") if dot and stem and end else None


def technique_of(path: str | Path) -> str:
    """Return "STM" for a file of a scanning probe program, "" where its name does not tell."""
    kind = named(path)
    return "" if kind is None else kind.technique


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr store rather than a folder of files."""
    if not path.is_dir():
        return False
    marked = any((path / f).exists() for f in (".zarray", ".zgroup", "zarr.json"))
    return marked or named(path) is BY_NAME["zarr"]


def is_image_file(path: Path) -> bool:
    """Whether a file of a folder, or a folder that is a store, is an image to be analysed.

    Parts of others are none: the parameters of an Omicron scan, and the head of TIA series
    where the series are there, which are analysed one by one. Hidden files are none either.
    """
    kind = named(path)
    if path.name.startswith((".", "~")):
        return False
    if kind is None or kind.name == "zarr":
        return is_store(path) or (kind is not None and path.is_file())
    if kind.name == "mtrx":
        return not re.search(r"_\d{4}\.mtrx$", path.name, re.IGNORECASE)
    if kind.name == "emi":
        return not any(path.parent.glob(f"{escape(path.stem)}_[0-9]*.ser"))
    if not path.is_file():  # a pipe would be waited for
        return False
    # lists of atoms and notes lie beside images
    return kind.name != "text" or looks_like_matrix(path)


def find_files(folder: Path, *, subfolders: bool = False) -> list[Path]:
    """Return the images of a folder that are to be analysed, in the order of their names.

    What cannot be looked at (a link to itself, a folder that nobody may read) is left out.

    Parameters
    ----------
    folder : pathlib.Path
    subfolders : bool
        Those in its folders, too; not in folders of results, hidden ones, and links.

    Raises
    ------
    OSError
        If the folder itself cannot be read.
    """
    found, inside = [], []
    for path in sorted(folder.iterdir(), key=str):
        with contextlib.suppress(OSError):
            if is_image_file(path):
                found.append(path)
            elif subfolders and is_searched(path):
                inside.append(path)
    for path in inside:
        with contextlib.suppress(OSError):
            found += find_files(path, subfolders=True)
    return found


def is_searched(path: Path) -> bool:
    """Whether a folder in a folder may hold images, and is none and no results of ours."""
    if path.name.startswith((".", "~")) or path.is_symlink() or not path.is_dir():
        return False
    ours = ("run.json", "batch.json", "atomlens_watch.sqlite")
    return not is_store(path) and not any((path / name).exists() for name in ours)


def kind_of(path: Path) -> Kind:
    """Return the kind of a file or folder that is there.

    Raises
    ------
    FormatError
        If it is missing, empty, of no known kind, or not what its extension says.
    """
    name, said = path.name, named(path)
    try:
        if not path.exists():
            raise FormatError(f"{name} does not exist.")
        if path.is_dir():
            if is_store(path):
                return BY_NAME["zarr"]
            raise FormatError(f"{name} is a folder, not an image.")
        if not path.is_file():  # a pipe or a device has no end
            raise FormatError(f"{name} is no file.")
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise FormatError(f"{name} could not be opened: {error.strerror}.") from error
    if not head:
        raise FormatError(f"{name} is empty (zero bytes).")
    found = sniff(head)
    if said is None and found is None:
        raise FormatError(f"{name} is of a format that napari-atomlens does not read.")
    if said is None or (found is not None and found.name in said.also):
        assert found is not None
        return found
    if found is not None and found is not said and not (found.name == "npz" and said.zipped):
        raise FormatError(
            f"{name} is called {path.suffix.lower()} but holds {found.words}; rename it, then "
            "open it."
        )
    if found is None and said.signed and not (said.name == "mrc" and len(head) == 512):
        raise FormatError(f"{name} is not {said.words}, or its start is damaged.")
    return said
