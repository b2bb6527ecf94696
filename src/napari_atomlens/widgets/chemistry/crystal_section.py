"""The section of the Chemistry dock that matches a crystal with the atoms."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget
from superqt import QCollapsible

from napari_atomlens.graphs.crystals import list_crystals
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.layout import button, line, section

#: What the list of zone axes offers first.
ANY = "any low-index one"
AXES = ("001", "100", "010", "110", "101", "111", "112", "210", "120", "1-10")


class CrystalSection:
    """Which crystal along which axis; a file that was opened joins the list.

    Parameters
    ----------
    parent : QWidget
        The dock.
    match : QPushButton
        Starts the match.
    """

    def __init__(self, parent: QWidget, match: QPushButton) -> None:
        self._parent = parent
        self._files: dict[str, str] = {}
        self.crystal = fields.choice(
            "crystal", "Crystal", list_crystals(), value="SrTiO3",
            tip="By its name; a CIF of your own joins the list",
        )  # fmt: skip
        self.axis = fields.choice(
            "zone_axis", "Zone axis", [ANY, *(f"[{a}]" for a in AXES)],
            tip="Direction of the beam in the crystal",
        )  # fmt: skip
        self._open = button(
            "open_crystal", "Open a CIF…", "A crystal of your own", self._on_open
        )  # fmt: skip
        self.box: QCollapsible = section(
            "Match a crystal…", rows(self.crystal, self.axis), line(self._open, match),
            name="match_section",
        )  # fmt: skip

    def chosen(self) -> str:
        """Name or path of the crystal."""
        name = str(self.crystal.value)
        return self._files.get(name, name)

    def zone_axis(self) -> list[int] | None:
        """Zone axis that is asked for, None where every one is tried."""
        text = str(self.axis.value)
        if text == ANY:
            return None
        whole: list[int] = []
        sign = 1
        for letter in text.strip("[]"):
            if letter == "-":
                sign = -1
            else:
                whole.append(sign * int(letter))
                sign = 1
        return whole

    def _on_open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self._parent, "Open a crystal", "", "Crystals (*.cif *.xyz *.vasp *.json);;All (*)"
        )
        if name:
            title = Path(name).name
            self._files[title] = name
            fields.set_choices(self.crystal, [*self._files, *list_crystals()], title)
