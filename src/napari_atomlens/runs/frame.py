"""The one loop over frames."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from napari_atomlens import arrays, points, segmentation, tables
from napari_atomlens.atoms.elongation import ELONGATED, mean_aspect
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.atoms.quality import Quality, quality
from napari_atomlens.atoms.refine import FitParams
from napari_atomlens.contours.tracing import outline
from napari_atomlens.errors import CalibrationError, ImageError, ParameterError
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.image import Stack, is_height, recorded
from napari_atomlens.lattice.species import named_by_lattice
from napari_atomlens.params import of_kind
from napari_atomlens.progress import Progress, ProgressLike, StoppedError, as_progress
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import Plan, make_plan
from napari_atomlens.runs.source import Given, open_told
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.probabilities import LARGE, Probabilities
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.zoo import ModelInfo, find_model
from napari_atomlens.stm.rows import shows_dimer_rows
from napari_atomlens.tracking.rolling import rolling_mean

IDS_PER_FRAME = tables.IDS_PER_FRAME


@dataclass
class FrameResult:
    """What one frame gave.

    Attributes
    ----------
    frame : int
        Index of the frame in the stack.
    probabilities : ndarray of float16, shape (n_classes, H, W)
        Class probabilities; they sum to one over the classes.
    classes : tuple of str
        Names of the classes, background first.
    atoms : pandas.DataFrame
        Atoms table of this frame (see :mod:`napari_atomlens.tables`).
    contours : pandas.DataFrame
        Contours table of this frame.
    outlines : list of ndarray, each (n_vertices, 2)
        Closed outlines (row, column) in pixels, in the order of the rows of `contours`.
    unfamiliar : ndarray of float16, shape (H, W)
        0 where the image looks like what the model was trained on, 1 where it does not.
    spacing_px : float
        Distance between nearest columns, NaN where there is no atom.
    message : str
        A sentence for the user, empty when there is nothing to say.
    seconds : dict of str to float
        Time spent by stage.
    window : int
        Frames that were summed to find the atoms.
    model : str
        The model, by name or path.
    model_reason : str
        Why it was chosen, where it was not given.
    plan : Plan or None
        What was decided, as it stands after this frame.
    quality : Quality or None
        How good the atoms are, as far as the frame can tell.
    """

    frame: int
    probabilities: np.ndarray
    classes: tuple[str, ...]
    atoms: pd.DataFrame
    contours: pd.DataFrame
    outlines: list[np.ndarray]
    unfamiliar: np.ndarray
    spacing_px: float
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    window: int = 1
    model: str = ""
    model_reason: str = ""
    plan: Plan | None = None
    quality: Quality | None = None


def empty_result(
    frame: int, shape: tuple[int, int], classes: tuple[str, ...], message: str
) -> FrameResult:
    """Return the result of a frame in which nothing was found, with the sentence that says why."""
    maps = np.zeros((len(classes), *shape), np.float16)
    maps[0] = 1
    return FrameResult(
        frame, maps, classes, tables.empty("atoms"), tables.empty("contours"), [],
        np.zeros(shape, np.float16), float("nan"), message,
    )  # fmt: skip


def add_nm(atoms: pd.DataFrame, pixel_size_nm: tuple[float, float] | None) -> pd.DataFrame:
    """Fill the nanometre columns of an atoms table in place where the pixel size is known."""
    if pixel_size_nm is not None:
        atoms["y_nm"], atoms["x_nm"] = (
            atoms["y_px"] * pixel_size_nm[0],
            atoms["x_px"] * pixel_size_nm[1],
        )
    return atoms


def analyze_frames(
    source: Given,
    params: AnalysisParams | None = None,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    technique: str = "",
    plan: Plan | None = None,
    progress: ProgressLike = None,
) -> Iterator[FrameResult]:
    """Analyse the frames of an image or movie one after the other, in the given order.

    Parameters
    ----------
    source : path or array-like, shape (H, W) or (T, H, W)
        Image or movie; dask and zarr arrays are read one frame at a time.
    params : AnalysisParams, optional
    pixel_size_nm : float or tuple of float, optional
        (y, x), fills the nanometre columns.
    frames : sequence of int, optional
        Which frames, in which order; all by default.
    technique : str
        "STM" or "STEM" where it is known; helps to choose the model.
    plan : Plan, optional
        What an earlier run decided; `params` and `technique` are not looked at then.
    progress : Progress or callable, optional
        Asked before each frame, and within, whether to stop.

    Yields
    ------
    FrameResult
        Empty tables and a message where there is nothing to find. The first frame that shows a
        lattice settles the scale of a movie.

    Raises
    ------
    ImageError, ModelError, ParameterError, CalibrationError
        Before the first frame. A later frame that cannot be used gives a message instead.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> [result.frame for result in al.analyze_frames(image)]
    [0]
    """
    opened = open_told(source, pixel_size_nm, technique)
    movie, watch, wanted = opened.movie, as_progress(progress), _wanted(params, plan)
    order = check_frames(frames, movie.shape[0])
    if plan is None:  # what cannot be used is said before anything is computed
        find_model(wanted.model)
        check_spacing(wanted.spacing_px, opened.shape[1:])
    # stopped in the middle of a frame: those before it are finished
    with contextlib.suppress(StoppedError):
        watch.check()
        plan = plan or make_plan(
            movie, wanted, pixel_size_nm=opened.pixel_size_nm, technique=opened.technique,
            frames=order, progress=watch,
        )  # fmt: skip
        yield from _frames(movie, order, plan, watch)


def _wanted(params: AnalysisParams | None, plan: Plan | None) -> AnalysisParams:
    """Return the parameters that are meant, if they and the plan are what they should be."""
    if not isinstance(plan, Plan | None):
        raise ParameterError(f"A plan is needed, not {type(plan).__name__}.")
    return AnalysisParams() if params is None else of_kind(AnalysisParams, params)


def _frames(movie: Stack, order: list[int], plan: Plan, watch: Progress) -> Iterator[FrameResult]:
    """Frames one by one until the scale is settled, then side by side."""
    alone, done = len(order) == 1, 0
    for f in order:
        if watch.stopped:
            return
        result = analyze_frame(movie, f, plan, alone=alone, progress=watch)
        result.seconds["model"] = plan.seconds if not done else 0.0
        plan = result.plan = plan.settled(result.spacing_px, len(result.atoms))
        done += 1
        yield result
        if plan.spacing_px:
            break
    settled = plan
    yield from _in_parallel(
        lambda f: analyze_frame(movie, f, settled, progress=watch), order[done:], watch
    )


def check_frames(frames: Sequence[int] | None, n_frames: int) -> list[int]:
    """Return the frames that are asked for, each once and in their order, all by default.

    Raises
    ------
    ParameterError
        If they are no list of whole numbers.
    ImageError
        If one does not exist.
    """
    if frames is None:
        return list(range(n_frames))
    order: list[int] = []
    try:
        if isinstance(frames, (str, bytes, Mapping)):
            raise TypeError("no list")
        for given in frames:
            if isinstance(given, (bool, np.bool_)) or given != int(given):
                raise ValueError("no whole number")
            order.append(int(given))
    except (TypeError, ValueError, OverflowError):
        raise ParameterError("frames must be a list of whole numbers, such as [0, 1, 5].") from None
    order = list(dict.fromkeys(order))
    if not order:
        raise ParameterError("frames is empty; leave it out to analyse all of them.")
    for f in order:
        if not 0 <= f < n_frames:
            raise ImageError(f"Frame {f} does not exist; the movie has {n_frames} frames.")
    return order


def analyze_frame(
    movie: Stack, frame: int, plan: Plan, *, alone: bool = False, progress: ProgressLike = None
) -> FrameResult:
    """Analyse one frame of a movie as planned.

    Parameters
    ----------
    movie : array-like, shape (T, H, W)
    frame : int
    plan : Plan
    alone : bool
        A single image that cannot be used is an error to show; a frame of many is not, it has
        a message and nothing else.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Raises
    ------
    ImageError
        If it is `alone` and cannot be used at all.
    StoppedError
        If it is asked to stop.
    """
    try:
        result = _one_frame(movie, frame, plan, as_progress(progress))
    except (ImageError, CalibrationError) as error:
        if isinstance(error, ImageError) and "constant" not in str(error) and alone:
            raise
        shape = tuple(int(s) for s in movie.shape[1:3])
        result = empty_result(frame, (shape[0], shape[1]), plan.model.classes, str(error))
    result.model, result.model_reason, result.plan = plan.model_name, plan.reason, plan
    return result


def _in_parallel(
    one: Callable[[int], FrameResult], order: list[int], watch: Progress
) -> Iterator[FrameResult]:
    """Analyse frames side by side, each on one core, and yield them in order."""
    import torch

    workers = min(runtime.prepare(), len(order))
    if not order:
        return
    waiting: deque[Future[FrameResult]] = deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            rest = iter(order)
            while not watch.stopped:
                # few frames ahead: memory does not grow with the movie
                while len(waiting) <= workers and (f := next(rest, None)) is not None:
                    waiting.append(pool.submit(one, f))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


#: What is said where the universal model is run on H-Si(100).
DIMER_ROWS = (
    "This looks like H-Si(100): its dimer rows and defects are read by the dock STM "
    "(analyze_silicon), not by this model."
)


#: What is said where the mean column of an image is elongated.
ELLIPSES = (
    "The columns of this image are elongated ({:.1f} : 1), as by tilt or astigmatism: they are "
    "fitted as ellipses."
)


def _one_frame(movie: Stack, f: int, plan: Plan, watch: Progress) -> FrameResult:
    todo = plan.for_frame(f)
    seconds: dict[str, float] = {}
    own_image = movie.shape[0] == 1
    own = int(movie.shape[1]), int(movie.shape[2])
    movie = segmentation.squared(movie, plan.stretch)
    with _timed(seconds, "read"):
        frame = np.asarray(movie[f])
    summed = todo.window > 1 and movie.shape[0] > 1 and frame.ndim == 2
    seen = rolling_mean(movie, f, todo.window) if summed else frame
    probabilities = segmentation.predict_classes(
        seen, todo.model, todo.spacing_px, dark=todo.dark, progress=watch
    )
    if summed:  # found in the sum, measured in the frame
        probabilities = _measured_in(probabilities, frame)
    if plan.stretch != (1.0, 1.0):
        probabilities.copies = segmentation.copies_of(own, probabilities.frame.shape)
    if frame.size > LARGE:  # memory must not follow the size of the image
        runtime.release()
    seconds |= probabilities.seconds
    notes: list[str] = []
    with _timed(seconds, "atoms"):
        atoms = _atoms(probabilities, f, todo.model, plan, watch, notes)
        elongated = 0.0
        if own_image and plan.params.refine == "fit" and plan.params.column_width == "auto":
            elongated = mean_aspect(probabilities.frame, atoms)
        if elongated > ELONGATED:
            longer = replace(plan, params=replace(plan.params, refine="elliptic"))
            notes.clear()
            atoms = _atoms(probabilities, f, todo.model, longer, watch, notes)
    with _timed(seconds, "species"):
        atoms = _named(atoms, probabilities, frame, plan, watch, notes)
    if frame.size > LARGE:
        runtime.release()
    with _timed(seconds, "quality"):  # of dark columns the frame is negative
        good, spacing = _judged(atoms, probabilities)
    if plan.stretch != (1.0, 1.0):  # found on square pixels, told in those of the image
        segmentation.atoms_in_pixels(atoms, probabilities.frame.shape, own)
        probabilities = segmentation.maps_in_pixels(probabilities, own)
    add_nm(atoms, plan.pixel_size_nm)
    contours, outlines = tables.empty("contours"), list[np.ndarray]()
    with _timed(seconds, "contours"):
        if plan.params.contours:
            contours, outlines = outline(probabilities.columns, atoms, frame=f, progress=watch)
    message = " ".join([_message(atoms, probabilities), *notes]).strip()
    if elongated > ELONGATED:
        message = f"{ELLIPSES.format(elongated)} {message}".strip()
    with _timed(seconds, "rows"):
        height = todo.model.name != "h-si-100" and _may_be_height(frame, plan)
        if height and shows_dimer_rows(frame, plan.pixel_size_nm):
            message = f"{DIMER_ROWS} {message}".strip()
    unfamiliar = probabilities.unfamiliar
    if probabilities.recorded is not None:  # drawn as what nobody should trust
        unfamiliar = np.where(probabilities.recorded, unfamiliar, np.float16(1))
    return FrameResult(
        f, probabilities.maps, probabilities.classes, atoms, contours, outlines,
        unfamiliar, spacing, message,
        seconds, todo.window if frame.ndim == 2 else 1, quality=good,
    )  # fmt: skip


def _judged(atoms: pd.DataFrame, probabilities: Probabilities) -> tuple[Quality | None, float]:
    """How good the atoms are, and their spacing; of single atoms none, and that of their width."""
    if probabilities.without_lattice:
        return None, probabilities.spacing_px
    good = quality(atoms, probabilities.frame, recorded=probabilities.recorded)
    return good, points.spacing(atoms[["y_px", "x_px"]].to_numpy())


def _named(
    atoms: pd.DataFrame, probabilities: Probabilities, frame: np.ndarray, plan: Plan,
    watch: Progress, notes: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Atoms with the species that their lattice tells; `notes` takes a sentence. Not of heights."""
    if probabilities.without_lattice or _may_be_height(frame, plan):
        return atoms
    named, sentence = named_by_lattice(atoms, probabilities.column_classes, watch)
    notes += [sentence] if sentence else []
    # an empty site that the network took for a column has none
    likely = named["probability"] >= plan.params.min_probability
    return named if likely.all() else named[likely].reset_index(drop=True)


