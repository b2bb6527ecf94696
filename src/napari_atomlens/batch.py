"""The main job over many files: same functions, same results, on threads or a cluster.

Frames are the unit. A file is first *scouted* (opened, and the lattice spacing found in
its first good frames, as :func:`napari_atomlens.analyze` does), then its other frames
are analysed in chunks, each of which writes its part of the tables when it is complete
(:mod:`napari_atomlens.io.parts`). A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.analysis import AnalysisParams, FrameResult
from napari_atomlens.errors import AtomLensError, FormatError, ParameterError
from napari_atomlens.files import write_whole
from napari_atomlens.io.parts import Parts, partition_names
from napari_atomlens.params import as_dict, param, validate

#: Raised when a later version can no longer go on with the folders of this one.
VERSION = 1
SCOUT = "scout"
#: Tables of a frame that are written.
FRAME_TABLES = ("atoms", "contours")
#: A chunk whose worker died so many times is given up: a frame in it may need too much memory.
MOST_DEATHS = 5
#: Tasks in one graph, or per worker waiting: neither may grow with the number of files.
MOST_TASKS = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG)


@dataclass(frozen=True)
class BatchParams(AnalysisParams):
    """How to analyse many files; every parameter of the analysis, and these."""

    chunk_frames: int = param(
        8, "frames that are written together, the most that a killed worker costs", ge=1, le=10_000
    )  # fmt: skip
    maps: bool = param(False, "also write the probability maps, as zarr")
    retry: bool = param(False, "try files and frames again that failed in an earlier run")

    def analysis(self) -> AnalysisParams:
        """Return the part that a single analysis takes."""
        return AnalysisParams(**{f.name: getattr(self, f.name) for f in fields(AnalysisParams)})


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


@dataclass(frozen=True)
class _Task:
    """What one worker does at a time: it travels to other processes and machines."""

    folder: str
    file: str
    path: str
    part: str
    params: BatchParams
    pixel_size_nm: tuple[float, float] | None = None
    spacing_px: float = 0.0
    frames: tuple[int, ...] = ()
    model: str = ""


@dataclass
class _Done:
    """What a worker tells of a task."""

    task: _Task
    n_frames: int = 0
    n_atoms: int = 0
    n_failed: int = 0
    error: str = ""  # of the whole file
    fatal: str = ""  # of the whole run
    info: dict[str, Any] = field(default_factory=dict)


# Work on a worker ---------------------------------------------------------------------------

_opened: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_opening = threading.Lock()


def _open(path: str) -> Any:
    """First image of a file; the two latest stay open, so that chunks need not read again."""
    from napari_atomlens.io.formats.readers import read

    file = Path(path)
    try:
        stat = file.stat()
    except OSError as error:
        raise FormatError(f"{file.name} could not be opened: {error.strerror}.") from error
    key = (path, stat.st_size, stat.st_mtime_ns)
    with _opening:
        if key not in _opened:
            _opened[key] = read(file)[0]
        _opened.move_to_end(key)
        while len(_opened) > 2:
            _opened.popitem(last=False)
        return _opened[key]


def _pin() -> None:
    """One thread per frame: frames side by side are faster than threads within one."""
    import torch

    from napari_atomlens.segmentation import runtime

    runtime.prepare()
    torch.set_num_threads(1)


def _analyse_frame(
    movie: Any, frame: int, params: AnalysisParams, size: tuple[float, float] | None
) -> tuple[FrameResult | None, str]:
    """Analyse one frame; (result or None, why it failed)."""
    from napari_atomlens import analysis

    try:
        found = next(analysis.analyze_frames(movie, params, pixel_size_nm=size, frames=[frame]))
    except MemoryError:
        return None, "There is not enough memory for this frame."
    except AtomLensError as error:
        return None, str(error)
    except Exception as error:  # a frame that cannot be read must not cost the others
        return None, f"The frame could not be analysed: {type(error).__name__}: {error}"
    return found, ""


def _row(file: _Task, frame: int, result: FrameResult | None, error: str) -> dict[str, Any]:
    return {
        "frame": frame,
        "n_atoms": 0 if result is None else len(result.atoms),
        "spacing_px": float("nan") if result is None else float(result.spacing_px),
        "message": "" if result is None else result.message,
        "error": error,
        "seconds": 0.0 if result is None else float(sum(result.seconds.values())),
        "path": file.path,
    }


class _Collector:
    """Tables of the frames of one part; their maps go to zarr at once."""

    def __init__(self, task: _Task, n_frames: int) -> None:
        self.task, self.n_frames = task, n_frames
        self.rows: list[dict[str, Any]] = []
        self.tables: dict[str, list[pd.DataFrame]] = {t: [] for t in FRAME_TABLES}

    def add(self, frame: int, result: FrameResult | None, error: str) -> None:
        self.rows.append(_row(self.task, frame, result, error))
        if result is None:
            return
        for name, parts in self.tables.items():
            if len(table := getattr(result, name)):
                parts.append(table)
        if self.task.params.maps:
            _put_maps(self.task, self.n_frames, frame, result)

    def write(self) -> _Done:
        parts = {n: pd.concat(t, ignore_index=True) for n, t in self.tables.items() if t}
        parts["frames"] = pd.DataFrame(self.rows)
        Parts(Path(self.task.folder)).write(self.task.file, self.task.part, parts)
        failed = sum(bool(row["error"]) for row in self.rows)
        atoms = sum(row["n_atoms"] for row in self.rows)
        return _Done(self.task, len(self.rows), atoms, failed)


def _maps_path(task: _Task) -> Path:
    return Path(task.folder) / "maps" / f"{task.file}.zarr"


def _put_maps(task: _Task, n_frames: int, frame: int, result: FrameResult) -> None:
    import zarr

    root: Any = zarr.open_group(str(_maps_path(task)), mode="a")
    maps = {"probabilities": result.probabilities, "unfamiliar": result.unfamiliar}
    for name, values in maps.items():
        if name not in root:  # only the scout, which is alone with its file, gets here
            root.create_array(
                name, shape=(n_frames, *values.shape), chunks=(1, *values.shape), dtype="float16"
            )
            root.attrs["classes"] = list(result.classes)
        root[name][frame] = values


def _guarded(work: Callable[[_Task], _Done], task: _Task) -> _Done:
    """Do a task; a full disk ends the run, everything else ends the file."""
    try:
        _pin()
        return work(task)
    except AtomLensError as error:
        return _Done(task, error=str(error))
    except MemoryError:
        return _Done(task, error=f"{Path(task.path).name} does not fit into the memory.")
    except OSError as error:
        if error.errno in _FULL:
            return _Done(task, fatal=_disk_full(task.folder))
        if error.errno in (errno.EACCES, errno.EROFS) and task.folder in str(error.filename):
            return _Done(task, fatal=f"{task.folder} cannot be written: {error.strerror}.")
        return _Done(task, error=f"{Path(task.path).name} failed: {error}.")


def _disk_full(folder: str) -> str:
    return (
        f"The disk of {Path(folder).name} is full. What is finished is kept; make room and run "
        "the same command again to go on."
    )


def _scout(task: _Task) -> _Done:
    """Open a file and analyse its first frames, until the spacing of the lattice is known."""
    from napari_atomlens.analysis import choose_for_movie, technique_of
    from napari_atomlens.image import as_stack, check_pixel_size, image_hash  # fmt: skip

    image = _open(task.path)
    movie = as_stack(image.data)
    size = check_pixel_size(task.pixel_size_nm or image.pixel_size_nm)
    params, spacing, why = task.params.analysis(), task.params.spacing_px, "given"
    if params.model == "auto":  # one model for all frames of a file
        choice = choose_for_movie(movie, params, size, technique=technique_of(task.path))
        params, why = replace(params, model=choice.info.name), choice.reason
    collector = _Collector(task, len(movie))
    first = ""
    for frame in range(len(movie)):
        result, error = _analyse_frame(movie, frame, params, size)
        collector.add(frame, result, error)
        if result is not None:
            first = first or image_hash(np.asarray(movie[frame]))
            if spacing or len(result.atoms) >= 12:
                spacing = spacing or result.spacing_px
                break
    done = collector.write()
    stat = Path(task.path).stat()
    done.info = {
        "path": task.path, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "error": "",
        "name": image.name, "shape": [int(n) for n in movie.shape], "pixel_size_nm": size,
        "time_step_s": image.time_step_s, "spacing_px": spacing, "scouted": len(collector.rows),
        "image_sha256": first, "model": params.model, "model_chosen": why,
    }  # fmt: skip
    write_whole(_info_path(task), json.dumps(done.info, indent=1) + "\n")
    return done


def _chunk(task: _Task) -> _Done:
    """Analyse some frames of a scouted file."""
    from napari_atomlens.image import as_stack

    movie = as_stack(_open(task.path).data)
    params = task.params.analysis()
    params = replace(params, spacing_px=task.spacing_px, model=task.model or params.model)
    collector = _Collector(task, len(movie))
    for frame in task.frames:
        collector.add(frame, *_analyse_frame(movie, frame, params, task.pixel_size_nm))
    return collector.write()


def _work(task: _Task) -> _Done:
    return _guarded(_scout if task.part == SCOUT else _chunk, task)


def _info_path(task: _Task) -> Path:
    return Path(task.folder) / "files" / f"{task.file}.json"


# Where the work is done ----------------------------------------------------------------------


class _Threads:
    """dask's threads in this process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, tasks: Iterator[_Task], report: Callable[[_Done], list[_Task]], stop: threading.Event
    ) -> None:
        """Do the tasks, and those that `report` answers with; on `stop` start no more."""
        from concurrent.futures import ThreadPoolExecutor
        from itertools import islice

        import dask.threaded
        from dask.callbacks import Callback

        def work(task: _Task) -> _Done | None:
            return None if stop.is_set() else _work(task)

        more: list[_Task] = []

        def finished(key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
            if isinstance(value, _Done):
                more.extend(report(value))

        with ThreadPoolExecutor(self.workers, thread_name_prefix="atomlens") as pool:
            while not stop.is_set():
                # chunks of known files before new files
                now, more = more[:MOST_TASKS], more[MOST_TASKS:]
                now += islice(tasks, MOST_TASKS - len(now))
                if not now:
                    return
                graph = {f"{k}": (work, task) for k, task in enumerate(now)}
                with Callback(posttask=finished):
                    dask.threaded.get(graph, list(graph), pool=pool)

    def close(self) -> None:
        """Nothing is left open."""


class _Cluster:
    """A dask cluster: of processes on this machine, or one that is there already."""

    def __init__(self, workers: int, scheduler: str | None) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise ParameterError(
                "Worker processes and schedulers need dask.distributed; install it with "
                '`pip install "napari-atomlens[cluster]"`.'
            ) from error
        self._distributed: Any = distributed
        self._local: Any = None
        if scheduler:
            try:
                self._client = distributed.Client(scheduler, timeout="20s")
            except (OSError, ValueError) as error:
                raise ParameterError(f"No dask scheduler answers at {scheduler}.") from error
        else:
            one = {f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "MKL", "OPENBLAS")}
            with dask.config.set(
                {
                    "distributed.nanny.pre-spawn-environ": one,
                    "distributed.scheduler.allowed-failures": MOST_DEATHS,
                    # a client that is gone must not leave workers behind
                    "distributed.comm.timeouts.connect": "20s",
                }
            ):
                self._local = self._start(workers)
                self._client = distributed.Client(self._local)

    def _start(self, workers: int) -> Any:
        """Start worker processes; one that dies while it starts is no reason to give up."""
        for _ in range(3):
            try:
                return self._distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                    dashboard_address=":0", silence_logs=50, death_timeout="20s",
                )  # fmt: skip
            except RuntimeError:
                continue
        raise ParameterError("The worker processes could not be started; try threads.")

    @property
    def dashboard(self) -> str:
        """Address of the dashboard."""
        return str(self._client.dashboard_link)

    def run(
        self, tasks: Iterator[_Task], report: Callable[[_Done], list[_Task]], stop: threading.Event
    ) -> None:
        """Do the tasks, and those that `report` answers with; on `stop` start no more."""
        from itertools import islice

        completed = self._distributed.as_completed()
        todo: list[_Task] = []
        deaths: dict[tuple[str, str], int] = {}
        running: dict[Any, _Task] = {}

        def submit() -> None:
            slots = sum(self._client.nthreads().values()) or 1
            room = 2 * slots + 2 - len(running)  # few wait: memory does not grow with the files
            if room <= 0 or stop.is_set():
                return
            now = todo[:room]
            del todo[: len(now)]
            for task in [*now, *islice(tasks, room - len(now))]:
                future = self._client.submit(_work, task, pure=False)
                running[future] = task
                completed.add(future)

        submit()
        while running:
            future = completed.next()
            task = running.pop(future)
            if future.status == "finished":
                todo += report(future.result())
            else:
                error = future.exception()
                key = (task.file, task.part)
                deaths[key] = deaths.get(key, 0) + 1
                if isinstance(error, self._distributed.KilledWorker) and deaths[key] < 2:
                    todo.append(task)
                else:
                    todo += report(_Done(task, error=f"The worker failed: {error}"))
            future.release()
            submit()

    def close(self) -> None:
        """Leave the scheduler; end it where it is ours."""
        self._client.close()
        if self._local is not None:
            self._local.close()


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
    from napari_atomlens.io.formats.kinds import KINDS, is_store

    found: dict[Path, None] = {}
    for given in inputs:
        path = Path(given).expanduser().absolute()
        if not path.exists():
            raise ParameterError(f"There is no file {given}.")
        if path.is_dir() and not is_store(path):
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in KINDS)
            found |= dict.fromkeys(inside)
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
    from napari_atomlens.segmentation.runtime import half_precision
    from napari_atomlens.segmentation.zoo import find_model

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


