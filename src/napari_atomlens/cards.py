"""What a console and a notebook show of a result: a few lines, and a small picture."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping

from numpy.typing import ArrayLike

from napari_atomlens.image import thumbnail_png

#: A card has at most so many lines, its title among them.
LINES = 6
#: Characters of a line, after which it is cut.
WIDE = 100


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
