"""What new atoms are: their species, and whether they are drawn to the peak and fitted."""

from __future__ import annotations

from napari_atomlens.segmentation.zoo import role_of
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.layers.atoms import Editor

#: Species of a layer that says nothing of its own.
PREFERRED = ("column", "bright column")


class Adding:
    """The fields of new atoms.

    Attributes
    ----------
    choice, snap : magicgui widgets
    names : list of str
        Species that atoms can be, in the order of the number keys.
    """

    def __init__(self) -> None:
        self.choice = fields.choice("species", "Add", [], tip="Species of the atoms that you add")
        self.snap = fields.check(
            "snap", "Draw to the local peak and fit", True,
            tip="Off: atoms are exactly where you click",
        )  # fmt: skip
        self.names: list[str] = []

    def show(self, editor: Editor | None) -> None:
        """Offer the species of a layer."""
        names = [] if editor is None else editor.species()
        if editor is not None and not names:
            names = [n for n in PREFERRED if role_of(n) == "column"]
        self.names = names
        fields.set_choices(self.choice, names)

    @property
    def species(self) -> str:
        """Species of the atoms to come."""
        return str(self.choice.value or "")

    @species.setter
    def species(self, name: str) -> None:
        """Choose the species of the atoms to come."""
        if name in self.names:
            self.choice.value = name

    @property
    def fits(self) -> bool:
        """Whether atoms are drawn to the peak and fitted."""
        return bool(self.snap.value)
