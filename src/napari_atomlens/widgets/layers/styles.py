"""How our layers look: frozen dataclasses that become arguments of a layer.

The class colours are from the colour-blind safe palette of Okabe and Ito, brightened to
stand on a dark and on a bright image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_atomlens.session.result_layers import UNFAMILIAR_FACE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


CLASS_COLOURS = {
    "column": "#4cc9f0",
    "bright column": "#ff9f1c",
    "contamination": "#cc79a7",
    "": "#f5f5f5",
}
#: For the classes of other models, in their order.
MORE_COLOURS = ("#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442", "#e8590c", "#7b9ff2")


def class_colours(classes: Iterable[str]) -> dict[str, str]:
    """Colour of each class of a model; "" (a class that is not known) always has one.

    Parameters
    ----------
    classes : iterable of str
        Names of classes, background or not.
    """
    colours = {}
    fresh = iter(MORE_COLOURS * 8)
    for name in classes:
        if name == "background" or name in colours:  # named twice: its colour stays
            continue
        if name in CLASS_COLOURS:
            colours[name] = CLASS_COLOURS[name]
        else:
            colours[name] = next(c for c in fresh if c not in colours.values())
    return colours | {"": CLASS_COLOURS[""]}


class LayerStyle:
    """Something that turns itself into keyword arguments of a layer."""

    def as_kwargs(self) -> dict[str, object]:
        """Return the arguments for the constructor of the layer."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class AtomStyle(LayerStyle):
    """Points: small rings in the colour of the class; the contours stand round them.

    Rings of atoms in unfamiliar neighbourhoods are filled.
    """

    size: float
    border_color_cycle: dict[str, str]
    border_color: str = "species"
    border_width: float = 0.2
    border_width_is_relative: bool = True
    symbol: str = "disc"
    antialiasing: float = 1.0

    def as_kwargs(self) -> dict[str, object]:
        """Return the arguments for the constructor of the layer."""
        return super().as_kwargs() | UNFAMILIAR_FACE


#: Outlines are not filled: the atoms shine through.
CONTOUR_FACE = "transparent"


@dataclass(frozen=True)
class ContourStyle(LayerStyle):
    """Shapes: thin outlines; colours, width and face go with each shape."""

    opacity: float = 0.9


@dataclass(frozen=True)
class ContourLabelsStyle(LayerStyle):
    """Labels drawn as thin outlines, all of one colour."""

    colour: str = "#3ddc97"
    opacity: float = 0.9


@dataclass(frozen=True)
class ProbabilityStyle(LayerStyle):
    """Image: the network's answer, there to be looked at when in doubt."""

    colormap: str = "viridis"
    contrast_limits: tuple[float, float] = (0.0, 1.0)
    blending: str = "translucent"
    opacity: float = 0.7
    interpolation2d: str = "nearest"
    visible: bool = False


@dataclass(frozen=True)
class UnfamiliarStyle(LayerStyle):
    """Image: glows where the model has not seen the like."""

    colormap: str = "magenta"
    contrast_limits: tuple[float, float] = (0.0, 1.0)
    blending: str = "additive"
    opacity: float = 0.6
    interpolation2d: str = "nearest"
    visible: bool = False


@dataclass(frozen=True)
class ArrowStyle(LayerStyle):
    """Vectors: displacements as arrows in the colour of their direction."""

    length: float
    edge_width: float
    edge_color: str = "angle_rad"
    edge_colormap: str = "hsv"
    edge_contrast_limits: tuple[float, float] = (-3.141593, 3.141593)
    vector_style: str = "arrow"
    opacity: float = 0.95


@dataclass(frozen=True)
class MapStyle(LayerStyle):
    """Points: a disc on each site in the colour of what was measured there."""

    size: float
    face_color: str
    face_colormap: str
    face_contrast_limits: tuple[float, float]
    border_width: float = 0.0
    symbol: str = "disc"
    opacity: float = 0.85
    antialiasing: float = 1.0


@dataclass(frozen=True)
class VacancyStyle(LayerStyle):
    """Points: a cross where an atom is missing."""

    size: float
    face_color: str = "#ff4d6d"
    border_color: str = "#ff4d6d"
    border_width: float = 0.05
    symbol: str = "x"
    antialiasing: float = 1.0


@dataclass(frozen=True)
class CoreStyle(LayerStyle):
    """Points: a ring round the core of a dislocation."""

    size: float
    face_color: str = "transparent"
    border_color: str = "#ffd60a"
    border_width: float = 0.1
    symbol: str = "disc"
    antialiasing: float = 1.0


@dataclass(frozen=True)
class BurgersStyle(LayerStyle):
    """Vectors: the Burgers vectors of dislocations, as long as they are."""

    edge_width: float
    length: float = 1.0
    edge_color: str = "#ffd60a"
    vector_style: str = "arrow"


def atom_size(spacing_px: float) -> float:
    """Diameter of an atom's ring in image pixels: a third of the spacing, inside the contour."""
    return 0.33 * spacing_px if 0 < spacing_px < float("inf") else 4.0


def edge_width(spacing_px: float) -> float:
    """Width of an outline in image pixels."""
    return min(max(0.035 * spacing_px, 0.15), 2.0) if 0 < spacing_px < float("inf") else 0.4


@dataclass(frozen=True)
class FrameAtomStyle(LayerStyle):
    """Points of the current frame of a movie: one colour, so that swapping them is quick."""

    size: float
    face_color: str = "transparent"
    border_color: str = "#4cc9f0"
    border_width: float = 0.2
    antialiasing: float = 1.0


@dataclass(frozen=True)
class MovingDefectStyle(LayerStyle):
    """Rings round the defects of the current frame of a movie."""

    size: float
    face_color: str = "transparent"
    border_color: str = "#ff9f1c"
    border_width: float = 0.14
    antialiasing: float = 1.0


@dataclass(frozen=True)
class ChangeMapStyle(LayerStyle):
    """Points on dumbbells, coloured by how far they are from their own baseline."""

    size: float
    opacity: float = 0.55
    border_width: float = 0.0
    antialiasing: float = 1.0


@dataclass(frozen=True)
class DumbbellStyle(LayerStyle):
    """Vectors from column to column."""

    edge_width: float
    edge_color: str = "#f5f5f5"
    vector_style: str = "line"
    opacity: float = 0.8


@dataclass(frozen=True)
class ShiftStyle(LayerStyle):
    """Vectors of the displacement, drawn larger than they are."""

    edge_width: float
    edge_color: str = "#f0e442"
    vector_style: str = "arrow"


def diverging(values: ArrayLike) -> np.ndarray:
    """Colours (n, 4) from blue (-1) over transparent white (0) to red (1), grey where unknown."""
    import numpy as np

    v = np.asarray(values, float)
    known = np.isfinite(v)
    t = np.clip(np.where(known, v, 0), -1, 1)[:, None]
    red, blue, white = (np.array(c) for c in ((0.84, 0.15, 0.16), (0.13, 0.40, 0.90), (1, 1, 1)))
    end = np.where(t > 0, red, blue)
    strength = np.abs(t)
    colour = np.c_[(1 - strength) * white + strength * end, 0.15 + 0.85 * strength]
    colour[~known] = (0.5, 0.5, 0.5, 0.4)
    return colour
