"""What was done to which file of a watched folder."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from napari_atomlens.files import Json


class Ledger:
    """What was done to which file; every change is on disk when the call returns.

    Parameters
    ----------
    path : pathlib.Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as db, db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INTEGER, mtime REAL,"
                " hash TEXT, status TEXT, tries INTEGER, event TEXT, at REAL)"
            )
            db.execute("CREATE INDEX IF NOT EXISTS by_hash ON files (hash)")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30)

    def get(self, name: str) -> tuple[int, float, str, str, int] | None:
        """(size, mtime, hash, status, tries) of a file, None where it is new."""
        with closing(self._open()) as db:
            row = db.execute(
                "SELECT size, mtime, hash, status, tries FROM files WHERE name = ?", (name,)
            ).fetchone()
        return row

    def twin(self, digest: str, name: str) -> str:
        """Name of another file with this content that was analysed, "" where there is none."""
        with closing(self._open()) as db:
            row = db.execute(
                "SELECT name FROM files WHERE hash = ? AND name != ? AND status = 'analysed'",
                (digest, name),
            ).fetchone()
        return str(row[0]) if row else ""

    def put(
        self, name: str, stamp: tuple[int, float], digest: str, status: str, tries: int, event: str
    ) -> None:
        """Write what was done to a file."""
        with closing(self._open()) as db, db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (name, *stamp, digest, status, tries, event, time.time()),
            )

    def rows(self) -> list[Json]:
        """All that is known, oldest first."""
        with closing(self._open()) as db:
            db.row_factory = sqlite3.Row
            return [dict(r) for r in db.execute("SELECT * FROM files ORDER BY at")]
