"""The journal: every edit a row that is never changed; undo and redo are entries as well."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from napari_atomlens import tables
from napari_atomlens.errors import TableError
from napari_atomlens.session.edits.columns import NAN, Row, as_row

#: Frame of an edit that concerns all of them.
ALL_FRAMES = -1
#: What an edit can be; "contour", "region" and "seen" leave the positions of atoms alone.
ACTIONS = (
    "add", "delete", "move", "species", "accept", "reject", "merge", "split", "change", "refine",
    "exclude", "include", "contour", "seen", "unseen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: the atoms of `before` are replaced by those of `after`.

    Attributes
    ----------
    number : int
        Its place in the journal, from 0.
    time : str
        ISO 8601, UTC.
    user : str
        Who did it.
    frame : int
        Frame that it belongs to, -1 for all frames.
    action : str
        One of `ACTIONS`.
    before, after : tuple of tuple
        Rows of the atoms table, values in the order of the columns of the journal.
    detail : dict or None
        What is not an atom: polygon of a region, outline of a contour.
    lost : tuple of tuple
        Atoms that the edit was made on and that the latest run of the model did not find:
        a later run may find them again.
    doubles : tuple of int
        Ids of those of `before` that a run has found in the place of an atom of `after`.
    """

    number: int
    time: str
    user: str
    frame: int
    action: str
    before: tuple[Row, ...] = ()
    after: tuple[Row, ...] = ()
    detail: Mapping[str, Any] | None = None
    lost: tuple[Row, ...] = ()
    doubles: tuple[int, ...] = ()


