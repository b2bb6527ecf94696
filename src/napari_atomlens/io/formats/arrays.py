"""Plain arrays: NumPy, Nion Swift, MATLAB, text and MRC."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json
from napari_atomlens.image import (
    LAZY_BYTES,
    Image,
    make_image,
    number_of,
    pixel_size,
    to_nm,
    to_seconds,
)
from napari_atomlens.io.formats.facts import about, refuse_spectra
from napari_atomlens.untrusted import inside, parse_json, read_json

if TYPE_CHECKING:
    import dask.array as da

#: Smaller arrays than this beside others are parameters rather than images.
MIN_SIDE = 8


def read_npy(path: Path) -> list[Image]:
    """Read a ``.npy`` file, with the field of view of a ``.json`` file beside it."""
    lazy = path.stat().st_size > LAZY_BYTES
    data = np.load(path, mmap_mode="r" if lazy else None, allow_pickle=False)
    beside = _beside(path)
    image = make_image(path.name, data, _field_of_view(beside, data.shape), metadata=beside)
    return [image]


def read_npz(path: Path) -> list[Image]:
    """Read every image of a ``.npz`` archive; ``pixel_size_nm`` or ``field_nm`` calibrate it."""
    images: list[Image] = []
    with np.load(path, allow_pickle=False) as archive:
        arrays = {}
        for key in archive.files:
            try:
                arrays[key] = archive[key]
            except ValueError as error:
                if "pickle" not in str(error):
                    raise
    numbers = {k: a for k, a in arrays.items() if a.dtype.kind in "buif"}
    found = {k: a for k, a in numbers.items() if a.ndim >= 2 and min(a.shape[-2:]) >= MIN_SIDE}
    small = {k: a for k, a in numbers.items() if a.size <= 2 and a.size}
    step = number_of(small.get("time_step_s"))
    for key, array in found.items():
        size = None
        if "pixel_size_nm" in small:
            y, x = np.broadcast_to(small["pixel_size_nm"].astype(float), (2,))
            size = pixel_size(y, x)
        elif "field_nm" in small:
            height, width = np.broadcast_to(small["field_nm"].astype(float), (2,))
            size = pixel_size(height / array.shape[-2], width / array.shape[-1])
        name = path.name if len(found) == 1 else f"{path.name}: {key}"
        try:
            images.append(make_image(name, array, size, step))
        except FormatError:
            if len(found) == 1:
                raise
    if not images and arrays:
        raise FormatError(f"{path.name} holds no array that is an image.")
    return images


def read_nion(path: Path) -> list[Image]:
    """Read an image or movie of Nion Swift (a zip of ``data.npy`` and ``metadata.json``)."""
    import io
    import zipfile

    with zipfile.ZipFile(path) as archive:
        data = np.load(io.BytesIO(archive.read("data.npy")), allow_pickle=False)
        metadata = parse_json(archive.read("metadata.json"), path.name)
    return [nion_image(path.name, data, metadata)]


def nion_image(name: str, data: np.ndarray | da.Array, metadata: Json) -> Image:
    """Return an image with the calibrations that Nion Swift stores beside it."""
    axes = metadata.get("dimensional_calibrations") or metadata.get("spatial_calibrations") or []
    if len(axes) != data.ndim:
        axes = [{}] * data.ndim
    units = [str(a.get("units") or "") for a in axes]
    refuse_spectra(name, units)
    size = pixel_size(*(to_nm(a.get("scale"), a.get("units")) for a in axes[-2:]))
    step = to_seconds(axes[0].get("scale"), axes[0].get("units")) if data.ndim == 3 else None
    volts = number_of((metadata.get("metadata") or {}).get("instrument", {}).get("high_tension"))
    kept = about(
        title=metadata.get("title"), beam_energy_keV=volts / 1000 if volts else None,
        unit=(metadata.get("intensity_calibration") or {}).get("units"),
    )  # fmt: skip
    return make_image(name, data, size, step, kept, colour=False)


def _beside(path: Path) -> Json:
    file = path.with_suffix(".json")
    try:
        return read_json(inside(file.parent, file.name)) if file.is_file() else {}
    except (FormatError, OSError):  # of somebody else, or a name that is too long by a letter
        return {}


def _field_of_view(tree: object, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Find field_of_view_x, _y and _units anywhere in a JSON tree."""
    if not isinstance(tree, dict) or len(shape) < 2:
        return None
    if "field_of_view_x" in tree:
        unit = tree.get("field_of_view_units", "nm")
        width = to_nm(tree["field_of_view_x"], unit)
        height = to_nm(tree.get("field_of_view_y", tree["field_of_view_x"]), unit)
        if width and height:
            return pixel_size(height / shape[-2], width / shape[-1])
    for branch in tree.values():
        if size := _field_of_view(branch, shape):
            return size
    return None


def read_mrc(path: Path) -> list[Image]:
    """Read an MRC file; a stack or volume becomes a movie."""
    import mrcfile

    lazy = path.stat().st_size > LAZY_BYTES
    with path.open("rb") as raw:
        old = raw.read(212)[208:211] != b"MAP"  # the format had no such mark before 2000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is said below
        file = (mrcfile.mmap if lazy else mrcfile.open)(path, mode="r", permissive=old)
    with file:
        data = file.data
        if data is None:
            raise FormatError(f"{path.name} is not an MRC file, or it is damaged.")
        with np.errstate(all="ignore"):  # the cell may be zero
            voxel = file.voxel_size
        size = pixel_size(to_nm(voxel.y, "angstrom"), to_nm(voxel.x, "angstrom"))
        labels = [text for text in (str(label) for label in file.get_labels()) if text]
        if lazy:  # a map of our own, which outlives the file
            data = np.memmap(
                path, dtype=data.dtype, mode="r", shape=data.shape,
                offset=1024 + int(file.header.nsymbt),
            )  # fmt: skip
        else:
            data = np.array(data)
    return [make_image(path.name, data, size, metadata={"labels": labels}, colour=False)]
