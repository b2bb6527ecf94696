"""Movies that are stored as one file per frame: read file by file, when a frame is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from napari_atomlens.errors import FormatError, printable
from napari_atomlens.image import Image, PixelSize, lazy_frames
from napari_atomlens.io.formats.choice import name_in_file

#: Reads one file.
ReadFile = Callable[[Path], list[Image]]
#: Files whose size and kind of pixels is not in their first bytes: so many are read at once.
_MOST_READ = 24
#: Longer lists of tags of a TIFF file are read by the library.
_MOST_TAGS = 40
#: Pixel sizes that differ by less are the same.
_SAME_SIZE = 0.01
#: Time steps that differ by less are the same: stamps have whole seconds.
_REGULAR, _STAMP_S = 0.2, 1.0


def in_natural_order(files: Sequence[Path]) -> list[Path]:
    """Return files in the order of the numbers in their names, each once.

    Examples
    --------
    >>> [p.name for p in in_natural_order([Path("f10.tif"), Path("f9.tif"), Path("F1.tif")])]
    ['F1.tif', 'f9.tif', 'f10.tif']
    """

    def key(path: Path) -> list[str | int]:
        pieces: list[str | int] = list(re.split(r"(\d+)", str(path).lower()))
        pieces[1::2] = map(int, pieces[1::2])  # every other one is a number
        return pieces

    return sorted(dict.fromkeys(files), key=key)


def check_names(files: Sequence[Path], folder: str) -> None:
    """Refuse the files of a folder whose names do not say that they are frames of one movie.

    Raises
    ------
    FormatError
        If they are of several kinds, or their names differ in more than numbers.
    """
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise FormatError(
            f"{folder} holds files of several kinds ({', '.join(kinds)}); give the files that "
            f"are the frames, such as {folder}/*{kinds[0]}."
        )
    names = [re.sub(r"\d+", "0", path.stem.lower()) for path in files]
    for path, name in zip(files, names, strict=True):
        if name != names[0]:
            raise FormatError(
                f"{folder} is no movie of one file per frame: the names of {files[0].name} and "
                f"{path.name} differ in more than numbers; give the files themselves."
            )


@dataclass(frozen=True)
class _Frame:
    """What all frames have in common with the first."""

    file: str
    shape: tuple[int, ...]
    dtype: np.dtype
    pixel_size_nm: PixelSize | None = None

    def check(self, file: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Refuse a frame that does not fit, by the name of its file."""
        if shape != self.shape:
            raise FormatError(
                f"{file} is {_px(shape)}, but {self.file} is {_px(self.shape)}: the frames of a "
                "movie have one size."
            )
        if not np.can_cast(dtype, self.dtype):
            raise FormatError(
                f"{file} has pixels of type {dtype}, but {self.file} of type {self.dtype}."
            )

    def check_image(self, file: str, image: Image) -> None:
        """Refuse an image that does not fit."""
        if image.axes != "yx":
            raise FormatError(
                f"{file} holds a movie of {image.data.shape[0]} frames; a movie is made of files "
                "of one image each."
            )
        self.check(file, tuple(image.data.shape), image.data.dtype)
        mine, other = self.pixel_size_nm, image.pixel_size_nm
        if (mine is None) != (other is None) or (
            mine and other and not np.allclose(other, mine, rtol=_SAME_SIZE)
        ):
            raise FormatError(
                f"{file} has {_nm(other)}, but {self.file} has {_nm(mine)}: the frames of a movie "
                "have one scale."
            )


def _px(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} px" if len(shape) == 2 else f"{shape} in shape"


def _nm(size: PixelSize | None) -> str:
    return "no pixel size" if size is None else f"pixels of {size[0]:.4g} x {size[1]:.4g} nm"


