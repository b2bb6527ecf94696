"""The one loop over frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens import segmentation, tables
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.atoms.refine import FitParams
from napari_atomlens.contours.tracing import outline
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.image import as_stack, check_pixel_size, is_height
from napari_atomlens.points import shell_distance
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import ENOUGH, ModelChoice, _window_of, choose_for_movie
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.probabilities import LARGE
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.stm.rows import shows_dimer_rows
from napari_atomlens.tracking.rolling import rolling_mean

if TYPE_CHECKING:
    from napari_atomlens.segmentation.probabilities import Probabilities

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
    stack: Any,
    params: AnalysisParams = AnalysisParams(),
    *,
    pixel_size_nm: tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    cancelled: Callable[[], bool] | None = None,
    technique: str = "",
) -> Iterator[FrameResult]:
    """Analyse the frames of an image or movie one after the other, in the given order.

    Parameters
    ----------
    stack : array-like, shape (H, W) or (T, H, W)
        Image or movie; dask and zarr arrays are read one frame at a time.
    params : AnalysisParams
    pixel_size_nm : tuple of float, optional
        (y, x), fills the nanometre columns.
    frames : sequence of int, optional
        Which frames, in which order; all by default.
    cancelled : callable, optional
        Asked before each frame and each stage; True ends the iteration.
    technique : str
        "STM" or "STEM" where it is known; helps to choose the model.

    Yields
    ------
    FrameResult
        Empty tables and a message for a frame in which there is nothing to find.

    Raises
    ------
    ImageError, ModelError, ParameterError, CalibrationError
        Before the first frame. A later frame that cannot be used gives a message instead.
    """
    size = check_pixel_size(pixel_size_nm)
    movie = as_stack(stack)
    order = list(range(movie.shape[0])) if frames is None else [int(f) for f in frames]
    for f in order:
        if not 0 <= f < movie.shape[0]:
            raise ImageError(f"Frame {f} does not exist; the movie has {movie.shape[0]} frames.")

    choice = ModelChoice(find_model(params.model))
    check_spacing(params.spacing_px, tuple(movie.shape[1:3]))
    stop = cancelled or (lambda: False)
    if params.window == 0:
        params = replace(params, window=1 if stop() else _window_of(movie, params, choice.info))

    def one(f: int, spacing: float) -> FrameResult:
        info = choice.info
        try:
            result = _one_frame(movie, f, params, info, spacing, size)
        except (ImageError, CalibrationError) as error:
            # a single image that cannot be used is an error to show, a frame of many is not
            if isinstance(error, ImageError) and "constant" not in str(error) and len(order) == 1:
                raise
            result = empty_result(f, tuple(movie.shape[1:3]), info.classes, str(error))
        # of a named model as it was named: it may be a path
        result.model = info.name if params.model == "auto" else params.model
        result.model_reason = choice.reason
        return result

    # the lattice of a movie does not change its scale: search once, in the first good frame
    spacing, done, chosen = params.spacing_px, 0, 0.0
    for f in order:
        if stop():
            return
        if params.model == "auto" and not choice.reason:
            start = time.perf_counter()
            choice = choose_for_movie(movie, params, size, order, technique=technique)
            chosen = time.perf_counter() - start
        result = one(f, spacing or choice.spacing_px)
        result.seconds["model"], chosen = chosen, 0.0
        done += 1
        yield result
        if spacing or len(result.atoms) >= ENOUGH:
            spacing = spacing or result.spacing_px
            break
    yield from _in_parallel(one, order[done:], spacing, stop)


def _in_parallel(
    one: Callable[[int, float], FrameResult],
    order: list[int],
    spacing: float,
    stop: Callable[[], bool],
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
            while not stop():
                # few frames ahead: memory does not grow with the movie
                while len(waiting) <= workers and (f := next(rest, None)) is not None:
                    waiting.append(pool.submit(one, f, spacing))
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


def _one_frame(
    movie: Any,
    f: int,
    params: AnalysisParams,
    info: Any,
    spacing: float,
    size: tuple[float, float] | None,
) -> FrameResult:

    start = time.perf_counter()
    frame = np.asarray(movie[f])
    read = time.perf_counter() - start
    probabilities: Probabilities
    if params.window > 1 and movie.shape[0] > 1 and frame.ndim == 2:
        probabilities = segmentation.segment(rolling_mean(movie, f, params.window), info, spacing)
        # found in the sum, measured in the frame
        probabilities = replace(probabilities, frame=np.nan_to_num(frame).astype(np.float32))
    else:
        probabilities = segmentation.segment(frame, info, spacing)
    if frame.size > LARGE:  # memory must not follow the size of the image
        runtime.release()
    seconds = {"read": read, **probabilities.seconds}
    start = time.perf_counter()
    atoms = find_atoms(
        probabilities, min_probability=params.min_probability, refine=params.refine,
        fit=FitParams(width=params.column_width, elliptic=params.refine == "elliptic"),
        calibration=info.calibration.get("atoms"), frame=f, first_id=f * IDS_PER_FRAME,
    )  # fmt: skip
    atoms = add_nm(atoms, size)
    if frame.size > LARGE:
        runtime.release()
    seconds["atoms"] = time.perf_counter() - start
    start = time.perf_counter()
    contours = tables.empty("contours")
    outlines: list[np.ndarray] = []
    if params.contours:
        contours, outlines = outline(probabilities.columns, atoms, frame=f)
    seconds["contours"] = time.perf_counter() - start
    found = shell_distance(atoms[["y_px", "x_px"]].to_numpy())
    message = ""
    if not len(atoms):
        message = "No atom was found in this frame."
    elif (unsure := float((probabilities.unfamiliar > 0.5).mean())) > 0.2:
        message = (
            f"{100 * unsure:.0f} % of this frame is unlike the images that the model was trained "
            "on; look at the unfamiliar-region map before you trust the atoms there."
        )
    start = time.perf_counter()
    if info.name != "h-si-100" and is_height(frame) and shows_dimer_rows(frame, size):
        message = f"{DIMER_ROWS} {message}".strip()
    seconds["rows"] = time.perf_counter() - start
    return FrameResult(
        f, probabilities.maps, probabilities.classes, atoms, contours, outlines,
        probabilities.unfamiliar, found, message, seconds,
        params.window if frame.ndim == 2 else 1,
    )  # fmt: skip
