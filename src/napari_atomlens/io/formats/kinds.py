"""Kinds of files: the one list of suffixes, readers, contents."""

from __future__ import annotations

from pathlib import Path

from napari_atomlens.errors import FormatError

#: Extension to kind of file.
KINDS = {
    ".tif": "tiff", ".tiff": "tiff", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg",
    ".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".hspy": "hdf5",
    ".nxs": "hdf5", ".emd": "hdf5", ".mrc": "mrc", ".mrcs": "mrc", ".zarr": "zarr",
    ".zspy": "zarr", ".dm3": "dm3", ".dm4": "dm4", ".ser": "ser", ".emi": "emi",
    ".sxm": "sxm", ".gwy": "gwy", ".ibw": "ibw", ".dat": "createc", ".txt": "text",
    ".mat": "mat", ".sm4": "sm4", ".mtrx": "mtrx", ".ndata": "nion", ".ndata1": "nion",
}  # fmt: skip
#: What the user calls each kind, and the function (module, name) that reads it.
READERS: dict[str, tuple[str, str, str]] = {
    "tiff": ("a TIFF file", "pictures", "read_tiff"),
    "png": ("a PNG file", "pictures", "read_picture"),
    "jpeg": ("a JPEG file", "pictures", "read_picture"),
    "npy": ("a NumPy file", "arrays", "read_npy"),
    "npz": ("a NumPy archive", "arrays", "read_npz"),
    "mat": ("a MATLAB file", "arrays", "read_mat"),
    "text": ("a table of heights", "arrays", "read_text"),
    "mrc": ("an MRC file", "arrays", "read_mrc"),
    "zarr": ("a zarr store", "trees", "read_zarr"),
    "hdf5": ("an HDF5 file", "trees", "read_hdf5"),
    "dm3": ("a DigitalMicrograph file", "vendors", "read_vendor"),
    "dm4": ("a DigitalMicrograph file", "vendors", "read_vendor"),
    "ser": ("a TIA series", "vendors", "read_vendor"),
    "emi": ("a TIA file", "vendors", "read_vendor"),
    "sxm": ("a Nanonis scan", "probes", "read_sxm"),
    "gwy": ("a Gwyddion file", "probes", "read_gwy"),
    "ibw": ("an Igor wave", "probes", "read_ibw"),
    "createc": ("a Createc scan", "probes", "read_createc"),
    "sm4": ("an RHK file", "rhk", "read_sm4"),
    "mtrx": ("an Omicron MATRIX file", "probes", "read_mtrx"),
    "nion": ("a Nion Swift file", "arrays", "read_nion"),
}
#: Kinds whose first bytes are always known; a file without them is something else.
_SIGNED = {
    "tiff", "png", "jpeg", "npy", "npz", "hdf5", "mrc", "dm3", "dm4", "ser", "emi", "sxm",
    "gwy", "createc", "sm4", "mtrx",
}  # fmt: skip
#: Contents that an extension may also have.
_ALSO = {
    ("mat", "hdf5"), ("dm3", "dm4"), ("dm4", "dm3"), ("zarr", "npz"), ("png", "jpeg"),
    ("jpeg", "png"), ("nion", "npz"),
}  # fmt: skip


def sniff(head: bytes) -> str | None:
    """Return the kind of a file from its first 512 bytes, None where they do not say."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    for magic, kind in (
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"\x93NUMPY", "npy"),
        (b"PK\x03\x04", "npz"),
        (b"\x89HDF\r\n\x1a\n", "hdf5"),
        (b"\0\0\0\x03", "dm3"),
        (b"\0\0\0\x04", "dm4"),
        (b"II\x97\x01", "ser"),
        (b"JK\0\x02", "emi"),
        (b":NANONIS_VERSION:", "sxm"),
        (b"GWYP", "gwy"),
        (b"GWYO", "gwy"),
        (b"[Paramco", "createc"),
        (b"MATLAB", "mat"),
        (b"ONTMATRX", "mtrx"),
    ):
        if head.startswith(magic):
            return kind
    if head[2:16] == "STiMage".encode("utf-16-le"):
        return "sm4"
    return "mrc" if head[208:212] in (b"MAP ", b"MAP\0") else None


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr store rather than a folder of files."""
    named = KINDS.get(path.suffix.lower()) == "zarr"
    return named or any((path / f).exists() for f in (".zarray", ".zgroup", "zarr.json"))


def kind_of(path: Path) -> str:
    """Return the kind of a file or folder that is there.

    Raises
    ------
    FormatError
        If it is missing, empty, of no known kind, or not what its extension says.
    """
    name, extension = path.name, path.suffix.lower()
    named = KINDS.get(extension)
    if name.lower().endswith("_mtrx"):  # image.Z_mtrx: the channel is in the extension
        named = "mtrx"
    if not path.exists():
        raise FormatError(f"{name} does not exist.")
    if path.is_dir():
        if is_store(path):
            return "zarr"
        raise FormatError(f"{name} is a folder, not an image.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise FormatError(f"{name} could not be opened: {error.strerror}.") from error
    if not head:
        raise FormatError(f"{name} is empty (zero bytes).")
    found = sniff(head)
    if named is None and found is None:
        raise FormatError(f"{name} is of a format that napari-atomlens does not read.")
    if named is None or (named, found) in _ALSO:
        return named if named in ("zarr", "nion") else str(found)
    if found is not None and found != named:
        raise FormatError(
            f"{name} is called {extension} but holds {READERS[found][0]}; rename it, then open it."
        )
    if found is None and named in _SIGNED and not (named == "mrc" and len(head) == 512):
        raise FormatError(f"{name} is not {READERS[named][0]}, or its start is damaged.")
    return named
