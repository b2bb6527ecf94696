"""Where the frames of one session lie beside each other, by the offset and angle of their scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_atomlens.image import Image, PixelSize


@dataclass(frozen=True)
class FramePlace:
    """Where a frame lies in the coordinates of another one.

    Attributes
    ----------
    corner_nm : tuple of float
        (y, x) of the middle of its first pixel, y down, from that of the other frame.
    rotation_deg : float
        Counter-clockwise as it is drawn.
    """

    corner_nm: tuple[float, float]
    rotation_deg: float


def place_frames(images: Sequence[Image]) -> list[FramePlace | None]:
    """Return where frames lie in the coordinates of the first of them.

    Parameters
    ----------
    images : sequence of Image
        With ``offset_nm`` and, where it is turned, ``scan_rotation_deg`` in their metadata, as the
        readers of scanning probe files give them. The coordinates are those of the scanner: what
        drifted or crept meanwhile is not known.

    Returns
    -------
    list of FramePlace or None
        None for a frame whose place or pixel size is not known; for all of them where that of the
        first is not.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.zeros((11, 11))
    >>> a = Image("a", z, "yx", (0.1, 0.1), metadata={"offset_nm": (0.0, 5.0)})
    >>> b = Image("b", z, "yx", (0.1, 0.1), metadata={"offset_nm": (0.0, 6.5)})
    >>> place_frames([a, b])[1]
    FramePlace(corner_nm=(0.0, 1.5), rotation_deg=0.0)
    """
    known = [_middle(image) for image in images]
    if not known or known[0] is None:
        return [None] * len(images)
    origin, first, half = known[0]
    places: list[FramePlace | None] = []
    for frame in known:
        if frame is None:
            places.append(None)
            continue
        middle, angle, to_middle = frame
        turn = angle - first
        # middle of the frame as the first one sees it, then back to its own corner
        at = half + rotation(-first) @ (middle - origin) - rotation(turn) @ to_middle
        y, x = (round(float(v), 9) + 0.0 for v in at)
        places.append(FramePlace((y, x), round(float(turn), 9) + 0.0))
    return places


def rotation(degrees: float) -> np.ndarray:
    """Return the matrix that turns (y, x), y down, counter-clockwise as it is drawn.

    Examples
    --------
    >>> (rotation(90) @ [0, 1]).round(3).tolist()  # from the right to the top
    [-1.0, 0.0]
    """
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _middle(image: Image) -> tuple[np.ndarray, float, np.ndarray] | None:
    """Middle of a frame in the session, its angle, and the way from its first pixel there."""
    size: PixelSize | None = image.pixel_size_nm
    offset = image.metadata.get("offset_nm")
    if size is None or not isinstance(offset, (tuple, list)) or len(offset) != 2:
        return None
    angle = image.metadata.get("scan_rotation_deg")
    half = np.array(size) * (np.array(image.data.shape[-2:], float) - 1) / 2
    return np.array(offset, float), float(angle) if isinstance(angle, (int, float)) else 0.0, half
