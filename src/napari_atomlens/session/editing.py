"""The atoms of one image with every edit: made, refused, taken back, kept on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Concatenate, ParamSpec

import pandas as pd
from psygnal import Signal

from napari_atomlens.errors import AtomLensError
from napari_atomlens.session.autosave import Autosave
from napari_atomlens.session.edits import Conflict, Corrections
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.project import OpenProject

P = ParamSpec("P")
READ_ONLY = "This project is open in another window: it is read-only here."


class Editing:
    """The half of a session that edits.

    Attributes
    ----------
    autosave : Autosave or None
        Writes every edit to the disk, see :meth:`keep_edits`.
    project : OpenProject or None
        The project that the image is of; nothing is edited where that is read-only.
    problem : str
        Why the latest edit was not made, or not saved; "" where all is well.
    """

    edit_begins = Signal(bool)
    edited = Signal(object)
    atoms_reset = Signal()
    told = Signal()

    def __init__(self) -> None:
        self.autosave: Autosave | None = None
        self.project: OpenProject | None = None
        self.problem = ""
        self._corrections = Corrections()

    def _listen(self, on: bool) -> None:
        """Listen to the corrections, or to them no longer."""
        raise NotImplementedError

    def _on_atoms_changed(self, frames: frozenset[int]) -> None:
        """Hear that the atoms of some frames have changed."""
        raise NotImplementedError

    def _after_edit(self, change: Change) -> None:
        """Hear of an edit before anybody else does."""
        raise NotImplementedError

    @property
    def corrections(self) -> Corrections:
        """The atoms with their journal."""
        return self._corrections

    @corrections.setter
    def corrections(self, corrections: Corrections) -> None:
        """Take other corrections, as those of a project or of a session that was lost."""
        if corrections is self._corrections:
            return
        self._listen(False)
        if self.autosave is not None:
            self.autosave.pause()
            self.autosave = None
        self._corrections = corrections
        self._listen(True)
        self._on_atoms_changed(frozenset(corrections.frames()))
        self.atoms_reset.emit()

    def keep_edits(self, about: Mapping[str, object], root: Path | None = None) -> Autosave:
        """Write every edit to the disk from now on.

        Parameters
        ----------
        about : mapping
            What a later session must know to show the atoms again.
        root : path, optional
            Folder of all sessions.
        """
        if self.autosave is not None:
            self.autosave.pause()
        self.autosave = Autosave(self._corrections, about, root)
        return self.autosave

    @property
    def has_atoms(self) -> bool:
        """Whether there are atoms, or were before they were edited."""
        c = self._corrections
        return bool(c.journal.log) or any(c.count(f) for f in c.frames())

    @property
    def is_read_only(self) -> bool:
        """Whether the project that the image is of is open in another window."""
        return self.project is not None and self.project.read_only

    def edit(
        self,
        action: Callable[Concatenate[Corrections, P], Change],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change | None:
        """Make an edit.

        Parameters
        ----------
        action : callable
            One of :mod:`napari_atomlens.session.edits.actions`; the others are its arguments.

        Returns
        -------
        Change or None
            None, and the sentence in :attr:`problem`, where it cannot be made.
        """
        if self.is_read_only:
            self.say(READ_ONLY)
            return None
        return self._follow(lambda: action(self._corrections, *args, **kwargs))

    def undo(self) -> Change | None:
        """Take the last edit back."""
        if self.is_read_only:
            self.say(READ_ONLY)
            return None
        return self._follow(self._corrections.undo)

    def redo(self) -> Change | None:
        """Do the last undone edit again."""
        if self.is_read_only:
            self.say(READ_ONLY)
            return None
        return self._follow(self._corrections.redo)

    def say(self, sentence: str) -> None:
        """Tell why nothing was done."""
        self.problem = sentence
        self.told.emit()

    def _follow(self, do: Callable[[], Change | None]) -> Change | None:
        self.edit_begins.emit(False)
        self.problem = ""
        change = None
        try:
            change = do()
        except AtomLensError as error:
            self.problem = str(error)
        if change is not None:
            self._after_edit(change)
            self.edited.emit(change)
        if self.autosave is not None and not self.problem:
            self.problem = self.autosave.problem  # until the edits can be kept again
        self.told.emit()
        return change

    def last_edit(self) -> str:
        """Say what was edited last; "" where nothing was, or it was taken back."""
        journal = self._corrections.journal
        if not journal.log or journal.log[-1][0] != "do":
            return ""
        edit = journal.edits[journal.log[-1][1]]
        n = max(len(edit.before), len(edit.after))
        atoms = f": {n} atom{'' if n == 1 else 's'}" if n else ""
        return f"{edit.action}{atoms}; {len(journal)} edits in all."

    def rerun(
        self, machine: pd.DataFrame, frames: Iterable[int], spacing_px: float
    ) -> list[Conflict]:
        """Put new output of the model under the edits, see :meth:`Corrections.rerun`."""
        self.edit_begins.emit(True)
        conflicts = self._corrections.rerun(machine, frames, spacing_px)
        self.atoms_reset.emit()
        self.told.emit()
        return conflicts
