"""The tables after atoms of one session, and whether each still follows from the atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from napari_atomlens import tables
from napari_atomlens.session.edits import Derived
from napari_atomlens.session.edits.derived import Begin, Remake
from napari_atomlens.session.follows import OF_PIXELS, group_of, sources_of


@dataclass
class _Kept:
    table: pd.DataFrame
    provenance: dict[str, Any]
    serial: int
    since: datetime | None = None


@dataclass
class Clock:
    """Counts changes, so that what is older than another thing is known."""

    now: int = 0
    changed: dict[int, int] = field(default_factory=dict)

    def tick(self, frames: Iterable[int] = ()) -> int:
        """Go on by one; atoms of these frames have changed."""
        self.now += 1
        self.changed |= dict.fromkeys(frames, self.now)
        return self.now

    def after(self, revision: int) -> set[int]:
        """Frames whose atoms have changed since."""
        return {f for f, at in self.changed.items() if at > revision}


class DerivedTables:
    """Tables that somebody made from the atoms of a session.

    Parameters
    ----------
    derived : Derived
        Hears of every change of the atoms.
    """

    def __init__(self, derived: Derived) -> None:
        self.clock = Clock()
        self._derived = derived
        self._kept: dict[str, _Kept] = {}
        self._remakes: dict[str, tuple[Remake, Begin | None, Callable[[], None]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def follow(self, derived: Derived) -> None:
        """Follow other atoms."""
        self._derived = derived
        for name in self._kept.keys() - OF_PIXELS:
            derived.subscribe(group_of(name))
        for group, (remake, begin, _) in list(self._remakes.items()):
            done = derived.subscribe(group, remake, begin=begin)
            self._remakes[group] = (remake, begin, done)

    def follow_edits(self, group: str, remake: Remake | None, begin: Begin | None = None) -> None:
        """Say who makes the tables of a group anew for the frames that were edited."""
        known = self._remakes.pop(group, None)
        if known is not None:
            known[-1]()
        if remake is not None:
            done = self._derived.subscribe(group, remake, begin=begin)
            self._remakes[group] = (remake, begin, done)

    def put(
        self,
        name: str,
        table: pd.DataFrame,
        provenance: Mapping[str, Any],
        revision: int | None = None,
    ) -> None:
        """Keep a table; frames that were edited after `revision` are stale."""
        group = group_of(name)
        changed = set() if revision is None else self.clock.after(revision)
        if name not in self._kept and name not in OF_PIXELS:
            self._derived.subscribe(group)
        self._kept[name] = _Kept(table, dict(provenance), self.clock.tick())
        self._derived.fresh(group)
        self._derived.outdate(group, changed)

    def get(self, name: str) -> pd.DataFrame:
        """Return a table, empty where it is missing."""
        if name in self._kept:
            return self._kept[name].table
        return tables.empty(name) if name in tables.TABLES else pd.DataFrame({"frame": []})

    def provenance(self, name: str) -> dict[str, Any]:
        """What made a table, empty where it is missing."""
        return dict(self._kept[name].provenance) if name in self._kept else {}

    def made_at(self, name: str) -> int:
        """When a table was kept, by the clock; 0 where it is missing."""
        return self._kept[name].serial if name in self._kept else 0

    def outdate(self) -> None:
        """Say that all of them are stale for another reason than an edit."""
        for kept in self._kept.values():
            kept.since = kept.since or datetime.now(UTC)

    def since(self, name: str) -> datetime | None:
        """When a table became stale (UTC), None where it is not."""
        kept = self._kept.get(name)
        since = self._derived.since(group_of(name))
        if kept is None:
            return since
        for source in sources_of(name):
            other = self._kept.get(source)
            if other is not None and other.serial > kept.serial:  # made from the one before
                kept.since = kept.since or datetime.now(UTC)
        return since or kept.since
