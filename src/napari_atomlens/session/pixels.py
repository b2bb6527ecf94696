"""The pixels of one image: read frame by frame, and known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from napari_atomlens.image import Pixels, Stack, source_stack

#: So many pixels of a frame tell whether its numbers were exchanged in place.
SAMPLED = 64


class KnownPixels:
    """The data of an image or movie, of whatever kind of array.

    Parameters
    ----------
    data : array-like, shape (H, W) or (T, H, W), with a last axis of colours if `rgb`
        numpy, dask, zarr ...; of a pyramid its finest level.
    rgb : bool
        Whether the last axis holds colours.
    axis_labels : sequence of str
        Names of the axes, as far as they are known.

    Attributes
    ----------
    data : array-like
    stack : Stack
        (t, y, x), read frame by frame.

    Raises
    ------
    ImageError
        If it is neither an image nor a movie.
    """

    def __init__(self, data: Pixels, rgb: bool = False, axis_labels: Sequence[str] = ()) -> None:
        self.stack: Stack = source_stack(data, rgb, axis_labels)
        self.data = data
        self._sample = sample_of(data)
        self._read: tuple[int, np.ndarray] | None = None

    @property
    def n_frames(self) -> int:
        """How many frames there are; one of an image."""
        return len(self.stack)

    def frame(self, frame: int) -> np.ndarray | None:
        """Return one frame as float32 (H, W), None where there is none; the last one is kept."""
        if not 0 <= frame < self.n_frames:
            return None
        if self._read is None or self._read[0] != frame:
            self._read = frame, np.asarray(self.stack[frame], np.float32)
        return self._read[1]

    def are_of(self, data: object) -> bool:
        """Whether these are the pixels of `data`, unchanged since they were first seen.

        An array that cannot be looked into without reading a file is known by itself alone.
        """
        return data is self.data and sample_of(data) == self._sample


def sample_of(data: object) -> str:
    """Digest of some pixels of an array in memory; "" where that would mean to read a file."""
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        return ""
    digest = hashlib.sha256(f"{data.dtype.str}{data.shape}".encode())
    thin = tuple(slice(None, None, max(1, n // SAMPLED)) for n in data.shape)
    digest.update(np.ascontiguousarray(data[thin]).tobytes())
    return digest.hexdigest()
