"""Beside the instrument: every new file of a folder, or frame of a stream, is analysed once.

A ledger (SQLite) in the folder of results says what was done; it survives a killed process.
A file counts as complete when its size and time rest for a moment and it can be read. What
cannot be read is skipped with a word and tried again when it changes, and a few times anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from napari_atomlens import __version__, segmentation, stm
from napari_atomlens.errors import AtomLensError, FormatError, ParameterError
from napari_atomlens.files import digest
from napari_atomlens.graphs.library import DefectLibrary, Entry, cut_patch
from napari_atomlens.image import is_height
from napari_atomlens.io.formats.kinds import find_files
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs.analysis import analyze
from napari_atomlens.runs.hooks import Analysis, Event, call_hooks, find_hooks
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.stm.assessment import WEIGHTS, Verdict, _network, assess
from napari_atomlens.stm.levelling import level
from napari_atomlens.stm.rows import shows_dimer_rows

LEDGER = "atomlens_watch.sqlite"
#: Every event of a folder, one line of JSON each, with the latency of every stage.
LOG = "events.jsonl"


def analyse_frame(
    image: Any, pixel_size_nm: tuple[float, float] | None, params: WatchParams
) -> Analysis:
    """Assess and analyse one frame.

    Raises
    ------
    AtomLensError
        If the frame cannot be used at all.
    """
    size = (params.pixel_nm, params.pixel_nm) if params.pixel_nm else pixel_size_nm
    z = np.asarray(image if np.ndim(image) == 2 else image[0])
    seconds: dict[str, float] = {}

    def judge() -> Verdict:
        start = time.perf_counter()
        verdict = assess(z)
        seconds["assess"] = time.perf_counter() - start
        return verdict

    with ThreadPoolExecutor(1) as pool:  # side by side: an instrument waits for both
        judged = pool.submit(judge)
        if params.min_score > 0 or params.analysis == "none":
            judged.result()
        start = time.perf_counter()
        found: dict[str, Any] = {}
        messages: list[str] = []
        kind = params.analysis
        if kind != "none" and params.min_score > 0 and judged.result().score < params.min_score:
            kind = "none"
        if kind == "auto":
            silicon = size is not None and shows_dimer_rows(z, size)
            kind = "silicon" if silicon else "atoms"
        if kind == "silicon":
            scan = stm.analyze_silicon(z, size, verdict=judged.result)
            found = {"atoms": scan.atoms, "defects": scan.defects, "steps": scan.terraces.edges}
            messages += [m for m in scan.messages if not m.startswith("This scan may")]
        elif kind == "atoms":
            flat = level(z) if is_height(z) else z
            result = analyze(flat, pixel_size_nm=size, keep_maps=False)
            found = {"atoms": result.atoms}
            messages += result.messages
        seconds["analyse"] = time.perf_counter() - start
        verdict = judged.result()
    if verdict.label != "good":
        messages = [*verdict.reasons, *messages]
    return Analysis(z, verdict, found, messages, size, kind, seconds)


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

    def rows(self) -> list[dict[str, Any]]:
        """All that is known, oldest first."""
        with closing(self._open()) as db:
            db.row_factory = sqlite3.Row
            return [dict(r) for r in db.execute("SELECT * FROM files ORDER BY at")]


def results_folder(folder: Path, params: WatchParams) -> Path:
    """Folder of the results."""
    return Path(params.out) if params.out else folder / "atomlens_results"


def _write(target: Path, analysis: Analysis, source: dict[str, Any]) -> None:
    """Write tables and JSON so that the folder is there completely or not at all."""
    fresh = target.with_name(f".{target.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, table in analysis.tables.items():
        table.to_csv(fresh / f"{name}.csv", index=False)
    verdict = analysis.verdict
    facts = {
        **source, "atomlens": __version__, "analysis": analysis.kind,
        "pixel_size_nm": analysis.pixel_size_nm, "messages": analysis.messages,
        "verdict": {"score": verdict.score, "label": verdict.label, "reasons": verdict.reasons,
                    "faults": verdict.faults},
        "counts": {k: len(v) for k, v in analysis.tables.items()},
    }  # fmt: skip
    (fresh / "result.json").write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    os.replace(fresh, target)


def add_to_library(path: str | Path, analysis: Analysis, source: str) -> int:
    """Add the defects of an analysed scan to a defect library, with a picture of each.

    Parameters
    ----------
    path : path
        Of the library; made where there is none.
    analysis : Analysis
    source : str
        Name of the scan; of a source that the library has already nothing is added, so that a
        scan that is analysed again after a crash is not there twice.

    Returns
    -------
    int
        Number of defects that were added.
    """
    defects = analysis.tables.get("defects")
    if defects is None or not len(defects):
        return 0
    defects = defects[defects["kind"] != "step edge"]
    size = analysis.pixel_size_nm
    pixel = float(size[0]) if size else float("nan")
    side = 3.0 / pixel if size else 32.0
    provenance = {"analysis": analysis.kind, "score": analysis.verdict.score}
    entries = [
        Entry(
            formula="H-Si(100)", kind=str(row.kind), graph_hash="", species=["Si"],
            places_nm=np.zeros((1, 2)), pairs=np.zeros((0, 2), int), score=float(row.score),
            patch=cut_patch(analysis.image, (row.y_px, row.x_px), side), pixel_size_nm=pixel,
            source=source, provenance=provenance, tags=("STM",),
        )
        for row in defects.itertuples()
    ]  # fmt: skip
    with DefectLibrary(path) as library:
        if source in set(library.table()["source"]):
            return 0
        return len(library.add(entries))


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


def _first_image(path: Path) -> Any:

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

    def ready(self) -> list[Path]:
        """Return files that rest and are not done yet, the oldest first."""
        now = time.time()
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
                if now - changed < self.params.settle_s:
                    continue
            elif now - max(min(known[1], now), changed) < self.params.settle_s:
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
            analysis = analyse_frame(data, image.pixel_size_nm, self.params)
        except (AtomLensError, OSError, ValueError, EOFError) as error:
            given_up = tries >= self.params.tries
            word = "failed" if given_up else "skipped"
            event = Event(word, path.name, str(error).splitlines()[0] if str(error) else word)
            self.ledger.put(path.name, stamp, sha256, word, tries, event.as_json())
            self._next[path.name] = time.time() + min(30.0, 0.3 * 2**tries)
            return event
        seconds |= analysis.seconds
        clock = time.perf_counter()
        target = self.out / path.name
        _write(target, analysis, {"file": path.name, "sha256": sha256, "size": stamp[0]})
        if self.params.library:
            try:
                add_to_library(self.params.library, analysis, f"{path.name} {sha256[:12]}")
            except (AtomLensError, OSError) as error:
                analysis.messages.append(f"Nothing was added to the library: {error}")
        counts = {k: len(v) for k, v in analysis.tables.items()}
        low = analysis.verdict.score < self.params.min_score
        seconds["store"] = time.perf_counter() - clock
        seconds["total"] = time.time() - stamp[1]
        event = Event(
            "rejected" if low else "analysed", path.name, " ".join(analysis.messages),
            analysis.verdict.score, analysis.verdict.label, counts, seconds, str(target), analysis,
        )  # fmt: skip
        self.ledger.put(path.name, stamp, sha256, "analysed", tries, event.as_json())
        return event

    def _tell(self, event: Event) -> Event:
        with contextlib.suppress(OSError):  # a full disk must not end the watch
            line = json.loads(event.as_json()) | {"at": time.strftime("%Y-%m-%dT%H:%M:%S")}
            with (self.out / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
        call_hooks(self.hooks, event)
        return event

    def run(self, stop: Callable[[], bool] | None = None, *, once: bool = False) -> Iterator[Event]:
        """Yield an event for every file, for ever, or once for all that are there.

        Parameters
        ----------
        stop : callable, optional
            Asked between files and between looks.
        once : bool
            End when nothing is left to do (files that rest but cannot be read are tried once).
        """
        asked = stop or (lambda: False)
        tried: set[str] = set()
        warm_up()
        while not asked():
            waiting = [p for p in self.ready() if not (once and p.name in tried)]
            for path in waiting:
                if asked():
                    return
                tried.add(path.name)
                try:
                    event = self.process(path)
                except FileNotFoundError:  # moved away in the meantime
                    continue
                yield self._tell(event)
            if once and not waiting and not self._unsettled():
                return
            if not waiting:
                time.sleep(self.params.poll_s)

    def _unsettled(self) -> bool:
        """Whether a file was touched so lately that it may not be complete."""
        now = time.time()
        return any(now - stamp[1] < self.params.settle_s for stamp, _ in self._seen.values())


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
    stop: Callable[[], bool] | None = None,
    once: bool = False,
) -> Iterator[Event]:
    """Watch a folder; see :class:`FolderWatch`."""
    yield from FolderWatch(folder, params).run(stop, once=once)


def stream(
    frames: Iterable[Any],
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
    """
    hooks = find_hooks(params.hook)
    warm_up()
    for k, frame in enumerate(frames):
        start = time.perf_counter()
        name = str(getattr(frame, "name", "") or f"frame {k}")
        size = getattr(frame, "pixel_size_nm", None) or pixel_size_nm
        data = frame if isinstance(frame, np.ndarray) else getattr(frame, "data", frame)
        try:
            analysis = analyse_frame(np.asarray(data), size, params)
        except AtomLensError as error:
            event = Event("failed", name, str(error))
        else:
            seconds = {**analysis.seconds, "total": time.perf_counter() - start}
            low = analysis.verdict.score < params.min_score
            event = Event(
                "rejected" if low else "analysed", name, " ".join(analysis.messages),
                analysis.verdict.score, analysis.verdict.label,
                {n: len(t) for n, t in analysis.tables.items()}, seconds, "", analysis,
            )  # fmt: skip
        call_hooks(hooks, event)
        yield event
