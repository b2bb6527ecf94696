"""What a run is given: a file or an array, and what is known of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from numpy.typing import ArrayLike

from napari_atomlens.errors import ParameterError, printable
from napari_atomlens.image import Image, Pixels, Stack, as_stack, check_pixel_size
from napari_atomlens.io.formats.choice import TakenImage, sentence_of, take_image
from napari_atomlens.io.formats.kinds import technique_of
from napari_atomlens.io.formats.readers import Files, is_paths, read


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
    left_out : tuple of str
        Other images of the file.
    files : tuple of str
        Of a movie of one file per frame, in the order of the frames.
    asked : str
        Name that was asked for, where the file does not say whether its only image has it.
    """

    movie: Stack
    name: str = "array"
    pixel_size_nm: tuple[float, float] | None = None
    technique: str = ""
    time_step_s: float | None = None
    image_name: str = ""
    left_out: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    asked: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        t, h, w = (int(s) for s in self.movie.shape[:3])
        return t, h, w

    @property
    def sentence(self) -> str:
        """Which image of the file it is, "" where there is but one."""
        return sentence_of(self.image_name, self.left_out, self.asked)


#: What a run takes: a file, an image that was read, an array of any library, or what was opened.
Given = Files | Image | Pixels | ArrayLike | Source


def open_source(
    source: Given,
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
    image: str | int | None = None,
) -> Source:
    """Open what a run is given.

    Parameters
    ----------
    source : path, Image or array-like
        A file that :func:`napari_atomlens.read` reads, the files of a movie of one file per
        frame or their folder, an image that it returned, or an array (H, W) or (T, H, W).
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    technique : str
        Overrides what the name of the file says.
    image : str or int, optional
        Name or number of the image of a file that holds several; the first by default.

    Raises
    ------
    FormatError, ImageError, CalibrationError
        If the file, the image or the pixel size cannot be used.
    ParameterError
        If an image is to be chosen from what is no file.
    """
    if isinstance(source, (str, Path)) or is_paths(source):
        taken = take_image(read(source), image)
        files = list_of(taken.image)
        one = files[0] if files else str(source)
        name = f"{files[0]} to {files[-1]}" if files else printable(Path(one).name)
        return source_of(taken, name, pixel_size_nm, technique or technique_of(one))
    if image is not None:
        raise ParameterError("An image is chosen by its name only where a file is given.")
    if isinstance(source, Source):
        return source
    if isinstance(source, Image):
        return source_of(TakenImage(source), source.name, pixel_size_nm, technique)
    return Source(
        as_stack(cast(ArrayLike, source)), "array", check_pixel_size(pixel_size_nm), technique
    )


def open_told(
    source: Given,
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
    image: str | int | None = None,
) -> Source:
    """Open as :func:`open_source`, with a warning where other images of the file are left out."""
    opened = open_source(source, pixel_size_nm, technique, image)
    if opened.sentence and not isinstance(source, Source):
        warnings.warn(opened.sentence, stacklevel=3)
    return opened


def source_of(
    taken: TakenImage,
    name: str,
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
) -> Source:
    """Return an image that was read as the source of a run."""
    image = taken.image
    size = check_pixel_size(image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm)
    return Source(
        as_stack(image.data), name, size, technique, image.time_step_s, image.name, taken.left_out,
        list_of(image), taken.asked,
    )  # fmt: skip


def list_of(image: Image) -> tuple[str, ...]:
    """Return the files of a movie of one file per frame."""
    files = image.metadata.get("files")
    return tuple(files) if isinstance(files, list) else ()
