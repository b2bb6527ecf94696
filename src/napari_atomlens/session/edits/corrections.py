"""The atoms as they are: the model's output, and the journal of edits on top of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import TableError
from napari_atomlens.points import inside_polygon
from napari_atomlens.session.edits.columns import Columns, Row, same
from napari_atomlens.session.edits.derived import Derived
from napari_atomlens.session.edits.journal import ALL_FRAMES, Edit, Journal

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


@dataclass(frozen=True)
class Change:
    """What an edit, its undo or its redo did, for a view to follow.

    Attributes
    ----------
    edit : Edit
    gone : tuple of int
        Ids of the atoms that are no longer there.
    rows : tuple of tuple
        Atoms that are new or changed.
    frames : frozenset of int
        Frames in which atoms have changed.
    undone : bool
        Whether the edit was taken back.
    """

    edit: Edit
    gone: tuple[int, ...]
    rows: tuple[Row, ...]
    frames: frozenset[int]
    undone: bool = False


def by_frame(table: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Parts of a table, frame by frame."""
    frames = table["frame"].to_numpy()
    order = np.argsort(frames, kind="stable")
    found, start = np.unique(frames[order], return_index=True)
    stop = np.append(start, len(frames))[1:]
    return [(int(f), table.iloc[order[a:b]]) for f, a, b in zip(found, start, stop, strict=True)]


