"""What the buttons, the keys and the mouse of Correct do."""

from __future__ import annotations

from collections.abc import Callable

from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.widgets.correct.adding import Adding
from napari_atomlens.widgets.correct.desk import Desk
from napari_atomlens.widgets.correct.review import Review

NO_ATOMS = "Find the atoms of an image first, or add a Points layer."
SELECT = "Select atoms first: click on one."


class Commands:
    """Runs a command by its name, see :data:`napari_atomlens.widgets.base.keys.CORRECT`.

    Parameters
    ----------
    desk : Desk
    adding : Adding
        Species of new atoms, and whether they are fitted.
    review : Review
    say : callable
        Called with a sentence.
    """

    def __init__(
        self, desk: Desk, adding: Adding, review: Review, say: Callable[[str], None]
    ) -> None:
        self._desk, self._adding, self._review, self._say = desk, adding, review, say

    def run(self, command: str) -> None:
        """Run a command."""
        editor = self._desk.editor
        if editor is None:
            self._say(NO_ATOMS)
        elif command == "undo":
            self._go_to(editor.undo())
        elif command == "redo":
            self._go_to(editor.redo())
        elif command == "next":
            self._review.next()
        elif command == "seen":
            self._review.mark_seen(True)
            self._review.step()
        elif command == "merge":
            self._merge(editor.selected())
        elif command == "split":
            self._split(editor.selected())
        else:
            self._on_selected(command, editor.selected())

    def _on_selected(self, command: str, chosen: list[int]) -> None:
        editor = self._desk.editor
        if editor is None or not chosen:
            self._say(SELECT)
            return
        do = {"delete": actions.delete, "accept": actions.accept, "reject": actions.reject}
        editor.perform(do[command], chosen)
        if command in ("accept", "reject") and self._review.looked_at in chosen:
            self._review.next()

    def set_species(self, number: int) -> None:
        """Give the selected atoms a species by its number; without any, to those to come."""
        editor, names = self._desk.editor, self._adding.names
        if editor is None or number >= len(names):
            self._say(f"There is no species {number + 1}.")
            return
        chosen = editor.selected()
        if chosen:
            editor.perform(actions.set_species, chosen, names[number])
        else:
            self._adding.species = names[number]

    def add_at(self, frame: int, y: float, x: float) -> None:
        """Add an atom at a place in pixels, drawn to the peak there where that is wished."""
        editor = self._desk.editor
        if editor is None:
            return
        change = self._desk.hand(frame, self._adding.fits).add(y, x, self._adding.species)
        if change is not None:
            editor.select_rows(change)

    def select(self, row: int, more: bool) -> None:
        """Select a row of the layer, alone or besides others."""
        editor = self._desk.editor
        if editor is not None:
            chosen = set(editor.layer.selected_data) if more else set()
            editor.layer.selected_data = chosen ^ {row} if more else {row}

    def move(self, row: int, y: float, x: float) -> None:
        """Move the atom of a row of the layer."""
        editor = self._desk.editor
        if editor is None:
            return
        atom_id = int(editor.ids()[row])
        frame = editor.corrections.frame_of(atom_id)
        if self._desk.hand(frame, self._adding.fits).move(atom_id, y, x) is None:
            editor.layer.refresh()

    def _merge(self, chosen: list[int]) -> None:
        editor = self._desk.editor
        assert editor is not None
        frame = editor.corrections.frame_of(chosen[0]) if chosen else 0
        change = self._desk.hand(frame, self._adding.fits).merge(chosen)
        if change is not None:
            editor.select_rows(change)

    def _split(self, chosen: list[int]) -> None:
        editor = self._desk.editor
        assert editor is not None
        if len(chosen) != 1:
            self._say("Select one atom to split.")
            return
        frame = editor.corrections.frame_of(chosen[0])
        change = self._desk.hand(frame, self._adding.fits).split(chosen[0])
        if change is not None:
            editor.select_rows(change)

    def _go_to(self, change: Change | None) -> None:
        """Show the frame of what was undone or redone: nothing changes unseen."""
        editor = self._desk.editor
        if change is None:
            said = editor.problem if editor is not None else ""
            self._say(said or "There is nothing more.")
            return
        verb = "Undone" if change.undone else "Done again"
        self._say(f"{verb}: {change.edit.action}.")
        if change.edit.frame >= 0:
            self._desk.show_frame(change.edit.frame)
