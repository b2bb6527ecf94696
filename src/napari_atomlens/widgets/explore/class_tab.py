"""Classes of sites in the Explore dock: a picture of each, and what the user does to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QInputDialog

from napari_atomlens.contours.classbook import ClassBook
from napari_atomlens.contours.classes import Classes, ClassParams
from napari_atomlens.errors import ParameterError
from napari_atomlens.widgets.base.forms import ParamForm
from napari_atomlens.widgets.base.layout import button, line
from napari_atomlens.widgets.base.rows import Gallery
from napari_atomlens.widgets.explore.sites import CLASS
from napari_atomlens.widgets.explore.tabs import Tab

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton

#: Sites that the picture of a class is the mean of, at most.
MOST_OF_MEAN = 100


def row_keys(table: pd.DataFrame) -> np.ndarray:
    """What the rows of a table are known by: ids of atoms, which stay when others go."""
    if "atom_id" in table and not table["atom_id"].isna().any():
        return table["atom_id"].to_numpy(np.int64)
    return np.arange(len(table))


@dataclass
class KnownClasses:
    """Classes as the machine found them, and what the user made of them.

    Attributes
    ----------
    keys : ndarray of int, shape (n,)
        Which sites they are of.
    label : ndarray of int, shape (n,)
    book : ClassBook
    found : Classes or None
        With patches and embedding; None where they come from an earlier session.
    """

    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    label: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    book: ClassBook = field(default_factory=ClassBook)
    found: Classes | None = None

    def labels(self, table: pd.DataFrame) -> np.ndarray:
        """Class of every row of a table, -1 where it has none."""
        if not len(self.keys):
            return np.full(len(table), -1)
        now = pd.Series(self.book.apply(self.label), self.keys)
        return now[~now.index.duplicated()].reindex(row_keys(table), fill_value=-1).to_numpy(int)

    def as_dict(self) -> dict[str, object]:
        """Return them as plain values, for the metadata of a layer."""
        return {
            **self.book.as_dict(), "keys": self.keys.tolist(), "machine": self.label.tolist()
        }  # fmt: skip

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> KnownClasses:
        """Make them of what :meth:`as_dict` gave.

        Raises
        ------
        ParameterError
            If that is damaged.
        """
        keys, label = (np.asarray(kept.get(n, []), np.int64) for n in ("keys", "machine"))
        if len(keys) != len(label):
            raise ParameterError("The classes that are kept with this layer are damaged.")
        return cls(keys, label, ClassBook.from_dict(kept))

    def with_book(self, book: ClassBook) -> KnownClasses:
        """Return them with another book."""
        return KnownClasses(self.keys, self.label, book, self.found)

    def split(self, number: int) -> ClassBook:
        """Split a class in two.

        Raises
        ------
        ParameterError
            If it is too small, or of an earlier session.
        """
        if self.found is None or not self.found.embedding.size:
            raise ParameterError("Find the classes anew before you split one.")
        return self.book.split(number, self.book.apply(self.label), self.found.embedding)


class ClassTab(Tab):
    """A picture of each class, and the buttons that change them.

    Parameters
    ----------
    find : QPushButton
        Finds the classes.

    Attributes
    ----------
    form : ParamForm
        How to find them.
    changed : Signal(object)
        The user wants this :class:`ClassBook`.
    refused : Signal(str)
        Why nothing was done.
    """

    TITLE = "Classes"
    changed = Signal(object)
    refused = Signal(str)

    def __init__(self, find: QPushButton) -> None:
        super().__init__()
        self.form = ParamForm(ClassParams, special={"fold": "auto", "smallest": "auto"})
        self.known = KnownClasses()
        self.class_gallery = Gallery("class_gallery", 72)
        merge = button("merge", "Merge", "Make the selected classes one", self._on_merge)
        split = button("split", "Split", "Split the selected class in two", self._on_split)
        rename = button("rename", "Rename", "Name the selected class", self._on_rename)
        recolour = button("recolour", "Colour", "Colour of the selected class", self._on_recolour)
        undo = button("undo_classes", "Undo", "Take back the last change of classes", self._on_undo)
        self.lay(
            self.form.section("method", "fold", "mirror", "radius", "smallest"), find,
            self.class_gallery, line(merge, split, undo), line(rename, recolour),
        )  # fmt: skip
        self.class_gallery.picked.connect(self._on_picked)

    def labels(self) -> np.ndarray:
        """Class of every site, after what the user did."""
        return self.known.labels(self.sites.table)

    def draw(self) -> None:
        """Show a picture of each class."""
        s, book = self.sites, self.known.book
        labels = s.table[CLASS].fillna(-1).to_numpy(int) if CLASS in s.table else self.labels()
        numbers = [int(k) for k in np.unique(labels) if k >= 0]
        if not numbers or s.stack is None:
            self.class_gallery.clear()
            return
        pictures = np.stack([self._mean(k, labels) for k in numbers])
        texts = [f"{book.name(k)}\n{int((labels == k).sum()):,}" for k in numbers]
        colours = [book.colour(k) for k in numbers]
        self.class_gallery.show_patches(pictures, np.array(numbers), texts, colours)

    def _mean(self, number: int, labels: np.ndarray) -> np.ndarray:
        found = self.known.found
        if found is not None and found.patches.size:
            inside = np.flatnonzero(self.known.book.apply(self.known.label) == number)
            some = found.patches[inside[:MOST_OF_MEAN]]
        else:
            some = self.sites.patches(np.flatnonzero(labels == number)[:MOST_OF_MEAN])
        seen = np.isfinite(some)
        total = np.where(seen, some, 0).sum(axis=0)
        return np.asarray(total / np.maximum(seen.sum(axis=0), 1))

    def _on_picked(self, numbers: np.ndarray) -> None:
        self.picked.emit(np.flatnonzero(np.isin(self.labels(), numbers)))

    # ------------------------------------------------------------------- changes

    def _chosen(self) -> list[int]:
        return [int(k) for k in self.class_gallery.keys()]  # noqa: SIM118

    def _edit(self, action: Callable[[list[int]], ClassBook], fewest: int = 1) -> None:
        numbers = self._chosen()
        if len(numbers) < fewest:
            what = "a class" if fewest == 1 else "at least two classes"
            self.refused.emit(f"Select {what} first.")
            return
        try:
            self.changed.emit(action(numbers))
        except ParameterError as error:
            self.refused.emit(str(error))

    def _on_merge(self) -> None:
        self._edit(lambda k: self.known.book.merge(min(k), *k), 2)

    def _on_split(self) -> None:
        self._edit(lambda k: self.known.split(k[0]))

    def _on_rename(self) -> None:
        numbers, book = self._chosen(), self.known.book
        text, ok = "", True
        if numbers:
            text, ok = QInputDialog.getText(
                self, "Name of the class", "Name", text=book.name(numbers[0])
            )
        if ok:
            self._edit(lambda k: book.rename(k[0], text))

    def _on_recolour(self) -> None:
        numbers, book = self._chosen(), self.known.book
        colour = QColor("#ffffff")
        if numbers:
            colour = QColorDialog.getColor(QColor(book.colour(numbers[0])), self)
        if colour.isValid():
            self._edit(lambda k: book.recolour(k[0], colour.name()))

    def _on_undo(self) -> None:
        if self.known.book.journal:
            self.changed.emit(self.known.book.undo())
        else:
            self.refused.emit("No class was changed yet.")
