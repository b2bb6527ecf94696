"""What was drawn on an image in DigitalMicrograph: lines, boxes, texts and scale bars."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_atomlens.image import number_of, text_of

#: Numbers of DigitalMicrograph for what can be drawn.
_KINDS = {
    2: "line", 3: "arrow", 4: "double arrow", 5: "box", 6: "oval", 8: "spot mask",
    9: "array mask", 13: "text", 15: "band-pass mask", 19: "wedge mask", 31: "scale bar",
}  # fmt: skip


def annotation_of(tags: Mapping[str, object]) -> dict[str, object]:
    """Return kind, place (top, left, bottom, right) in pixels and text of an annotation.

    Parameters
    ----------
    tags : mapping
        AnnotationType, Rectangle and Text, as DigitalMicrograph calls them.

    Examples
    --------
    >>> annotation_of({"AnnotationType": 13, "Rectangle": (1, 2, 30, 40), "Text": "Pt"})
    {'kind': 'text', 'place_px': (1.0, 2.0, 30.0, 40.0), 'text': 'Pt'}
    """
    number = int(number_of(tags.get("AnnotationType")) or 0)
    out: dict[str, object] = {"kind": _KINDS.get(number, f"annotation {number}")}
    place = tags.get("Rectangle")
    if isinstance(place, np.void):
        place = place.tolist()
    if isinstance(place, (tuple, list, np.ndarray)) and len(place) == 4:
        sides = [number_of(v) for v in place]
        if None not in sides:
            out["place_px"] = tuple(sides)
    if text := text_of(tags.get("Text")):
        out["text"] = text
    return out
