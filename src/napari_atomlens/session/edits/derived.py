"""What derives from atoms (contours, bonds, defects, tracks ...): who must hear of a change.

A stage registers what it makes under a name, with a function that makes it anew for some
frames. After an edit the quick ones are called at once, for the changed frames only; the
others are marked stale until somebody asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: What takes longer is not made anew at every edit.
AT_ONCE_S = 0.1


@dataclass
class _Entry:
    remake: Callable[[frozenset[int]], None] | None
    at_once: bool = True
    stale: set[int] = field(default_factory=set)
    recent: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)

    @property
    def seconds_per_frame(self) -> float:
        """What it took lately, at best: the first time also pays for imports."""
        return min(self.seconds[-2:]) if len(self.seconds) > 1 else 0.0


class Derived:
    """Keeps what derives from the atoms, and for which frames it is out of date.

    Attributes
    ----------
    listeners : list of callable
        Called without arguments whenever something becomes stale or fresh.
    later : callable or None
        Takes a function and calls it soon: a window first shows the edit. Without it what
        is quick is made anew before :meth:`changed` returns.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.listeners: list[Callable[[], None]] = []
        self.later: Callable[[Callable[[], None]], None] | None = None

    def subscribe(
        self,
        name: str,
        remake: Callable[[frozenset[int]], None] | None = None,
        at_once: bool = True,
    ) -> Callable[[], None]:
        """Register something that is made from atoms.

        Parameters
        ----------
        name : str
            "contours", "bonds", "defects", "tracks" ...; a second one of the same name
            takes the place of the first.
        remake : callable, optional
            Called with the changed frames. Without it the thing is only marked stale.
        at_once : bool
            Whether it may be made anew after every edit, as long as that is quick; else it
            always waits for :meth:`refresh`.

        Returns
        -------
        callable
            Call it to unsubscribe.
        """
        entry = self._entries[name] = _Entry(remake, at_once)

        def unsubscribe() -> None:
            if self._entries.get(name) is entry:
                del self._entries[name]

        return unsubscribe

    def changed(self, frames: Iterable[int]) -> None:
        """Say that the atoms of some frames have changed."""
        which = {int(f) for f in frames}
        if not which:
            return
        for entry in self._entries.values():
            entry.stale |= which
            entry.recent |= which
        if self.later is None:
            self.catch_up()
        else:
            self.later(self.catch_up)
            self._tell()

    def catch_up(self) -> None:
        """Make anew what is quick; the rest waits for :meth:`refresh`."""
        for name, entry in list(self._entries.items()):
            recent, entry.recent = entry.recent, set()
            # what was stale before waits for the button with the rest of it
            if (
                recent
                and entry.remake is not None
                and entry.at_once
                and entry.stale == recent
                and entry.seconds_per_frame * len(recent) < AT_ONCE_S
            ):
                self._remake(name)
        self._tell()

    def is_stale(self, name: str) -> bool:
        """Whether something is out of date in any frame."""
        return name in self._entries and bool(self._entries[name].stale)

    def stale(self) -> dict[str, frozenset[int]]:
        """What is out of date, and in which frames."""
        return {n: frozenset(e.stale) for n, e in self._entries.items() if e.stale}

    def fresh(self, name: str, frames: Iterable[int] | None = None) -> None:
        """Say that something was made anew, in some frames or in all."""
        if name in self._entries:
            entry = self._entries[name]
            entry.stale = entry.stale - set(frames) if frames is not None else set()
            self._tell()

    def refresh(self) -> None:
        """Make everything anew that is stale and knows how."""
        for name, entry in list(self._entries.items()):
            if entry.stale and entry.remake is not None:
                self._remake(name)
        self._tell()

    def _remake(self, name: str) -> None:
        entry = self._entries[name]
        frames = frozenset(entry.stale)
        start = time.perf_counter()
        if entry.remake is not None:
            entry.remake(frames)
        entry.seconds.append((time.perf_counter() - start) / max(len(frames), 1))
        del entry.seconds[:-2]
        entry.stale -= frames

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()
