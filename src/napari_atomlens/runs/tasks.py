"""Work on a worker: a file is scouted, then its frames are analysed in chunks."""

from __future__ import annotations

import errno
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import AtomLensError, FormatError
from napari_atomlens.files import write_whole
from napari_atomlens.image import as_stack, check_pixel_size, image_hash
from napari_atomlens.io.formats.kinds import technique_of
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams, BatchParams
from napari_atomlens.runs.plan import choose_for_movie
from napari_atomlens.runs.store import Parts
from napari_atomlens.segmentation import runtime

SCOUT = "scout"
#: Tables of a frame that are written.
FRAME_TABLES = ("atoms", "contours")
FULL = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG)


@dataclass(frozen=True)
class Task:
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
class Done:
    """What a worker tells of a task."""

    task: Task
    n_frames: int = 0
    n_atoms: int = 0
    n_failed: int = 0
    error: str = ""  # of the whole file
    fatal: str = ""  # of the whole run
    info: dict[str, Any] = field(default_factory=dict)


_opened: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_opening = threading.Lock()


def _open(path: str) -> Any:
    """First image of a file; the two latest stay open, so that chunks need not read again."""
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

    runtime.prepare()
    torch.set_num_threads(1)


def _analyse_frame(
    movie: Any, frame: int, params: AnalysisParams, size: tuple[float, float] | None
) -> tuple[FrameResult | None, str]:
    """Analyse one frame; (result or None, why it failed)."""
    try:
        found = next(loop.analyze_frames(movie, params, pixel_size_nm=size, frames=[frame]))
    except MemoryError:
        return None, "There is not enough memory for this frame."
    except AtomLensError as error:
        return None, str(error)
    except Exception as error:  # a frame that cannot be read must not cost the others
        return None, f"The frame could not be analysed: {type(error).__name__}: {error}"
    return found, ""


def row_of(file: Task, frame: int, result: FrameResult | None, error: str) -> dict[str, Any]:
    """Row of the table of frames."""
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

    def __init__(self, task: Task, n_frames: int) -> None:
        self.task, self.n_frames = task, n_frames
        self.rows: list[dict[str, Any]] = []
        self.tables: dict[str, list[pd.DataFrame]] = {t: [] for t in FRAME_TABLES}

    def add(self, frame: int, result: FrameResult | None, error: str) -> None:
        self.rows.append(row_of(self.task, frame, result, error))
        if result is None:
            return
        for name, parts in self.tables.items():
            if len(table := getattr(result, name)):
                parts.append(table)
        if self.task.params.maps:
            _put_maps(self.task, self.n_frames, frame, result)

    def write(self) -> Done:
        parts = {n: pd.concat(t, ignore_index=True) for n, t in self.tables.items() if t}
        parts["frames"] = pd.DataFrame(self.rows)
        Parts(Path(self.task.folder)).write(self.task.file, self.task.part, parts)
        failed = sum(bool(row["error"]) for row in self.rows)
        atoms = sum(row["n_atoms"] for row in self.rows)
        return Done(self.task, len(self.rows), atoms, failed)


def _maps_path(task: Task) -> Path:
    return Path(task.folder) / "maps" / f"{task.file}.zarr"


def _put_maps(task: Task, n_frames: int, frame: int, result: FrameResult) -> None:
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


def _guarded(work: Callable[[Task], Done], task: Task) -> Done:
    """Do a task; a full disk ends the run, everything else ends the file."""
    try:
        _pin()
        return work(task)
    except AtomLensError as error:
        return Done(task, error=str(error))
    except MemoryError:
        return Done(task, error=f"{Path(task.path).name} does not fit into the memory.")
    except OSError as error:
        if error.errno in FULL:
            return Done(task, fatal=disk_full(task.folder))
        if error.errno in (errno.EACCES, errno.EROFS) and task.folder in str(error.filename):
            return Done(task, fatal=f"{task.folder} cannot be written: {error.strerror}.")
        return Done(task, error=f"{Path(task.path).name} failed: {error}.")


def disk_full(folder: str) -> str:
    """What to say of a full disk."""
    return (
        f"The disk of {Path(folder).name} is full. What is finished is kept; make room and run "
        "the same command again to go on."
    )


def _scout(task: Task) -> Done:
    """Open a file and analyse its first frames, until the spacing of the lattice is known."""
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
    write_whole(info_path(task), json.dumps(done.info, indent=1) + "\n")
    return done


def _chunk(task: Task) -> Done:
    """Analyse some frames of a scouted file."""
    movie = as_stack(_open(task.path).data)
    params = task.params.analysis()
    params = replace(params, spacing_px=task.spacing_px, model=task.model or params.model)
    collector = _Collector(task, len(movie))
    for frame in task.frames:
        collector.add(frame, *_analyse_frame(movie, frame, params, task.pixel_size_nm))
    return collector.write()


def work_on(task: Task) -> Done:
    """Do a task, whatever it is."""
    return _guarded(_scout if task.part == SCOUT else _chunk, task)


def info_path(task: Task) -> Path:
    """File that says what is known of an input."""
    return Path(task.folder) / "files" / f"{task.file}.json"
