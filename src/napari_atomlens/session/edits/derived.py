"""What derives from atoms (contours, bonds, defects, tracks ...): who must hear of a change.

A stage registers what it makes under a name, with a function that makes it anew for some
frames. After an edit the quick ones are called at once, for the changed frames only; the
others are marked stale until somebody asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

#: What takes longer is not made anew at every edit.
AT_ONCE_S = 0.1
#: Called with the changed frames; returns those that it could not make anew.
Remake = Callable[[frozenset[int]], Iterable[int] | None]
#: Called with the changed frames and with what to call where it does not succeed; begins to
#: make it anew beside the window.
Begin = Callable[[frozenset[int], Callable[[], None]], object]


@dataclass
class _Subscriber:
    remake: Remake | None
    at_once: bool = True
    begin: Begin | None = None


@dataclass
class _Entry:
    subscribers: list[_Subscriber] = field(default_factory=list)
    stale: set[int] = field(default_factory=set)
    recent: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    since: datetime | None = None
    seconds: list[float] = field(default_factory=list)
    remaking: bool = False

    @property
    def seconds_per_frame(self) -> float:
        """What it took lately, at best: the first time also pays for imports."""
        return min(self.seconds[-2:]) if len(self.seconds) > 1 else 0.0

    @property
    def can_remake(self) -> bool:
        """Whether somebody knows how to make it anew."""
        return any(s.remake is not None for s in self.subscribers)

    @property
    def at_once(self) -> bool:
        """Whether nobody wants it to wait."""
        return all(s.at_once for s in self.subscribers if s.remake is not None)

    def is_quick(self, recent: set[int]) -> bool:
        """Whether it can be made anew at once after an edit of these frames."""
        # what was stale before waits for the button with the rest of it
        return (
            bool(recent)
            and self.can_remake
            and self.at_once
            and self.stale == recent | self.begun
            and self.seconds_per_frame * len(recent) < AT_ONCE_S
        )

    def add(self, frames: Iterable[int]) -> None:
        """Note frames that are out of date."""
        self.stale |= set(frames)
        if self.stale and self.since is None:
            self.since = datetime.now(UTC)

    def drop(self, frames: Iterable[int]) -> None:
        """Note frames that were made anew."""
        done = set(frames)
        self.stale -= done
        self.recent -= done  # else the next edit of another frame would wait for these, too
        self.begun -= done
        if not self.stale:
            self.since = None


class Derived:
    """Keeps what derives from the atoms, and for which frames it is out of date.

    Attributes
    ----------
    watchers : list of callable
        Called with the frames after every change of the atoms, before anything is made anew.
    listeners : list of callable
        Called without arguments whenever something becomes stale or fresh.
    later : callable or None
        Takes a function and calls it soon, and again as long as it returns that more is left:
        a window first shows the edit, and paints between two things that are made anew.
        Without it what is quick is made anew before :meth:`changed` returns.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.watchers: list[Callable[[frozenset[int]], None]] = []
        self.listeners: list[Callable[[], None]] = []
        self.later: Callable[[Callable[[], bool]], None] | None = None

    def subscribe(
        self,
        name: str,
        remake: Remake | None = None,
        at_once: bool = True,
        begin: Begin | None = None,
    ) -> Callable[[], None]:
        """Register something that is made from atoms.

        Parameters
        ----------
        name : str
            "contours", "bonds", "defects", "tracks" ...; there may be several of one name:
            they become stale together, and all of them are made anew.
        remake : callable, optional
            Called with the changed frames; may return those that it could not make anew.
            Without it the thing is only marked stale.
        at_once : bool
            Whether it may be made anew after every edit, as long as that is quick; else it
            always waits for :meth:`refresh`.
        begin : callable, optional
            Called in place of `remake` where :attr:`later` is there, with the frames and with
            what to call where it does not succeed: it returns at once, and whoever makes the
            thing beside the window calls :meth:`fresh`.

        Returns
        -------
        callable
            Call it to unsubscribe.
        """
        entry = self._entries.setdefault(name, _Entry())
        mine = _Subscriber(remake, at_once, begin)
        entry.subscribers.append(mine)

        def unsubscribe() -> None:
            entry.subscribers[:] = [s for s in entry.subscribers if s is not mine]
            if begin is not None:  # what it has begun does not come any more
                self._give_up(entry)
            if not entry.subscribers and self._entries.get(name) is entry:
                del self._entries[name]

        return unsubscribe

    def changed(self, frames: Iterable[int]) -> None:
        """Say that the atoms of some frames have changed."""
        which = frozenset(int(f) for f in frames)
        if not which:
            return
        for watcher in list(self.watchers):
            watcher(which)
        for entry in self._entries.values():
            entry.add(which)
            entry.recent |= which
        if self.later is None:
            self.catch_up()
        else:
            self.later(self.catch_up_next)
            self._tell()

    def catch_up(self) -> None:
        """Make anew what is quick; the rest waits for :meth:`refresh`."""
        while self.catch_up_next():
            pass

    def catch_up_next(self) -> bool:
        """Make the next quick thing anew; returns whether others wait."""
        for entry in list(self._entries.values()):
            recent, entry.recent = entry.recent, set()
            if entry.is_quick(recent):
                self._remake(entry, beside=self.later is not None)
                break
        self._tell()
        return any(entry.recent for entry in self._entries.values())

    def is_stale(self, name: str) -> bool:
        """Whether something is out of date in any frame."""
        return name in self._entries and bool(self._entries[name].stale)

    def is_waiting(self, name: str) -> bool:
        """Whether something is out of date for a moment only: it is made anew soon."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        return entry.remaking or bool(entry.begun) or entry.is_quick(entry.recent)

    def stale(self) -> dict[str, frozenset[int]]:
        """What is out of date, and in which frames."""
        return {n: frozenset(e.stale) for n, e in self._entries.items() if e.stale}

    def since(self, name: str) -> datetime | None:
        """When something became stale, None where it is not."""
        return self._entries[name].since if name in self._entries else None

    def outdate(self, name: str, frames: Iterable[int]) -> None:
        """Say that something is out of date for another reason than an edit."""
        if name in self._entries:
            self._entries[name].add(int(f) for f in frames)
            self._tell()

    def fresh(self, name: str, frames: Iterable[int] | None = None) -> None:
        """Say that something was made anew, in some frames or in all."""
        if name in self._entries:
            entry = self._entries[name]
            entry.drop(set(entry.stale) if frames is None else frames)
            self._tell()

    def refresh(self) -> None:
        """Make everything anew that is stale and knows how."""
        for entry in list(self._entries.values()):
            if entry.stale and entry.can_remake:
                self._remake(entry)
        self._tell()

    def _remake(self, entry: _Entry, beside: bool = False) -> None:
        frames = frozenset(entry.stale)
        start = time.perf_counter()
        left: set[int] = set()
        entry.remaking = True
        try:
            for subscriber in list(entry.subscribers):
                if beside and subscriber.begin is not None:
                    entry.begun |= frames
                    left |= frames
                    subscriber.begin(frames, partial(self._give_up, entry))
                elif subscriber.remake is not None:
                    left |= set(subscriber.remake(frames) or ())
        finally:
            entry.remaking = False
        entry.seconds.append((time.perf_counter() - start) / max(len(frames), 1))
        del entry.seconds[:-2]
        entry.drop(frames - left)

    def _give_up(self, entry: _Entry) -> None:
        entry.begun.clear()
        self._tell()

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()
