"""The user's say in classes: merge, split, rename, recolour, all kept and all undone.

A book never changes: every action returns a new one with a line more in its journal, and
the labels that result are computed from the machine's by going through the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError

#: Colour-blind safe on dark and light (after Okabe and Ito), in the order of the classes.
COLOURS = (
    "#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442", "#e8590c", "#7b9ff2", "#9d7be0",
    "#2a9d8f", "#e5989b", "#8ac926", "#b5838d",
)  # fmt: skip
NOBODY = "#9a9a9a"


@dataclass(frozen=True)
class ClassBook:
    """Names, colours and the journal of what the user did to the classes.

    Attributes
    ----------
    names, colours : mapping of int to str
        Where the user chose one; :meth:`name` and :meth:`colour` fill in the others.
    journal : tuple of dict
        Actions in their order: "merge", "split", "rename" or "recolour" and what they need.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)
    journal: tuple[dict[str, Any], ...] = ()

    def name(self, number: int) -> str:
        """Name of a class."""
        return self.names.get(number, "no class" if number < 0 else f"class {number}")

    def colour(self, number: int) -> str:
        """Colour of a class, as "#rrggbb"."""
        return self.colours.get(number, NOBODY if number < 0 else COLOURS[number % len(COLOURS)])

    def rename(self, number: int, name: str) -> ClassBook:
        """Give a class a name; an empty one takes it back."""
        names = {k: v for k, v in self.names.items() if k != number}
        if name.strip():
            names[number] = name.strip()
        return self._with({"do": "rename", "class": number, "name": name.strip()}, names=names)

    def recolour(self, number: int, colour: str) -> ClassBook:
        """Give a class a colour.

        Raises
        ------
        ParameterError
            If it is not "#rrggbb".
        """
        text = colour.lower()
        if len(text) != 7 or text[0] != "#" or any(c not in "0123456789abcdef" for c in text[1:]):
            raise ParameterError(f"A colour is written #rrggbb, not {colour!r}.")
        line = {"do": "recolour", "class": number, "colour": text}
        return self._with(line, colours={**self.colours, number: text})

    def merge(self, into: int, *others: int) -> ClassBook:
        """Make several classes one, which keeps number, name and colour of the first.

        Raises
        ------
        ParameterError
            If there is nothing to merge.
        """
        gone = sorted({int(k) for k in others} - {into})
        if not gone:
            raise ParameterError("Choose at least two classes to merge.")
        return self._with({"do": "merge", "into": int(into), "classes": gone})

    def split(
        self, number: int, labels: np.ndarray, embedding: np.ndarray, parts: int = 2
    ) -> ClassBook:
        """Split a class into parts by a Gaussian mixture on its embedding.

        Parameters
        ----------
        number : int
        labels : ndarray of int, shape (n,)
            Labels as they are now.
        embedding : ndarray, shape (n, k)
        parts : int

        Raises
        ------
        ParameterError
            If the class is too small.
        """
        rows = np.flatnonzero((labels == number) & np.isfinite(embedding).all(1))
        if len(rows) < 2 * parts or parts < 2:
            raise ParameterError(f"A class of {len(rows)} sites cannot be split into {parts}.")
        from sklearn.mixture import GaussianMixture

        model = GaussianMixture(parts, covariance_type="diag", n_init=5, random_state=0)
        found = model.fit_predict(embedding[rows])
        counts = np.bincount(found, minlength=parts)
        if (counts == 0).any():
            raise ParameterError("This class does not fall into parts.")
        first = max(int(np.max(labels, initial=-1)), self._highest()) + 1
        order = np.argsort(-counts, kind="stable")  # the largest part keeps the number
        moved = {
            str(first + i): [int(r) for r in rows[found == part]]
            for i, part in enumerate(order[1:])
        }
        return self._with({"do": "split", "class": int(number), "moved": moved})

    def undo(self) -> ClassBook:
        """Take back the last action; names and colours as they were."""
        book = ClassBook()
        for line in self.journal[:-1]:
            book = book._again(line)
        return book

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Labels after all that was merged and split.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
            As the machine gave them, in the order of the rows at the time of the actions.
        """
        out = np.asarray(labels).copy()
        for line in self.journal:
            if line["do"] == "merge":
                out[np.isin(out, line["classes"])] = line["into"]
            elif line["do"] == "split":
                for new, rows in line["moved"].items():
                    rows = np.asarray(rows, np.int64)
                    out[rows[rows < len(out)]] = int(new)
        return out

    def as_dict(self) -> dict[str, object]:
        """Return the book as plain values, for a file."""
        return {"journal": [dict(line) for line in self.journal]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassBook:
        """Make a book of what :meth:`as_dict` gave.

        Raises
        ------
        ParameterError
            If that is damaged.
        """
        book = cls()
        try:
            for line in values["journal"]:
                book = book._again(line)
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(f"The journal of the classes is damaged: {error}.") from error
        return book

    def _highest(self) -> int:
        """Highest number ever used: one that was merged away is not given again."""
        used = (k for j in self.journal for k in (*j.get("moved", {}), *j.get("classes", ())))
        return max(map(int, used), default=-1)

    def _again(self, line: Mapping[str, Any]) -> ClassBook:
        if line["do"] == "rename":
            return self.rename(int(line["class"]), str(line["name"]))
        if line["do"] == "recolour":
            return self.recolour(int(line["class"]), str(line["colour"]))
        if line["do"] in ("merge", "split"):
            return self._with(dict(line))
        raise ValueError(f"unknown action {line['do']!r}")

    def _with(
        self,
        line: dict[str, Any],
        *,
        names: Mapping[int, str] | None = None,
        colours: Mapping[int, str] | None = None,
    ) -> ClassBook:
        return ClassBook(
            self.names if names is None else names,
            self.colours if colours is None else colours,
            (*self.journal, line),
        )


def populations(frame: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """How many sites of each class there are in each frame.

    Returns
    -------
    pandas.DataFrame
        One row per frame (index), one column per class number.
    """
    table = pd.crosstab(np.asarray(frame), np.asarray(labels))
    return table.rename_axis(index="frame", columns="class")
