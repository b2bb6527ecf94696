"""What a run is given: a file or an array, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from napari_atomlens.errors import printable
from napari_atomlens.image import Image, Pixels, Stack, as_stack, check_pixel_size
from napari_atomlens.io.formats.kinds import technique_of
from napari_atomlens.io.formats.readers import read

#: What a run takes: a file, an image that was read, or an array of any library.
Given = str | Path | Image | Pixels | ArrayLike


@dataclass(frozen=True, eq=False)
class Source:
    """The movie that is analysed; an image is one of one frame.

    Attributes
    ----------
    movie : Stack, shape (T, H, W)
        Read frame by frame.
    name : str
        Of the file, or "array".
    pixel_size_nm : tuple of float or None
        (y, x).
    technique : str
        "STM" or "STEM" where it is known, else "".
    time_step_s : float or None
    image_name : str
        Of the image within its file.
    """

    movie: Stack
    name: str = "array"
    pixel_size_nm: tuple[float, float] | None = None
    technique: str = ""
    time_step_s: float | None = None
    image_name: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        t, h, w = (int(s) for s in self.movie.shape[:3])
        return t, h, w


def open_source(
    source: Given,
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
) -> Source:
    """Open what a run is given.

    Parameters
    ----------
    source : path, Image or array-like
        A file that :func:`napari_atomlens.read` reads (its first image), an image that it
        returned, or an array (H, W) or (T, H, W).
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    technique : str
        Overrides what the name of the file says.

    Raises
    ------
    FormatError, ImageError, CalibrationError
        If the file, the image or the pixel size cannot be used.
    """
    if isinstance(source, (str, Path)):
        technique = technique or technique_of(source)
        return source_of(read(source)[0], printable(Path(source).name), pixel_size_nm, technique)
    if isinstance(source, Image):
        return source_of(source, source.name, pixel_size_nm, technique)
    return Source(as_stack(source), "array", check_pixel_size(pixel_size_nm), technique)


def source_of(
    image: Image,
    name: str,
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
) -> Source:
    """Return an image that was read as the source of a run."""
    size = check_pixel_size(image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm)
    return Source(as_stack(image.data), name, size, technique, image.time_step_s, image.name)
