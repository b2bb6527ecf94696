"""Beside the instrument: every new file of a folder, or frame of a stream, is analysed once.

A ledger (SQLite) in the folder of results says what was done; it survives a killed process.
A file counts as complete when its size and time rest for a moment and it can be read. What
cannot be read is skipped with a word and tried again when it changes, and a few times anyway.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from napari_atomlens import segmentation
from napari_atomlens.errors import AtomLensError, FormatError, ParameterError
from napari_atomlens.files import digest
from napari_atomlens.image import Image
from napari_atomlens.io.formats.kinds import find_files
from napari_atomlens.io.formats.readers import read
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.runs.hooks import Event, call_hooks, find_hooks
from napari_atomlens.runs.ledger import Ledger
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import ScanResult, add_to_library, analyse_scan, write_scan
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.stm.assessment import WEIGHTS, _network

LEDGER = "atomlens_watch.sqlite"
#: Every event of a folder, one line of JSON each, with the latency of every stage.
LOG = "events.jsonl"


def results_folder(folder: Path, params: WatchParams) -> Path:
    """Folder of the results."""
    return Path(params.out) if params.out else folder / "atomlens_results"


def stamp_of(path: Path) -> tuple[int, float]:
    """Size of a file and when it changed; of a store, of all of its files.

    Raises
    ------
    OSError
        If it is gone, or cannot be looked at.
    """
    inside = path.rglob("*") if path.is_dir() else ()
    stats = [path.stat(), *(p.stat() for p in inside)]
    files = [s for s in stats if stat.S_ISREG(s.st_mode)]
    return sum(s.st_size for s in files), max(s.st_mtime for s in stats)


def _first_image(path: Path) -> Image:

    images = read(path)
    if not images:
        raise FormatError(f"{path.name} holds no image.")
    return images[0]


class FolderWatch:
    """Watches one folder.

    Parameters
    ----------
    folder : path
    params : WatchParams

    Raises
    ------
    ParameterError
        If the folder does not exist or a parameter is out of bounds.
    """

    def __init__(self, folder: str | Path, params: WatchParams = WatchParams()) -> None:
        self.folder, self.params = Path(folder), params
        if not self.folder.is_dir():
            raise ParameterError(f"There is no folder {self.folder}.")
        self.out = results_folder(self.folder, params)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.ledger = Ledger(self.out / LEDGER)
        except (OSError, sqlite3.Error) as error:
            raise ParameterError(f"Results cannot be written to {self.out} ({error}).") from None
        self.hooks = find_hooks(params.hook)
        self._seen: dict[str, tuple[tuple[int, float], float]] = {}
        self._next: dict[str, float] = {}
        self._finished: dict[str, tuple[int, float]] = {}
        # a file was touched so lately, at the last look, that it may not be complete
        self._unsettled = False

    def ready(self) -> list[Path]:
        """Return files that rest and are not done yet, the oldest first."""
        now, self._unsettled = time.time(), False
        found = []
        try:
            paths = find_files(self.folder)
        except OSError:  # a share that is away for a moment
            return []
        for path in paths:
            name = path.name
            try:
                stamp = stamp_of(path)
            except OSError:
                continue
            size, changed = stamp
            known = self._seen.get(name)
            if known is None or known[0] != stamp:
                self._seen[name] = (stamp, now)
                # nothing touched it since: it rested before we looked
                rests = now - changed >= self.params.settle_s
            else:
                rests = now - max(min(known[1], now), changed) >= self.params.settle_s
            if not rests:
                self._unsettled = True
                continue
            if size == 0 or now < self._next.get(name, 0.0):
                continue
            if self._finished.get(name) == stamp:
                continue
            row = self.ledger.get(name)
            if row and (row[0], row[1]) == stamp and row[3] != "skipped":
                self._finished[name] = stamp  # until it changes
                continue
            found.append((changed, path))
        return [p for _, p in sorted(found)]

    def process(self, path: Path) -> Event:
        """Read, assess, analyse and store one file; an unreadable one gives an event."""
        start = time.time()
        stamp = stamp_of(path)
        row = self.ledger.get(path.name)
        same = bool(row and (row[0], row[1]) == stamp)
        tries = (row[4] if row and same else 0) + 1
        seconds = {"wait": max(0.0, start - stamp[1])}
        sha256 = ""
        clock = time.perf_counter()
        try:
            sha256 = digest(path)
            twin = self.ledger.twin(sha256, path.name)
            if twin:
                event = Event("repeated", path.name, f"The same as {twin}, which is analysed.")
                self.ledger.put(path.name, stamp, sha256, "repeated", tries, event.as_json())
                return event
            if row and row[2] == sha256 and row[3] == "analysed":  # touched, not changed
                event = Event("repeated", path.name, "Its content has not changed.")
                self.ledger.put(path.name, stamp, sha256, "analysed", tries, event.as_json())
                return event
            image = _first_image(path)
            data = np.asarray(image.data if image.data.ndim == 2 else image.data[0])
            if stamp_of(path) != stamp:
                raise FormatError(f"{path.name} changed while it was read.")
            seconds["read"] = time.perf_counter() - clock
            scan = analyse_scan(data, image.pixel_size_nm, self.params)
        except (AtomLensError, OSError, ValueError, EOFError) as error:
            return self._skipped(path, stamp, sha256, tries, error)
        clock = time.perf_counter()
        target = self.out / path.name
        write_scan(target, scan, {"file": path.name, "sha256": sha256, "size": stamp[0]})
        if self.params.library:
            try:
                add_to_library(self.params.library, scan, f"{path.name} {sha256[:12]}")
            except (AtomLensError, OSError) as error:
                scan.messages.append(f"Nothing was added to the library: {error}")
        seconds |= scan.seconds | {"store": time.perf_counter() - clock}
        seconds["total"] = time.time() - stamp[1]
        event = event_of(path.name, scan, self.params, seconds, str(target))
        self.ledger.put(path.name, stamp, sha256, "analysed", tries, event.as_json())
        return event

    def _skipped(
        self, path: Path, stamp: tuple[int, float], digest: str, tries: int, error: Exception
    ) -> Event:
        """Take note of a file that could not be used; it is tried again a few times."""
        word = "failed" if tries >= self.params.tries else "skipped"
        event = Event(word, path.name, str(error).splitlines()[0] if str(error) else word)
        self.ledger.put(path.name, stamp, digest, word, tries, event.as_json())
        self._next[path.name] = time.time() + min(30.0, 0.3 * 2**tries)
        return event

    def _tell(self, event: Event) -> Event:
        with contextlib.suppress(OSError):  # a full disk must not end the watch
            line = json.loads(event.as_json()) | {"at": time.strftime("%Y-%m-%dT%H:%M:%S")}
            with (self.out / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
        call_hooks(self.hooks, event)
        return event

    def run(self, progress: ProgressLike = None, *, once: bool = False) -> Iterator[Event]:
        """Yield an event for every file, for ever, or once for all that are there.

        Parameters
        ----------
        progress : Progress, optional
            Asked between files and between looks whether to stop.
        once : bool
            End when nothing is left to do (files that rest but cannot be read are tried once).
        """
        watch = as_progress(progress)
        tried: set[str] = set()
        warm_up()
        while not watch.stopped:
            waiting = [p for p in self.ready() if not (once and p.name in tried)]
            for path in waiting:
                if watch.stopped:
                    return
                tried.add(path.name)
                try:
                    event = self.process(path)
                except FileNotFoundError:  # moved away in the meantime
                    continue
                yield self._tell(event)
            if once and not waiting and not self._unsettled:
                return
            if not waiting:
                time.sleep(self.params.poll_s)


def event_of(
    name: str,
    scan: ScanResult,
    params: WatchParams,
    seconds: dict[str, float],
    folder: str = "",
) -> Event:
    """What is told of a scan that was analysed, or rejected for its low score."""
    low = scan.verdict.score < params.min_score
    return Event(
        "rejected" if low else "analysed", name, " ".join(scan.messages), scan.verdict.score,
        scan.verdict.label, {k: len(v) for k, v in scan.tables.items()}, seconds, folder, scan,
    )  # fmt: skip


def warm_up() -> None:
    """Load the networks before the first file comes."""
    for name in ("universal", "h-si-100"):
        try:
            segmentation.load_network(find_model(name))
        except AtomLensError:
            continue
    _network(WEIGHTS)


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


def stream(
    frames: Iterable[Image | ArrayLike],
    params: WatchParams = WatchParams(),
    *,
    pixel_size_nm: tuple[float, float] | None = None,
) -> Iterator[Event]:
    """Analyse frames as they come, without files: what an instrument hands over.

    Parameters
    ----------
    frames : iterable of array-like (H, W), or of images of :func:`napari_atomlens.read`
        STM or STEM.
    params : WatchParams
        ``out``, ``poll_s``, ``settle_s`` and ``tries`` have no meaning here.
    pixel_size_nm : tuple of float, optional
        (y, x), where a frame does not say.

    Yields
    ------
    Event
        "analysed", "rejected", or "failed" with a sentence; one for each frame.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> events = al.stream([image], al.WatchParams(analysis="atoms"))
    >>> [event.event for event in events]
    ['analysed']
    """
    hooks = find_hooks(params.hook)
    warm_up()
    for k, frame in enumerate(frames):
        start = time.perf_counter()
        name = str(getattr(frame, "name", "") or f"frame {k}")
        size = getattr(frame, "pixel_size_nm", None) or pixel_size_nm
        data = frame if isinstance(frame, np.ndarray) else getattr(frame, "data", frame)
        try:
            scan = analyse_scan(np.asarray(data), size, params)
        except AtomLensError as error:
            event = Event("failed", name, str(error))
        else:
            seconds = {**scan.seconds, "total": time.perf_counter() - start}
            event = event_of(name, scan, params, seconds)
        call_hooks(hooks, event)
        yield event
