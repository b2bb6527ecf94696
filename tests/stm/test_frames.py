"""Frames of one session beside each other: a known surface, scanned twice, turned and shifted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from napari_atomlens import stm
from napari_atomlens.image import Image
from napari_atomlens.stm.frames import rotation

SIZE = 0.05
SIDE = 64


def surface(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Something without symmetry, in nm."""
    return np.sin(3 * y) + np.cos(2 * x + y) + 0.5 * np.sin(x * 1.3)


def scan(middle: tuple[float, float], degrees: float) -> Image:
    """What a scanner records whose frame has its middle there and is turned."""
    at = (np.indices((SIDE, SIDE)).reshape(2, -1) - (SIDE - 1) / 2) * SIZE
    y, x = rotation(degrees) @ at + np.array(middle)[:, None]
    known = {"offset_nm": middle, "scan_rotation_deg": degrees}
    return Image("scan", surface(y, x).reshape(SIDE, SIDE), "yx", (SIZE, SIZE), metadata=known)


@pytest.mark.parametrize("degrees", [(0.0, 0.0), (0.0, 30.0), (20.0, -15.0)])
def test_overlapping_frames_show_the_same(degrees: tuple[float, float]) -> None:
    first, other = scan((10.0, -4.0), degrees[0]), scan((10.5, -4.7), degrees[1])
    places = stm.place_frames([first, other])
    assert places[0] == stm.FramePlace((0.0, 0.0), 0.0)
    place = places[1]
    assert place is not None and place.rotation_deg == pytest.approx(degrees[1] - degrees[0])
    # pixels of the other frame, where it is said that they lie on the first
    at = np.indices((SIDE, SIDE)).reshape(2, -1) * SIZE
    on_first = rotation(place.rotation_deg) @ at + np.array(place.corner_nm)[:, None]
    pixels = on_first / SIZE
    inside = ((pixels > 6) & (pixels < SIDE - 7)).all(0)  # a spline goes wrong at its ends
    seen = map_coordinates(np.asarray(first.data), pixels, order=3)
    assert inside.sum() > 500
    np.testing.assert_allclose(seen[inside], np.asarray(other.data).ravel()[inside], atol=1e-3)


def test_frames_without_a_place() -> None:
    known, bare = scan((0, 0), 0), Image("x", np.zeros((4, 4)), "yx", (SIZE, SIZE))
    assert stm.place_frames([known, bare])[1] is None
    assert stm.place_frames([bare, known]) == [None, None]
    assert stm.place_frames([]) == []
