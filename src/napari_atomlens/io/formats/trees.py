"""HDF5 and zarr: HyperSpy, Berkeley EMD, NeXus, AtomNet and plain arrays."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json
from napari_atomlens.image import (
    LAZY_BYTES,
    Image,
    lazy_frames,
    make_image,
    number_of,
    pixel_size,
    text_of,
    to_nm,
    to_seconds,
)
from napari_atomlens.io.formats.arrays import nion_image
from napari_atomlens.io.formats.dm5 import dm5_parts, is_dm5
from napari_atomlens.io.formats.emd import emd_parts, refuse_old_py4dstem
from napari_atomlens.io.formats.facts import about, heights_in_nm, refuse_spectra, when
from napari_atomlens.io.formats.guards import check_hdf5
from napari_atomlens.io.formats.nodes import (
    Dataset,
    Group,
    Load,
    address,
    dataset_in,
    group_in,
    is_dataset,
    is_group,
    several,
    walk,
)
from napari_atomlens.io.formats.vendors import read_vendor
from napari_atomlens.untrusted import check_links, open_hdf5, parse_json

if TYPE_CHECKING:
    import dask.array as da

#: Smaller arrays than this in a file of no known layout are parameters, not images.
MIN_SIDE = 8


def read_hdf5(path: Path) -> list[Image]:
    """Read an HDF5 file of a layout that we know, else its numeric datasets."""
    check_hdf5(path)
    with open_hdf5(path) as file:
        if "Data" in file and "Image" in file["Data"] and "Presentation" in file:
            velox = True
        else:
            velox = False
            images = _layouts(path, file, lambda dataset: _load_hdf5(path, dataset))
    if velox:
        return read_vendor(path)
    return images


def read_zarr(path: Path) -> list[Image]:
    """Read a zarr store (a folder or a zip file), also of HyperSpy and OME."""
    import zarr

    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise FormatError(f"{path.name} is not a zip file of zarr, or it is truncated.")
        with zarr.storage.ZipStore(path, mode="r") as store:
            root = zarr.open(store, mode="r")
            return _layouts(path, root, lambda array: np.asarray(_numeric(array)))  # type: ignore[arg-type]
    check_links(path)
    root = zarr.open(str(path), mode="r")
    if isinstance(root, zarr.Array):
        size, step = _attrs_calibration(dict(root.attrs))
        data = _load_zarr(root)  # type: ignore[arg-type]
        return [make_image(path.name, data, size, step)]
    return _layouts(path, root, _load_zarr)  # type: ignore[arg-type]


def _load_hdf5(path: Path, dataset: Dataset) -> np.ndarray | da.Array:
    if dataset.nbytes <= LAZY_BYTES or dataset.ndim != 3:
        return np.asarray(dataset[()])
    key = dataset.name

    def frame(i: int) -> np.ndarray:
        import h5py

        with h5py.File(path, "r") as file:
            return np.asarray(file[key][i])

    return lazy_frames(frame, dataset.shape, dataset.dtype)


def _numeric(array: Dataset) -> Dataset:
    """Return an array of numbers as it is; of others nothing is decoded (it may be a pickle)."""
    if array.dtype.kind not in "buifcV" or array.dtype.hasobject:
        raise FormatError(f"{array.name} holds no numbers, so it is no image.")
    return array


def _load_zarr(array: Dataset) -> np.ndarray | da.Array:
    array = _numeric(array)
    if array.nbytes <= LAZY_BYTES or array.ndim != 3:
        return np.asarray(array[...])
    import dask.array as da

    return da.from_array(array, chunks=(1, *array.shape[1:]))


def _layouts(path: Path, root: Group, load: Load) -> list[Image]:
    name = path.name
    refuse_old_py4dstem(name, root)
    if is_dm5(root):
        return several(name, dm5_parts(root, load))
    if "Experiments" in root:
        return _hyperspy(name, group_in(root, "Experiments"), load)
    if "data" in root and "properties" in (data := root["data"]).attrs and is_dataset(data):
        return [nion_image(name, load(data), _json(data.attrs["properties"]))]  # Nion Swift
    if "image_data" in root or "nn_input" in root:
        return _atomnet(name, root, load)
    nodes = list(walk(root))
    groups = [(p, n) for p, n in nodes if is_group(n)]
    if emd := emd_parts(groups, load):
        return several(name, emd)
    nexus = [(p, g) for p, g in groups if text_of(g.attrs.get("NX_class")) == "NXdata"]
    if found := _once((p, s) for p, g in nexus if (s := _nexus_signal(g)) is not None):
        return several(name, [(p, partial(_nexus, found=s, load=load)) for p, s in found])
    if ome := _ome_zarr(name, root, load):
        return ome
    datasets = [
        (p, partial(_plain, dataset=n, load=load)) for p, n in nodes
        if is_dataset(n) and n.dtype.kind in "buif" and len(n.shape) >= 2
        and sorted(n.shape)[-2] >= MIN_SIDE
    ]  # fmt: skip
    if not datasets:
        raise FormatError(f"{name} holds no dataset that is an image.")
    return several(name, datasets)


_Signal: TypeAlias = tuple[Group, Dataset]


def _once(found: Iterable[tuple[str, _Signal]]) -> list[tuple[str, _Signal]]:
    """Signals without the links to them."""
    kept: dict[str, tuple[str, _Signal]] = {}
    for where, (group, dataset) in found:
        kept.setdefault(address(dataset), (where, (group, dataset)))
    return list(kept.values())


def _plain(name: str, dataset: Dataset, load: Load) -> Image:
    size, step = _attrs_calibration(dict(dataset.attrs))
    if len(dataset.shape) > 3 and sorted(dataset.shape)[-4:][0] > 1:
        raise FormatError(
            f"{name} has {len(dataset.shape)} axes; an image has two and a movie three."
        )
    return make_image(name, load(dataset), size, step)


def _attrs_calibration(
    attrs: Mapping[str, object],
) -> tuple[tuple[float, float] | None, float | None]:
    """Pixel size and time step of attributes that our own programs and others write."""
    step = number_of(attrs.get("time_step_s"))
    for key, unit in (("pixel_size_nm", "nm"), ("pixel_size", attrs.get("pixel_size_unit"))):
        if key in attrs:
            try:
                y, x = np.broadcast_to(np.asarray(attrs[key], float), (2,))
            except (TypeError, ValueError):
                continue
            return pixel_size(to_nm(y, unit), to_nm(x, unit)), step
    if "element_size_um" in attrs:  # ImageJ and ilastik
        values = [to_nm(v, "um") for v in np.ravel(np.asarray(attrs["element_size_um"]))[-2:]]
        if len(values) == 2:
            return pixel_size(*values), step
    return None, step


# HyperSpy -----------------------------------------------------------------------------------


def _hyperspy(name: str, experiments: Group, load: Load) -> list[Image]:
    groups = [(k, group) for k in experiments if is_group(group := experiments[k])]
    parts = [(k, partial(_experiment, group=g, load=load)) for k, g in groups if "data" in g]
    if not parts:
        raise FormatError(f"{name} holds no signal of HyperSpy.")
    return several(name, parts)


def _experiment(name: str, group: Group, load: Load) -> Image:
    dataset = dataset_in(group, "data")
    axes = [
        dict(group[f"axis-{k}"].attrs) if f"axis-{k}" in group else {}
        for k in range(len(dataset.shape))
    ]
    navigate = [_true(a.get("navigate", False)) for a in axes]
    signal = len(navigate) - sum(navigate)
    if signal == 1 or len(navigate) > 3:
        raise FormatError(f"{name} holds {'spectra' if signal == 1 else 'diffraction'}, no image.")
    refuse_spectra(name, (a.get("units") for a in axes[-2:]))
    size = pixel_size(*(to_nm(a.get("scale"), a.get("units")) for a in axes[-2:]))
    step = to_seconds(axes[0].get("scale"), axes[0].get("units")) if len(axes) == 3 else None
    metadata: dict[str, object] = {}
    if "metadata" in group:
        for where, node in walk(group_in(group, "metadata")):
            if is_group(node):
                found = {k: v for k, v in node.attrs.items() if not k.startswith("_")}
                place = where.replace("/", ".")
                metadata |= {f"{place}.{k}".lstrip("."): _simple(v) for k, v in found.items()}
    kind = str(metadata.get("Signal.signal_type", ""))
    if re.search("diffraction|EELS|EDS|Luminescence", kind):
        raise FormatError(f"{name} holds {kind} data of HyperSpy, not an image.")
    data = load(dataset)
    unit = re.search(r"\(([^()]*)\)\s*$", str(metadata.get("Signal.quantity", "")))
    data, said = _in_nm(data, unit[1] if unit else "")
    metadata |= about(
        unit=said, title=metadata.get("General.title"),
        recorded=when(metadata.get("General.date"), metadata.get("General.time")),
        beam_energy_keV=number_of(metadata.get("Acquisition_instrument.TEM.beam_energy")),
    )  # fmt: skip
    return make_image(name, data, size, step, metadata, colour=False)


def _in_nm(data: np.ndarray | da.Array, unit: str) -> tuple[np.ndarray | da.Array, str]:
    return heights_in_nm(data, unit) if isinstance(data, np.ndarray) else (data, unit)


def _true(value: object) -> bool:
    return text_of(value).lower() in ("true", "1")


def _simple(value: object) -> int | float | str:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (int, float, bool)) else text_of(value)


# AtomNet and LibraryNet -----------------------------------------------------------------------


def _atomnet(name: str, root: Group, load: Load) -> list[Image]:
    images = []
    keys = [k for k in ("image_data", "nn_input") if k in root]
    for key in keys:
        dataset = dataset_in(root, key)
        metadata = _json(dataset.attrs.get("metadata"))
        field = None  # three conventions: number or JSON in picometres, text in nanometres
        if "scan size" in dataset.attrs:
            field = to_nm(dataset.attrs["scan size"], "pm")
        elif metadata:
            field = to_nm(metadata.get("scan size"), "pm")
        elif "metadata" in root:
            metadata = _json(dataset_in(root, "metadata")[()])
            field = to_nm(metadata.get("scan size"), "nm")
        data = load(dataset)
        if data.ndim == 4 and data.shape[-1] == 1:
            data = data[..., 0]
        size = pixel_size(field / data.shape[-1], field / data.shape[-1]) if field else None
        metadata.pop("all microscope parameters", None)
        title = name if len(keys) == 1 else f"{name}: {key}"
        images.append(make_image(title, data, size, metadata=metadata, colour=False))
    return images


def _json(text: object) -> Json:
    try:
        return {} if text is None else parse_json(text_of(text), "The metadata")
    except FormatError:  # the pixels are there nevertheless
        return {}


# NeXus ----------------------------------------------------------------------------------------


def _nexus_signal(group: Group) -> tuple[Group, Dataset] | None:
    """Return (group, dataset) of the default signal of an NXdata group."""
    key = text_of(group.attrs.get("signal"))
    if not key or key not in group:
        old = [k for k in group if text_of(getattr(group[k], "attrs", {}).get("signal")) == "1"]
        key = old[0] if old else ""
    dataset = group[key] if key else group
    if not is_dataset(dataset) or len(dataset.shape) < 2:
        return None
    return (group, dataset) if dataset.dtype.kind in "buif" else None


def _nexus(name: str, found: tuple[Group, Dataset], load: Load) -> Image:
    group, dataset = found
    if len(dataset.shape) > 3:
        raise FormatError(
            f"{name} has {len(dataset.shape)} axes; an image has two and a movie three."
        )
    if text_of(group.attrs.get("interpretation")).lower() == "spectrum":
        raise FormatError(f"{name} holds spectra, not images.")
    names = np.ravel(np.asarray(group.attrs.get("axes", dataset.attrs.get("axes", []))))
    axes = [text_of(a) for a in names]
    if len(axes) == 1:  # the older way: "y:x"
        axes = [a for part in axes[0].split(":") for a in part.split(",")]
    steps: list[tuple[float | None, str]] = []
    for k in range(len(dataset.shape)):
        named = k < len(axes) and axes[k] not in ("", ".") and axes[k] in group
        axis = group[axes[k]] if named else group
        values = np.ravel(np.asarray(axis[()])) if is_dataset(axis) else np.empty(0)
        if len(values) != dataset.shape[k] or len(values) < 2:
            steps.append((None, ""))
            continue
        unit = text_of(axis.attrs.get("units"))
        steps.append((abs(float(values[-1] - values[0])) / (len(values) - 1), unit))
    refuse_spectra(name, (u for _, u in steps[-2:]))
    size = pixel_size(*(to_nm(v, u) for v, u in steps[-2:]))
    time = to_seconds(*steps[0]) if len(steps) == 3 else None
    data, unit = _in_nm(load(dataset), text_of(dataset.attrs.get("units")))
    return make_image(name, data, size, time, about(unit=unit), colour=False)


# OME-Zarr -------------------------------------------------------------------------------------


def _ome_zarr(name: str, root: Group, load: Load) -> list[Image]:
    attrs = dict(root.attrs)
    ome = attrs.get("ome", attrs)
    scales = ome.get("multiscales") if isinstance(ome, dict) else None
    if not isinstance(scales, (list, tuple)) or not scales:
        return []
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales[0].get("axes", [])]
    first = scales[0]["datasets"][0]
    given = [t["scale"] for t in first.get("coordinateTransformations", []) if "scale" in t]
    scale = given[0] if given else [None] * len(axes)
    size = step = None
    if len(axes) >= 2 and len(scale) == len(axes):
        size = pixel_size(*(to_nm(scale[k], axes[k].get("unit")) for k in (-2, -1)))
        times = [k for k, a in enumerate(axes) if a.get("type") == "time" or a["name"] == "t"]
        if times:
            step = to_seconds(scale[times[0]], axes[times[0]].get("unit"))
    return [make_image(name, load(dataset_in(root, first["path"])), size, step, colour=False)]
