"""Edits on the disk as they are made, and found again after a crash.

Each session has a folder of its own with the model's output (Parquet), the journal (one
line per edit) and ``current.json``, which names the two files that belong together. A new
run of the model writes the next pair and then exchanges ``current.json``, so that there
is a complete pair at any moment.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_atomlens.errors import FormatError, TableError
from napari_atomlens.files import (
    UNFINISHED,
    Json,
    Lock,
    make_folder,
    user_folder,
    write_whole,
)
from napari_atomlens.folders import remove_written
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.io.projects.journal_file import JournalFile, read_sound
from napari_atomlens.io.projects.parts import read_parquet
from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.edits.journal import sound_entries
from napari_atomlens.untrusted import inside, read_json

#: What a session writes into its folder.
OURS = ("current.json", "machine-*.parquet", "journal-*.jsonl", "lock", f".*{UNFINISHED}")
NOT_KEPT = "Save the project elsewhere: the latest edits are not on the disk."


def autosave_folder() -> Path:
    """Where sessions are kept until they are saved (``ATOMLENS_AUTOSAVE`` overrides it)."""
    return user_folder("autosave")


class Autosave:
    """Writes every edit of one layer to the disk, from the first one on.

    Parameters
    ----------
    corrections : Corrections
        Its journal is listened to.
    about : mapping
        What a later session must know: name of the image, scale, units ...
    root : path, optional
        Folder of all sessions.

    Attributes
    ----------
    problem : str
        Why the latest edits are not on the disk; "" where all are. The edits go on meanwhile,
        and the next one that can be written takes all before it along.
    """

    def __init__(
        self, corrections: Corrections, about: Mapping[str, Any], root: Path | None = None
    ) -> None:
        self._corrections, self.about = corrections, dict(about)
        self._root = root or autosave_folder()
        self._folder: Path | None = None
        self._lock: Lock | None = None
        self._file: JournalFile | None = None
        self._generation = 0
        self.problem = ""
        self.resume()

    @property
    def folder(self) -> Path | None:
        """Folder of this session, None before the first edit."""
        return self._folder

    def _on_entry(self, entry: dict[str, Any]) -> None:
        with self._noting():
            if self._file is not None and not self.problem:
                try:
                    self._file.append(entry)
                    return
                except FormatError:  # the folder was removed, or the disk is full: once more
                    pass
            self._begin()  # writes the entry with all that were there before it

    def _on_rebased(self) -> None:
        with self._noting():
            if self._file is not None or self.problem:
                self._begin()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Write inside; what fails is noted, and does not undo the edit."""
        try:
            yield
        except FormatError as error:
            self.problem = f"{error} {NOT_KEPT}"
        else:
            self.problem = ""

    def write(self) -> None:
        """Write what there is now, where nothing was written yet."""
        if (self._file is None or self.problem) and len(self._corrections.journal.log):
            with self._noting():
                self._begin()

    def _begin(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = self._folder or self._root / f"{stamp}-{uuid.uuid4().hex[:8]}"
        try:
            make_folder(folder)
        except OSError as error:
            raise FormatError(
                f"Edits cannot be saved in {self._root}: {error.strerror}."
            ) from error
        self._folder = folder
        if self._lock is None or not self._lock.path.exists():  # new, or somebody removed it
            self._lock = Lock(folder / "lock")
            self._lock.acquire()
        self._checkpoint()

    def _checkpoint(self) -> None:
        """Write the model's output and the journal anew, then let them count."""
        folder = self._folder
        if folder is None:
            return
        n = self._generation + 1
        names = {"machine": f"machine-{n}.parquet", "journal": f"journal-{n}.jsonl"}
        c, file = self._corrections, None
        try:
            write_table(folder / names["machine"], c.machine())
            file = JournalFile(folder / names["journal"], c.journal.entries())
            current = {
                **names, "about": self.about, "user": c.journal.user,
                "spacing_px": c.spacing_px if c.spacing_px == c.spacing_px else None,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
            }  # fmt: skip
            write_whole(folder / "current.json", json.dumps(current, indent=1, default=str))
        except (OSError, ValueError, FormatError) as error:
            if file is not None:
                file.close()
            for name in names.values():  # they count for nothing, and take the room
                with contextlib.suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
            why = error.strerror or error if isinstance(error, OSError) else error
            raise FormatError(f"Edits cannot be saved: {str(why).rstrip('.')}.") from error
        if self._file is not None:
            self._file.close()
            for old in ("machine-{}.parquet", "journal-{}.jsonl"):
                (folder / old.format(self._generation)).unlink(missing_ok=True)
        self._file, self._generation = file, n

    def done(self) -> None:
        """Say that all edits are saved elsewhere (or not wanted): the session's folder goes."""
        folder, self._folder = self._folder, None
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if folder is not None:
            _remove(folder)

    def pause(self) -> None:
        """Stop writing; what is written can be restored by the next session."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._corrections.journal.listener = None
        self._corrections.rebased = None

    def resume(self) -> None:
        """Write again after a pause."""
        self._corrections.journal.listener = self._on_entry
        self._corrections.rebased = self._on_rebased


@dataclass(frozen=True)
class UnsavedSession:
    """Edits of a session that ended without saving them.

    Attributes
    ----------
    folder : pathlib.Path
    about : dict
        What the session said of its image.
    n_edits : int
        Edits that held.
    started : str
        When, ISO 8601.
    damage : str
        What of it cannot be read, in a sentence; "" where it is whole.
    """

    folder: Path
    about: dict[str, Any]
    n_edits: int
    started: str
    damage: str = ""


def find_unsaved(root: Path | None = None) -> list[UnsavedSession]:
    """Sessions whose edits were never saved and that no window has open, the latest first.

    Damaged ones, too, as far as anything of them can be brought back.
    """
    folder = root or autosave_folder()
    found = []
    for one in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        lock = Lock(one / "lock")
        if not any(one.glob("journal-*.jsonl")) or not lock.acquire():
            continue
        try:
            kept = _read(one)
            n = sum(-1 if entry["do"] == "undo" else 1 for entry in kept.entries)
            if n > 0 or kept.damage:
                found.append(UnsavedSession(one, kept.about, n, kept.started, kept.damage))
        except FormatError:
            continue  # nothing that could be offered
        finally:
            lock.release()
    return found


def restore(unsaved: UnsavedSession | Path) -> Corrections:
    """Bring the edits of an unsaved session back; its folder stays until :func:`forget`.

    Where the journal is damaged, all edits before the damage come back.

    Raises
    ------
    FormatError
        If the folder is damaged.
    """
    folder = unsaved.folder if isinstance(unsaved, UnsavedSession) else unsaved
    kept = _read(folder)
    try:
        machine = read_parquet(kept.machine)
        return Corrections.restore(machine, kept.entries, "", kept.spacing_px)
    except (OSError, ValueError, KeyError, TypeError, TableError) as error:
        raise FormatError(f"The autosaved edits in {folder.name} are damaged ({error}).") from error


@dataclass(frozen=True)
class _Kept:
    """What is readable in the folder of a session."""

    machine: Path
    entries: list[Json]
    about: Json
    started: str
    spacing_px: float
    damage: str


def _read(folder: Path) -> _Kept:
    """Read the folder of a session as far as it is sound.

    Raises
    ------
    FormatError
        If nothing can be brought back.
    """
    damage, current = "", {}
    try:
        current = read_json(folder / "current.json")
        missing = [k for k in ("machine", "journal") if k not in current]
        damage = f"current.json is damaged: it has no {missing[0]}." if missing else ""
    except FormatError as error:
        damage = str(error)
    if damage:
        machine, journal = _latest(folder)
        damage += " The latest files of the session are taken."
    else:
        machine, journal = (inside(folder, current[k]) for k in ("machine", "journal"))
    about, spacing = current.get("about"), current.get("spacing_px")
    written, cut = read_sound(journal)
    entries, wrong = sound_entries(written)
    started = str(current.get("started") or _changed(journal))
    return _Kept(
        machine, entries, about if isinstance(about, dict) else {}, started,
        float(spacing) if isinstance(spacing, (int, float)) else float("nan"),
        " ".join(s for s in (damage, cut or wrong) if s),
    )  # fmt: skip


def _latest(folder: Path) -> tuple[Path, Path]:
    """The latest pair of files of a session that does not say which ones count."""
    found = {int(k) for p in folder.glob("journal-*.jsonl") if (k := p.stem[8:]).isdigit()}
    for n in sorted(found, reverse=True):
        machine = inside(folder, f"machine-{n}.parquet")
        if machine.is_file():
            return machine, inside(folder, f"journal-{n}.jsonl")
    raise FormatError(f"The autosaved edits in {folder.name} are damaged: no atoms are left.")


def _changed(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def forget(unsaved: UnsavedSession) -> None:
    """Remove the folder of an unsaved session."""
    _remove(unsaved.folder)


def _remove(folder: Path) -> None:
    """Remove what a session wrote, and its folder where nothing else is in it."""
    with contextlib.suppress(OSError):
        remove_written(folder, OURS)
