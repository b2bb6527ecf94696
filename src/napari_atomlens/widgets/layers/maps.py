"""The maps of one image: what the network sees, and where the image is unlike its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_atomlens.session.results import ANY_ATOM
from napari_atomlens.widgets.layers import styles
from napari_atomlens.widgets.layers.roles import PROBABILITY, UNFAMILIAR

if TYPE_CHECKING:
    from napari_atomlens.session.results import Results
    from napari_atomlens.widgets.layers.layer_set import LayerSet


class Maps:
    """The layers of probability and of unfamiliar regions.

    Parameters
    ----------
    layers : LayerSet
        Of the image.

    Attributes
    ----------
    name : str
        Which of the class maps is shown.
    """

    def __init__(self, layers: LayerSet) -> None:
        self._layers = layers
        self.name = ANY_ATOM

    def close(self) -> None:
        """Let go of the layers, which stay."""

    @property
    def _results(self) -> Results:
        return self._layers.image_session.results

    def names(self) -> tuple[str, ...]:
        """Names of the class maps that can be shown now."""
        return self._results.map_names()

    def choose(self, name: str) -> None:
        """Let the probability layer show another class."""
        if name in self.names() and self._layers.layer(PROBABILITY) is not None:
            self.name = name
            self.show_probability()

    def show_probability(self, frames: Sequence[int] = ()) -> None:
        """Make or update the map of the class that is chosen.

        Parameters
        ----------
        frames : sequence of int, optional
            Frames that are new: where they show nothing no layer is made.
        """
        maps = self._results.map(self.name)
        self._show(PROBABILITY, maps, frames, styles.ProbabilityStyle())

    def show_unfamiliar(self, frames: Sequence[int] = ()) -> None:
        """Make or update the map of what the model does not know."""
        self._show(UNFAMILIAR, self._results.unfamiliar, frames, styles.UnfamiliarStyle())

    def _show(
        self, role: str, maps: np.ndarray | None, frames: Sequence[int], style: styles.LayerStyle
    ) -> None:
        if maps is None:
            return
        if self._layers.layer(role) is None and not any(maps[f].any() for f in frames):
            return
        data = maps if self._layers.source.ndim == 3 else maps[0]
        self._layers.show(role, Image, data, style=style.as_kwargs())
