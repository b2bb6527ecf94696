"""Which image of a file that holds several is meant, and what is said of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import NoneType

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.image import Image

#: Words by which the detectors of electron microscopes are known in names.
DETECTORS = frozenset(
    ("haadf", "adf", "maadf", "laadf", "abf", "bf", "df", "idpc", "ddpc", "dpc", "se", "bse")
)
#: So many names are listed; of the others there is only their number.
_LISTED = 12


@dataclass(frozen=True, eq=False)
class TakenImage:
    """An image, and the names of those beside it in its file.

    Attributes
    ----------
    image : Image
    left_out : tuple of str
        Names of the others, without that of the file.
    asked : str
        What was asked for, where the file has a single image that has no name of its own.
    """

    image: Image
    left_out: tuple[str, ...] = ()
    asked: str = ""

    @property
    def sentence(self) -> str:
        """What to tell the user, "" where there was nothing to choose from."""
        return sentence_of(self.image.name, self.left_out, self.asked)


def sentence_of(name: str, left_out: Sequence[str], asked: str = "") -> str:
    """Return the sentence that names the image taken and those left out.

    Examples
    --------
    >>> sentence_of("two.emd: HAADF", ["ABF"])
    'Of 2 images HAADF is taken; ABF is left out (--image or image= chooses another).'
    >>> sentence_of("scan.tif", [], "HAADF")
    "Its only image is taken; whether that is 'HAADF' the file does not say."
    """
    if asked:
        return f"Its only image is taken; whether that is {asked!r} the file does not say."
    if not left_out:
        return ""
    verb = "is" if len(left_out) == 1 else "are"
    return (
        f"Of {len(left_out) + 1} images {name_in_file(name)} is taken; {listed(left_out)} {verb} "
        "left out (--image or image= chooses another)."
    )


def listed(names: Sequence[str]) -> str:
    """Return names as a list of words."""
    shown = list(names[:_LISTED])
    if more := len(names) - len(shown):
        shown.append(f"{more} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def name_in_file(name: str) -> str:
    """Return the name of an image without that of its file."""
    return name.partition(": ")[2] or name


def images_left_out(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the other images of the file of a layer, none where the layer does not say it.

    Examples
    --------
    >>> images_left_out({"file": {"image": "ABF", "images": ["ABF", "HAADF"]}})
    ('HAADF',)
    """
    file = metadata.get("file")
    if not isinstance(file, dict) or not isinstance(file.get("images"), list):
        return ()
    return tuple(str(name) for name in file["images"] if name != file.get("image"))


def take_image(images: Sequence[Image], wanted: str | int | None = None) -> TakenImage:
    """Choose one of the images of a file.

    Parameters
    ----------
    images : sequence of Image
        As :func:`napari_atomlens.read` returns them.
    wanted : str or int, optional
        Name of the image, with or without that of its file; a pattern such as ``*HAADF*``, or a
        part of the name that no other has; or its number, from 0. The first by default. The only
        image of a file is also known by its detector, channel or title, and is taken unless these
        say that it is another one.

    Raises
    ------
    FormatError
        If there is none of that name, or more than one.
    ParameterError
        If that is no name and no number.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> both = [al.Image(f"scan.sxm: {n}", np.zeros((4, 4)), "yx") for n in ("Z", "Current")]
    >>> taken = take_image(both, "cur")
    >>> taken.image.name, taken.left_out
    ('scan.sxm: Current', ('Z',))
    """
    if not isinstance(wanted, (str, int, NoneType)):
        raise ParameterError(
            f"An image is named by a text or its number, not {type(wanted).__name__}."
        )
    if len(images) == 1 and isinstance(wanted, str) and wanted:
        return _only(images[0], wanted)
    at = 0 if wanted is None or wanted == "" else _place(images, wanted)
    others = (image for k, image in enumerate(images) if k != at)
    return TakenImage(images[at], tuple(name_in_file(image.name) for image in others))


def _only(image: Image, wanted: str) -> TakenImage:
    """Take the only image of a file, unless the file says that it is another one."""
    word, own = wanted.lower(), name_in_file(image.name)
    title = str(image.metadata.get("title", ""))
    said = [str(image.metadata[k]) for k in ("detector", "channel") if image.metadata.get(k)]
    if "direction" in image.metadata:
        said = [*said, *(f"{name} {image.metadata['direction']}" for name in said)]
    for name in (image.name, own, title, *said):
        if wanted == name or word in name.lower() or fnmatchcase(name.lower(), word):
            return TakenImage(image)
    other = next((name for name in (own, title) if _is_other_detector(name, wanted)), "")
    if other or said:
        file, what = image.name.partition(": ")[0], other or said[-1]
        raise FormatError(f"{file} has no image {wanted!r}; its only one is {what}.")
    return TakenImage(image, asked=wanted)


def _is_other_detector(name: str, wanted: str) -> bool:
    """Whether a name has the word of a detector, and what is wanted that of another."""
    here, asked = (set(re.findall(r"[a-z]+", text.lower())) & DETECTORS for text in (name, wanted))
    return bool(here and asked) and not here & asked


def _place(images: Sequence[Image], wanted: str | int) -> int:
    names = [image.name for image in images]
    short = [name_in_file(name) for name in names]
    file = "The file" if names[0] == short[0] and len(names) > 1 else names[0].partition(": ")[0]
    if isinstance(wanted, int):
        if not 0 <= wanted < len(images):
            raise FormatError(
                f"There is no image number {wanted}; {file} has {len(images)}, from 0."
            )
        return wanted
    if wanted in names:
        return names.index(wanted)
    word = wanted.lower()
    lower = [name.lower() for name in short]
    for fits in (
        [name == word or name.rpartition("/")[2] == word for name in lower],
        [fnmatchcase(name, word) for name in lower],
        [word in name for name in lower],
    ):
        found = [k for k, fit in enumerate(fits) if fit]
        if len(found) == 1:
            return found[0]
        if found:
            raise FormatError(
                f"{wanted!r} fits {len(found)} images of {file}: "
                f"{listed([short[k] for k in found])}; name one of them."
            )
    raise FormatError(f"{file} has no image {wanted!r}; it has {listed(short)}.")
