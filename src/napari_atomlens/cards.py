"""What a console and a notebook show of a result: a few lines, and a small picture."""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from napari_atomlens.errors import ImageError

#: A card has at most so many lines, its title among them.
LINES = 6
#: Characters of a line, after which it is cut.
WIDE = 100


class Card:
    """Base of what shows itself as a card, in place of its arrays and tables.

    A dataclass that derives from it is made with ``repr=False, eq=False``: arrays and tables
    have no single answer to ``==``, so that two results are equal only where they are one.
    """

    def _title(self) -> str:
        """First line of the card."""
        return type(self).__name__

    def _facts(self) -> Mapping[str, object]:
        """Facts by name, the most important ones first."""
        return {}

    def _picture(self) -> ArrayLike | None:
        """Image of which a notebook shows a thumbnail."""
        return None

    def __repr__(self) -> str:
        return text_card(self._title(), self._facts())

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return html_card(self._title(), self._facts(), self._picture())


def by_size(shape: Sequence[int]) -> str:
    """Return the shape of an image or movie in words."""
    return (
        " x ".join(map(str, shape[-2:]))
        + " px"
        + (f", {shape[0]:,} frames" if len(shape) > 2 else "")
    )


def counted(values: Iterable[str], most: int = 4) -> str:
    """Return how often each value occurs, the most frequent ones first.

    Examples
    --------
    >>> counted(["C", "Si", "C"])
    '2 C, 1 Si'
    """
    counts = Counter(values).most_common()
    rest = f" and {len(counts) - most} more kinds" if len(counts) > most else ""
    return ", ".join(f"{n:,} {name}" for name, n in counts[:most]) + rest


def text_card(title: str, facts: Mapping[str, object]) -> str:
    """Return a title and a few facts as lines of text.

    Parameters
    ----------
    title : str
    facts : mapping of str to object
        By name; those that are empty texts or None are left out.

    Examples
    --------
    >>> print(text_card("Image 'a'", {"shape": "128 x 128", "pixel": None}))
    Image 'a'
      shape: 128 x 128
    """
    lines = [title] + [f"  {name}: {value}" for name, value in _known(facts)]
    return "\n".join(x if len(x) <= WIDE else f"{x[: WIDE - 1]}…" for x in lines[:LINES])


def html_card(title: str, facts: Mapping[str, object], image: ArrayLike | None = None) -> str:
    """Return the same as HTML, with a thumbnail of `image`, for a notebook.

    Parameters
    ----------
    title : str
    facts : mapping of str to object
    image : array-like, shape (H, W) or (T, H, W), optional
    """
    picture = ""
    if image is not None:
        data = base64.b64encode(thumbnail_png(image)).decode("ascii")
        picture = (
            f'<img src="data:image/png;base64,{data}" alt="{html.escape(title)}" '
            'style="width: 128px; image-rendering: pixelated"/>'
        )
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in _known(facts)
    )
    return (
        '<div style="display: flex; gap: 1em; align-items: flex-start">'
        f"{picture}<div><b>{html.escape(title)}</b><table>{rows}</table></div></div>"
    )


def _known(facts: Mapping[str, object]) -> list[tuple[str, object]]:
    return [(name, value) for name, value in facts.items() if value not in (None, "")]


def thumbnail_png(image: ArrayLike, side: int = 128) -> bytes:
    """Draw a small grey picture of an image, as the bytes of a PNG file.

    Parameters
    ----------
    image : array-like, shape (H, W) or (T, H, W)
        Of a movie the first frame is drawn. Pixels that are no numbers are black, 1 % of the
        others at either end are cut off.
    side : int
        The longer side is at most so many pixels.

    Returns
    -------
    bytes
        An 8-bit grey PNG file.

    Raises
    ------
    ImageError
        If it has fewer than two axes, or no pixel.

    Examples
    --------
    >>> import numpy as np
    >>> thumbnail_png(np.eye(300), side=64)[1:4]
    b'PNG'
    """
    pixels = np.asarray(image)
    if pixels.ndim < 2 or not pixels.size:
        raise ImageError(f"An image has two axes, but this has the shape {pixels.shape}.")
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and min(pixels.shape[:2]) >= 16:
        pixels = pixels[..., :3].mean(-1)
    while pixels.ndim > 2:
        pixels = pixels[0]
    pixels = pixels.astype(np.float64)
    step = math.ceil(max(pixels.shape) / side)
    high, wide = (max(1, n // step) for n in pixels.shape)
    pixels = pixels[: high * step, : wide * step]
    blocks = pixels.reshape(high, len(pixels) // high, wide, -1).swapaxes(1, 2)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum((2, 3))
    small = np.divide(total, known.sum((2, 3)), out=np.full((high, wide), np.nan),
                      where=known.any((2, 3)))  # fmt: skip
    seen = small[np.isfinite(small)]
    low, top = np.percentile(seen, (1, 99)) if seen.size else (0.0, 1.0)
    shade = np.clip((small - low) / max(top - low, np.finfo(float).tiny), 0, 1)
    rows = np.zeros((high, wide + 1), np.uint8)  # each row begins with its filter, none
    rows[:, 1:] = np.round(255 * np.nan_to_num(shade))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _png_part(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)),
            _png_part(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _png_part(b"IEND", b""),
        )
    )


def _png_part(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file: length, kind, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
