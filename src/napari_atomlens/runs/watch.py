"""Beside the instrument: every new file of a folder, or frame of a stream, is analysed once.

A ledger (SQLite) in the folder of results says what was done; it survives a killed process. A
file counts as complete when it has not changed for a moment since it was looked at, whatever its
date says. It is read and analysed in a process of its own that may crash or hang; what fails is
skipped with a sentence, and tried again when it changes and a few times anyway.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_atomlens.errors import AtomLensError, FormatError, ParameterError, printable
from napari_atomlens.files import Lock, digest, digest_of_text
from napari_atomlens.io.formats.kinds import find_files, is_searched
from napari_atomlens.params import of_kind
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.runs.apart import Apart, ApartError, TimeLimitError
from napari_atomlens.runs.hooks import MOST_HANGS, Event, Hooks, event_from, event_of
from napari_atomlens.runs.inputs import is_named
from napari_atomlens.runs.ledger import Row
from napari_atomlens.runs.outbox import Outbox
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import ScanResult, add_to_library, scan_file, stamp_of, warm_up
from napari_atomlens.runs.shelf import INCOMPLETE, Shelf
from napari_atomlens.runs.team import Team
from napari_atomlens.untrusted import path_of

#: An empty file rests so many times longer before it is mentioned: it may be about to be filled.
EMPTY_RESTS = 10
#: Seconds that a run that is to end waits for files that do not stop changing.
ONCE_WAITS_S = 30.0
#: A file of the same content is in work: what is done depends on what that gives.
LATER = "later"
#: What is said of files that are taken again.
UNDONE = ("", "skipped", INCOMPLETE)


@dataclass(frozen=True)
class _Job:
    """A file that is to be analysed."""

    path: Path
    name: str
    key: str
    stamp: tuple[int, int]
    first_seen: float
    row: Row | None

    @property
    def tries(self) -> int:
        """How often this content was tried, this time counted."""
        return 1 + (self.row.tries if self.row and self.row.stamp == self.stamp else 0)


@dataclass(frozen=True)
class _Outcome:
    """What a job gave: a scan, or a sentence."""

    scan: ScanResult | None = None
    sha256: str = ""
    what: str = ""
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Seen:
    """A file as it was seen, and since when."""

    stamp: tuple[int, int]
    since: float


class FolderWatch:
    """Watches one folder.

    Parameters
    ----------
    folder : path
    params : WatchParams

    Raises
    ------
    ParameterError
        If the folder does not exist, a hook cannot be called or a parameter is out of bounds.
    """

    def __init__(self, folder: str | Path, params: WatchParams = WatchParams()) -> None:
        self.folder, self.params = path_of(folder), of_kind(WatchParams, params)
        if not self.folder.is_dir():
            raise ParameterError(f"There is no folder {self.folder}.")
        self.out = results_folder(self.folder, params)
        try:
            self.shelf = Shelf(self.out, self.folder)
        except (OSError, sqlite3.Error) as error:
            raise ParameterError(f"Results cannot be written to {self.out} ({error}).") from None
        self.hooks = Hooks(params.hook, params.hook_limit_s)
        self._seen: dict[str, _Seen] = {}
        self._next: dict[str, float] = {}
        self._tried: set[str] = set()
        self._busy: set[str] = set()
        self._contents: dict[str, str] = {}  # of files in work
        self._unsettled = False
        self._behind = self._done = 0

    def ready(self, *, once: bool = False) -> list[_Job]:
        """Return files that rest and are not done yet, in the order in which they are taken."""
        now, self._unsettled = time.monotonic(), False
        found: list[_Job] = []
        try:
            paths = find_files(self.folder, subfolders=self.params.subfolders)
        except OSError:  # a share that is away for a moment
            return []
        for path in paths:
            if not is_named(path.name, self.params.names):
                continue
            key = self.shelf.key(path)
            try:
                stamp = stamp_of(path)
            except OSError:
                continue
            row = self.shelf.rows.get(key)
            if key in self._busy or (row and row.stamp == stamp and row.status not in UNDONE):
                continue
            seen = self._seen.get(key)
            if seen is None or seen.stamp != stamp:
                # its own date is not believed: clocks of instruments differ
                seen = self._seen[key] = _Seen(stamp, now)
                self._next.pop(key, None)
            settles = self.params.settle_s * (EMPTY_RESTS if not stamp[0] and not once else 1)
            if once and key in self._tried:
                continue
            if now < max(seen.since + settles, self._next.get(key, 0.0)):
                self._unsettled = True
            else:
                name = printable(path.relative_to(self.folder).as_posix())
                found.append(_Job(path, name, key, stamp, seen.since, row))
        found.sort(key=lambda job: job.stamp[1], reverse=self.params.newest_first)
        return found

    # ------------------------------------------------------------------ one file

    def _work(self, job: _Job, process: Apart, threads: int) -> _Outcome:
        """Read, assess and analyse a file; what is wrong with it becomes a sentence."""
        sha256, limit = "", self.params.limit_s
        seconds = {"wait": max(0.0, time.monotonic() - job.first_seen)}
        last = job.tries >= self.params.tries
        try:
            if not job.stamp[0]:
                return _Outcome(what="failed", message=f"{job.name} is empty (zero bytes).")
            sha256 = process.call(limit, digest, job.path)
            if known := self._known(job, sha256):
                return known
            scan = process.call(limit, scan_file, job.path, job.stamp, self.params, threads)
        except TimeLimitError as error:
            last |= job.tries > 1  # it would only take as long once more
            why = f"{job.name} could not be analysed. {error}"
        except ApartError as error:
            why = f"{job.name} could not be analysed: {error}"
        except (AtomLensError, OSError, sqlite3.Error) as error:
            why = str(error)
        else:
            return _Outcome(scan, sha256, seconds=seconds | scan.seconds)
        word = "failed" if last else "skipped"
        return _Outcome(None, sha256, word, printable(" ".join(why.split())))

    def _known(self, job: _Job, sha256: str) -> _Outcome | None:
        """What is to be said of content that was analysed before, None where it was not."""
        if job.row and job.row.hash == sha256 and job.row.status == "analysed":
            return _Outcome(None, sha256, "analysed", "Its content has not changed.")
        if self._contents.setdefault(sha256, job.key) != job.key:
            return _Outcome(None, sha256, LATER)
        twin = self.shelf.ledger.twin(sha256, job.key)
        if not twin:
            return None
        message = f"The same as {twin.rpartition('/')[2]}, which is analysed."
        return _Outcome(None, sha256, "repeated", message)

    def _finish(self, job: _Job, outcome: _Outcome) -> Event | None:
        """Store what a job gave, if that can be done."""
        self._busy.discard(job.key)
        if outcome.sha256 and self._contents.get(outcome.sha256) == job.key:
            del self._contents[outcome.sha256]
        if outcome.what == LATER:
            self._again(job, 0.1)
            return None
        try:
            return self._store(job, outcome)
        except (OSError, sqlite3.Error, FormatError) as error:
            self._again(job, 0.0)
            sentence = self.shelf.hold(error)
            return Event("skipped", job.name, sentence, behind=self._behind) if sentence else None
        except Exception as error:  # tables that nobody foresaw are the failure of this file
            why = f"{job.name} could not be stored: {type(error).__name__}: {error}"
            return self._finish(job, _Outcome(None, outcome.sha256, "failed", printable(why)))

    def _again(self, job: _Job, seconds: float) -> None:
        """Take a file once more, also where each is taken once."""
        self._tried.discard(job.key)
        self._next[job.key] = time.monotonic() + seconds

    def _store(self, job: _Job, outcome: _Outcome) -> Event:
        """Write what a job gave, and take note of it.

        Raises
        ------
        OSError, sqlite3.Error, FormatError
            If results cannot be written at the moment.
        """
        folder = job.row.folder if job.row else ""
        row = Row(*job.stamp, outcome.sha256, outcome.what, job.tries, folder)
        scan, hooks = outcome.scan, bool(self.hooks)
        if scan is None:
            word = "repeated" if outcome.what == "analysed" else outcome.what
            if word == "skipped":
                self._next[job.key] = time.monotonic() + min(30.0, 0.3 * 2**job.tries)
            event = Event(word, job.name, outcome.message, behind=self._behind)
            return self.shelf.put(job.key, row, event, hooks=hooks)
        clock = time.perf_counter()
        if job.row and job.row.status == INCOMPLETE:
            scan.messages.append("Its results were incomplete and have been made again.")
        row = self.shelf.write(job.key, job.name, row, scan)
        if self.params.library:
            try:
                add_to_library(self.params.library, scan, f"{job.name} {outcome.sha256[:12]}")
            except (AtomLensError, OSError, sqlite3.Error) as error:
                scan.messages.append(f"Nothing was added to the library: {error}")
        seconds = outcome.seconds | {"store": time.perf_counter() - clock}
        seconds["total"] = time.monotonic() - job.first_seen
        place = printable(str(self.shelf.out / row.folder))
        event = event_of(job.name, scan, self.params, seconds, place)
        return self.shelf.put(job.key, row, replace(event, behind=self._behind), hooks=hooks)

    # ------------------------------------------------------------------ the loop

    def run(self, progress: ProgressLike = None, *, once: bool = False) -> Iterator[Event]:
        """Yield an event for every file, for ever, or once for all that are there.

        Parameters
        ----------
        progress : Progress, optional
            Told what there is to say and how many files wait; asked whether to stop. Files in
            work are then let go: the next start takes them again.
        once : bool
            End when nothing is left to do (what fails is tried once).

        Raises
        ------
        ParameterError
            If another watch of this folder writes the same results.
        """
        watch = as_progress(progress)
        lock = Lock(self.out / f".watch-{digest_of_text(self.shelf.source)[:16]}.lock")
        if not lock.acquire():
            raise ParameterError(f"Another watch of {self.folder.name} is at work.")
        team: Team[_Job, _Outcome] = Team(self.params.workers)
        self.hooks.reopen()
        ledger = self.shelf.ledger
        if not self.hooks:
            ledger.told("hooked", [one for one, _ in ledger.untold("hooked")])
        outbox = Outbox(ledger, self.out, self.hooks)
        try:
            outbox.wake()
            for event_id, plain in ledger.untold("told"):  # the process was killed
                yield from self._told(outbox, event_from(plain, event_id))
            if not once:
                team.warm_up(lambda process: process.call(600, warm_up, self.params))
            self._say_subfolders()
            yield from self._loop(watch, team, outbox, once=once)
            if once:
                outbox.wait(MOST_HANGS * self.params.hook_limit_s + ONCE_WAITS_S)
        finally:
            team.close()
            outbox.close(5.0)
            self.hooks.close()
            lock.release()

    def _loop(
        self, watch: Progress, team: Team[_Job, _Outcome], outbox: Outbox, *, once: bool
    ) -> Iterator[Event]:
        self._tried, self._done, waited = set(), 0, time.monotonic()
        self._busy.clear()
        self._contents.clear()
        while not watch.stopped:
            held = self.shelf.is_held()
            outbox.ledger = self.shelf.ledger
            jobs = [] if held else self.ready(once=once)
            self._tell(watch, len(jobs) + team.n_running)
            while jobs and team.has_room:
                self._begin(team, jobs.pop(0), len(jobs))
            busy = team.n_running > 0
            if busy:
                waited = time.monotonic()
            for job, outcome in team.finished(self.params.poll_s) if busy else ():
                self._behind = len(jobs) + team.n_running
                event = self._finish(job, outcome)
                if event is not None:
                    yield from self._told(outbox, event)
            if once and self._is_all_done(bool(busy or jobs or held), waited):
                return
            if not busy:
                time.sleep(self.params.poll_s)

    def _is_all_done(self, busy: bool, waited: float) -> bool:
        """Whether a run that is to end may end: nothing is in work, and nothing will be soon."""
        if self.shelf.n_held >= self.params.tries:  # a disk stays full: nobody waits for ever
            return True
        late = time.monotonic() - waited > ONCE_WAITS_S
        return not busy and (late or not self._unsettled)

    def _begin(self, team: Team[_Job, _Outcome], job: _Job, waiting: int) -> None:
        threads = team.threads(1 + waiting + team.n_running)
        self._busy.add(job.key)
        self._tried.add(job.key)
        team.start(job, lambda process: self._work(job, process, threads))

    def _told(self, outbox: Outbox, event: Event) -> Iterator[Event]:
        """Yield an event, and take note that it was heard."""
        self._done += 1
        if not event.id:  # the ledger cannot be written
            yield event
            return
        outbox.add(event)
        try:
            yield event
        finally:
            # else it is told again at the next start
            with contextlib.suppress(sqlite3.Error):
                self.shelf.ledger.told("told", [event.id])

    def _tell(self, watch: Progress, behind: int) -> None:
        while self.shelf.sayings:
            watch.say(self.shelf.sayings.pop(0))
        watch(self._done, self._done + behind, "")

    def _say_subfolders(self) -> None:
        if self.params.subfolders:
            return
        try:
            n = sum(is_searched(path) for path in self.folder.iterdir())
        except OSError:
            return
        if n:
            which = "1 subfolder is" if n == 1 else f"{n} subfolders are"
            self.shelf.sayings.append(f"{which} not watched; that must be asked for.")


def results_folder(folder: Path, params: WatchParams) -> Path:
    """Folder of the results."""
    return Path(params.out) if params.out else folder / "atomlens_results"


def watch_folder(
    folder: str | Path,
    params: WatchParams = WatchParams(),
    *,
    progress: ProgressLike = None,
    once: bool = False,
) -> Iterator[Event]:
    """Watch a folder; see :class:`FolderWatch`.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np, tifffile
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> tifffile.imwrite("scan.tif", image.astype(np.float32))
    >>> params = al.WatchParams(analysis="atoms", settle_s=0.0)
    >>> [event.event for event in al.watch_folder(".", params, once=True)]
    ['analysed']
    """
    yield from FolderWatch(folder, params).run(progress, once=once)
