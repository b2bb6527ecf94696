"""Edits of a frame put on new output of the model, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.points import inside_polygon
from napari_atomlens.session.edits.columns import Columns, Row, same
from napari_atomlens.session.edits.journal import Edit

if TYPE_CHECKING:
    from napari_atomlens.session.edits.corrections import Corrections

IDS_PER_FRAME = tables.IDS_PER_FRAME
#: An atom of the model this near to one of the user (in spacings) is the same atom.
SAME_ATOM = 0.5


@dataclass(frozen=True)
class Conflict:
    """What a run of the model and an edit do not agree on.

    Attributes
    ----------
    frame, edit : int
        Where, and the number of the edit.
    atom_id : int
        The atom that the user has, and that stays.
    y_px, x_px : float
        Where the atom is.
    sentence : str
        What does not agree.
    """

    frame: int
    edit: int
    atom_id: int
    y_px: float
    x_px: float
    sentence: str


class Rebase:
    """Puts the edits of one frame, one after the other, on new output of the model.

    Attributes
    ----------
    base, now : Columns
        What the model gave, and that with the edits that were put on it so far.
    renamed : list of (int, int)
        Atoms that got another id, in order: edits find the atom that is at the same place
        by the id that they know.
    conflicts : list of Conflict
    """

    def __init__(self, owner: Corrections, f: int, table: pd.DataFrame) -> None:
        self._owner, self._f = owner, f
        self._names = owner.journal.columns
        self._id, self._y, self._x = (self._names.index(c) for c in ("atom_id", "y_px", "x_px"))
        self.base = Columns(table, self._names)
        self.now = self.base.copy()
        self.renamed: list[tuple[int, int]] = []
        self.conflicts: list[Conflict] = []
        before = owner.columns(f)
        self._old_ids, self._old = before.ids.copy(), before.positions
        known = owner.spacing_px
        self._radius = SAME_ATOM * known if np.isfinite(known) else 1.0
        self._claimed: set[int] = set()
        self._taken: set[int] = set()
        self._spare = 0
        # ids that edits know their atoms by: no other atom may keep one of them
        self._known = {
            int(r[self._id])
            for e in owner.journal.edits
            if e.action != "exclude"
            for r in owner.in_frame((*e.before, *e.after, *e.lost), f)
        }

    def settle(self, edit: Edit) -> Edit:
        """Put an edit on the atoms that are there now; what it does elsewhere stays."""
        f, at_frame = self._f, self._names.index("frame")
        rows = (edit.before, edit.after, edit.lost)
        here = [[r for r in part if int(r[at_frame]) == f] for part in rows]
        rest = [tuple(r for r in part if int(r[at_frame]) != f) for part in rows]
        self._taken = set()
        before: tuple[Row, ...]
        after: tuple[Row, ...]
        lost: tuple[Row, ...] = ()
        doubles: tuple[int, ...] = ()
        if edit.action == "exclude" and edit.detail:
            polygon = np.asarray(edit.detail["polygon"], float)
            for i in self.now.ids[inside_polygon(self.now.positions, polygon)].tolist():
                if i in self._known:
                    self._set_free(i)
            gone = self.now.ids[inside_polygon(self.now.positions, polygon)]
            before, after = self.now.rows(gone), ()
        else:
            # what a former run had found in the place of the user's atom is looked for anew
            wanted = [r for r in (*here[0], *here[2]) if int(r[self._id]) not in edit.doubles]
            before, after, lost, doubles = self._found(edit, wanted, here[1])
        self.now.replace([int(r[self._id]) for r in before], after)
        self._claimed |= {int(r[self._id]) for r in after}
        ids = {int(r[self._id]) for r in rest[0]}
        return replace(
            edit, before=(*rest[0], *before), after=(*rest[1], *after), lost=(*rest[2], *lost),
            doubles=(*(i for i in edit.doubles if i in ids), *doubles),
        )  # fmt: skip

    def _found(
        self, edit: Edit, wanted: list[Row], mine_after: list[Row]
    ) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[Row, ...], tuple[int, ...]]:
        """Rows before and after the edit as they are now, rows that are lost, and doubles."""
        pairs: dict[int, tuple[Row, Row]] = {}
        for b in wanted:
            row = self._again(b)
            if row is not None:
                pairs[int(b[self._id])] = (b, row)
                self._taken.add(int(b[self._id]))
        old = {int(b[self._id]): b for b in wanted}
        before = {i: row for i, (_, row) in pairs.items()}
        after: list[Row] = []
        doubles: list[int] = []
        lost = tuple(b for b in wanted if int(b[self._id]) not in pairs)
        for b in lost:  # its id stays its own: the next run may find it again
            self._set_free(int(b[self._id]))
        for a in mine_after:
            mine = int(a[self._id])
            placed = mine not in old or not (
                same(a[self._y], old[mine][self._y]) and same(a[self._x], old[mine][self._x])
            )
            if mine in pairs:  # what the edit changed is changed again, the rest is news
                a = self._changed_again(a, *pairs[mine], placed)
            else:
                self._set_free(mine)
            after.append(a)
            double = self._nearest(a[self._y], a[self._x], mine) if placed else None
            if double is not None and double != mine:
                if double in self._known and double not in old:
                    self._set_free(double)
                    double = self.renamed[-1][1]
                before[double] = self.now.rows([double])[0]
                doubles.append(double)
                self._taken.add(double)
            self._taken.add(mine)
        if lost and edit.action not in ("delete", "reject"):
            self._note(edit, lost[0], all_of_it=len(lost) == len(wanted))
        return tuple(before.values()), tuple(after), lost, tuple(doubles)

    def _changed_again(self, a: Row, was: Row, row: Row, placed: bool) -> Row:
        """Make the change from `was` to `a` on the row that there is now.

        Of an atom that was put elsewhere the model has measured nothing: only its species is
        news.
        """
        return tuple(
            r if same(v, w) and (not placed or name == "species") else v
            for name, v, w, r in zip(self._names, a, was, row, strict=True)
        )

    def _again(self, b: Row) -> Row | None:
        """Return the atom that an edit was made on, as it is now, under the id of then."""
        mine = int(b[self._id])
        if mine not in self._claimed:
            at = self._nearest(b[self._y], b[self._x])
            if at is None:
                return None
            if at != mine:
                self._set_free(mine)
                self._rename(at, mine)
        return self.now.row(mine)

    def _nearest(self, y: float, x: float, besides: int | None = None) -> int | None:
        """Id of the model's atom at a place, None where there is none.

        With `besides`, the id of an atom of the user at that place, an atom that is nearer
        to another one that was there before the run does not count.
        """
        if not len(self.now):
            return None
        places = self.now.positions
        d = np.hypot(*(places - (y, x)).T)
        for k in np.argsort(d, kind="stable")[:8]:
            if d[k] > self._radius:
                return None
            i = int(self.now.ids[k])
            if i in self._claimed or i in self._taken:
                continue
            if besides is not None and len(self._old):
                others = np.hypot(*(self._old - places[k]).T)[self._old_ids != besides]
                if len(others) and others.min() < d[k]:
                    continue
            return i
        return None

    def _rename(self, old: int, new: int) -> None:
        row = self.now.row(old)
        if row is None or old == new:
            return
        self.now.replace([old], [(*row[: self._id], new, *row[self._id + 1 :])])
        self.renamed.append((old, new))

    def _set_free(self, atom_id: int) -> None:
        """Give another atom that happens to have this id a new one."""
        if atom_id in self._claimed or self.now.index(atom_id) < 0:
            return
        if not self._spare:
            start = self._f * IDS_PER_FRAME + IDS_PER_FRAME // 4
            edits = self._owner.journal.edits
            ids = [int(r[self._id]) for e in edits for r in (*e.before, *e.after, *e.lost)]
            ids += [int(i) for i in (*self.base.ids, *self._old_ids)]
            taken = [i for i in ids if start <= i < start + IDS_PER_FRAME // 4]
            self._spare = max(taken, default=start - 1) + 1
        self._rename(atom_id, self._spare)
        self._spare += 1

    def final_names(self) -> dict[int, int]:
        """Id after all renaming, by the id that the model gave."""
        origin: dict[int, int] = {}
        for old, new in self.renamed:
            origin[new] = origin.pop(old, old)
        return {old: new for new, old in origin.items()}

    def _note(self, edit: Edit, b: Row, all_of_it: bool) -> None:
        what = "the atom" if all_of_it else "all atoms"
        self.conflicts.append(
            Conflict(
                self._f, edit.number, int(b[self._id]), float(b[self._y]), float(b[self._x]),
                f"The model no longer finds {what} of this edit ({edit.action}); yours stays.",
            )
        )  # fmt: skip
