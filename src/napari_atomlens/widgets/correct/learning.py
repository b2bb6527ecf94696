"""What a model learns from corrected frames, and what the old and the new one find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens import segmentation, training
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import TableError
from napari_atomlens.progress import Progress
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.widgets.correct.desk import Desk

THIS, SEEN, FOURIER = "this frame", "frames marked as seen", "Fourier recipe on this frame"
Polygons = Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Preview:
    """What the old and the new model find in a frame, (n, 2) each."""

    frame: int
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Lesson:
    """The frames to learn from, read in the window and learned from in a thread.

    Attributes
    ----------
    images : dict of int to ndarray
    atoms : dict of int to pandas.DataFrame
    regions : dict of int to list
        Polygons in which nothing is learned.
    spacing_px : float
        0 where it is not known.
    fourier : bool
        Whether the labels are those of the Fourier-subtraction recipe.
    preview : int
        A frame that nobody corrected, to look at.
    look : ndarray or None
        Its pixels.
    """

    images: Mapping[int, np.ndarray]
    atoms: Mapping[int, pd.DataFrame]
    regions: Mapping[int, Polygons]
    spacing_px: float
    fourier: bool
    preview: int
    look: np.ndarray | None

    def labelled(self) -> list[training.Labelled]:
        """Labels of every frame."""
        recipe = training.FourierParams(spacing_px=self.spacing_px)
        if self.fourier:
            return [training.fourier_labels(image, recipe) for image in self.images.values()]
        return [
            training.label_frame(
                image, self.atoms[f], self.spacing_px, outside(self.regions[f], image.shape)
            )
            for f, image in self.images.items()
        ]

    def learn(
        self, params: training.AdaptParams, enough: Progress, stop: Progress
    ) -> Iterator[training.Step | training.Adapted | Preview]:
        """Learn until that is enough, then judge and look at another frame.

        Parameters
        ----------
        params : AdaptParams
        enough : Progress
            Asked whether to learn no more; what was learned is judged.
        stop : Progress
            Asked whether to give up.
        """
        labelled = self.labelled()
        for what in training.adapting(labelled, params, enough):
            yield what
            if isinstance(what, training.Adapted) and self.look is not None:
                names = params.start, str(what.path)
                found = [self._found(n, labelled[0].spacing_px, stop) for n in names]
                yield Preview(self.preview, *found)

    def _found(self, name: str, spacing_px: float, stop: Progress) -> np.ndarray:
        assert self.look is not None
        info = find_model(name)
        p = segmentation.segment(self.look, info, spacing_px, progress=stop)
        atoms = find_atoms(p, calibration=info.calibration.get("atoms"), refine="off")
        return atoms[["y_px", "x_px"]].to_numpy(float)


def read_lesson(desk: Desk, source: str) -> Lesson:
    """Read what there is to learn from.

    Parameters
    ----------
    desk : Desk
    source : str
        "this frame", "frames marked as seen" or the recipe.

    Raises
    ------
    TableError
        If there is nothing.
    """
    editor = desk.editor
    frames = [] if editor is None else [desk.frame]
    if editor is not None and source == SEEN:
        frames = sorted(editor.corrections.seen())
    if editor is None or not frames:
        raise TableError("Correct a frame first, and mark it as seen.")
    images = {f: image for f in frames if (image := desk.pixels(f)) is not None}
    if len(images) < len(frames):
        raise TableError("Choose the image in which the atoms are.")
    c = editor.corrections
    spacing = float(c.spacing_px)
    preview = (frames[-1] + 1) % max(desk.n_frames, 1)
    return Lesson(
        images, {f: c.table(f) for f in frames}, {f: list(c.regions(f)) for f in frames},
        spacing if spacing == spacing else 0.0, source == FOURIER, preview, desk.pixels(preview),
    )  # fmt: skip


def outside(polygons: Polygons, shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the pixels outside of all polygons (y, x)."""
    from skimage.draw import polygon2mask

    mask = np.ones(shape, bool)
    for corners in polygons:
        mask &= ~polygon2mask(shape, np.asarray(corners, float))
    return mask
