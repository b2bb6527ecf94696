"""Where the results of watched folders are: a ledger, a folder for each file, and when they rest.

Several watched folders may have one folder of results. A file is known by its path as seen from
there and by its content; the folder of its results is reserved in the ledger before it is written.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

from napari_atomlens.files import digest_of_text, known_as
from napari_atomlens.runs.hooks import Event
from napari_atomlens.runs.ledger import Ledger, Row, set_aside
from napari_atomlens.runs.scan import ScanResult, is_complete, source_of_scan, write_scan
from napari_atomlens.runs.tasks import FULL

LEDGER = "atomlens_watch.sqlite"
#: Seconds without a folder of results before another is made in its place.
GONE_S = 60.0
#: How long names of folders may be, in bytes: something is added to them.
LONGEST_NAME = 150
#: What a row says of results that are not complete, as a power cut leaves them.
INCOMPLETE = "incomplete"


class Shelf:
    """The results of one watched folder.

    Parameters
    ----------
    out, folder : pathlib.Path
        Folder of the results, and the one that is watched.
    gone_s : float
        Seconds without a folder of results before another is made in its place.

    Raises
    ------
    OSError, sqlite3.Error
        If it cannot be written.

    Attributes
    ----------
    rows : dict of str to Row
        What is known of each file.
    sayings : list of str
        Sentences for the user.
    """

    def __init__(self, out: Path, folder: Path, gone_s: float = GONE_S) -> None:
        self.out, self.gone_s = out, gone_s
        self.source = self.key(folder)
        self.rows: dict[str, Row] = {}
        self.sayings: list[str] = []
        # it could not be written: since when, until when nobody tries, and how long that is
        self._since = self._until = self._pause = 0.0
        #: How often it could not be written, one time after the other.
        self.n_held = 0
        out.mkdir(parents=True, exist_ok=True)
        self.ledger = self._open()

    def key(self, path: Path) -> str:
        """Path of a file as seen from the results: both may move together."""
        try:
            return known_as(Path(os.path.relpath(path, self.out)).as_posix())
        except ValueError:  # on another drive
            return known_as(path.absolute().as_posix())

    def _open(self) -> Ledger:
        """Open the ledger; a damaged one is set aside and made again from the results."""
        path = self.out / LEDGER
        try:
            ledger = Ledger(path, self.source)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = set_aside(path)
            ledger = Ledger(path, self.source)
            for folder in sorted(p for p in self.out.iterdir() if p.is_dir()):
                facts = source_of_scan(folder)
                if facts and is_complete(folder):
                    stamp = int(facts["size"]), int(facts["mtime_ns"])
                    row = Row(*stamp, str(facts["sha256"]), "analysed", 1, folder.name)
                    ledger.put(str(facts["source"]), row)
            self.sayings.append(
                f"The ledger was damaged ({error}) and is kept as {aside.name}; what is done was "
                "read from the results."
            )
        self.rows = ledger.files()
        for key, row in self.rows.items():
            place = self.out / row.folder
            # results that are gone altogether somebody has moved away
            if (
                row.status == "analysed"
                and row.folder
                and place.exists()
                and not is_complete(place)
            ):
                self.rows[key] = replace(row, status=INCOMPLETE, hash="", tries=0)
        return ledger

    def is_held(self) -> bool:
        """Whether results cannot be written at the moment; tried again now and then."""
        if not self._since:
            return False
        now = time.monotonic()
        if now < self._until:
            return True
        try:
            if not self.out.is_dir():
                if now - self._since < self.gone_s:
                    raise FileNotFoundError
                self.out.mkdir(parents=True)
            self.ledger = self._open()
        except (OSError, sqlite3.Error):
            self._hold()
            return True
        self._since = 0.0  # the next file shows whether it can be written, too
        return False

    def _hold(self) -> None:
        now = time.monotonic()
        self.n_held += 1
        self._pause = min(30.0, 2 * self._pause or 0.25)
        self._since, self._until = self._since or now, now + self._pause

    def hold(self, error: Exception) -> str:
        """Take note that it cannot be written; a sentence where that is news."""
        new = not self.n_held
        self._hold()
        why = str(error)
        if isinstance(error, OSError):
            why = f"{self.out.name} cannot be written: {error.strerror or error}"
            if error.errno in FULL:
                why = f"The disk of {self.out.name} is full"
        elif isinstance(error, sqlite3.Error):
            why = f"{self.out.name} cannot be written: {error}"
        return f"{why.rstrip('.')}. It is tried again." if new else ""

    def put(self, key: str, row: Row, event: Event, *, hooks: bool) -> Event:
        """Write what was done to a file and the event of it; return that with its id.

        Raises
        ------
        sqlite3.Error
            If it cannot be written.
        """
        event_id = self.ledger.put(key, row, event.plain(), hooks=hooks)
        self.rows[key] = row
        self.n_held, self._pause = 0, 0.0
        return replace(event, id=event_id)

    def write(self, key: str, name: str, row: Row, scan: ScanResult) -> Row:
        """Write the results of a file; return its row with the name of their folder.

        Raises
        ------
        OSError, sqlite3.Error, FormatError
            If that cannot be done at the moment.
        """
        row = replace(row, status="analysed", folder=self._folder_for(key, name))
        facts = {
            "file": name, "source": key, "sha256": row.hash, "size": row.size,
            "mtime_ns": row.mtime_ns,
        }  # fmt: skip
        write_scan(self.out / row.folder, scan, facts)
        return row

    def _folder_for(self, key: str, name: str) -> str:
        """Name of a folder for the results of a file: no other's, and none of the user's.

        Raises
        ------
        sqlite3.Error
            If it cannot be reserved.
        """
        known = self.ledger.get(key)
        if known and known.folder:
            return known.folder
        name = name.replace("/", "_").replace("\\", "_")
        if len(name.encode()) > LONGEST_NAME:
            start = name.encode()[: LONGEST_NAME - 17].decode(errors="ignore")
            name = f"{start}-{digest_of_text(key)[:16]}"
        n = 1
        while True:
            one = name if n == 1 else f"{name}-{n}"
            place = self.out / one
            free = not os.path.lexists(place) or source_of_scan(place).get("source") == key
            if free and self.ledger.claim(key, one):
                return one
            n += 1
