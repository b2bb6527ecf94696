"""The main job over many files: same functions, same results, on threads or a cluster.

Frames are the unit. A file is first *scouted* (opened, and the lattice spacing found in
its first good frames, as :func:`napari_atomlens.analyze` does), then its other frames
are analysed in chunks, each of which writes its part of the tables when it is complete
(:mod:`napari_atomlens.runs.parts`). A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import write_whole
from napari_atomlens.image import check_pixel_size
from napari_atomlens.io.formats.kinds import find_files, is_store
from napari_atomlens.params import as_dict
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.runs.store import Parts, partition_names
from napari_atomlens.runs.tasks import (
    FRAME_TABLES,
    FULL,
    SCOUT,
    Done,
    Task,
    disk_full,
    info_path,
    row_of,
)
from napari_atomlens.runs.workers import Cluster, Threads
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.runtime import half_precision
from napari_atomlens.segmentation.zoo import find_model

#: Raised when a later version can no longer go on with the folders of this one.
VERSION = 1


@dataclass(frozen=True)
class BatchSummary:
    """What a batch gave.

    Attributes
    ----------
    folder : pathlib.Path
        The data set; see :func:`read_batch`.
    n_files, n_frames, n_atoms : int
        All that the folder holds now, also of earlier runs.
    n_new_frames : int
        Frames that this run analysed.
    failures : pandas.DataFrame
        One row per file (frame -1) or frame that could not be analysed: file, path, frame,
        reason.
    seconds : float
        Wall time of this run.
    complete : bool
        False where the run was cancelled.
    """

    folder: Path
    n_files: int
    n_frames: int
    n_atoms: int
    n_new_frames: int
    failures: pd.DataFrame
    seconds: float
    complete: bool


# Work on a worker ---------------------------------------------------------------------------


# Where the work is done ----------------------------------------------------------------------


# The run ------------------------------------------------------------------------------------


def find_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Files to analyse: those given, and all that we can read in the folders given.

    Parameters
    ----------
    inputs : sequence of path

    Returns
    -------
    list of pathlib.Path
        Absolute, in order, each once.

    Raises
    ------
    ParameterError
        If one does not exist, or nothing is left.
    """
    found: dict[Path, None] = {}
    for given in inputs:
        path = Path(given).expanduser().absolute()
        if not path.exists():
            raise ParameterError(f"There is no file {given}.")
        if path.is_dir() and not is_store(path):
            found |= dict.fromkeys(find_files(path))
        else:
            found[path] = None
    if not found:
        raise ParameterError("There is no file to analyse.")
    return list(found)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two clients from writing to one folder; the lock of a dead one does not count."""
    import psutil

    lock = folder / ".lock"
    me = psutil.Process()
    mine = {"host": socket.gethostname(), "pid": me.pid, "started": me.create_time()}
    try:
        other = json.loads(lock.read_text(encoding="utf-8"))
        alive = other["host"] != mine["host"] or (
            psutil.pid_exists(other["pid"])
            and abs(psutil.Process(other["pid"]).create_time() - other["started"]) < 1
        )
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        alive = False
    if alive:
        raise ParameterError(
            f"Another batch is at work in {folder.name} (process {other['pid']} on "
            f"{other['host']}); if it is not, remove {lock}."
        )
    try:
        write_whole(lock, json.dumps(mine))
        yield
    finally:
        lock.unlink(missing_ok=True)


def _settings(
    folder: Path, params: BatchParams, size: tuple[float, float] | None, paths: list[Path]
) -> tuple[BatchParams, dict[Path, str]]:
    """Begin a folder, or go on with it; return the settings and the name of each file."""
    info = find_model(params.model)
    now: dict[str, Any] = {
        "format": "napari-atomlens batch", "format_version": VERSION, "atomlens": __version__,
        "parameters": as_dict(params.analysis()), "maps": params.maps,
        "model": "auto" if params.model == "auto" else info.name,
        "model_sha256": info.file_hash(),
        "precision": "bfloat16" if half_precision() else "float32",
        "pixel_size_nm": None if size is None else list(size),
        "chunk_frames": params.chunk_frames, "files": {},
    }  # fmt: skip
    file = folder / "batch.json"
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            files = before["files"]
        except (OSError, ValueError, KeyError) as error:
            raise FormatError(f"{file} is damaged; choose another folder.") from error
        if before.get("format_version", 0) > VERSION:
            raise FormatError(f"{folder.name} was written by a later version; please update.")
        same = ("parameters", "maps", "model_sha256", "precision", "pixel_size_nm", "atomlens")
        if changed := [k for k in same if before.get(k) != now[k]]:
            raise ParameterError(
                f"{folder.name} holds a batch with other settings ({', '.join(changed)}); "
                "choose another folder."
            )
        # parts are named by their frames: they keep their size
        params = replace(params, chunk_frames=int(before["chunk_frames"]))
        now |= {"chunk_frames": params.chunk_frames, "files": files}
    elif any(p.name != ".lock" for p in folder.iterdir()):
        raise ParameterError(
            f"{folder.name} is not empty and holds no batch; choose another folder."
        )
    known = {Path(p): name for name, p in now["files"].items()}
    new = [p for p in paths if p not in known]
    names = partition_names([*now["files"], *(p.name for p in new)])[len(now["files"]) :]
    known |= dict(zip(new, names, strict=True))
    now["files"] = {name: str(p) for p, name in known.items()}
    write_whole(file, json.dumps(now, indent=1) + "\n")
    return params, {p: known[p] for p in paths}


def _chunks(scout: Task, info: dict[str, Any], done: set[str]) -> list[Task]:
    """Chunks of a scouted file that are not done."""
    n, k = int(info["shape"][0]), scout.params.chunk_frames
    size = info["pixel_size_nm"]
    out = []
    for start in range(0, n, k):
        part = f"{start:08d}"
        frames = tuple(range(max(start, int(info["scouted"])), min(start + k, n)))
        if frames and part not in done:
            out.append(
                replace(
                    scout, part=part, frames=frames, spacing_px=float(info["spacing_px"]),
                    pixel_size_nm=None if size is None else (size[0], size[1]),
                    model=str(info.get("model", "")),
                )
            )  # fmt: skip
    return out


def _known(task: Task, retry: bool) -> dict[str, Any] | None:
    """What an earlier run knows of a file, None where it is to be scouted (again)."""
    try:
        info: dict[str, Any] = json.loads(info_path(task).read_text(encoding="utf-8"))
        stat = Path(task.path).stat()
        same = (info["size"], info["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError, KeyError):
        return None
    done = Parts(Path(task.folder)).done(task.file)
    return info if same and SCOUT in done and not (retry and info["error"]) else None


def run_batch(
    inputs: Sequence[str | Path],
    out: str | Path,
    params: BatchParams = BatchParams(),
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    workers: int | None = None,
    processes: bool = False,
    scheduler: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    started: Callable[[str], None] | None = None,
) -> BatchSummary:
    """Analyse many files into one data set; go on with it where it was begun.

    Parameters
    ----------
    inputs : sequence of path
        Files, and folders of files.
    out : path
        Folder of the data set.
    params : BatchParams
    pixel_size_nm : float or tuple of float, optional
        Overrides what the files say.
    workers : int, optional
        Frames side by side; as many as cores by default.
    processes : bool
        Worker processes in place of threads.
    scheduler : str, optional
        Address of a dask scheduler, such as ``tcp://host:8786``; its workers must see the
        same files.
    progress : callable, optional
        Called with (frames done, frames known of, failures).
    cancelled : callable, optional
        Asked after each part; True lets the parts in work finish and then ends.
    started : callable, optional
        Called with a sentence that says where the work is done.

    Returns
    -------
    BatchSummary

    Raises
    ------
    AtomLensError
        If the settings make no sense, or the disk is full; what is finished is kept.
    """
    size = check_pixel_size(pixel_size_nm)
    if workers is not None and not 1 <= int(workers) <= 10_000:
        raise ParameterError(f"workers is {workers}, but must lie between 1 and 10000.")
    paths = find_inputs(inputs)
    folder = Path(out).expanduser().absolute()
    begin = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            params, names = _settings(folder, params, size, paths)
            n_workers = int(workers or runtime._cores())
            place: Threads | Cluster
            if processes or scheduler:
                place = Cluster(n_workers, scheduler)
                if started:
                    where = f"the scheduler {scheduler}" if scheduler else f"{n_workers} processes"
                    started(f"On {where}; dashboard: {place.dashboard}")
            else:
                place = Threads(n_workers)
                if started:
                    started(f"On {n_workers} threads")
            try:
                run = _Run(folder, params, size, names, progress, cancelled)
                place.run(run.tasks(), run.report, run.stop)
            finally:
                place.close()
            if run.fatal:
                raise FormatError(run.fatal)
            return _finish(folder, run, time.perf_counter() - begin)
    except OSError as error:
        if error.errno in FULL:
            raise FormatError(disk_full(str(folder))) from error
        raise FormatError(f"{folder} cannot be written: {error.strerror or error}.") from error


class _Run:
    """The state of a run on the side of the client."""

    def __init__(
        self,
        folder: Path,
        params: BatchParams,
        size: tuple[float, float] | None,
        names: dict[Path, str],
        progress: Callable[[int, int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.folder, self.params, self.size, self.names = folder, params, size, names
        self._progress, self._cancelled = progress, cancelled
        self.parts = Parts(folder)
        self.parts.sweep()
        self.stop = threading.Event()
        self.fatal = ""
        self.n_new = self.n_done = self.n_all = self.n_failed = 0

    def tasks(self) -> Iterator[Task]:
        """What is left to do: scouts of new files, chunks of known ones."""
        for path, name in self.names.items():
            task = Task(str(self.folder), name, str(path), SCOUT, self.params, self.size)
            if self.params.retry:
                self._forget_failed(task)
            info = _known(task, self.params.retry)
            if info is None:
                self.parts.forget(name)
                yield task
                continue
            left = _chunks(task, info, self.parts.done(name))
            n = int(info["shape"][0])
            self.n_all += n
            self.n_done += n - sum(len(t.frames) for t in left)
            yield from left
        self._tell()

    def _forget_failed(self, task: Task) -> None:
        """Remove the parts of a file that hold failed frames."""
        for part in self.parts.done(task.file):
            one = pd.read_parquet(self.parts.path("frames", task.file, part))
            if (one["error"] != "").any():
                for table in ("frames", *FRAME_TABLES):
                    self.parts.path(table, task.file, part).unlink(missing_ok=True)

    def report(self, done: Done) -> list[Task]:
        """Take note of a finished task; return what follows from it."""
        if done.fatal:
            self.fatal = self.fatal or done.fatal
            self.stop.set()
            return []
        follow: list[Task] = []
        if done.error:
            self._failed(done)
        else:
            self.n_new += done.n_frames
            self.n_done += done.n_frames
            self.n_failed += done.n_failed
            if done.info:
                self.n_all += int(done.info["shape"][0])
                follow = _chunks(done.task, done.info, set())
        if self._cancelled is not None and self._cancelled():
            self.stop.set()
        self._tell()
        return follow

    def _failed(self, done: Done) -> None:
        """Write down what failed, so that the table of failures knows it."""
        task = done.task
        self.n_failed += max(1, len(task.frames))
        if task.part == SCOUT:
            info = {"path": task.path, "size": -1, "mtime_ns": -1, "error": done.error}
            write_whole(info_path(task), json.dumps(info, indent=1) + "\n")
            return
        rows = pd.DataFrame([row_of(task, f, None, done.error) for f in task.frames])
        self.parts.write(task.file, task.part, {"frames": rows})
        self.n_done += len(task.frames)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.n_done, self.n_all, self.n_failed)


def _finish(folder: Path, run: _Run, seconds: float) -> BatchSummary:
    """Write the tables of files and failures, and sum up."""
    parts = Parts(folder)
    infos = []
    for path in sorted((folder / "files").glob("*.json")):
        infos.append({"file": path.stem, **json.loads(path.read_text(encoding="utf-8"))})
    frames = parts.read("frames")
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
    failures = failures.sort_values(["file", "frame"], ignore_index=True)
    write_whole(folder / "failures.csv", failures.to_csv(index=False))
    files = pd.DataFrame(infos)
    for column in ("shape", "pixel_size_nm"):
        if column in files:
            files[column] = [json.dumps(v) if isinstance(v, list) else "" for v in files[column]]
    write_whole(folder / "files.csv", files.to_csv(index=False))
    return BatchSummary(
        folder=folder,
        n_files=len(infos),
        n_frames=len(frames),
        n_atoms=int(frames["n_atoms"].sum()) if len(frames) else 0,
        n_new_frames=run.n_new,
        failures=failures,
        seconds=seconds,
        complete=not run.stop.is_set(),
    )


def read_batch(folder: str | Path, table: str = "atoms") -> pd.DataFrame:
    """Read a table of all files of a batch.

    Parameters
    ----------
    folder : path
        What :func:`run_batch` wrote.
    table : str
        "atoms", "contours", "frames", "failures" or "files".

    Returns
    -------
    pandas.DataFrame
        With the column ``file`` first; apart from it the rows of a file are those that
        :func:`napari_atomlens.analyze` gives.

    Raises
    ------
    FormatError
        If the folder holds no batch, or it is damaged.
    ParameterError
        If there is no such table.
    """
    root = Path(folder)
    if not (root / "batch.json").is_file():
        raise FormatError(f"{root.name} holds no batch.")
    if table in ("failures", "files"):
        file = root / f"{table}.csv"
        if not file.exists():
            raise FormatError(f"{root.name} is not finished; run the batch again to go on.")
        return pd.read_csv(file, keep_default_na=False)
    if table not in ("frames", *FRAME_TABLES):
        known = ", ".join((*FRAME_TABLES, "frames", "failures", "files"))
        raise ParameterError(f"There is no table {table}; there are {known}.")
    return Parts(root).read(table)
