"""The atoms as they are: the model's output, and the journal of edits on top of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.params import number_between
from napari_atomlens.session.edits.columns import Columns, Row
from napari_atomlens.session.edits.derived import Derived
from napari_atomlens.session.edits.journal import ALL_FRAMES, Edit, Journal
from napari_atomlens.session.edits.rebase import Conflict, Rebase

IDS_PER_FRAME = tables.IDS_PER_FRAME
#: No distance between columns is longer.
MOST_PX = 1e7
#: No frame and no id is higher: what 64 bits hold.
MOST = 2**63 - 1


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


def _unknown(spacing_px: object) -> bool:
    return isinstance(spacing_px, float) and math.isnan(spacing_px)


def _whole(name: str, value: object) -> int:
    if type(value) is int and abs(value) < MOST:  # nearly always, and asked of each atom
        return value
    return int(number_between(name, value, -MOST, MOST, whole=True))


def _wholes(name: str, values: object) -> list[int]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ParameterError(f"{name} must be a list of whole numbers.")
    return [_whole(name, v) for v in values]


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
        table = self._check(table)
        extra = [c for c in table.columns if c not in tables.ATOMS]
        if not isinstance(user, str):
            raise ParameterError("The name of the user must be text.")
        self.journal = Journal([*tables.ATOMS, *extra], user)
        self.derived = Derived()
        self.conflicts: list[Conflict] = []
        self.renamed: dict[int, int] = {}
        self.rebased: Callable[[], None] | None = None
        self.spacing_px = (
            spacing_px
            if _unknown(spacing_px)
            else number_between("spacing_px", spacing_px, 0, MOST_PX)
        )
        self._machine: dict[int, pd.DataFrame] = {
            f: t.reset_index(drop=True) for f, t in by_frame(table)
        }
        self._now: dict[int, Columns] = {}
        self._index: tuple[np.ndarray, np.ndarray] | None = None
        self._next: dict[int, int] = {}
        self._regions: list[tuple[int, Any]] | None = None

    @staticmethod
    def _check(table: pd.DataFrame) -> pd.DataFrame:
        table = tables.check_table(table, ("frame", "atom_id", "y_px", "x_px"))
        ids = table["atom_id"].to_numpy()
        if len(np.unique(ids)) != len(ids):
            raise TableError("The atoms have ids that are not unique.")
        return table

    # --------------------------------------------------------------- what there is

    def columns(self, frame: int) -> Columns:
        """Atoms of one frame as they are; not to be written to.

        Raises
        ------
        ParameterError
            If the frame is no whole number.
        """
        frame = _whole("frame", frame)
        if frame not in self._now:
            table = self._machine.get(frame)
            table = tables.empty("atoms") if table is None else table
            self._now[frame] = Columns(table, self.journal.columns)
        return self._now[frame]

    def table(self, frame: int) -> pd.DataFrame:
        """Atoms table of one frame, sorted by id."""
        return self.columns(frame).table()

    def count(self, frame: int) -> int:
        """How many atoms a frame has; it is not read for that."""
        frame = _whole("frame", frame)
        known = self._now.get(frame)
        return len(self._machine.get(frame, ())) if known is None else len(known)

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
        atom_id = _whole("atom_id", atom_id)
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
        ParameterError
            If the ids are no whole numbers.
        """
        found = []
        for atom_id in _wholes("atom_id", atom_ids):
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
        frame = _whole("frame", frame)
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

        Raises
        ------
        TableError
            If the table is no atoms table.
        ParameterError
            If the frames are no whole numbers, or the spacing is no length.
        """
        machine = self._check(machine)
        which = sorted(set(_wholes("frames", frames)))
        if spacing_px is not None and not _unknown(spacing_px):
            self.spacing_px = number_between("spacing_px", spacing_px, 0, MOST_PX)
        new = [c for c in machine.columns if c not in self.journal.columns]
        if new:
            self.journal.widen(new)
            self._now = {f: Columns(c.table(), self.journal.columns) for f, c in self._now.items()}
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
        run = Rebase(self, f, table)
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

    def in_frame(self, rows: Sequence[Row], f: int) -> list[Row]:
        """Those of some rows that are in a frame."""
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
