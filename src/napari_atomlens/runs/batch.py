"""The main job over many files: same functions, same results, on threads or a cluster.

Frames are the unit. A file is first *scouted* (opened, planned, and its first frames analysed
until the scale is settled, as :func:`napari_atomlens.analyze` does), then its other frames are
analysed in chunks, each of which writes its part of the tables when it is complete
(:mod:`napari_atomlens.io.projects.parts`). A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import Json, Lock, known_as, remnants
from napari_atomlens.folders import remove_written
from napari_atomlens.image import check_pixel_size
from napari_atomlens.io.export.tables import write_csv
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.note import VERSION as LAYOUT_VERSION
from napari_atomlens.io.projects.note import read_note, write_note
from napari_atomlens.io.projects.parts import Parts, partition_names
from napari_atomlens.params import as_dict, merged, number_between
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.runs.inputs import find_inputs, said_of_images
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.runs.store import Failure
from napari_atomlens.runs.tasks import FULL, SCOUT, Done, Task, disk_full
from napari_atomlens.runs.workers import Cluster, Threads
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.runtime import half_precision
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.untrusted import path_of, read_json

#: Raised when a later version can no longer go on with the folders of this one.
VERSION = 2
#: A file that changes so often while it is analysed is a failure.
MOST_CHANGES = 3


@dataclass(frozen=True, eq=False)
class BatchSummary:
    """What a batch gave.

    Attributes
    ----------
    folder : pathlib.Path
        The data set; see :func:`read_table`.
    n_files, n_frames, n_atoms : int
        All that the folder holds now, also of earlier runs.
    n_new_frames : int
        Frames that this run analysed.
    failures : pandas.DataFrame
        One row per file (frame -1) or frame that could not be analysed: file, path, frame,
        reason.
    messages : list of str
        Which images of files that hold several were analysed, and which were left out.
    seconds : float
        Wall time of this run.
    complete : bool
        False where the run was stopped.
    """

    folder: Path
    n_files: int
    n_frames: int
    n_atoms: int
    n_new_frames: int
    failures: pd.DataFrame
    messages: list[str]
    seconds: float
    complete: bool


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two clients from writing to one folder; the lock of a dead one does not count."""
    lock = Lock(folder / ".lock")
    if not lock.acquire():
        raise ParameterError(f"Another batch is at work in {folder.name}; wait until it is done.")
    try:
        yield
    finally:
        lock.release()


def _settings(
    folder: Path, params: BatchParams, size: tuple[float, float] | None, paths: list[Path]
) -> tuple[BatchParams, dict[Path, str]]:
    """Begin a folder, or go on with it; return the settings and the name of each file."""
    info = find_model(params.model)
    now: Json = {
        "format": "napari-atomlens batch", "format_version": LAYOUT_VERSION,
        "batch_version": VERSION, "atomlens": __version__,
        "parameters": as_dict(params.analysis()), "maps": params.maps, "image": params.image,
        "model": "auto" if params.model == "auto" else info.name,
        "model_sha256": info.file_hash(),
        "precision": "bfloat16" if half_precision() else "float32",
        "pixel_size_nm": None if size is None else list(size),
        "chunk_frames": params.chunk_frames, "files": {},
    }  # fmt: skip
    file = folder / layout.BATCH
    for left in remnants(file):  # of a run that was killed when it began; we hold the lock
        if left.is_file():
            left.unlink(missing_ok=True)
    if file.exists():
        before = _earlier(file)
        same = (
            "parameters", "maps", "image", "model_sha256", "precision", "pixel_size_nm", "atomlens",
        )  # fmt: skip
        if changed := [k for k in same if before.get(k) != now[k]]:
            raise ParameterError(
                f"{folder.name} holds a batch with other settings ({', '.join(changed)}); "
                "choose another folder."
            )
        # parts are named by their frames: they keep their size
        params = replace(params, chunk_frames=int(before["chunk_frames"]))
        now |= {"chunk_frames": params.chunk_frames, "files": before["files"]}
    elif any(p.name != ".lock" for p in folder.iterdir()):
        raise ParameterError(
            f"{folder.name} is not empty and holds no batch; choose another folder."
        )
    known = {str(p): name for name, p in now["files"].items()}
    new = [p for p in paths if known_as(p) not in known]
    names = partition_names([*now["files"], *(p.name for p in new)])[len(now["files"]) :]
    known |= dict(zip(map(known_as, new), names, strict=True))
    now["files"] = {name: p for p, name in known.items()}
    write_note(file, now)
    return params, {p: known[known_as(p)] for p in paths}


