"""What is being corrected: the atoms, the image beneath them, the frame that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session.by_hand import Hand
from napari_atomlens.session.pixels import KnownPixels
from napari_atomlens.widgets.base.images import current_frame, finest
from napari_atomlens.widgets.base.layer_choice import LayerChoice
from napari_atomlens.widgets.base.looking import look_at, show_frame
from napari_atomlens.widgets.layers.atoms import Editor
from napari_atomlens.widgets.layers.roles import entry, opened_positions

if TYPE_CHECKING:
    import napari.viewer

#: An atom is shown with about so many others across a canvas of usual size.
NEIGHBOURS, CANVAS_PX = 16, 600


class Desk:
    """The atoms that are corrected and the image beneath, as every tool of the dock needs them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : LayerChoice
        The image on which new and moved atoms are drawn to a peak.

    Attributes
    ----------
    editor : Editor or None
        Of the atoms.
    """

    def __init__(self, viewer: napari.viewer.Viewer, image: LayerChoice[Image]) -> None:
        self.viewer, self.image = viewer, image
        self.editor: Editor | None = None
        self._known: KnownPixels | None = None

    @property
    def frame(self) -> int:
        """The frame that the viewer shows."""
        return 0 if self.editor is None else current_frame(self.viewer, self.editor.layer)

    @property
    def is_movie(self) -> bool:
        """Whether there are frames."""
        return self.editor is not None and bool(self.editor.layer.ndim >= 3)

    @property
    def n_frames(self) -> int:
        """How many frames there are; one of an image."""
        editor = self.editor
        if editor is None or not self.is_movie:
            return 1
        image = self.image.layer
        if image is not None and image.ndim == editor.layer.ndim:
            return int(finest(image).shape[0])
        return max(editor.corrections.frames(), default=0) + 1

    def pixels(self, frame: int) -> np.ndarray | None:
        """One frame of the image, None where there is no image."""
        layer = self.image.layer
        if layer is None:
            return None
        data = finest(layer)
        known = self._known
        if known is None or not known.are_of(data):
            try:
                known = KnownPixels(data, bool(layer.rgb), layer.axis_labels)
            except AtomLensError:
                return None
            self._known = known
        return known.frame(frame)

    def hand(self, frame: int, fit: bool) -> Hand:
        """What edits a frame by hand, with the image beneath it."""
        editor = self.editor
        assert editor is not None
        return Hand(
            editor.session, frame, editor.spacing_px, self.pixels(frame), fit, editor.pixel_size
        )

    def show_frame(self, frame: int) -> None:
        """Let the viewer show a frame."""
        editor = self.editor
        if editor is None or not self.is_movie or frame == self.frame:
            return
        show_frame(self.viewer, editor.layer, frame)

    def centre(self, frame: int, y: float, x: float, near: bool = False) -> None:
        """Bring a place to the middle of the window; `near` enough to judge an atom there."""
        editor = self.editor
        if editor is None:
            return
        look_at(self.viewer, editor.layer, (frame, y, x)[-editor.layer.ndim :])
        camera = self.viewer.scene.camera
        if near:  # who is nearer already stays there
            span = NEIGHBOURS * editor.spacing_px * float(np.mean(editor.layer.scale[-2:]))
            camera.zoom = max(camera.zoom, CANVAS_PX / span)

    def likely_image(self) -> Image | None:
        """The image in which the atoms were found."""
        if self.editor is None:
            return None
        images, atoms = self.image.offered(), self.editor.layer
        mine = entry(atoms) or opened_positions(atoms)
        for image in images:
            if str(image.unique_id) == mine.get("source_id"):
                return image
        for image in images:
            if image.name == mine.get("source_name"):
                return image
        same = [x for x in images if x.ndim == atoms.ndim]
        return next((x for x in same if x.visible), same[0] if same else None)
