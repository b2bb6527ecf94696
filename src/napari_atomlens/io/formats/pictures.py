"""TIFF (also ImageJ and OME), PNG and JPEG."""

from __future__ import annotations

import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import (
    LAZY_BYTES,
    Image,
    lazy_frames,
    make_image,
    number_of,
    pixel_size,
    to_nm,
    to_seconds,
)
from napari_atomlens.io.formats.facts import refuse_spectra
from napari_atomlens.io.formats.numbered import are_numbers
from napari_atomlens.untrusted import inside

if TYPE_CHECKING:
    import dask.array as da
    from tifffile import TiffFile, TiffPageSeries, TiffTag

#: A picture for print has tens of micrometres to the pixel; such a resolution means nothing.
_PRINT_NM = 1000.0
#: Tags of DigitalMicrograph: unit and length of a pixel, x before y.
_GATAN_UNITS, _GATAN_SCALES = (65003, 65004), (65009, 65010)
#: Series of more pages are not asked for names of pages.
_MOST_NAMED = 64


def read_picture(path: Path) -> list[Image]:
    """Read a PNG or JPEG; a grey image that was stored in colours becomes grey again."""
    from imageio.v3 import imread

    data = np.asarray(imread(path))
    if data.ndim == 3 and data.shape[-1] == 2:  # grey and alpha
        data = data[..., 0]
    return [make_image(path.name, data, colour=data.ndim == 3)]


def read_tiff(path: Path) -> list[Image]:
    """Read every series of a TIFF file; large movies frame by frame."""
    import tifffile

    images = []
    with _complaints() as complaints, tifffile.TiffFile(path) as file:
        metadata = _metadata(file)
        _check_parts(path, file)
        for index, series in enumerate(file.series):
            refuse_spectra(path.name, _units(file))
            size, step = _calibration(file, index)
            name = (
                path.name
                if len(file.series) == 1
                else f"{path.name}: {series.name or f'page {index + 1}'}"
            )
            try:
                images += _series(path, name, index, file, series, size, step, metadata)
            except FormatError:
                if len(file.series) == 1:
                    raise
    if damage := [t for t in complaints if "corrupted" in t or "invalid page offset" in t]:
        raise FormatError(f"{path.name} is truncated or damaged: {damage[0]}.")
    return images


