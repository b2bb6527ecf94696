"""The list of the defects that were found, by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_atomlens import graphs

#: Rows listed below one type; the layer holds all.
MOST_LISTED = 500


@dataclass(frozen=True)
class TypeRow:
    """One type of defects.

    Attributes
    ----------
    texts : tuple of str
        Formula, how many, mean score, "new" where the type is not known.
    kind : str
    defects : tuple of (int, tuple of str)
        Row in the table, and texts, of each.
    """

    texts: tuple[str, str, str, str]
    kind: str
    defects: tuple[tuple[int, tuple[str, str, str, str]], ...]


def type_rows(defects: pd.DataFrame, movie: bool) -> list[TypeRow]:
    """Rows of the list, made without a window.

    Parameters
    ----------
    defects : pandas.DataFrame
        Defects table.
    movie : bool
        Whether places need their frame.
    """
    rows = defects.reset_index(drop=True)
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(rows["kind"], rows["formula"], strict=True)):
        places.setdefault(key, []).append(row)
    records = rows[["frame", "y_px", "x_px", "score", "distorted"]].to_dict("records")

    def texts(row: int) -> tuple[str, str, str, str]:
        d = records[row]
        where = f"({d['y_px']:.0f}, {d['x_px']:.0f})"
        where = f"frame {d['frame']} {where}" if movie else where
        return where, "", f"{d['score']:.2f}", "distorted" if d["distorted"] else ""

    found = []
    for t in graphs.count_types(rows).to_dict("records"):
        mine = places[(t["kind"], t["formula"])][:MOST_LISTED]
        head = (str(t["formula"]), f"{t['count']:,}", f"{t['mean_score']:.2f}")
        found.append(
            TypeRow(
                (*head, "" if t["known"] else "new"), str(t["kind"]),
                tuple((row, texts(row)) for row in mine),
            )
        )  # fmt: skip
    return found


class DefectList(QTreeWidget):
    """Types of defects, and below each type its defects.

    Attributes
    ----------
    visited : Signal(int)
        Row of a defect that the user clicked.
    """

    visited = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("types")
        self.setHeaderLabels(["defect", "count", "score", ""])
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setMinimumHeight(160)
        self.setToolTip("Click a defect to go there")
        self.itemClicked.connect(self._on_clicked)

    def show_rows(self, rows: Sequence[TypeRow]) -> None:
        """Show types and their defects."""
        self.clear()
        tops = []
        for row in rows:
            top = QTreeWidgetItem(list(row.texts))
            top.setToolTip(0, row.kind)
            for number, texts in row.defects:
                child = QTreeWidgetItem(list(texts))
                child.setData(0, Qt.ItemDataRole.UserRole, number)
                top.addChild(child)
            tops.append(top)
        self.addTopLevelItems(tops)

    def chosen(self) -> list[int]:
        """Rows of the defects table that are selected."""
        rows: list[int] = []
        for item in self.selectedItems():
            below = [item.child(i) for i in range(item.childCount())] or [item]
            rows += [int(x.data(0, Qt.ItemDataRole.UserRole)) for x in below if x is not None]
        return list(dict.fromkeys(rows))

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        row = item.data(0, Qt.ItemDataRole.UserRole)
        if row is None:
            item.setExpanded(not item.isExpanded())
            only = item.child(0) if item.childCount() == 1 else None
            row = only.data(0, Qt.ItemDataRole.UserRole) if only is not None else None
        if row is not None:
            self.visited.emit(int(row))
