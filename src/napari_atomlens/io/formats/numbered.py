"""Images of a file that differ in nothing but their number are the frames of one movie.

Detectors, channels and directions of a scan are none, even where they are only numbered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_atomlens.image import LAZY_BYTES, Image, Pixels, is_lazy, lazy_frames

#: What programs call frames before they number them; "" is a bare number.
_FRAME_WORDS = frozenset(
    ("", "frame", "frames", "image", "images", "img", "im", "page", "slice", "plane", "time", "t",
     "arr", "array", "step", "no", "nr", "number")
)  # fmt: skip
#: What may differ between the frames of a movie.
_OF_A_FRAME = frozenset(("time", "date", "title", "number", "name", "comment", "recorded"))
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<word>[A-Za-z]*)[ _#.-]*\(?(?P<number>\d+)\)?")


def as_movies(images: list[Image]) -> list[Image]:
    """Return the images of a file, those that are the frames of one movie as that movie.

    Parameters
    ----------
    images : list of Image
        With names unique within the file.

    Examples
    --------
    >>> import numpy as np
    >>> made = [Image(f"run.h5: frame_{k}", np.zeros((4, 4)), "yx") for k in (0, 10, 9)]
    >>> [(movie.name, movie.data.shape) for movie in as_movies(made)]
    [('run.h5', (3, 4, 4))]
    """
    groups: dict[object, list[tuple[int, Image]]] = {}
    for k, image in enumerate(images):
        key, number = _place(image)
        groups.setdefault((key, k) if key is None else key, []).append((number, image))
    out: list[Image] = []
    for members in groups.values():
        frames = [image for _, image in sorted(members, key=lambda m: m[0])]
        out += frames if len(frames) == 1 else [_movie(frames, len(groups) == 1)]
    return out


def are_numbers(names: Sequence[str]) -> bool:
    """Whether names are those of frames: equal but for their numbers.

    Examples
    --------
    >>> are_numbers(["frame 1", "frame 2"]), are_numbers(["DF1", "DF2"])
    (True, False)
    """
    found = [_NUMBERED.fullmatch(name.strip()) for name in names]
    kinds = {m and (m["before"], m["word"].lower()) for m in found}
    first = next(iter(kinds))
    return len(kinds) == 1 and first is not None and first[1] in _FRAME_WORDS


def _place(image: Image) -> tuple[object, int]:
    """What the frames of one movie have in common, None for what is no frame; its number."""
    file, _, name = image.name.partition(": ")
    found = _NUMBERED.fullmatch(name)
    if image.axes != "yx" or not found or found["word"].lower() not in _FRAME_WORDS:
        return None, 0
    rest = {k: repr(v) for k, v in image.metadata.items() if k.lower() not in _OF_A_FRAME}
    size = image.pixel_size_nm and tuple(f"{v:.6g}" for v in image.pixel_size_nm)
    return (
        file, found["before"], found["word"], image.data.shape, image.data.dtype.str, size,
        tuple(sorted(rest.items())),
    ), int(found["number"])  # fmt: skip


def _movie(frames: list[Image], alone: bool) -> Image:
    """Return images as one movie."""
    first = frames[0]
    file, _, name = first.name.partition(": ")
    found = _NUMBERED.fullmatch(name)
    group = (found["before"].rstrip(" _/.-") or found["word"]) if found else name
    common = {
        k: v for k, v in first.metadata.items()
        if all(repr(image.metadata.get(k)) == repr(v) for image in frames)
    }  # fmt: skip
    data = stacked([image.data for image in frames])
    name = file if alone or not group else f"{file}: {group}"
    return replace(first, name=name, data=data, axes="tyx", metadata=common)


def stacked(frames: Sequence[Pixels]) -> Pixels:
    """Return frames of one shape as a movie; a large one, or of lazy frames, stays lazy."""
    shape, dtype = (len(frames), *frames[0].shape), frames[0].dtype
    if any(is_lazy(f) for f in frames) or np.prod(shape) * dtype.itemsize > LAZY_BYTES:
        return lazy_frames(lambda k: np.asarray(frames[k]), shape, dtype)
    return np.stack([np.asarray(f) for f in frames])
