"""Files of electron microscopes through RosettaSciIO, an optional GPL library."""

from __future__ import annotations

import logging
import math
from glob import escape
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json
from napari_atomlens.image import (
    LAZY_BYTES,
    Image,
    is_lazy,
    make_image,
    number_of,
    pixel_size,
    text_of,
    to_nm,
    to_seconds,
)
from napari_atomlens.io.formats.annotations import annotation_of
from napari_atomlens.io.formats.facts import about, refuse_spectra, when
from napari_atomlens.io.formats.guards import check_dm
from napari_atomlens.io.formats.tia import read_series

if TYPE_CHECKING:
    import dask.array as da

_PLUGINS = {
    ".dm3": "digitalmicrograph", ".dm4": "digitalmicrograph", ".ser": "tia", ".emi": "tia",
    ".emd": "emd",
}  # fmt: skip


class _Signal(TypedDict):
    """What the library reads."""

    data: np.ndarray | da.Array
    axes: list[dict[str, object]]
    metadata: Json
    original_metadata: Json


def optional(module: str, path: Path) -> ModuleType:
    """Import a library that the extra "formats" brings.

    Raises
    ------
    FormatError
        If it is not installed; the sentence says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise FormatError(
            f"Reading {path.name} needs more libraries; install them with "
            '`pip install "napari-atomlens[formats]"`.'
        ) from error


def read_vendor(path: Path) -> list[Image]:
    """Read a DigitalMicrograph, TIA or Velox file."""
    plugin = _PLUGINS.get(path.suffix.lower(), "")
    if not plugin:
        plugin = {b"\0\0\0\x03": "digitalmicrograph", b"\0\0\0\x04": "digitalmicrograph"}.get(
            _head(path), "emd" if _head(path) == b"\x89HDF" else "tia"
        )
    if plugin == "tia" and (found := _large_series(path)):
        return found
    module = optional(f"rsciio.{plugin}", path)
    if plugin == "digitalmicrograph":
        check_dm(path)
    log = logging.getLogger("rsciio")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what matters becomes our sentence
    try:
        if plugin == "emd":
            signals = module.file_reader(str(path), lazy=True, select_type="images")
        else:
            try:
                signals = module.file_reader(str(path), lazy=True)
                if plugin == "digitalmicrograph" and any(_is_large(s) for s in signals):
                    # its own chunks hold a piece of every frame; a frame is what is looked at
                    whole = (1, *signals[0]["data"].shape[1:])
                    signals = module.file_reader(str(path), lazy=True, chunks=whole)
            except NotImplementedError:  # colour images
                signals = module.file_reader(str(path), lazy=False)
    finally:
        log.setLevel(level)
    if not signals and path.suffix.lower() == ".emi":
        raise FormatError(f"{path.name} needs its .ser files beside it, and it has none.")
    images: list[Image] = []
    first: FormatError | None = None
    for signal in signals:
        title = text_of(signal["metadata"].get("General", {}).get("title"))
        name = path.name
        if len(signals) > 1:
            name = f"{path.name}: {title or len(images) + 1}"
        try:
            images.append(_image(name, title, signal))
        except FormatError as error:
            first = first or error
    if not images and first is not None:
        raise first
    return images


def _large_series(path: Path) -> list[Image]:
    """Series too large for the library, which reads all of a file; none where none is."""
    emi = path if path.suffix.lower() == ".emi" else None
    series = [path]
    if emi is not None:
        series = sorted(path.parent.glob(f"{escape(path.stem)}_[0-9].ser"))
    if not any(s.stat().st_size > LAZY_BYTES for s in series):
        return []

    images, refused = [], None
    for one in series:
        try:
            images.append(read_series(one, emi))
        except FormatError as error:
            refused = refused or error
    if not images and refused is not None:
        raise refused
    return images


def _is_large(signal: _Signal) -> bool:
    data = signal["data"]
    return is_lazy(data) and data.ndim == 3 and data.nbytes > LAZY_BYTES


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _image(name: str, title: str, signal: _Signal) -> Image:
    data, axes = signal["data"], signal["axes"]
    if len(axes) > 3 or len(axes) < 2:
        raise FormatError(
            f"{name} holds {'spectra or diffraction' if len(axes) > 3 else 'a spectrum'}, no image."
        )
    refuse_spectra(name, (a.get("units") for a in axes[-2:]))
    if len(axes) - sum(bool(a.get("navigate")) for a in axes) == 1:
        raise FormatError(f"{name} holds spectra, no image.")
    size = pixel_size(*(to_nm(a.get("scale"), a.get("units")) for a in axes[-2:]))
    step = to_seconds(axes[0].get("scale"), axes[0].get("units")) if len(axes) == 3 else None
    if is_lazy(data):
        data = data.compute() if data.nbytes <= LAZY_BYTES else data
        if is_lazy(data) and data.ndim == 3:
            data = data.rechunk((1, *data.shape[1:]))
    metadata = _settings(signal) | about(title=title)
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    return make_image(name, data, size, step, metadata, colour=None)


def _settings(signal: _Signal) -> dict[str, object]:
    """What the file says of the microscope, under our names, and the rest under the library's."""
    said = signal["metadata"]
    known: dict[str, object] = {}
    for kind in ("TEM", "SEM"):
        microscope = said.get("Acquisition_instrument", {}).get(kind, {})
        known |= {k: v for k, v in microscope.items() if isinstance(v, (str, int, float))}
    volts = known.pop("beam_energy", None)
    tags, general = signal.get("original_metadata") or {}, said.get("General", {})
    image = "ImageList.TagGroup0.ImageTags"
    radians = number_of(_deep(tags, "Scan.ScanRotation"))  # Velox
    rotation = number_of(_deep(tags, f"{image}.DigiScan.Rotation"))
    if volts is None and (number := number_of(_deep(tags, f"{image}.Microscope Info.Voltage"))):
        volts = number / 1000
    detector = _deep(tags, "BinaryResult.Detector") or _deep(tags, f"{image}.DataBar.Signal Name")
    dates = [general.get(k) or _deep(tags, f"{image}.DataBar.Acquisition {k.title()}")
             for k in ("date", "time")]  # fmt: skip
    return known | about(
        beam_energy_keV=number_of(volts), detector=text_of(detector), recorded=when(*dates),
        scan_rotation_deg=rotation if radians is None else math.degrees(radians),
        annotations=_annotations(tags) or None,
    )  # fmt: skip


def _deep(tags: Json, place: str) -> object:
    """What stands at a place of the tags, None where it is not there."""
    node: object = tags
    for key in place.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _annotations(tags: Json) -> list[dict[str, object]]:
    """What was drawn on an image of DigitalMicrograph."""
    documents = _deep(tags, "DocumentObjectList")
    if not isinstance(documents, dict):
        return []
    groups = [d.get("AnnotationGroupList") for d in documents.values() if isinstance(d, dict)]
    entries = [e for group in groups if isinstance(group, dict) for e in group.values()]
    return [annotation_of(e) for e in entries if isinstance(e, dict) and "AnnotationType" in e]
