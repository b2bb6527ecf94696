"""Events go to the log and to the hooks, beside the watch, until each of them has them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path

from napari_atomlens.files import Json
from napari_atomlens.runs.hooks import Event, Hooks, event_from
from napari_atomlens.runs.ledger import Ledger

#: Every event of a folder, one line of JSON each, with the latency of every stage.
LOG = "events.jsonl"
#: Results that are kept for the hooks until they are called.
MOST_KEPT = 16


class Outbox:
    """Tells what the ledger says is still to be told, in a thread of its own.

    After a crash an event may be told again; its id says so.

    Parameters
    ----------
    ledger : Ledger
    folder : pathlib.Path
        Where the log is.
    hooks : Hooks
    """

    def __init__(self, ledger: Ledger, folder: Path, hooks: Hooks) -> None:
        self.ledger, self.folder, self.hooks = ledger, folder, hooks
        self._kept: OrderedDict[str, Event] = OrderedDict()
        self._wake, self._end, self._idle = threading.Event(), False, threading.Event()
        self._thread = threading.Thread(target=self._work, name="atomlens-outbox", daemon=True)
        self._thread.start()

    def add(self, event: Event) -> None:
        """Take note that there is an event; with its result, for the hooks."""
        if self.hooks:
            self._kept[event.id] = event
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self.wake()

    def wake(self) -> None:
        """Look whether there is something to tell."""
        self._idle.clear()
        self._wake.set()

    def wait(self, seconds: float) -> bool:
        """Wait until all is told; False where that takes longer."""
        return self._idle.wait(seconds)

    def close(self, seconds: float) -> None:
        """Tell what can be told in some seconds; the rest is told at the next start."""
        self._end = True
        self._wake.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        pause = 0.0
        while True:
            self._wake.wait(pause or None)
            self._wake.clear()
            try:
                while not self._all_told():
                    pass
                pause = 0.0
                if not self._wake.is_set():
                    self._idle.set()
            except (OSError, sqlite3.Error) as error:  # a full disk: later
                pause = min(30.0, 2 * pause or 0.5)
                logging.getLogger(__name__).warning("Events could not be told yet: %s", error)
            if self._end:
                return

    def _all_told(self) -> bool:
        """Tell some events; whether there was nothing to tell."""
        lines = self.ledger.untold("logged")
        if lines:
            append_lines(self.folder / LOG, [{**plain, "id": one} for one, plain in lines])
            self.ledger.told("logged", [one for one, _ in lines])
        if not self.hooks:
            return not lines
        calls = self.ledger.untold("hooked", 1)
        for one, plain in calls:
            kept = self._kept.pop(one) if one in self._kept else event_from(plain, one)
            self.hooks.tell(kept)
            self.ledger.told("hooked", [one])
        return self._end or not (lines or calls)


def append_lines(path: Path, entries: list[Json]) -> None:
    """Add lines of JSON to a file: all of them, on the disk, or none.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    text = "".join(json.dumps(one | {"at": now}, ensure_ascii=False) + "\n" for one in entries)
    with path.open("a+b", buffering=0) as file:
        good = file.seek(0, os.SEEK_END)
        content = text.encode("utf-8", "backslashreplace")
        if good:
            file.seek(good - 1)
            if file.read(1) != b"\n":  # a power cut left half a line
                content = b"\n" + content
        left = memoryview(content)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):  # half a line would hide the next one
                file.truncate(good)
            raise