def read_series(files: Sequence[Path], read_file: ReadFile) -> list[Image]:
    """Return files of one image each as one movie; of scans with channels, one for each channel.

    Parameters
    ----------
    files : sequence of pathlib.Path
    read_file : callable
        Reads one of them.

    Returns
    -------
    list of Image
        Lazy: a file is read when its frame is needed. ``metadata["files"]`` names the files in
        the order of the frames.

    Raises
    ------
    FormatError
        If a file cannot be read, or does not fit the first; of many, when its frame is read.
    """
    order = in_natural_order(files)
    names = [printable(path.name) for path in order]
    last = lru_cache(maxsize=2)(read_file)  # channels of one scan are read together
    first = last(order[0])
    many, whole = len(first) > 1, f"{names[0]} to {names[-1]}"
    kinds = [_Frame(names[0], tuple(i.data.shape), i.data.dtype, i.pixel_size_nm) for i in first]
    for kind, image in zip(kinds, first, strict=True):
        kind.check_image(names[0], image)
    _check_heads(order, names, kinds[0])

    def image_of(k: int, which: int) -> Image:
        found = last(order[k])
        if not many and len(found) == 1:
            return found[0]
        wanted = name_in_file(first[which].name)
        for image in found:
            if many and name_in_file(image.name) == wanted:
                return image
        raise FormatError(f"{names[k]} has not the images of {names[0]}.")

    def movie(which: int) -> Image:
        kind, image = kinds[which], first[which]

        def frame(k: int) -> np.ndarray:
            found = image_of(k, which)
            kind.check_image(names[k], found)
            return np.asarray(found.data)

        about = {k: v for k, v in image.metadata.items() if k != "recorded"}
        return replace(
            image, name=f"{whole}: {name_in_file(image.name)}" if many else whole,
            data=lazy_frames(frame, (len(order), *kind.shape), kind.dtype), axes="tyx",
            time_step_s=_time_step(image_of, which, len(order)),
            metadata={**about, "files": names},
        )  # fmt: skip

    for k in range(1, len(order) if len(order) <= _MOST_READ else 1):
        for which, kind in enumerate(kinds):
            kind.check_image(names[k], image_of(k, which))
    return [movie(which) for which in range(len(first))]


def _check_heads(order: Sequence[Path], names: Sequence[str], kind: _Frame) -> None:
    """Compare what the first bytes of the files say with the first frame."""
    known: set[bytes] = set()
    for path, name in zip(order, names, strict=True):
        start = _start(path)
        if start and start in known:
            continue
        known.add(start)
        if (found := _head(path)) is not None:
            shape, dtype = found
            kind.check(name, shape, dtype.newbyteorder("="))


def _start(path: Path) -> bytes:
    """First bytes of a file where they say all of its size and kind of pixels, else none."""
    suffix = path.suffix.lower()
    if suffix not in (".tif", ".tiff", ".npy"):
        return b""
    try:
        with path.open("rb") as file:
            start = file.read(10 + 12 * _MOST_TAGS)
    except OSError:
        return b""
    if suffix == ".npy":
        n = 10 + int.from_bytes(start[8:10], "little")
        return start[:n] if start[6:7] == b"\x01" and n <= len(start) else b""
    order: Literal["little", "big"] = "little" if start[:2] == b"II" else "big"
    if start[:2] not in (b"II", b"MM") or int.from_bytes(start[4:8], order) != 8:
        return b""  # the list of tags is elsewhere
    n = int.from_bytes(start[8:10], order)
    return start[: 10 + 12 * n] if n <= _MOST_TAGS else b""


def _head(path: Path) -> tuple[tuple[int, ...], np.dtype] | None:
    """Size and type of a grey image from the first bytes of its file, None where they are not."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            return shape, dtype
        if suffix in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return (tuple(page.shape), page.dtype) if page.dtype and page.ndim == 2 else None
    except Exception:  # told by the reader, when the frame is read
        return None
    return None


def _time_step(image_of: Callable[[int, int], Image], which: int, n: int) -> float | None:
    """Time between frames from the stamps in the files; None where they have none or are irregular.

    Of long movies some are looked at.
    """
    looked_at = sorted({round(k) for k in np.linspace(0, n - 1, min(n, _MOST_READ))})
    if _moment(image_of(0, which)) is None:
        return None
    try:
        found = [_moment(image_of(k, which)) for k in looked_at]
    except FormatError:
        return None
    times = [t.timestamp() for t in found if t is not None]
    if len(times) < max(2, len(looked_at)):
        return None
    step = (times[-1] - times[0]) / (n - 1)
    off = np.abs(np.asarray(times) - times[0] - step * np.asarray(looked_at))
    return step if step > 0 and off.max() <= max(_STAMP_S, _REGULAR * step) else None


def _moment(image: Image) -> datetime | None:
    try:
        return datetime.fromisoformat(str(image.metadata.get("recorded", "")))
    except ValueError:
        return None
