"""DigitalMicrograph 5 (``.dm5``): tags as groups of HDF5, lists as ``[0]``, ``[1]`` and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from napari_atomlens.errors import FormatError
from napari_atomlens.image import (
    Image,
    make_image,
    number_of,
    pixel_size,
    text_of,
    to_nm,
    to_seconds,
)
from napari_atomlens.io.formats.annotations import annotation_of
from napari_atomlens.io.formats.facts import about, refuse_spectra, when
from napari_atomlens.io.formats.nodes import Group, Load, dataset_in, is_group


def is_dm5(root: Group) -> bool:
    """Whether the root of a file has the lists of DigitalMicrograph."""
    return "ImageList" in root and "ImageSourceList" in root


def dm5_parts(root: Group, load: Load) -> list[tuple[str, Callable[[str], Image]]]:
    """Return the images of a file, each with its place and what reads it; thumbnails are none."""
    thumbnails = [
        int(number_of(entry.attrs.get("ImageIndex")) or 0)
        for _, entry in _list(_at(root, "Thumbnails"))
    ]
    drawn = _annotations(root)
    parts: list[tuple[str, Callable[[str], Image]]] = []
    for k, entry in _list(_at(root, "ImageList")):
        data = _at(entry, "ImageData")
        if k not in thumbnails and data is not None and "Data" in data:
            name = text_of(entry.attrs.get("Name")) or f"image {k}"
            parts.append((name, partial(_image, entry=entry, load=load, drawn=drawn)))
    if len(parts) > 1 and not thumbnails:  # the first is the thumbnail
        parts = parts[1:]
    return parts


def _at(group: Group | None, *keys: str) -> Group | None:
    for key in keys:
        if group is None or key not in group:
            return None
        node = group[key]
        group = node if is_group(node) else None
    return group


def _list(group: Group | None) -> Iterator[tuple[int, Group]]:
    """Entries of a list with their numbers, in their order."""
    if group is None:
        return
    numbered = {int(k[1:-1]): k for k in group if k[1:-1].isdigit() and k[:1] == "["}
    for number in sorted(numbered):
        node = group[numbered[number]]
        if is_group(node):
            yield number, node


def _annotations(root: Group) -> list[dict[str, object]]:
    found = []
    for _, document in _list(_at(root, "DocumentObjectList")):
        for _, entry in _list(_at(document, "AnnotationGroupList")):
            found.append(annotation_of(dict(entry.attrs)))
    return found


def _image(name: str, entry: Group, load: Load, drawn: list[dict[str, object]]) -> Image:
    data = _at(entry, "ImageData")
    assert data is not None
    dataset = dataset_in(data, "Data")
    n = len(dataset.shape)
    if n not in (2, 3):
        raise FormatError(f"{name} has {n} axes; an image has two and a movie three.")
    # the first entry is x, the last axis
    axes = [d for _, d in _list(_at(data, "Calibrations", "Dimension"))][:n][::-1]
    steps = [(d.attrs.get("Scale"), text_of(d.attrs.get("Units"))) for d in axes]
    tags = _at(entry, "ImageTags")
    said = _attrs(tags, "Meta Data")
    kind = f"{text_of(said.get('Format'))} {text_of(said.get('Signal'))}".strip()
    if "spectrum" in kind.lower() or "eels" in kind.lower():
        raise FormatError(f"{name} holds spectra ({kind}), not an image.")
    refuse_spectra(name, (u for _, u in steps))
    size = pixel_size(*(to_nm(v, u) for v, u in steps[-2:])) if len(steps) >= 2 else None
    step = to_seconds(*steps[0]) if n == 3 and len(steps) == 3 else None
    volts = number_of(_attrs(tags, "Microscope Info").get("Voltage"))
    bar, scan = _attrs(tags, "DataBar"), _attrs(tags, "DigiScan")
    brightness = _attrs(data, "Calibrations", "Brightness")
    metadata = about(
        detector=text_of(bar.get("Signal Name")), unit=text_of(brightness.get("Units")),
        beam_energy_keV=volts / 1000 if volts else None,
        scan_rotation_deg=number_of(scan.get("Rotation")),
        recorded=when(bar.get("Acquisition Date"), bar.get("Acquisition Time")),
        annotations=drawn or None,
    )  # fmt: skip
    return make_image(name, load(dataset), size, step, metadata, colour=None)


def _attrs(group: Group | None, *keys: str) -> dict[str, object]:
    found = _at(group, *keys)
    return {} if found is None else dict(found.attrs)
