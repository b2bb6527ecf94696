"""What the network says of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_atomlens.cards import Card, by_size
from napari_atomlens.segmentation.candidates import Candidates
from napari_atomlens.segmentation.zoo import Role, columns_among, roles_of


def column_probability(maps: np.ndarray, roles: Sequence[str]) -> np.ndarray:
    """Probability that a pixel belongs to a column, whatever its kind.

    Parameters
    ----------
    maps : ndarray, shape (n_classes, ...)
        Class probabilities.
    roles : sequence of str
        Role of each class; background and contamination are no columns.

    Returns
    -------
    ndarray of float32, shape (...)
    """
    total = np.zeros(maps.shape[1:], np.float32)
    for k in columns_among(roles):
        total += maps[k]
    return total


@dataclass(repr=False, eq=False)
class Probabilities(Card):
    """What the network says of one frame.

    Attributes
    ----------
    maps : ndarray of float16, shape (n_classes, H, W)
        Class probabilities at the size of the input; they sum to one.
    classes : tuple of str
        Names of the classes, background first.
    centre : ndarray of float32, shape (h, w)
        Height of the peak at each column's centre (0 to 1), at the network's sampling;
        of a large image it is not kept, nor are `soft` and `strange` (all are empty).
    soft : ndarray of float32, shape (n_classes, h, w)
        Class probabilities at the network's sampling.
    strange : ndarray of float32, shape (h, w)
        The unfamiliar-region map at the network's sampling.
    unfamiliar : ndarray of float16, shape (H, W)
        0 where the image looks like the training images, 1 where it does not.
    zoom : tuple of float
        Network pixels per image pixel, (y, x).
    spacing_px : float
        Distance between nearest columns that the image was resampled for.
    frame : ndarray of float32, shape (H, W)
        The frame without hot pixels, as the refinement wants it.
    roles : tuple of str
        Role of each class ("background", "column", "contamination"), by default that of its
        name.
    recorded : ndarray of bool, shape (H, W), or None
        Pixels that were recorded; in the others `frame` holds the mirror image of what lies
        beside them. None where all were.
    dark : bool
        Columns are darker than what lies between them: `frame` holds minus the grey values.
    copies : float
        How many pixels of `frame` share the noise of one that was recorded.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> probabilities
    Probabilities, 96 x 96 px
      classes: background, column, bright column, contamination
      spacing: 10.00 px
    >>> probabilities.columns.shape
    (96, 96)
    """

    maps: np.ndarray
    classes: tuple[str, ...]
    centre: np.ndarray
    soft: np.ndarray
    strange: np.ndarray
    unfamiliar: np.ndarray
    zoom: tuple[float, float]
    spacing_px: float
    frame: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    candidates: Candidates | None = None
    roles: tuple[Role, ...] = ()
    recorded: np.ndarray | None = None
    dark: bool = False
    copies: float = 1.0

    def __post_init__(self) -> None:
        self.roles = self.roles or roles_of(self.classes)

    def _title(self) -> str:
        return f"Probabilities, {by_size(self.maps.shape[1:])}"

    def _facts(self) -> dict[str, object]:
        return {"classes": ", ".join(self.classes), "spacing": f"{self.spacing_px:.2f} px"}

    def _picture(self) -> np.ndarray:
        return self.columns

    @property
    def columns(self) -> np.ndarray:
        """Probability that a pixel belongs to a column; float32, shape (H, W)."""
        return column_probability(self.maps, self.roles)

    @property
    def without_lattice(self) -> bool:
        """Whether what was found are single atoms, which form no lattice."""
        return self.column_classes == ("atom",)

    @property
    def column_classes(self) -> tuple[str, ...]:
        """Names of the classes that are columns."""
        return tuple(self.classes[k] for k in columns_among(self.roles))


#: Images with more pixels are done window by window: memory must not follow their size.
LARGE = 5000**2
