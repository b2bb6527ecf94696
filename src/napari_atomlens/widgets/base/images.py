"""What a dock asks of a layer: its pixels, its pixel size, the frame that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.errors import AtomLensError
from napari_atomlens.image import Pixels, Stack, source_stack

if TYPE_CHECKING:
    import napari.viewer
    import pint
    from napari.layers import Image, Layer


def finest(layer: Image) -> Pixels:
    """Pixels of an image layer; of a pyramid those of its finest level."""
    found: Pixels = layer.data[0] if layer.multiscale else layer.data
    return found


def stack_of(layer: Image) -> Stack:
    """Pixels of an image layer as grey frames (t, y, x); of a pyramid its finest level.

    Raises
    ------
    ImageError
        If they are neither an image nor a movie.
    """
    return source_stack(finest(layer), bool(layer.rgb), layer.axis_labels)


def stack_or_none(layer: Image | None) -> Stack | None:
    """Grey frames of an image layer; None where there is none, or it has more axes."""
    try:
        return None if layer is None else stack_of(layer)
    except AtomLensError:
        return None


def pixel_size_nm(
    scale: np.ndarray | tuple[float, ...], units: tuple[pint.Unit, ...]
) -> tuple[float, float] | None:
    """Pixel size (y, x) in nm of a layer, None where its units are no lengths.

    Parameters
    ----------
    scale : sequence of float
        Of the layer; the last two are y and x.
    units : sequence of pint.Unit
        Of the layer.
    """
    sizes = []
    for step, unit in zip(list(scale)[-2:], list(units)[-2:], strict=True):
        if not unit.is_compatible_with("nm"):
            return None
        sizes.append(float((abs(float(step)) * unit).to("nm").magnitude))
    return (sizes[0], sizes[1]) if all(np.isfinite(s) and s > 0 for s in sizes) else None


def pixel_size_of(layer: Layer) -> tuple[float, float] | None:
    """Pixel size (y, x) in nm of a layer, None where it is unknown."""
    return pixel_size_nm(layer.scale, layer.units) if layer.ndim >= 2 else None


def current_frame(viewer: napari.viewer.Viewer, layer: Layer) -> int:
    """Index of the frame of a layer that the viewer shows, 0 of an image."""
    if layer.ndim < 3:
        return 0
    point = viewer.dims.point[-layer.ndim :]
    frame = round(float(layer.world_to_data(point)[0]))
    # Points and Shapes know no number of frames
    shape = finest(layer).shape if hasattr(layer, "multiscale") else ()
    return max(0, min(frame, shape[0] - 1)) if shape else frame


def length_text(pixels: float, pixel_size_nm: float | None) -> str:
    """Write a length in pixels and, where the pixel size is known, in nm."""
    text = f"{pixels:.1f} px"
    return f"{text} = {pixels * pixel_size_nm:.3g} nm" if pixel_size_nm else text