def _check_parts(path: Path, file: TiffFile) -> None:
    """Refuse a series in several files that names any which are not beside this one."""
    import tifffile

    names: set[str] = set()
    if file.is_ome:
        # what the library takes the names from, entities and all
        root = ElementTree.fromstring(file.ome_metadata or "<OME/>")
        own = root.get("UUID")
        parts = [e for e in root.iter() if e.tag.endswith("UUID") and (not own or e.text != own)]
        names = {n for e in parts if (n := e.get("FileName"))}
    elif file.is_ndtiff and (index := path.with_name("NDTiff.index")).is_file():
        names = {entry[1] for entry in tifffile.read_ndtiff_index(index)}
    for name in sorted(names - {path.name}):
        if not inside(path.parent, name).is_file():
            raise FormatError(
                f"{path.name} needs {name} beside it, which has others of its frames."
            )


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile only logs: pages that it left out because they are damaged."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage().splitlines()[0]
            found.append(re.sub(r"^<.*?@\d+> ", "", text).rstrip("."))

    logger, handler = logging.getLogger("tifffile"), Collect(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _series(
    path: Path,
    name: str,
    index: int,
    file: TiffFile,
    series: TiffPageSeries,
    size: tuple[float, float] | None,
    step: float | None,
    metadata: dict[str, object],
) -> list[Image]:
    axes = str(series.axes)
    colour = axes.endswith("S")
    if sum(s.nbytes for s in file.series) <= LAZY_BYTES or colour:
        data: np.ndarray | da.Array = _pixels(path, series)
    else:
        data = _lazy(path, index, series)
    shape = tuple(series.shape)
    if not colour and "C" in axes and not _is_counted(file, index, series):
        names = _channel_names(file, index, shape[axes.index("C")])
        parts = _split(data, axes, "C", names)
    elif (names := _page_names(series)) and axes[0] == "I":
        parts = _split(data, axes, "I", names)
    else:
        parts = [("", data, axes)]
    found = []
    for channel, pixels, left in parts:
        planes = [(channel, pixels, left)]
        if len(left) > 3 and not colour and {"Z", "T"} <= set(left):  # depths, each over time
            n = pixels.shape[left.index("Z")]
            planes = [
                (", ".join(filter(None, (channel, plane))), depth, rest)
                for plane, depth, rest in _split(
                    pixels, left, "Z", [f"z {k + 1}" for k in range(n)]
                )
            ]
        found += [
            make_image(f"{name}: {part}" if part else name, one, size, step, metadata,
                       colour=colour)
            for part, one, _ in planes
        ]  # fmt: skip
    return found


def _pixels(path: Path, series: TiffPageSeries, key: int | None = None) -> np.ndarray:
    """Pixels of a series, or of one of its pages.

    Raises
    ------
    FormatError
        If they are damaged, too large, or packed in a way that nothing here unpacks.
    """
    try:
        return np.asarray(series.asarray(key=key))
    except MemoryError as error:
        raise FormatError(f"{path.name} does not fit into the memory.") from error
    except Exception as error:  # of every library that unpacks
        if "imagecodecs" not in str(error):
            raise FormatError(f"{path.name} is truncated or damaged: its pixels could not be "
                              "unpacked.") from error  # fmt: skip
    # LZW and others need a large library there, which Pillow does without
    from PIL import Image as Pillow

    pages = [p for p in series.pages if p is not None]
    packing = str(getattr(pages[0].compression, "name", pages[0].compression)).replace("_", " ")
    frames = []
    try:
        with Pillow.open(path) as picture:
            for page in pages if key is None else [pages[key]]:
                picture.seek(page.index)
                frames.append(np.asarray(picture))
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(
            f"{path.name} is packed with {packing}, or damaged; install imagecodecs to read it, or "
            "save it without compression."
        ) from error
    kind = np.dtype(series.dtype)
    if any(f.dtype.kind != kind.kind or f.dtype.itemsize < kind.itemsize for f in frames):
        raise FormatError(
            f"{path.name} is packed with {packing}; install imagecodecs to read it, or save it "
            "without compression."
        )
    whole = np.stack(frames).astype(kind.newbyteorder("="))
    return whole[0] if key is not None else whole.reshape(series.shape)


def _split(
    data: np.ndarray | da.Array, axes: str, axis: str, names: list[str]
) -> list[tuple[str, np.ndarray | da.Array, str]]:
    """Part by part along an axis: name, pixels, axes that are left."""
    at = axes.index(axis)
    left = axes.replace(axis, "", 1)
    if data.shape[at] == 1:
        return [("", data[(slice(None),) * at + (0,)], left)]
    return [(name, data[(slice(None),) * at + (c,)], left) for c, name in enumerate(names)]


def _is_counted(file: TiffFile, index: int, series: TiffPageSeries) -> bool:
    """Whether what is called channels has no more than numbers, and there is no other movie.

    So Python scripts write movies for ImageJ and as OME: the library calls the frames channels.
    """
    if str(series.axes) != "CYX":
        return False
    if file.is_ome:
        return all(set(c) <= {"ID", "SamplesPerPixel"} for c in _ome_channels(file, index))
    about = file.imagej_metadata or {}
    if about.get("mode", "grayscale") != "grayscale" or "LUTs" in about:
        return False
    names = [str(name) for name in about.get("Labels") or ()]
    return not names or are_numbers(names)


def _channel_names(file: TiffFile, index: int, n: int) -> list[str]:
    """Names of channels: those of the file where there is one for each, else their numbers."""
    if file.is_ome:
        names = [str(c.get("Name") or "") for c in _ome_channels(file, index)]
    else:
        names = [str(v) for v in (file.imagej_metadata or {}).get("Labels") or ()]
    names = [" ".join(name.split()) for name in names]
    known = len(names) == n and all(names) and len(set(names)) == n
    return names if known else [f"channel {c + 1}" for c in range(n)]


def _ome_channels(file: TiffFile, index: int) -> list[dict[str, str]]:
    """Attributes of the channels of an image of an OME file."""
    root = ElementTree.fromstring(file.ome_metadata or "<OME/>")
    images = [e for e in root if e.tag.endswith("}Image") or e.tag == "Image"]
    if index >= len(images):
        return []
    return [dict(e.attrib) for e in images[index].iter() if e.tag.endswith("Channel")]


def _page_names(series: TiffPageSeries) -> list[str]:
    """Names that the pages of a series have of their own, such as those of detectors."""
    if not 1 < len(series.pages) <= _MOST_NAMED:
        return []
    names = []
    for page in series.pages:
        tags = getattr(page, "tags", {})  # a frame of a movie that is all alike has none
        tag = tags.get("PageName") or tags.get("ImageDescription")
        text = "" if tag is None else str(tag.value)
        names.append(text.strip())
    plain = all(0 < len(n) <= 60 and "=" not in n and n.isprintable() for n in names)
    plain = plain and not any(n.startswith(("{", "<")) for n in names)
    return names if plain and len(set(names)) == len(names) and not are_numbers(names) else []


def _lazy(path: Path, index: int, series: TiffPageSeries) -> np.ndarray | da.Array:
    import tifffile

    if series.dataoffset is not None:  # contiguous and not compressed
        return tifffile.memmap(path, series=index, mode="r")
    *before, height, width = series.shape
    n = math.prod(before)
    several = len(series.pages) == n

    def frame(i: int) -> np.ndarray:
        with tifffile.TiffFile(path) as file:
            pages = file.series[index]
            if several:
                return _pixels(path, pages, i)
            return _pixels(path, pages).reshape(n, height, width)[i]

    return lazy_frames(frame, (n, height, width), series.dtype).reshape(series.shape)


def _calibration(file: TiffFile, index: int) -> tuple[tuple[float, float] | None, float | None]:
    """Pixel size in nm and time step in s of a series."""
    if file.is_ome and (found := _ome(file, index)):
        return found
    imagej = file.imagej_metadata or {}
    step = number_of(imagej.get("finterval"))
    if (gatan := _gatan(file)) is not None:
        return gatan, step
    per_unit = [_ratio(file.pages.first.tags.get(f"{axis}Resolution")) for axis in "YX"]
    if None in per_unit:
        return None, step
    y, x = (1 / v if v else 0.0 for v in per_unit)
    if unit := imagej.get("unit"):
        unit_y = imagej.get("yunit") or unit
        return pixel_size(to_nm(y, unit_y), to_nm(x, unit)), step
    tag = file.pages.first.tags.get("ResolutionUnit")
    scale = {2: 2.54e7, 3: 1e7}.get(int(tag.value) if tag is not None else 2)
    if scale is None or y * scale >= _PRINT_NM or x * scale >= _PRINT_NM:
        return None, step
    return pixel_size(y * scale, x * scale), step


def _tags(file: TiffFile, *numbers: int) -> list[object]:
    tags = file.pages.first.tags
    return [tag.value if (tag := tags.get(n)) is not None else None for n in numbers]


def _gatan(file: TiffFile) -> tuple[float, float] | None:
    """Pixel size that DigitalMicrograph, and HyperSpy after it, write into tags of their own."""
    units, scales = _tags(file, *_GATAN_UNITS), _tags(file, *_GATAN_SCALES)
    x, y = (to_nm(s, u) for s, u in zip(scales, units, strict=True))
    return pixel_size(y, x)


def _units(file: TiffFile) -> list[object]:
    """Units of the axes, wherever they are."""
    imagej = file.imagej_metadata or {}
    return [imagej.get("unit"), imagej.get("yunit"), *_tags(file, *_GATAN_UNITS)]


def _ratio(tag: TiffTag | None) -> float | None:
    if tag is None:
        return None
    try:
        above, below = tag.value
        return float(above) / float(below) if below else None
    except (TypeError, ValueError):
        return number_of(tag.value)


def _ome(file: TiffFile, index: int) -> tuple[tuple[float, float] | None, float | None] | None:
    import tifffile

    found = tifffile.xml2dict(file.ome_metadata or "").get("OME", {}).get("Image", [])
    found = found if isinstance(found, list) else [found]
    if index >= len(found):
        return None
    pixels = found[index].get("Pixels", {})
    size = [
        to_nm(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "YX"
    ]
    step = to_seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return pixel_size(*size), step


def _metadata(file: TiffFile) -> dict[str, object]:
    out: dict[str, object] = {}
    if (tag := file.pages.first.tags.get("DateTime")) is not None:
        day, _, time = str(tag.value).strip().partition(" ")
        out["recorded"] = f"{day.replace(':', '-')} {time}"
    if file.imagej_metadata:
        kept = (str, int, float)
        out["imagej"] = {k: v for k, v in file.imagej_metadata.items() if isinstance(v, kept)}
    elif file.pages.first.description and len(file.pages.first.description) < 100_000:
        out["description"] = file.pages.first.description
    return out
