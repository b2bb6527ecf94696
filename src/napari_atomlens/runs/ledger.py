"""What was done to which file of a watched folder, and the events that were not yet told."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_atomlens.files import Json

#: To whom an event goes: whoever asked for events, the log, the hooks.
Receiver = Literal["told", "logged", "hooked"]
#: Raised when the tables change.
VERSION = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS files (key TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash TEXT,
    status TEXT, tries INTEGER, folder TEXT, event TEXT, at REAL);
CREATE INDEX IF NOT EXISTS by_hash ON files (hash);
CREATE UNIQUE INDEX IF NOT EXISTS by_folder ON files (folder) WHERE folder != '';
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT, event TEXT,
    told INTEGER, logged INTEGER, hooked INTEGER);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT);
"""


@dataclass(frozen=True)
class Row:
    """What is known of a file.

    Attributes
    ----------
    size, mtime_ns : int
        Of the file when it was looked at.
    hash : str
    status : str
        "analysed", "skipped", "failed", "repeated" or "rejected".
    tries : int
        How often this content was tried.
    folder : str
        Name of the folder of its results.
    """

    size: int = -1
    mtime_ns: int = -1
    hash: str = ""
    status: str = ""
    tries: int = 0
    folder: str = ""

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of the file."""
        return self.size, self.mtime_ns


class Ledger:
    """What was done to which file; every change is on disk when the call returns.

    An event is written together with what was done, and forgotten once all have it who are to
    have it: after a crash it is told again, with the same id.

    Parameters
    ----------
    path : pathlib.Path
    source : str
        The folder that is watched: several may have one ledger, each its own events.

    Raises
    ------
    sqlite3.OperationalError
        If it cannot be opened or written.
    sqlite3.DatabaseError
        If it is damaged, or of another version.
    """

    def __init__(self, path: Path, source: str = "") -> None:
        self.path, self.source = path, source
        with self._open() as db:
            # of the journals this one also works on the share of another machine
            db.execute("PRAGMA journal_mode=DELETE")
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            known = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if known and version != VERSION:
                raise sqlite3.DatabaseError("it is of another version")
            (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            if not known:
                db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={VERSION}; COMMIT")
            db.execute("INSERT OR IGNORE INTO about VALUES ('id', ?)", (uuid.uuid4().hex[:12],))
            (self.id,) = db.execute("SELECT value FROM about WHERE name = 'id'").fetchone()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open it for one step: all of the step is written, or nothing."""
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            yield db

    def files(self) -> dict[str, Row]:
        """All files that are known."""
        with self._open() as db:
            found = db.execute("SELECT key, size, mtime_ns, hash, status, tries, folder FROM files")
            return {key: Row(*rest) for key, *rest in found}

    def get(self, key: str) -> Row | None:
        """What is known of a file, None where it is new."""
        with self._open() as db:
            found = db.execute(
                "SELECT size, mtime_ns, hash, status, tries, folder FROM files WHERE key = ?",
                (key,),
            ).fetchone()
        return Row(*found) if found else None

    def twin(self, digest: str, key: str) -> str:
        """Key of another file with this content that was analysed, "" where there is none."""
        with self._open() as db:
            row = db.execute(
                "SELECT key FROM files WHERE hash = ? AND key != ? AND status = 'analysed'",
                (digest, key),
            ).fetchone()
        return str(row[0]) if row else ""

    def put(self, key: str, row: Row, event: Json | None = None, *, hooks: bool = False) -> str:
        """Write what was done to a file, and the event that tells of it.

        Parameters
        ----------
        key : str
        row : Row
        event : mapping, optional
        hooks : bool
            Whether hooks are to have it.

        Returns
        -------
        str
            Id of the event.
        """
        text = "" if event is None else json.dumps(event)
        values = (row.size, row.mtime_ns, row.hash, row.status, row.tries, row.folder, text)
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (key, *values, time.time()),
            )
            if event is None:
                return ""
            made = db.execute(
                "INSERT INTO outbox (source, event, told, logged, hooked) VALUES (?, ?, 0, 0, ?)",
                (self.source, text, int(not hooks)),
            )
            return self._id(made.lastrowid)

    def _id(self, seq: int | None) -> str:
        return f"{self.id}-{seq}"

    def claim(self, key: str, folder: str) -> bool:
        """Reserve a folder for the results of a file; False where another file has it."""
        try:
            with self._open() as db:
                db.execute(
                    "INSERT INTO files VALUES (?, -1, -1, '', '', 0, ?, '', ?)"
                    " ON CONFLICT (key) DO UPDATE SET folder = excluded.folder",
                    (key, folder, time.time()),
                )
        except sqlite3.IntegrityError:
            return False
        return True

    def untold(self, to: Receiver, most: int = 1000) -> list[tuple[str, Json]]:
        """Events that somebody is still to have, with their ids, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                f"SELECT seq, event FROM outbox WHERE {to} = 0 AND source = ? ORDER BY seq LIMIT ?",
                (self.source, most),
            ).fetchall()
        return [(self._id(seq), json.loads(event)) for seq, event in rows]

    def told(self, to: Receiver, ids: list[str]) -> None:
        """Take note that somebody has events; those that all have are forgotten."""
        with self._open() as db:
            seqs = [(int(one.rpartition("-")[2]),) for one in ids]
            db.executemany(f"UPDATE outbox SET {to} = 1 WHERE seq = ?", seqs)
            db.execute("DELETE FROM outbox WHERE told AND logged AND hooked")

    def rows(self) -> list[Json]:
        """All that is known, oldest first."""
        with self._open() as db:
            db.row_factory = sqlite3.Row
            return [dict(r) for r in db.execute("SELECT * FROM files ORDER BY at")]


def set_aside(path: Path) -> Path:
    """Give a damaged ledger, and its journal, another name, and return it."""
    n = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{n}{path.suffix}")).exists():
        n += 1
    for ending in ("-journal", "-wal", "-shm"):  # they would be played into the new one
        with contextlib.suppress(OSError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    path.rename(aside)
    return aside