def user_name() -> str:
    """Name of who is logged in, "user" where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "user"


class Journal:
    """All edits in the order in which they were made, and which of them hold.

    Parameters
    ----------
    columns : sequence of str
        Columns of the rows; those of the atoms table by default.
    user : str, optional
        Who edits; the name of who is logged in by default.

    Attributes
    ----------
    edits : list of Edit
        Every edit ever made, undone ones included.
    done, undone : list of int
        Numbers of the edits that hold, and of those that can be done again; last is next.
    log : list of (str, int)
        ("do" | "undo" | "redo", number of the edit), everything that happened.
    listener : callable or None
        Called with each new entry of the log as a dictionary (see :meth:`entry`): autosave.
    """

    def __init__(self, columns: Sequence[str] = (), user: str = "") -> None:
        self.columns: tuple[str, ...] = tuple(columns) or tuple(tables.ATOMS)
        self.user = user or user_name()
        self.edits: list[Edit] = []
        self.done: list[int] = []
        self.undone: list[int] = []
        self.log: list[tuple[str, int]] = []
        self.listener: Callable[[dict[str, Any]], None] | None = None

    def __len__(self) -> int:
        return len(self.done)

    def record(
        self,
        action: str,
        frame: int,
        before: Sequence[Row] = (),
        after: Sequence[Row] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> Edit:
        """Write a new edit down; what was undone before it can no longer be done again.

        Raises
        ------
        TableError
            If there is no such action.
        """
        if action not in ACTIONS:
            raise TableError(f"{action!r} is not an edit; there are {', '.join(ACTIONS)}.")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        edit = Edit(
            len(self.edits), now, self.user, int(frame), action, tuple(before), tuple(after), detail
        )
        self.edits.append(edit)
        self._note("do", edit.number)
        return edit

    def undo(self) -> Edit | None:
        """Take the last edit that holds back; returns it, None where there is none."""
        if not self.done:
            return None
        number = self.done[-1]
        self._note("undo", number)
        return self.edits[number]

    def redo(self) -> Edit | None:
        """Do the last undone edit again; returns it, None where there is none."""
        if not self.undone:
            return None
        number = self.undone[-1]
        self._note("redo", number)
        return self.edits[number]

    def _note(self, what: str, number: int) -> None:
        self._move(what, number)
        self.log.append((what, number))
        if self.listener is not None:
            self.listener(self.entry(len(self.log) - 1))

    def _move(self, what: str, number: int) -> None:
        if what == "undo":
            self.undone.append(self.done.pop())
        elif what == "redo":
            self.done.append(self.undone.pop())
        else:
            self.undone.clear()
            self.done.append(number)

    def rebased(self, edit: Edit) -> None:
        """Let an edit stand on other machine output: same number, time and user."""
        self.edits[edit.number] = edit

    def holds(self) -> Iterator[Edit]:
        """Yield the edits that hold, first to last."""
        return (self.edits[n] for n in self.done)

    # ------------------------------------------------------------- as plain data

    def entry(self, index: int) -> dict[str, Any]:
        """One entry of the log as what JSON can hold; unknown values are left out."""
        what, number = self.log[index]
        if what != "do":
            return {"do": what, "edit": number, "time": _now()}
        e = self.edits[number]
        entry: dict[str, Any] = {
            "do": "edit", "edit": e.number, "time": e.time, "user": e.user, "frame": e.frame,
            "action": e.action, "before": [self._named(r) for r in e.before],
            "after": [self._named(r) for r in e.after],
        }  # fmt: skip
        if e.detail is not None:
            entry["detail"] = dict(e.detail)
        if e.lost:
            entry["lost"] = [self._named(r) for r in e.lost]
        if e.doubles:
            entry["doubles"] = list(e.doubles)
        return entry

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the whole log, entry by entry."""
        return (self.entry(i) for i in range(len(self.log)))

    def _named(self, row: Row) -> dict[str, Any]:
        return {c: v for c, v in zip(self.columns, row, strict=False) if v == v}

    def extend(self, entry: Mapping[str, Any]) -> Edit | None:
        """Take over an entry that was read from a file; the listener is not told.

        Returns
        -------
        Edit or None
            The edit to apply (or to take back).

        Raises
        ------
        TableError
            If the entry does not follow on what is there.
        """
        try:
            what, number = str(entry["do"]), int(entry["edit"])
            if what == "edit":
                if number != len(self.edits):
                    raise ValueError("an edit is missing")
                before, after, lost = (
                    tuple(self._row(r) for r in rows)
                    for rows in (entry["before"], entry["after"], entry.get("lost", ()))
                )
                self.edits.append(
                    Edit(
                        number, str(entry["time"]), str(entry["user"]), int(entry["frame"]),
                        str(entry["action"]), before, after, entry.get("detail"), lost,
                        tuple(int(i) for i in entry.get("doubles", ())),
                    )
                )  # fmt: skip
            else:
                stack = {"undo": self.done, "redo": self.undone}[what]
                if not stack or stack[-1] != number:
                    raise ValueError(f"there is nothing to {what}")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TableError(f"The journal of edits is damaged ({error}).") from None
        name = "do" if what == "edit" else what
        self._move(name, number)
        self.log.append((name, number))
        return self.edits[number]

    def _row(self, named: Mapping[str, Any]) -> Row:

        extra = [c for c in named if c not in self.columns]
        if extra:
            self.widen(extra)
        return as_row(named, self.columns)

    def widen(self, columns: Sequence[str]) -> None:
        """Add columns; the rows that are there do not know them."""
        new = tuple(c for c in columns if c not in self.columns)
        if not new:
            return
        self.columns += new
        pad = (NAN,) * len(new)
        self.edits = [
            replace(
                e,
                before=tuple(r + pad for r in e.before),
                after=tuple(r + pad for r in e.after),
                lost=tuple(r + pad for r in e.lost),
            )
            for e in self.edits
        ]


def sound_entries(entries: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Take the entries of a journal as far as each follows on those before it.

    Returns
    -------
    entries : list of dict
    damage : str
        Why no more were taken; "" where all were.
    """
    journal, sound, damage = Journal(user="-"), [], ""
    for entry in entries:
        try:
            journal.extend(entry)
        except TableError as error:
            damage = str(error)
            break
        sound.append(dict(entry))
    return sound, damage


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
