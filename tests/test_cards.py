"""What a console and a notebook show of a result."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest

from napari_atomlens.cards import LINES, WIDE, html_card, text_card
from napari_atomlens.errors import ImageError
from napari_atomlens.image import thumbnail_png


def read_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG file, by a reader that is not ours."""
    imageio = pytest.importorskip("imageio.v3")
    return np.asarray(imageio.imread(io.BytesIO(data), extension=".png"))


@pytest.mark.parametrize(
    ("shape", "small"),
    [((64, 64), (64, 64)), ((256, 512), (64, 128)), ((3, 200, 130), (100, 65)),
     ((1000, 3), (125, 1)), ((1, 1), (1, 1)), ((300, 200, 3), (100, 66))],
)  # fmt: skip
def test_a_thumbnail_is_a_picture_of_the_size_asked_for(
    shape: tuple[int, ...], small: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    pixels = read_png(thumbnail_png(image, side=128))
    assert pixels.shape == small and pixels.dtype == np.uint8


def test_a_thumbnail_shows_bright_and_dark_and_does_without_what_is_no_number() -> None:
    image = np.zeros((256, 256), np.float32)
    image[:, 128:] = 5
    image[:64] = np.nan
    image[200, 200] = np.inf
    pixels = read_png(thumbnail_png(image, side=64))
    assert (pixels[16:, 32:] == 255).all() and (pixels[16:, :32] == 0).all()
    assert (pixels[:16] == 0).all()
    assert (read_png(thumbnail_png(np.full((32, 32), np.nan))) == 0).all()
    with pytest.raises(ImageError):
        thumbnail_png(np.zeros(5))


def test_a_card_is_short_and_leaves_out_what_is_not_known() -> None:
    facts = {
        "a": 1,
        "none": None,
        "empty": "",
        "zero": 0,
        "long": "x" * 500,
        "d": 4,
        "e": 5,
        "f": 6,
    }
    lines = text_card("Title", facts).splitlines()
    assert len(lines) == LINES and max(map(len, lines)) <= WIDE
    assert lines[:3] == ["Title", "  a: 1", "  zero: 0"]


def test_a_card_in_a_notebook_has_a_picture_and_no_raw_text() -> None:
    made = html_card("<b>", {"x & y": "<script>"}, np.eye(16))
    assert "<script>" not in made and "&lt;b&gt;" in made and "x &amp; y" in made
    data = re.search(r'src="data:image/png;base64,([^"]+)"', made)
    assert data and read_png(base64.b64decode(data[1])).shape == (16, 16)
    assert "<img" not in html_card("a", {})