def _may_be_height(frame: np.ndarray, plan: Plan) -> bool:
    """Heights in nm need not be small nor of both signs, but programs of probes are known."""
    return is_height(frame) or (plan.technique == "STM" and frame.ndim == 2)


def _measured_in(probabilities: Probabilities, frame: np.ndarray) -> Probabilities:
    """Probabilities of a sum of frames, with one of them to measure the atoms in."""
    single, there = np.array(frame, np.float32), recorded(frame)
    sign = np.float32(-1 if probabilities.dark else 1)
    if there.all():
        return replace(probabilities, frame=sign * single)
    if there.any():
        arrays.bridge(single, there)
    return replace(probabilities, frame=sign * np.nan_to_num(single), recorded=there)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _atoms(
    probabilities: Probabilities, f: int, model: ModelInfo, plan: Plan, watch: Progress,
    notes: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Atoms of a frame; `notes` takes what the user must know of them."""
    p = plan.params
    return find_atoms(
        probabilities, min_probability=p.min_probability, faint=p.faint, refine=p.refine,
        fit=FitParams(width=p.column_width, elliptic=p.refine == "elliptic"),
        calibration=model.calibration.get("atoms"), frame=f, first_id=f * IDS_PER_FRAME,
        progress=watch, notes=notes,
    )  # fmt: skip


#: What is said where there is neither a lattice nor an atom.
NOTHING_ALONE = (
    "No lattice and no single atom was found in this image. If there are columns, set the distance "
    "between nearest ones by hand."
)
#: More than this share of the atoms is told of when they are left out.
TOLD = 0.01
#: A smaller part of a frame that was not recorded is not mentioned.
WORTH_SAYING = 0.005


def _message(atoms: pd.DataFrame, probabilities: Probabilities) -> str:
    """What the user must know of a frame."""
    if not len(atoms) and probabilities.without_lattice:
        return NOTHING_ALONE
    if not len(atoms):
        return "No atom was found in this frame."
    there = probabilities.recorded
    missing = 0.0 if there is None else 1 - float(there.mean())
    said = []
    if missing >= WORTH_SAYING:
        said.append(f"{100 * missing:.0f} % of this frame was not recorded; nothing is said of it.")
    unfamiliar = probabilities.unfamiliar if there is None else probabilities.unfamiliar[there]
    unsure = float((unfamiliar > 0.5).mean()) if unfamiliar.size else 0.0
    out = int(is_unfamiliar(atoms).sum())
    if out > TOLD * len(atoms):
        are = "stands" if out == 1 else "stand"
        said.append(
            f"{out:,} of {len(atoms):,} atoms {are} where the image is unlike those that the "
            "model was trained on; lattice, bonds, defects and counts leave them out."
        )
    elif unsure > 0.2:
        said.append(
            f"{100 * unsure:.0f} % of this frame is unlike the images that the model was trained "
            "on; look at the unfamiliar-region map before you trust the atoms there."
        )
    return " ".join(said)
