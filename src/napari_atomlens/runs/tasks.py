"""Work on a worker: a file is scouted, then its frames are analysed in chunks.

The scout opens the file, makes its plan and analyses its first frames until the scale of the
lattice is settled, as :func:`~napari_atomlens.runs.frame.analyze_frames` does; the chunks go on
with that plan.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from napari_atomlens.errors import AtomLensError, FormatError, printable
from napari_atomlens.files import Json
from napari_atomlens.image import Stack
from napari_atomlens.io.formats.choice import TakenImage, take_image
from napari_atomlens.io.formats.kinds import technique_of
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.runs.plan import Plan, make_plan, plan_of
from napari_atomlens.runs.readable import check_readable
from napari_atomlens.runs.source import Source, source_of
from napari_atomlens.runs.store import Failure, Outcome, Store
from napari_atomlens.segmentation import runtime

SCOUT = "scout"
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
    frames: tuple[int, ...] = ()
    plan: Json | None = None
    #: Size and time of the file when it was scouted.
    stamp: tuple[int, int] | None = None

    @property
    def store(self) -> Store:
        """Where the results of the file go."""
        return Store(Path(self.folder), self.file)


@dataclass
class Done:
    """What a worker tells of a task."""

    task: Task
    n_frames: int = 0
    n_atoms: int = 0
    n_failed: int = 0
    error: str = ""  # of the whole file
    fatal: str = ""  # of the whole run
    changed: bool = False  # the file, since it was scouted
    info: Json = field(default_factory=dict)


_opened: OrderedDict[tuple[str, str, int, int], TakenImage] = OrderedDict()
_opening = threading.Lock()


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of a file.

    Raises
    ------
    FormatError
        If it is gone.
    """
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise FormatError(f"{Path(path).name} could not be opened: {error.strerror}.") from error
    return stat.st_size, stat.st_mtime_ns


def _open(task: Task) -> TakenImage:
    """Image of a file; the two latest stay open, so that chunks need not read again."""
    key = (task.path, task.params.image, *_stamp(task.path))
    with _opening:
        if key in _opened:
            _opened.move_to_end(key)
            return _opened[key]
    if task.part == SCOUT:
        check_readable(Path(task.path), task.params.limit_s)
    with _opening:
        if key not in _opened:
            _opened[key] = take_image(read(task.path), task.params.image)
        _opened.move_to_end(key)
        while len(_opened) > 2:
            _opened.popitem(last=False)
        return _opened[key]


def _source(task: Task) -> Source:
    name = printable(Path(task.path).name)
    return source_of(_open(task), name, task.pixel_size_nm, technique_of(task.path))


def _analyse_frame(movie: Stack, frame: int, plan: Plan) -> Outcome:
    """Analyse one frame; one that cannot be analysed must not cost the others."""
    try:
        return loop.analyze_frame(movie, frame, plan, alone=True)
    except MemoryError:
        return Failure(frame, "There is not enough memory for this frame.")
    except AtomLensError as error:
        return Failure(frame, str(error))
    except Exception as error:  # readers raise errors of every type
        return Failure(frame, f"The frame could not be analysed: {type(error).__name__}: {error}")


def _written(task: Task, n_frames: int, outcomes: list[Outcome]) -> Done:
    """Write the frames of a task as one part; their maps were written one by one."""
    task.store.write(task.part, outcomes, printable(task.path))
    found = [o for o in outcomes if isinstance(o, FrameResult)]
    n_atoms = sum(len(o.atoms) for o in found)
    return Done(task, len(outcomes), n_atoms, len(outcomes) - len(found))


def _kept(task: Task, n_frames: int, outcome: Outcome) -> Outcome:
    """Write the maps of a frame where they are wanted, and let go of them."""
    if isinstance(outcome, FrameResult):
        if task.params.maps:
            task.store.put_maps(n_frames, outcome)
        outcome.probabilities = outcome.probabilities[:, :0]
        outcome.unfamiliar = outcome.unfamiliar[:0]
    return outcome


def _scout(task: Task) -> Done:
    """Open a file and analyse its first frames, until the spacing of the lattice is settled."""
    size, mtime_ns = _stamp(task.path)
    source = _source(task)
    n_frames = source.shape[0]
    plan = make_plan(
        source.movie, task.params.analysis(), pixel_size_nm=source.pixel_size_nm,
        technique=source.technique,
    )  # fmt: skip
    outcomes: list[Outcome] = []
    for frame in range(n_frames):
        outcome = _analyse_frame(source.movie, frame, plan)
        if isinstance(outcome, FrameResult):
            plan = plan.settled(outcome.spacing_px, len(outcome.atoms))
        outcomes.append(_kept(task, n_frames, outcome))
        if plan.spacing_px and isinstance(outcome, FrameResult):
            break
    done = _written(task, n_frames, outcomes)
    done.info = task.store.begin(
        plan, source, maps=task.params.maps,
        path=printable(task.path), size=size, mtime_ns=mtime_ns, error="", name=source.image_name,
        left_out=list(source.left_out), asked=source.asked, shape=list(source.shape),
        pixel_size_nm=source.pixel_size_nm, time_step_s=source.time_step_s,
        spacing_px=plan.spacing_px, scouted=len(outcomes), model=plan.model_name,
        model_chosen=plan.reason or "given",
    )  # fmt: skip
    return done


def _chunk(task: Task) -> Done:
    """Analyse some frames of a scouted file, as long as it is the same."""
    name = printable(Path(task.path).name)
    changed = Done(task, changed=True, error=f"{name} changes while it is analysed.")
    if _stamp(task.path) != task.stamp:
        return changed
    source = _source(task)
    plan, n_frames = plan_of(task.plan or {}), source.shape[0]
    outcomes = [_kept(task, n_frames, _analyse_frame(source.movie, f, plan)) for f in task.frames]
    if _stamp(task.path) != task.stamp:
        return changed
    return _written(task, n_frames, outcomes)


def _guarded(work: Callable[[Task], Done], task: Task) -> Done:
    """Do a task; a full disk ends the run, everything else ends the file."""
    try:
        runtime.pin()  # frames side by side are faster than threads within one
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


def work_on(task: Task) -> Done:
    """Do a task, whatever it is."""
    return _guarded(_scout if task.part == SCOUT else _chunk, task)
