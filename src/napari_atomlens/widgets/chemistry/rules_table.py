"""A table in which the user edits chemical rules."""

from __future__ import annotations

import dataclasses

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs.rules import BondRule, Rules, SpeciesRule


def _cell(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    return item


def _table(name: str, columns: list[str], tip: str) -> QTableWidget:
    table = QTableWidget(0, len(columns))
    table.setObjectName(name)
    table.setHorizontalHeaderLabels(columns)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    table.setToolTip(tip)
    table.setMaximumHeight(150)
    return table


class RulesTable(QWidget):
    """Bond lengths by pair in pm (px), and coordination by species; both can be edited.

    Attributes
    ----------
    edited : Signal()
        The user has changed a cell.
    """

    edited = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rules: Rules | None = None
        self._shown_of_one = 1000.0  # pm of a nm; of px that stand for nm: px
        self._bonds = _table(
            "bond_rules", ["a", "b", "min pm", "max pm"],
            "Two atoms are bonded if their distance lies between these",
        )  # fmt: skip
        self._species = _table(
            "species_rules", ["species", "min", "max", "defect"],
            "Allowed numbers of bonds; a name in the last column makes one such atom a point "
            "defect of that name, such as V_S",
        )  # fmt: skip
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bonds)
        layout.addWidget(self._species)
        for table in (self._bonds, self._species):
            table.itemChanged.connect(self._on_changed)

    def set_rules(self, rules: Rules, *, in_pixels: bool = False) -> None:
        """Show rules; `in_pixels` where their lengths are, as nobody knows the pixel size."""
        self._rules = rules
        self._shown_of_one = 1.0 if in_pixels else 1000.0
        self.blockSignals(True)
        unit = "px" if in_pixels else "pm"
        self._bonds.setHorizontalHeaderLabels(["a", "b", f"min {unit}", f"max {unit}"])
        self._bonds.setRowCount(len(rules.bonds))
        for row, r in enumerate(rules.bonds):
            texts = (r.a, r.b, self._length(r.min_nm), self._length(r.max_nm))
            for column, text in enumerate(texts):
                self._bonds.setItem(row, column, _cell(text))
        self._species.setRowCount(len(rules.species))
        for row, s in enumerate(rules.species):
            own = (s.name, str(s.min_coordination), str(s.max_coordination), s.label)
            for column, text in enumerate(own):
                self._species.setItem(row, column, _cell(text))
        self.blockSignals(False)

    def _length(self, length: float) -> str:
        return f"{self._shown_of_one * length:.{0 if self._shown_of_one > 1 else 1}f}"

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if not self.signalsBlocked():
            self.edited.emit()

    def rules(self) -> Rules:
        """Return the rules as they are now.

        Raises
        ------
        ParameterError
            With one sentence, if a cell holds no number or the rules are impossible.
        """
        if self._rules is None:
            raise ParameterError("There are no rules yet.")
        bonds = []
        for row in range(self._bonds.rowCount()):
            a, b, low, high = (self._text(self._bonds, row, c) for c in range(4))
            old = next((r for r in self._rules.bonds if {r.a, r.b} == {a, b}), None)
            shortest, longest = (self._number(x) / self._shown_of_one for x in (low, high))
            rule = BondRule(a, b, shortest, longest)
            if old is not None:  # what is not shown stays, and unchanged cells lose no digits
                kept = {
                    name: getattr(old, name)
                    for name in ("min_nm", "max_nm")
                    if self._length(getattr(old, name)) == self._length(getattr(rule, name))
                }
                rule = dataclasses.replace(rule, ideal_nm=old.ideal_nm, **kept)
            bonds.append(rule)
        species = [
            SpeciesRule(
                self._text(self._species, row, 0),
                int(self._number(self._text(self._species, row, 1))),
                int(self._number(self._text(self._species, row, 2))),
                self._text(self._species, row, 3),
            )
            for row in range(self._species.rowCount())
        ]
        return dataclasses.replace(self._rules, bonds=tuple(bonds), species=tuple(species))

    @staticmethod
    def _text(table: QTableWidget, row: int, column: int) -> str:
        item = table.item(row, column)
        return item.text().strip() if item is not None else ""

    @staticmethod
    def _number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ParameterError(f"{text!r} in the table of rules is not a number.") from None
