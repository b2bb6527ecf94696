"""What a hand does to atoms where an image lies beneath: drawn to the peak, and fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.edits.place import halves, measure, nearest_peak
from napari_atomlens.session.session import Session

#: Two atoms nearer than this (in spacings) are one.
TOO_NEAR = 0.15
Place = tuple[float, float]


def is_on(image: np.ndarray, y: float, x: float) -> bool:
    """Whether a place lies on an image."""
    return -0.5 <= y < image.shape[0] - 0.5 and -0.5 <= x < image.shape[1] - 0.5


@dataclass(frozen=True)
class Hand:
    """Edits of one frame.

    Parameters
    ----------
    session : Session
    frame : int
    spacing_px : float
        Distance between nearest atoms.
    image : ndarray or None
        Pixels of the frame, None where there are none.
    fit : bool
        Whether atoms are drawn to the local peak and fitted; else they are where they are put.
    pixel_size_nm : tuple of float or None
        (y, x).
    """

    session: Session
    frame: int
    spacing_px: float
    image: np.ndarray | None = None
    fit: bool = True
    pixel_size_nm: Place | None = None

    @property
    def seen(self) -> np.ndarray | None:
        """Pixels with bright columns: minus those of an image that was analysed as dark."""
        image = self.image
        return -np.asarray(image, np.float32) if image is not None and self.dark else image

    @property
    def dark(self) -> bool:
        """Whether the columns of the image are dark, as the latest run has it."""
        return self.session.results.dark

    def measured(
        self, places: list[Place], seek: bool, besides: list[int] | None = None
    ) -> list[dict[str, Any]]:
        """Where atoms are and what a fit says of them; as they are where that is not wished.

        Parameters
        ----------
        places : list of (y, x)
        seek : bool
            Draw them to the local peak first.
        besides : list of int, optional
            Atoms that are no neighbours of theirs: they become these.
        """
        plain: list[dict[str, Any]] = [{"y_px": float(y), "x_px": float(x)} for y, x in places]
        image = self.seen if self.fit else None
        if image is None or not all(is_on(image, *p) for p in places):
            return plain
        columns = self.session.corrections.columns(self.frame)
        others = columns.positions[~np.isin(columns.ids, besides or [])]
        try:
            if seek:
                places = [nearest_peak(image, y, x, self.spacing_px) for y, x in places]
            return measure(image, places, others, self.spacing_px, dark=self.dark)
        except AtomLensError:
            return plain

    def add(self, y: float, x: float, species: str) -> Change | None:
        """Add an atom at a place in pixels; None, and a sentence, where none can be."""
        session = self.session
        if self.image is not None and not is_on(self.image, y, x):
            session.say("There is no image at this place.")
            return None
        measured = self.measured([(y, x)], seek=True)[0]
        at = measured.pop("y_px"), measured.pop("x_px")
        others = session.corrections.columns(self.frame).positions
        if len(others) and np.hypot(*(others - at).T).min() < TOO_NEAR * self.spacing_px:
            session.say("There is an atom already; switch off the drawing to the peak.")
            return None
        return session.edit(
            actions.add, self.frame, at[0], at[1], species, self.pixel_size_nm, measured
        )

    def move(self, atom_id: int, y: float, x: float) -> Change | None:
        """Move an atom to a place in pixels."""
        measured = self.measured([(y, x)], seek=True, besides=[atom_id])[0]
        at = measured.pop("y_px"), measured.pop("x_px")
        return self.session.edit(actions.move, [atom_id], [at], self.pixel_size_nm, [measured])

    def merge(self, atom_ids: list[int]) -> Change | None:
        """Make one atom out of several, fitted where their middle is."""
        c = self.session.corrections
        try:
            rows = c.rows(atom_ids)
            measured: dict[str, Any] = {}
            place = None
            if len(rows) > 1:
                middle = actions.middle(c, rows)
                measured = self.measured([middle], seek=False, besides=atom_ids)[0]
                place = measured.pop("y_px"), measured.pop("x_px")
        except AtomLensError as error:
            self.session.say(str(error))
            return None
        return self.session.edit(actions.merge, atom_ids, self.pixel_size_nm, measured, place)

    def split(self, atom_id: int) -> Change | None:
        """Make two atoms out of one, along its longer axis where an image shows it."""
        c = self.session.corrections
        row = c.rows([atom_id])[0]
        y, x = float(c.value(row, "y_px")), float(c.value(row, "x_px"))
        step = 0.2 * self.spacing_px
        places = [(y, x - step), (y, x + step)]
        if (image := self.seen) is not None and is_on(image, y, x):
            places = halves(image, y, x, self.spacing_px)
        measured = self.measured(places, seek=False, besides=[atom_id])
        at = [(m.pop("y_px"), m.pop("x_px")) for m in measured]
        apart = float(np.linalg.norm(np.diff(np.array(at), axis=0)))
        if apart < 0.1 * self.spacing_px:  # the fit joined them again
            at, measured = places, [{}, {}]
        return self.session.edit(actions.split, atom_id, at, self.pixel_size_nm, measured)
