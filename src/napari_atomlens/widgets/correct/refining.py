"""What the button Refine of Correct starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_atomlens.errors import TableError
from napari_atomlens.progress import Progress
from napari_atomlens.session.refining import Refined, refine_frames, take_refined
from napari_atomlens.widgets.base.images import pixel_size_of, stack_of
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.correct.commands import NO_ATOMS
from napari_atomlens.widgets.correct.desk import Desk

#: Pixel sizes that differ by less are the same.
SAME_SIZE = 0.01


def refining(desk: Desk) -> Task[list[Refined]]:
    """Return the task that refines the selected atoms, or all, on the image beneath.

    Parameters
    ----------
    desk : Desk

    Raises
    ------
    TableError
        If there are no atoms or no image, or they do not lie on its pixels.
    """
    editor, image = desk.editor, desk.image.layer
    if editor is None:
        raise TableError(NO_ATOMS)
    if image is None:
        raise TableError("Choose the image on whose pixels the atoms are to be refined.")
    mine, its = editor.pixel_size, pixel_size_of(image)
    if mine and its and not np.allclose(mine, its, rtol=SAME_SIZE):
        raise TableError(
            f"The atoms are not on the pixels of {image.name}; open their file again while it is "
            "open, and choose it there."
        )
    editor.check()
    session, pixels, chosen = editor.session, stack_of(image), editor.selected()
    atoms, spacing = session.atoms(), session.spacing_px
    said: list[str] = []

    def work(progress: Progress) -> Iterator[list[Refined]]:
        # one edit for all frames: it is undone as one
        parts = list(refine_frames(pixels, atoms, spacing, chosen, progress))
        if parts and not progress.stopped:
            yield parts

    def show(results: list[list[Refined]]) -> None:
        said.append(take_refined(session, results[-1], mine))

    def done() -> str:
        return said[-1] if said else "There is no atom to refine."

    n = int(atoms["frame"].nunique())
    return Task(work, show, done, "Refining…", total=n, sources=(editor.layer, image))
