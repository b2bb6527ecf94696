"""MATLAB files: arrays and structures of version 5 and of 7.3, which is HDF5 with axes turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, PixelSize, make_image, pixel_size, text_of, to_nm
from napari_atomlens.io.formats.guards import check_hdf5
from napari_atomlens.io.formats.nodes import Group, is_dataset, is_group
from napari_atomlens.untrusted import open_hdf5

#: Smaller arrays than this are parameters.
_MIN_SIDE = 16
#: Groups of 7.3 in which MATLAB keeps the cells and objects of others.
_INNER = ("#refs#", "#subsystem#")


class _Found:
    """Images of a file as they are met, and the classes of objects that cannot be read."""

    def __init__(self) -> None:
        self.images: list[Image] = []
        self.objects: list[str] = []

    def array(self, name: str, value: np.ndarray, size: PixelSize | None) -> None:
        """Take an array where it is an image or a movie; MATLAB puts the frames last."""
        if value.dtype.kind not in "buif" or value.ndim not in (2, 3):
            return
        if min(value.shape[:2]) < _MIN_SIDE:
            return
        if value.ndim == 3 and value.shape[2] not in (3, 4):
            value = np.moveaxis(value, -1, 0)
        self.images.append(make_image(name, value, size))


def read_mat(path: Path) -> list[Image]:
    """Read the images of a MATLAB file, those of StatSTEM with their pixel size.

    Raises
    ------
    FormatError
        If it holds objects of classes alone, whose layout is known to MATLAB only.
    """
    found = _Found()
    with path.open("rb") as file:
        new = file.read(10) == b"MATLAB 7.3"
    if new:
        check_hdf5(path)
        with open_hdf5(path) as root:
            _group(found, path.name, root, None)
    else:
        from scipy.io import loadmat

        _old(found, path.name, loadmat(path, simplify_cells=True), None)
    if not found.images and found.objects:
        kinds = ", ".join(dict.fromkeys(found.objects))
        raise FormatError(
            f"{path.name} holds saved objects of MATLAB ({kinds}), which only MATLAB can open; "
            "save the image in them as an array, for example with save('image.mat', 'obs')."
        )
    observed = [i for i in found.images if i.name.endswith(": obs")]
    return observed or found.images


def _old(found: _Found, name: str, value: object, size: PixelSize | None) -> None:
    if isinstance(value, dict):
        dx = to_nm(value.get("dx"), "angstrom") if "obs" in value else None
        for key, branch in value.items():
            if not str(key).startswith("__"):
                _old(found, f"{name}: {key}", branch, pixel_size(dx, dx) if key == "obs" else None)
    elif isinstance(value, np.ndarray) and {"s0", "s1", "s2"} <= set(value.dtype.names or ()):
        entry = value.ravel()[0] if value.size else None  # an object of a class
        found.objects.append("an object" if entry is None else text_of(entry["s2"]) or "an object")
    elif isinstance(value, np.ndarray):
        found.array(name, value, size)


def _group(found: _Found, name: str, group: Group, size: PixelSize | None) -> None:
    dx = None
    if "obs" in group and "dx" in group and is_dataset(step := group["dx"]):
        dx = to_nm(np.asarray(step[()]), "angstrom")
    for key in group:
        node = group[key]
        if key in _INNER:
            continue
        kind = text_of(node.attrs.get("MATLAB_class"))
        where = f"{name}: {key}"
        if "MATLAB_object_decode" in node.attrs:
            found.objects.append(kind or "an object")
        elif is_group(node):
            _group(found, where, node, None)
        elif is_dataset(node) and node.dtype.kind in "buif" and "MATLAB_empty" not in node.attrs:
            one = pixel_size(dx, dx) if key == "obs" else size
            found.array(where, np.asarray(node[()]).T, one)
