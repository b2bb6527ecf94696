"""Corrections: a journal of edits on top of the model's output, with undo, and what follows."""

from napari_atomlens.session.edits.corrections import Corrections
from napari_atomlens.session.edits.derived import Derived
from napari_atomlens.session.edits.journal import Edit, Journal
from napari_atomlens.session.edits.rebase import Conflict

__all__ = ["Conflict", "Corrections", "Derived", "Edit", "Journal"]