def _chunks(scout: _Task, info: dict[str, Any], done: set[str]) -> list[_Task]:
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


def _known(task: _Task, retry: bool) -> dict[str, Any] | None:
    """What an earlier run knows of a file, None where it is to be scouted (again)."""
    try:
        info: dict[str, Any] = json.loads(_info_path(task).read_text(encoding="utf-8"))
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
    from napari_atomlens.image import check_pixel_size
    from napari_atomlens.segmentation import runtime

    validate(params)
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
            place: _Threads | _Cluster
            if processes or scheduler:
                place = _Cluster(n_workers, scheduler)
                if started:
                    where = f"the scheduler {scheduler}" if scheduler else f"{n_workers} processes"
                    started(f"On {where}; dashboard: {place.dashboard}")
            else:
                place = _Threads(n_workers)
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
        if error.errno in _FULL:
            raise FormatError(_disk_full(str(folder))) from error
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

    def tasks(self) -> Iterator[_Task]:
        """What is left to do: scouts of new files, chunks of known ones."""
        for path, name in self.names.items():
            task = _Task(str(self.folder), name, str(path), SCOUT, self.params, self.size)
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

    def _forget_failed(self, task: _Task) -> None:
        """Remove the parts of a file that hold failed frames."""
        for part in self.parts.done(task.file):
            one = pd.read_parquet(self.parts.path("frames", task.file, part))
            if (one["error"] != "").any():
                for table in ("frames", *FRAME_TABLES):
                    self.parts.path(table, task.file, part).unlink(missing_ok=True)

    def report(self, done: _Done) -> list[_Task]:
        """Take note of a finished task; return what follows from it."""
        if done.fatal:
            self.fatal = self.fatal or done.fatal
            self.stop.set()
            return []
        follow: list[_Task] = []
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

    def _failed(self, done: _Done) -> None:
        """Write down what failed, so that the table of failures knows it."""
        task = done.task
        self.n_failed += max(1, len(task.frames))
        if task.part == SCOUT:
            info = {"path": task.path, "size": -1, "mtime_ns": -1, "error": done.error}
            write_whole(_info_path(task), json.dumps(info, indent=1) + "\n")
            return
        rows = pd.DataFrame([_row(task, f, None, done.error) for f in task.frames])
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