class Corrections:
    """The atoms of a movie: what the model says, corrected.

    Parameters
    ----------
    machine : pandas.DataFrame, optional
        Atoms table as the model gave it.
    user : str
        Who edits.
    spacing_px : float
        Distance between nearest columns; tells which atoms are the same after a new run.

    Attributes
    ----------
    journal : Journal
    derived : Derived
        What is made from atoms; told of every change.
    conflicts : list of Conflict
        Of the latest run over each frame.
    renamed : dict of int to int
        Of the latest run: the id that an atom of the model has got, by the one it came with.
    rebased : callable or None
        Called without arguments when edits were put on other machine output, so that what
        was saved of the journal must be written anew.

    Raises
    ------
    TableError
        If ids are missing or not unique, or positions are no numbers.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> corrections = al.Corrections(user="me")
    >>> len(corrections.atoms()), corrections.journal.user
    (0, 'me')
    """

    def __init__(
        self,
        machine: pd.DataFrame | None = None,
        user: str = "",
        spacing_px: float = float("nan"),
    ) -> None:
        table = tables.empty("atoms") if machine is None else machine
        self._check(table)
        extra = [c for c in table.columns if c not in tables.ATOMS]
        self.journal = Journal([*tables.ATOMS, *extra], user)
        self.derived = Derived()
        self.conflicts: list[Conflict] = []
        self.renamed: dict[int, int] = {}
        self.rebased: Callable[[], None] | None = None
        self.spacing_px = float(spacing_px)
        self._machine: dict[int, pd.DataFrame] = {
            f: t.reset_index(drop=True) for f, t in by_frame(table)
        }
        self._now: dict[int, Columns] = {}
        self._index: tuple[np.ndarray, np.ndarray] | None = None
        self._next: dict[int, int] = {}
        self._regions: list[tuple[int, Any]] | None = None

    @staticmethod
    def _check(table: pd.DataFrame) -> None:
        missing = {"frame", "atom_id", "y_px", "x_px"} - set(table.columns)
        if missing:
            raise TableError(f"The atoms lack {', '.join(sorted(missing))}.")
        ids = table["atom_id"].to_numpy()
        if len(np.unique(ids)) != len(ids):
            raise TableError("The atoms have ids that are not unique.")
        if not np.isfinite(table[["y_px", "x_px"]].to_numpy(float)).all():
            raise TableError("Some atoms have no position.")

    # --------------------------------------------------------------- what there is

    def columns(self, frame: int) -> Columns:
        """Atoms of one frame as they are; not to be written to."""
        if frame not in self._now:
            table = self._machine.get(frame)
            table = tables.empty("atoms") if table is None else table
            self._now[frame] = Columns(table, self.journal.columns)
        return self._now[frame]

    def table(self, frame: int) -> pd.DataFrame:
        """Atoms table of one frame, sorted by id."""
        return self.columns(frame).table()

    def frames(self) -> list[int]:
        """Frames that have been computed or edited."""
        return sorted(set(self._machine) | set(self._now))

    def atoms(self) -> pd.DataFrame:
        """Atoms table of all frames, sorted by frame and id."""
        parts = [self._shown(f) for f in self.frames()]
        parts = [p for p in parts if len(p)]
        if not parts:
            return tables.empty("atoms")
        return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]

    def _shown(self, frame: int) -> pd.DataFrame:
        if frame in self._now or frame not in self._machine:
            return self.table(frame)
        # without a copy of its own where nobody has edited
        return self._model(frame)

    def _model(self, frame: int) -> pd.DataFrame:
        """Atoms of one frame as the model gave them, sorted by id."""
        table = self._machine[frame]
        if tuple(table.columns) != self.journal.columns:
            table = self._machine[frame] = Columns(table, self.journal.columns).table()
        return table

    def machine(self) -> pd.DataFrame:
        """Atoms table as the model gave it, sorted by frame and id."""
        parts = [self._model(f) for f in sorted(self._machine) if len(self._machine[f])]
        return pd.concat(parts, ignore_index=True) if parts else tables.empty("atoms")

    def seen(self) -> set[int]:
        """Frames that are marked as seen."""
        marks: set[int] = set()
        for e in self.journal.holds():
            if e.action == "seen":
                marks.add(e.frame)
            elif e.action == "unseen":
                marks.discard(e.frame)
        return marks

    def regions(self, frame: int | None = None) -> list[Any]:
        """Polygons (y, x) that are excluded, in all frames or in one."""
        if self._regions is None:
            self._regions = [
                (e.frame, e.detail["polygon"])
                for e in self.journal.holds()
                if e.action == "exclude" and e.detail
            ]
        return [p for f, p in self._regions if frame is None or f in (ALL_FRAMES, frame)]

    def contours(self, frame: int) -> dict[int, np.ndarray | None]:
        """Outlines (m, 2) that the user drew in a frame, by atom id; None where one was removed.

        Outlines of no atom have negative ids.
        """
        drawn: dict[int, np.ndarray | None] = {}
        for e in self.journal.holds():
            if e.action == "contour" and e.detail and e.frame == frame:
                flat = e.detail["after"]
                outline = None if flat is None else np.array(flat, float).reshape(-1, 2)
                drawn[int(e.detail["atom_id"])] = outline
        return drawn

    def frame_of(self, atom_id: int) -> int:
        """Frame of an atom, -1 where there is no such atom."""
        atom_id = int(atom_id)
        likely = atom_id // IDS_PER_FRAME
        if self._index is None:
            ids = [t["atom_id"].to_numpy() for t in self._machine.values()]
            of = [np.full(len(i), f) for i, f in zip(ids, self._machine, strict=True)]
            all_ids = np.concatenate([np.zeros(0, np.int64), *ids])
            order = np.argsort(all_ids, kind="stable")
            self._index = all_ids[order], np.concatenate([np.zeros(0, np.int64), *of])[order]
        at = int(np.searchsorted(self._index[0], atom_id))
        known = at < len(self._index[0]) and self._index[0][at] == atom_id
        for f in (int(self._index[1][at]),) if known else (likely,):
            if (f in self._machine or f in self._now) and self.columns(f).index(atom_id) >= 0:
                return f
        return -1

    def rows(self, atom_ids: Iterable[int], frame: int | None = None) -> tuple[Row, ...]:
        """Rows of atoms.

        Raises
        ------
        TableError
            If there is no such atom.
        """
        found = []
        for atom_id in atom_ids:
            f = self.frame_of(atom_id) if frame is None else frame
            row = self.columns(f).row(int(atom_id)) if f >= 0 else None
            if row is None:
                raise TableError(f"There is no atom {atom_id}.")
            found.append(row)
        return tuple(found)

    def value(self, row: Row, column: str) -> Any:
        """One value of a row."""
        return row[self.journal.columns.index(column)]

    def changed_row(self, row: Row, **values: Any) -> Row:
        """Return a row with some values changed."""
        names = self.journal.columns
        return tuple(values.get(c, v) for c, v in zip(names, row, strict=True))

    def new_id(self, frame: int) -> int:
        """Return an id for an atom added by hand; one that nobody had before."""
        start = frame * IDS_PER_FRAME + IDS_PER_FRAME // 2
        if frame not in self._next:
            taken = [start - 1]
            taken += [int(i) for i in self.columns(frame).ids if i >= start]
            at = self.journal.columns.index("atom_id")
            for e in self.journal.edits:
                taken += [i for r in (*e.before, *e.after, *e.lost)
                          if start <= (i := int(r[at])) < start + IDS_PER_FRAME // 2]  # fmt: skip
            self._next[frame] = max(taken) + 1
        self._next[frame] += 1
        return self._next[frame] - 1

    # ------------------------------------------------------------------ what is done

    def do(
        self,
        action: str,
        frame: int,
        before: Sequence[Row] = (),
        after: Sequence[Row] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> Change:
        """Make an edit: the atoms of `before` are replaced by those of `after`.

        Raises
        ------
        TableError
            If an atom of `before` is not there, or an id of `after` belongs to another atom.
        """
        at_id, at_frame = (self.journal.columns.index(c) for c in ("atom_id", "frame"))
        old = {int(r[at_id]) for r in before}
        for r in before:
            if self.columns(int(r[at_frame])).index(int(r[at_id])) < 0:
                raise TableError(f"There is no atom {int(r[at_id])} in frame {int(r[at_frame])}.")
        ids = [int(r[at_id]) for r in after]
        if len(set(ids)) != len(ids) or any(i not in old and self.frame_of(i) >= 0 for i in ids):
            raise TableError("The edit would give two atoms the same id.")
        edit = self.journal.record(action, frame, before, after, detail)
        return self._apply(edit, edit.before, edit.after, undone=False)

    def undo(self) -> Change | None:
        """Take the last edit back; None where there is none."""
        edit = self.journal.undo()
        return None if edit is None else self._apply(edit, edit.after, edit.before, undone=True)

    def redo(self) -> Change | None:
        """Do the last undone edit again; None where there is none."""
        edit = self.journal.redo()
        return None if edit is None else self._apply(edit, edit.before, edit.after, undone=False)

    def _frames_of(self, edit: Edit) -> set[int]:
        at = self.journal.columns.index("frame")
        return {int(r[at]) for r in (*edit.before, *edit.after, *edit.lost)}

    def _apply(
        self, edit: Edit, before: Sequence[Row], after: Sequence[Row], undone: bool
    ) -> Change:
        self._regions = None
        self._fold(before, after)
        at_id = self.journal.columns.index("atom_id")
        stay = {int(r[at_id]) for r in after}
        gone = tuple(i for r in before if (i := int(r[at_id])) not in stay)
        frames = frozenset(self._frames_of(edit))
        change = Change(edit, gone, tuple(after), frames, undone)
        self.derived.changed(frames)
        return change

    def _fold(self, before: Sequence[Row], after: Sequence[Row]) -> None:
        at_id, at_frame = (self.journal.columns.index(c) for c in ("atom_id", "frame"))
        for f in {int(r[at_frame]) for r in (*before, *after)}:
            self.columns(f).replace(
                [int(r[at_id]) for r in before if int(r[at_frame]) == f],
                [r for r in after if int(r[at_frame]) == f],
            )

    # ------------------------------------------------------------- a new run of the model

    def rerun(
        self, machine: pd.DataFrame, frames: Iterable[int], spacing_px: float | None = None
    ) -> list[Conflict]:
        """Put new output of the model under the edits.

        Atoms that the user placed stay; deletions, species and the like are done again on
        the atoms that the model finds at the same places (within half a spacing). An atom
        that the model finds where the user has one is the user's. Edits can still be undone.

        Parameters
        ----------
        machine : pandas.DataFrame
            Atoms table of the frames that were computed.
        frames : iterable of int
            Those frames, also when nothing was found in them.
        spacing_px : float, optional
            Distance between nearest columns now.

        Returns
        -------
        list of Conflict
            What does not agree; also in :attr:`conflicts`.
        """
        self._check(machine)
        if spacing_px is not None and np.isfinite(spacing_px):
            self.spacing_px = float(spacing_px)
        new = [c for c in machine.columns if c not in self.journal.columns]
        if new:
            self.journal.widen(new)
            self._now = {f: Columns(c.table(), self.journal.columns) for f, c in self._now.items()}
        which = sorted({int(f) for f in frames})
        self.conflicts = [c for c in self.conflicts if c.frame not in set(which)]
        parts = dict(by_frame(machine))
        found: list[Conflict] = []
        self.renamed = {}
        for f in which:
            found += self._rerun_frame(f, parts.get(f, machine.iloc[:0]))
        self.conflicts += found
        self._regions = None
        if self.rebased is not None:
            self.rebased()
        self.derived.changed(which)
        return found

    def _rerun_frame(self, f: int, table: pd.DataFrame) -> list[Conflict]:
        at_id = self.journal.columns.index("atom_id")
        run = _Run(self, f, table)
        for n in self.journal.done:
            edit = self.journal.edits[n]
            if self._concerns(edit, f):
                settled = run.settle(edit)
                self.journal.rebased(settled)
        now, settled_now = run.now.copy(), len(run.renamed)
        conflicts = list(run.conflicts)
        # what was undone goes on standing on what is there, in case it is done again
        for n in reversed(self.journal.undone):
            edit = self.journal.edits[n]
            if self._concerns(edit, f):
                self.journal.rebased(run.settle(edit))
        for k, (old, new) in enumerate(run.renamed):
            for part in (run.base, now) if k >= settled_now else (run.base,):
                row = part.row(old)
                if row is not None:
                    part.replace([old], [(*row[:at_id], new, *row[at_id + 1 :])])
        self.renamed |= run.final_names()
        self._machine[f] = run.base.table()
        self._now.pop(f, None)
        if any(self._concerns(self.journal.edits[n], f) for n in self.journal.done):
            self._now[f] = now
        self._index = None
        self._next.pop(f, None)
        return conflicts

    def _concerns(self, edit: Edit, f: int) -> bool:
        """Whether an edit changes atoms of a frame, or would if there were any."""
        region = edit.action == "exclude" and edit.frame in (f, ALL_FRAMES)
        return region or f in self._frames_of(edit)

    def _in_frame(self, rows: Sequence[Row], f: int) -> list[Row]:
        at = self.journal.columns.index("frame")
        return [r for r in rows if int(r[at]) == f]

    # ----------------------------------------------------------------- saved and read

    @classmethod
    def restore(
        cls,
        machine: pd.DataFrame,
        entries: Iterable[Mapping[str, Any]],
        user: str = "",
        spacing_px: float = float("nan"),
    ) -> Corrections:
        """Corrections out of the model's output and the entries of a journal.

        Raises
        ------
        TableError
            If the entries do not follow one another.
        """
        made = cls(machine, user, spacing_px)
        for entry in entries:
            made.journal.extend(entry)
        made._now.clear()  # columns may have come with the edits
        for edit in made.journal.holds():
            made._fold(edit.before, edit.after)
        return made


class _Run:
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
            for r in owner._in_frame((*e.before, *e.after, *e.lost), f)
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
            polygon = edit.detail["polygon"]
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
            if mine in pairs:  # what the edit changed is changed again, the rest is news
                was, row = pairs[mine]
                a = tuple(r if same(v, w) else v for v, w, r in zip(a, was, row, strict=True))
            else:
                self._set_free(mine)
            after.append(a)
            placed = mine not in old or not (
                same(a[self._y], old[mine][self._y]) and same(a[self._x], old[mine][self._x])
            )
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
