"""What was measured: in a table of the dock, in a sentence, in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_atomlens.errors import FormatError
from napari_atomlens.io.export.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_atomlens.lattice.lattice import Lattice

ROW_PX, MOST_ROWS = 22, 18


class SummaryTable(QTableWidget):
    """One row for each quantity, one column for each region.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 0, parent)
        self.setObjectName("summary")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.horizontalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.hide()

    def show_rows(self, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Show names and values; hidden where there are none."""
        self.setVisible(bool(rows))
        n_columns = len(rows[0][1]) if rows else 0
        self.setRowCount(len(rows))
        self.setColumnCount(n_columns)
        for k, (name, texts) in enumerate(rows):
            self.setVerticalHeaderItem(k, QTableWidgetItem(name))
            for c, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name}: {text}")  # where the column is too narrow for it
                self.setItem(k, c, item)
        mode = QHeaderView.ResizeMode
        self.horizontalHeader().setSectionResizeMode(
            mode.Stretch if n_columns == 1 else mode.ResizeToContents
        )
        self.setFixedHeight(ROW_PX * min(len(rows), MOST_ROWS) + 16)


def save_tables(found: Lattice, path: str | Path) -> list[Path]:
    """Write the tables of a measured lattice next to each other as CSV files.

    Parameters
    ----------
    found : Lattice
    path : path
        ``lattice.csv`` makes ``lattice_atoms.csv``, ``lattice_lattices.csv`` ...

    Returns
    -------
    list of pathlib.Path
        The files; tables without a row are left out, but for that of the atoms.

    Raises
    ------
    FormatError
        If a file cannot be written.
    """
    base = Path(path)
    base = base.with_suffix("") if base.suffix.lower() == ".csv" else base
    written = []
    for name in ("atoms", "lattices", "sublattices", "distances", "holes", "dislocations"):
        table: pd.DataFrame = getattr(found, name)
        if not len(table) and name != "atoms":
            continue
        target = base.with_name(f"{base.name}_{name}.csv")
        try:
            written.append(write_table(target, table))
        except OSError as error:
            raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    return written


def sentence(found: Lattice, seconds: float) -> str:
    """Say what was found."""
    n, frames = len(found.lattices), found.atoms["frame"].nunique()
    vacant = int((found.atoms["source"].astype(str) == "lattice").sum())
    said = []
    if n:
        where = f" in {frames} frames" if frames > 1 else ""
        said.append(
            f"{n} region{'' if n == 1 else 's'}{where}, {vacant:,} vacant "
            f"site{'' if vacant == 1 else 's'}, {seconds:.1f} s."
        )
    cores = len(found.dislocations)
    if cores:
        said.append(f"{cores} dislocation{'' if cores == 1 else 's'}.")
    said += found.messages[:1]
    if len(found.messages) > 1:
        said.append(f"({len(found.messages) - 1} more frames with a message.)")
    return " ".join(said)