def _earlier(file: Path) -> Json:
    """Settings of the run that began a folder."""
    try:
        before = read_json(file)
        version = int(before["batch_version"])
        known = isinstance(before["files"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{file} is damaged; choose another folder.") from error
    if version > VERSION:
        raise FormatError(f"{file.parent.name} was written by a later version; please update.")
    if not known:
        raise FormatError(f"{file} is damaged; choose another folder.")
    return before


def _chunks(scout: Task, info: Json, done: set[str]) -> list[Task]:
    """Chunks of a scouted file that are not done."""
    n, k = int(info["shape"][0]), scout.params.chunk_frames
    size = info["pixel_size_nm"]
    out = []
    for start in range(0, n, k):
        part = f"{start:08d}"
        frames = tuple(range(max(start, int(info["scouted"])), min(start + k, n)))
        if frames and part not in done:
            given = None if size is None else (float(size[0]), float(size[1]))
            out.append(
                replace(
                    scout,
                    part=part,
                    frames=frames,
                    pixel_size_nm=given,
                    plan=info["plan"],
                    stamp=(int(info["size"]), int(info["mtime_ns"])),
                )
            )
    return out


def _known(task: Task) -> Json | None:
    """What an earlier run knows of a file, None where it is to be scouted (again)."""
    try:
        info = task.store.note()
        stat = Path(task.path).stat()
        if info is None:
            return None
        same = (info["size"], info["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError, KeyError):
        return None
    done = task.store.parts.done()
    return info if same and SCOUT in done and not (task.params.retry and info["error"]) else None


def run_batch(
    inputs: Sequence[str | Path],
    out: str | Path,
    params: BatchParams | None = None,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    workers: int | None = None,
    processes: bool = False,
    scheduler: str | None = None,
    progress: ProgressLike = None,
    started: Callable[[str], None] | None = None,
    **settings: object,
) -> BatchSummary:
    """Analyse many files into one data set; go on with it where it was begun.

    Parameters
    ----------
    inputs : sequence of path
        Files, and folders of files.
    out : path
        Folder of the data set.
    params : BatchParams, optional
    pixel_size_nm : float or tuple of float, optional
        Overrides what the files say.
    workers : int, optional
        Frames side by side; as many as cores by default.
    processes : bool
        Worker processes in place of threads.
    scheduler : str, optional
        Address of a dask scheduler (``tcp://host:8786``) whose workers see the same files.
    progress : Progress or callable, optional
        Called with (frames done, frames known of); what is said is the number of failures.
        Asked after each part whether to stop: the parts in work are finished first.
    started : callable, optional
        Told in a sentence where the work is done.
    **settings
        Parameters by name; they win over `params`.

    Returns
    -------
    BatchSummary

    Raises
    ------
    AtomLensError
        If the settings make no sense, or the disk is full; what is finished is kept.

    Examples
    --------
    >>> import napari_atomlens as al, tifffile
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> tifffile.imwrite("scan.tif", image.astype("float32"))
    >>> al.run_batch(["."], "results", spacing_px=10.0, workers=1).n_frames
    1
    """
    chosen, size = merged(BatchParams, params, settings), check_pixel_size(pixel_size_nm)
    n_workers, paths = _workers(workers), find_inputs(inputs, chosen.names)
    folder, tell = path_of(out).expanduser().absolute(), _teller(started)
    place = partial(_place, n_workers, processes, scheduler, tell)
    return _run(folder, chosen, size, paths, place, as_progress(progress))


def _run(
    folder: Path,
    params: BatchParams,
    size: tuple[float, float] | None,
    paths: list[Path],
    place: Callable[[], Threads | Cluster],
    progress: Progress,
) -> BatchSummary:
    """Do what is left to do in a folder, while nobody else does."""
    begin = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            params, names = _settings(folder, params, size, paths)
            with contextlib.closing(place()) as workers:
                run = _Run(folder, params, size, names, progress)
                workers.run(run.tasks(), run.report, run.stop)
            if run.fatal:
                _clear_rest(folder)
                raise FormatError(run.fatal)
            return _finish(folder, run, time.perf_counter() - begin)
    except OSError as error:
        raise _disk_error(folder, error) from error


def _clear_rest(folder: Path) -> None:
    """Remove what workers wrote after the folder was removed: it is a part of nothing."""
    if not folder.is_dir() or (folder / layout.BATCH).exists():
        return
    lock = Lock(folder / ".lock")
    if lock.acquire():
        with contextlib.suppress(OSError):
            remove_written(folder, layout.OURS)
        lock.release()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _disk_error(folder: Path, error: OSError) -> FormatError:
    """What to say where the data set cannot be written."""
    if error.errno in FULL:
        return FormatError(disk_full(str(folder)))
    return FormatError(f"{folder} cannot be written: {error.strerror or error}.")


def _teller(started: Callable[[str], None] | None) -> Callable[[str], None]:
    """Who is told where the work is done."""
    if started is not None and not callable(started):
        raise ParameterError("started must be a function that takes a sentence.")
    return started or (lambda sentence: None)


def _workers(asked: int | None) -> int:
    """Number of workers, as many as cores where nobody says."""
    if asked is None:
        return int(runtime.cores())
    return int(number_between("workers", asked, 1, 10_000, whole=True))


def _place(
    n_workers: int, processes: bool, scheduler: str | None, tell: Callable[[str], None]
) -> Threads | Cluster:
    """Where the work is done."""
    if not (processes or scheduler):
        tell(f"On {n_workers} threads")
        return Threads(n_workers)
    place = Cluster(n_workers, scheduler)
    where = f"the scheduler {scheduler}" if scheduler else f"{n_workers} processes"
    tell(f"On {where}; dashboard: {place.dashboard}")
    return place


class _Run:
    """The state of a run on the side of the client."""

    def __init__(
        self,
        folder: Path,
        params: BatchParams,
        size: tuple[float, float] | None,
        names: dict[Path, str],
        progress: Progress,
    ) -> None:
        self.folder, self.params, self.size, self.names = folder, params, size, names
        self._progress = progress
        self.parts = Parts(folder)
        for sentence in self.parts.sweep():
            warnings.warn(sentence, stacklevel=4)
        self.stop = threading.Event()
        self.fatal = ""
        self.n_new = self.n_done = self.n_all = self.n_failed = 0
        #: Of files that changed in the meantime: what they were.
        self._changed: dict[str, list[tuple[int, int] | None]] = {}
        self._frames_of: dict[str, int] = {}

    def tasks(self) -> Iterator[Task]:
        """What is left to do: scouts of new files, chunks of known ones."""
        for path, name in self.names.items():
            task = Task(str(self.folder), name, str(path), SCOUT, self.params, self.size)
            if self.params.retry:
                self._forget_failed(task)
            info = _known(task)
            if info is None:
                task.store.forget()
                yield task
                continue
            left = _chunks(task, info, task.store.parts.done())
            n = int(info["shape"][0])
            self.n_all += n
            self.n_done += n - sum(len(t.frames) for t in left)
            yield from left
        self._tell()

    def _forget_failed(self, task: Task) -> None:
        """Remove the parts of a file that hold failed frames."""
        parts = task.store.parts
        for part in parts.done():
            one = pd.read_parquet(parts.path("frames", part))
            if (one["error"] != "").any():
                parts.forget(part)

    def report(self, done: Done) -> list[Task]:
        """Take note of a finished task; return what follows from it."""
        if done.fatal:
            self.fatal = self.fatal or done.fatal
            self.stop.set()
            return []
        follow: list[Task] = []
        if not (self.folder / layout.BATCH).exists():
            self.fatal = (
                f"{self.folder.name} was removed while the batch wrote to it; what was in it is "
                "lost. Run the same command again."
            )
            self.stop.set()
            return []
        if done.changed:
            return self._once_more(done)
        if done.error:
            self._failed(done)
        else:
            self.n_new += done.n_frames
            self.n_done += done.n_frames
            self.n_failed += done.n_failed
            if done.info:
                n = self._frames_of[done.task.file] = int(done.info["shape"][0])
                self.n_all += n
                follow = _chunks(done.task, done.info, set())
        if self._progress.stopped:
            self.stop.set()
        self._tell()
        return follow

    def _once_more(self, done: Done) -> list[Task]:
        """Begin a file again that has changed while it was analysed: parts of two do not mix."""
        scout = replace(done.task, part=SCOUT, frames=(), plan=None, stamp=None)
        if done.task.stamp in self._changed.setdefault(scout.file, []):
            return []  # of the same change, by another part
        self._changed[scout.file].append(done.task.stamp)
        if len(self._changed[scout.file]) > MOST_CHANGES:
            self._failed(Done(scout, error=done.error))
            return []
        n = self._frames_of.pop(scout.file, 0)
        self.n_all -= n
        self.n_done = max(0, self.n_done - n)
        scout.store.forget()
        return [scout]

    def _failed(self, done: Done) -> None:
        """Write down what failed, so that the table of failures knows it."""
        task = done.task
        self.n_failed += max(1, len(task.frames))
        if task.part == SCOUT:
            task.store.write_note(
                {"path": task.path, "size": -1, "mtime_ns": -1, "error": done.error}
            )
            return
        task.store.write(task.part, [Failure(f, done.error) for f in task.frames], task.path)
        self.n_done += len(task.frames)

    def _tell(self) -> None:
        said = f"{self.n_failed} failed" if self.n_failed else ""
        self._progress(self.n_done, self.n_all, said)


#: What the table of files says of each.
_FILE_COLUMNS = (
    "file", "path", "size", "mtime_ns", "error", "name", "left_out", "shape",
    "pixel_size_nm", "time_step_s", "spacing_px", "scouted", "model", "model_chosen",
)  # fmt: skip


def _finish(folder: Path, run: _Run, seconds: float) -> BatchSummary:
    """Write the tables of files and failures, and sum up."""
    infos = []
    for path in sorted((folder / "files").glob("*.json")):
        infos.append({"file": path.stem, **_note_of(path)})
    frames = Parts(folder).read("frames")
    failures = _failures(infos, frames)
    files = pd.DataFrame([{c: i.get(c) for c in _FILE_COLUMNS} for i in infos])
    for column in ("shape", "pixel_size_nm", "left_out"):
        if column in files:
            files[column] = [json.dumps(v) if isinstance(v, list) else "" for v in files[column]]
    for name, table in (("failures", failures), ("files", files)):
        layout.write_later(folder, name, table)
        write_csv(folder / f"{name}.csv", table)
    return BatchSummary(
        folder=folder,
        n_files=len(infos),
        n_frames=len(frames),
        n_atoms=int(frames["n_atoms"].sum()) if len(frames) else 0,
        n_new_frames=run.n_new,
        failures=failures,
        messages=said_of_images(infos),
        seconds=seconds,
        complete=not run.stop.is_set() and len(frames) >= run.n_done,
    )


def _note_of(path: Path) -> Json:
    """What is known of a file; of one that is none of this run it may be damaged."""
    try:
        note = read_note(path)
        return {"path": "", "error": "", **note}
    except FormatError as error:
        return {"path": "", "error": f"{error} Give this file again to have it analysed anew."}


def _failures(infos: list[Json], frames: pd.DataFrame) -> pd.DataFrame:
    """Files and frames that could not be analysed, and why."""
    rows = [
        {"file": i["file"], "path": i["path"], "frame": -1, "reason": i["error"]}
        for i in infos
        if i["error"]
    ]
    failures = pd.DataFrame(rows, columns=["file", "path", "frame", "reason"])
    if len(frames) and (bad := frames["error"] != "").any():
        some = frames.loc[bad, ["file", "path", "frame", "error"]]
        some = some.rename(columns={"error": "reason"})
        failures = some if not len(failures) else pd.concat([failures, some])
    return failures.sort_values(["file", "frame"], ignore_index=True)
