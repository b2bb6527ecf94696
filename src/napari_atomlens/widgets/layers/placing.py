"""Where our layers lie: in the world on their image, in the list directly above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_atomlens import stm
from napari_atomlens.image import Image as Measured
from napari_atomlens.stm.frames import rotation
from napari_atomlens.widgets.layers.roles import (
    ATOMS,
    ORDER,
    entry,
    is_given,
    kind_of,
    plain_name,
    rank,
)

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Layer

#: Attributes that say where in the world a layer is.
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def place_of(source: Layer, ndim: int | None = None, zoom: int = 1) -> dict[str, Any]:
    """Arguments that lay a layer onto another one.

    Parameters
    ----------
    source : napari.layers.Layer
    ndim : int, optional
        Axes of the layer, the last ones of the source; as many as that has by default.
    zoom : int
        How many times finer than the source the pixels of the layer are.

    Returns
    -------
    dict
        ``scale``, ``translate``, ``rotate``, ``shear``, ``affine``, ``units``, ``axis_labels``.
    """
    n = source.ndim if ndim is None else ndim
    upper = np.triu_indices(source.ndim, 1)
    shear = np.eye(source.ndim)
    shear[upper] = np.asarray(source.shear, float)[: len(upper[0])]
    rotate = np.asarray(source.rotate, float)[-n:, -n:]
    shear = shear[-n:, -n:]
    scale = np.array(source.scale, float)[-n:]
    translate = np.array(source.translate, float)[-n:]
    if zoom != 1:  # pixels lie on their middle, so finer ones begin half a step earlier
        offset = np.zeros(n)
        offset[-2:] = (1 - zoom) / (2 * zoom)
        translate = translate + rotate @ shear @ (scale * offset)
        scale[-2:] /= zoom
    return {
        "scale": scale,
        "translate": translate,
        "rotate": rotate,
        "shear": shear[np.triu_indices(n, 1)],
        "affine": np.asarray(source.affine.affine_matrix, float)[-n - 1 :, -n - 1 :],
        "units": tuple(source.units)[-n:],
        "axis_labels": tuple(source.axis_labels)[-n:],
    }


def lay_onto(layer: Layer, place: dict[str, Any]) -> bool:
    """Let a layer lie where :func:`place_of` says; whether it lay elsewhere before."""
    moved = False
    for name in PLACE:
        value, now = place[name], getattr(layer, name)
        if name == "affine":
            now = now.affine_matrix
        same = (
            tuple(now) == tuple(value)
            if name in ("units", "axis_labels")
            else np.shape(now) == np.shape(value) and np.allclose(now, value, rtol=0, atol=1e-12)
        )
        if not same:
            setattr(layer, name, value)
            moved = True
    return moved


def lay_side_by_side(first: Layer, others: Sequence[Layer]) -> int:
    """Let scans lie where the scanner was when it made them, as the first one sees it.

    Parameters
    ----------
    first : napari.layers.Image
        Stays where it is.
    others : sequence of napari.layers.Image
        Those of files that do not say where they were made stay, too.

    Returns
    -------
    int
        How many were laid.
    """
    layers = [first, *others]
    places = stm.place_frames([_as_image(x) for x in layers])
    turn, corner = np.asarray(first.rotate)[-2:, -2:], np.asarray(first.translate)[-2:]
    n = 0
    for layer, place in zip(layers[1:], places[1:], strict=True):
        if place is None:
            continue
        rotate, translate = np.eye(layer.ndim), np.array(layer.translate, float)
        rotate[-2:, -2:] = turn @ rotation(place.rotation_deg)
        translate[-2:] = corner + turn @ np.array(place.corner_nm)
        layer.rotate, layer.translate = rotate, translate
        n += 1
    return n


def _as_image(layer: Layer) -> Measured:
    """What is known of a scan; one that is not drawn in nm has no pixel size."""
    in_nm = [str(u) for u in layer.units[-2:]] == ["nanometer"] * 2
    y, x = (float(s) for s in layer.scale[-2:])
    pixels = np.empty(layer.data.shape[-2:], bool)
    return Measured(
        layer.name, pixels, "yx", (y, x) if in_nm else None, metadata=dict(layer.metadata)
    )


# -------------------------------------------------------------------------- in the list


def source_of(layer: Layer, layers: LayerList) -> Layer | None:
    """Layer that one of ours was made from; by name where that comes from an earlier session."""
    mine = entry(layer)
    if not mine:
        return None
    by_name = None
    for other in layers:
        if other is layer:
            continue
        if str(other.unique_id) == mine.get("source_id"):
            return other
        if plain_name(other) == mine.get("source_name") and by_name is None:
            by_name = other
    return by_name


def image_under(layers: LayerList, atoms: Layer) -> Image | None:
    """Image beneath some atoms: the one that they were found in, else the visible one on top."""
    images = [x for x in layers if isinstance(x, Image)]
    wanted = entry(atoms).get("source_id")
    given = [x for x in images if is_given(x)]
    shown = [x for x in given if x.visible] or given
    found = next((x for x in images if str(x.unique_id) == wanted), None)
    return found or (shown[-1] if shown else None)


def image_of(layer: Layer, layers: LayerList) -> Layer:
    """Image that a layer of ours was made from in the end; the layer itself where there is none."""
    seen = [layer]
    while (source := source_of(seen[-1], layers)) is not None and source not in seen:
        seen.append(source)
    return seen[-1]


def index_above(layers: LayerList, source: Layer, new: Layer) -> int:
    """Where in the list a new layer of ours belongs: above its image, in the order of roles."""
    if source not in layers:
        return len(layers)
    image = image_of(source, layers)
    at = layers.index(image) + 1
    height = rank(new)
    if image is source and kind_of(source) == "Points" and height < ORDER.index(ATOMS):
        # atoms without an image: what belongs below them does not cover them
        at -= 1
        while at > 0 and source_of(layers[at - 1], layers) is source:
            if rank(layers[at - 1]) <= height:
                break
            at -= 1
        return at
    while at < len(layers):
        other = layers[at]
        if other is not new:
            of_it = other is source or image_of(other, layers) is image
            if not of_it or rank(other) > height:
                break
        at += 1
    return at


def raise_above(layers: LayerList, layer: Layer) -> bool:
    """Move a layer of ours directly above its image; whether it lay elsewhere."""
    source = source_of(layer, layers)
    if source is None:
        return False
    now, at = layers.index(layer), index_above(layers, source, layer)
    if at in (now, now + 1):
        return False
    active = layers.selection.active
    layers.move(now, at)
    if layers.selection.active is not active:
        layers.selection.active = active
    return True
