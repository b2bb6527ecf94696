"""The main job from end to end: image or movie in, tables out.

``analyze_frames`` is the one loop over frames; the widget, the command line and
``analyze`` are thin callers of it.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens import __version__, tables
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.image import as_stack, check_pixel_size, image_hash, is_height
from napari_atomlens.params import as_dict, param, validate

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.segmentation.predict import Probabilities

IDS_PER_FRAME = tables.IDS_PER_FRAME
#: A frame with so many atoms shows the scale of its movie.
ENOUGH = 12
#: Formats that scanning probe microscopes write, and none else.
_STM_FILES = {".sxm", ".sm4", ".gwy", ".ibw", ".mtrx", ".z_mtrx", ".stp", ".nid", ".flm"}


@dataclass(frozen=True)
class AnalysisParams:
    """How to analyse an image or a movie. Zero means "find it in the image"."""

    model: str = param("auto", "name of the model; auto chooses for you")
    spacing_px: float = param(
        0.0, "distance between nearest columns; 0 finds it in the image", unit="px", ge=0, le=2000
    )
    min_probability: float = param(0.5, "atoms below this probability are left out", ge=0, le=1)
    refine: str = param(
        "fit", "refine positions on the original pixels: joint fit of round or elliptic columns",
        choices=("fit", "elliptic fit", "centre of mass", "off"),
    )  # fmt: skip
    column_width: str = param(
        "auto", "widths in the fit: one per kind of column, free, or what the image asks for",
        choices=("auto", "shared", "free"),
    )  # fmt: skip
    contours: bool = param(True, "draw the outline of every atom")
    window: int = param(
        1, "frames of a movie that are summed to find atoms at low dose, 0 for as many as the dose "
        "asks for; positions are still measured in each frame", unit="frames", ge=0, le=1001,
    )  # fmt: skip


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


@dataclass
class Result:
    """An analysed image or movie.

    Attributes
    ----------
    atoms, contours : pandas.DataFrame
        Tables over all frames.
    outlines : dict of int to list of ndarray
        Outlines by frame, in the order of the contours table.
    probabilities : array of float16, shape (t, n_classes, H, W)
        A numpy array, or a zarr array where it would not fit in memory.
    unfamiliar : array of float16, shape (t, H, W)
    classes : tuple of str
    frames : list of int
        Indices of the analysed frames; the first axis of the maps follows it.
    provenance : dict
        Parameters, version, model and image hashes that made this result.
    messages : list of str
        Sentences for the user.
    seconds : dict of str to float
        Time by stage, summed over frames.
    """

    atoms: pd.DataFrame
    contours: pd.DataFrame
    outlines: dict[int, list[np.ndarray]]
    probabilities: Any
    unfamiliar: Any
    classes: tuple[str, ...]
    frames: list[int]
    provenance: dict[str, Any]
    messages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def spacing_px(self) -> float:
        """Median distance between nearest columns over the frames, in pixels."""
        values = [v for v in self.provenance.get("spacing_px", {}).values() if np.isfinite(v)]
        return float(np.median(values)) if values else float("nan")

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """Tracks table: which atom is which from frame to frame, found when first asked for."""
        from napari_atomlens.tracking.linking import link, tracks_table

        return tracks_table(link(self.atoms))

    @cached_property
    def dumbbells(self) -> pd.DataFrame:
        """Dumbbells table, measured when first asked for; empty where there are none."""
        from napari_atomlens.tracking.dumbbells import measure_dumbbells

        return measure_dumbbells(
            self.atoms, self.contours, pixel_size_nm=self.provenance.get("pixel_size_nm")
        )

    def bond(self, rules: Any = "auto") -> BondGraph:
        """Connect the atoms by chemical rules and keep the graph.

        See :func:`napari_atomlens.graphs.bond`.

        Parameters
        ----------
        rules : Rules or str
            Rules, the name of a preset or "auto". The tables `bonds` and `defects` are then
            those of these rules.
        """
        from napari_atomlens.graphs.bonds import bond
        from napari_atomlens.graphs.choose import choose_rules

        why = ""
        if rules == "auto":
            rules, why = choose_rules(self.atoms)
        shape: list[int] = list(self.provenance.get("image_shape") or [])
        size = (shape[1], shape[2]) if len(shape) >= 3 else None
        graph = bond(self.atoms, rules, shape_px=size)
        self.provenance["rules"] = graph.rules.as_dict()
        self.provenance["rules_chosen"] = why or "given"
        self.__dict__["_graph"] = graph
        self.__dict__.pop("_defects", None)
        return graph

    @property
    def bond_graph(self) -> BondGraph:
        """Graph of atoms and bonds, made by rules that fit the image unless `bond` was called."""
        return self.__dict__["_graph"] if "_graph" in self.__dict__ else self.bond()

    @property
    def bonds(self) -> pd.DataFrame:
        """Bonds table, computed when it is first asked for."""
        return self.bond_graph.bonds

    @property
    def defects(self) -> pd.DataFrame:
        """Defects table, computed when it is first asked for."""
        if "_defects" not in self.__dict__:
            from napari_atomlens.graphs.defects import find_defects

            self.__dict__["_defects"] = find_defects(self.bond_graph)
        return self.__dict__["_defects"]

    def save(self, path: str | Path) -> Path:
        """Write everything to a ``.atomlens`` project folder."""
        from napari_atomlens.io.projects.folder import save_tables

        payload = {f: getattr(self, f) for f in self.__dataclass_fields__}
        return Path(save_tables(path, payload))


def load(path: str | Path) -> Result:
    """Open a ``.atomlens`` project that :meth:`Result.save` or a window wrote.

    Of a window there are the corrected atoms; maps and contours are layers there, see
    :func:`napari_atomlens.io.load_workspace`.
    """
    from napari_atomlens.io.projects.folder import load_tables
    from napari_atomlens.session.project import CORRECTIONS, load_workspace

    if not (Path(path) / "project.json").is_file():
        return Result(**load_tables(path))
    space = load_workspace(path)
    found = [a["metadata"] for _, a, _ in space.layers if CORRECTIONS in a["metadata"]]
    parts = [m[CORRECTIONS].atoms() for m in found]
    atoms = pd.concat(parts, ignore_index=True) if len(parts) > 1 else None
    atoms = parts[0] if len(parts) == 1 else tables.empty("atoms") if atoms is None else atoms
    runs = [r for m in found for r in (m.get("napari-atomlens") or {}).get("runs", [])]
    return Result(
        atoms, tables.empty("contours"), {}, np.zeros((0, 0, 0, 0), np.float16),
        np.zeros((0, 0, 0), np.float16), (), [], dict(runs[-1]) if runs else {}, space.messages,
    )  # fmt: skip


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
    validate(params)
    size = check_pixel_size(pixel_size_nm)
    movie = as_stack(stack)
    order = list(range(movie.shape[0])) if frames is None else [int(f) for f in frames]
    for f in order:
        if not 0 <= f < movie.shape[0]:
            raise ImageError(f"Frame {f} does not exist; the movie has {movie.shape[0]} frames.")
    from napari_atomlens.segmentation.scale import check_spacing
    from napari_atomlens.segmentation.zoo import find_model

    choice = Chosen(find_model(params.model))
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


@dataclass(frozen=True)
class Chosen:
    """A model, and why it was chosen (empty where it was named)."""

    info: Any
    reason: str = ""
    spacing_px: float = 0.0


#: Frames of a movie that are looked at until one shows a lattice.
LOOKED_AT = 6


def choose_for_movie(
    movie: Any,
    params: AnalysisParams,
    size: tuple[float, float] | None,
    order: Sequence[int] | None = None,
    *,
    technique: str = "",
) -> Chosen:
    """Choose the model for a movie by the first of its frames that shows a lattice.

    One model for all frames: their classes are those of one another.

    Parameters
    ----------
    movie : array-like, shape (T, H, W)
    params : AnalysisParams
    size : tuple of float or None
        Pixel size (y, x) in nm.
    order : sequence of int, optional
        The frames; all by default.
    technique : str
        "STM" or "STEM" where it is known.

    Returns
    -------
    Chosen
    """
    from napari_atomlens.segmentation.choose import choose_model
    from napari_atomlens.segmentation.zoo import find_model

    best = Chosen(find_model("universal"), "Model universal: no frame shows a lattice.")
    for f in (range(movie.shape[0]) if order is None else order)[:LOOKED_AT]:
        frame = np.asarray(movie[f])
        if params.window > 1 and movie.shape[0] > 1 and frame.ndim == 2:
            from napari_atomlens.tracking.rolling import rolling_mean

            frame = rolling_mean(movie, f, params.window)
        try:
            made = choose_model(frame, size, spacing_px=params.spacing_px, technique=technique)
        except ImageError:  # told by the analysis of this frame
            continue
        best = Chosen(made.info, made.reason, made.spacing_px)
        if made.spacing_px or size is None:
            break
    return best


def technique_of(source: str | Path) -> str:
    """Return "STM" for a file of a scanning probe program, "" where its name does not tell."""
    return "STM" if Path(source).suffix.lower() in _STM_FILES else ""


def _in_parallel(
    one: Callable[[int, float], FrameResult],
    order: list[int],
    spacing: float,
    stop: Callable[[], bool],
) -> Iterator[FrameResult]:
    """Analyse frames side by side, each on one core, and yield them in order."""
    import torch

    from napari_atomlens.segmentation import runtime

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


def _window_of(movie: Any, params: AnalysisParams, info: Any) -> int:
    """Frames that must be summed until the model is no surer with more of them."""
    from napari_atomlens.atoms.find import find_atoms
    from napari_atomlens.segmentation.predict import segment
    from napari_atomlens.tracking.rolling import choose_window

    if movie.shape[0] < 3 or movie.ndim != 3:
        return 1

    def certainty(image: np.ndarray) -> float:
        try:
            seen = segment(image, info, params.spacing_px)
        except (ImageError, CalibrationError):
            return 0.0
        atoms = find_atoms(seen, refine="off", calibration=info.calibration.get("atoms"))
        # right ones less wrong ones, as the model expects them
        return float((2 * atoms["probability"] - 1).sum())

    return choose_window(movie, certainty)


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
    from napari_atomlens.atoms.find import find_atoms
    from napari_atomlens.atoms.refine import FitParams
    from napari_atomlens.contours.tracing import outline
    from napari_atomlens.segmentation import runtime
    from napari_atomlens.segmentation.predict import LARGE, segment
    from napari_atomlens.segmentation.scale import typical_distance

    start = time.perf_counter()
    frame = np.asarray(movie[f])
    read = time.perf_counter() - start
    probabilities: Probabilities
    if params.window > 1 and movie.shape[0] > 1 and frame.ndim == 2:
        from napari_atomlens.tracking.rolling import rolling_mean

        probabilities = segment(rolling_mean(movie, f, params.window), info, spacing)
        # found in the sum, measured in the frame
        probabilities = replace(probabilities, frame=np.nan_to_num(frame).astype(np.float32))
    else:
        probabilities = segment(frame, info, spacing)
    if frame.size > LARGE:  # memory must not follow the size of the image
        runtime.release()
    seconds = {"read": read, **probabilities.seconds}
    start = time.perf_counter()
    atoms = find_atoms(
        probabilities, min_probability=params.min_probability, refine=params.refine,
        fit=FitParams(width=params.column_width, elliptic=params.refine == "elliptic fit"),
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
        contours, outlines = outline(probabilities.maps, atoms, frame=f)
    seconds["contours"] = time.perf_counter() - start
    found = typical_distance(atoms[["y_px", "x_px"]].to_numpy())
    message = ""
    if not len(atoms):
        message = "No atom was found in this frame."
    elif (unsure := float((probabilities.unfamiliar > 0.5).mean())) > 0.2:
        message = (
            f"{100 * unsure:.0f} % of this frame is unlike the images that the model was trained "
            "on; look at the unfamiliar-region map before you trust the atoms there."
        )
    start = time.perf_counter()
    if info.name != "h-si-100" and is_height(frame):
        from napari_atomlens.stm.rows import shows_dimer_rows

        if shows_dimer_rows(frame, size):
            message = f"{DIMER_ROWS} {message}".strip()
    seconds["rows"] = time.perf_counter() - start
    return FrameResult(
        f, probabilities.maps, probabilities.classes, atoms, contours, outlines,
        probabilities.unfamiliar, found, message, seconds,
        params.window if frame.ndim == 2 else 1,
    )  # fmt: skip


def analyze(
    source: Any,
    model: str = "auto",
    pixel_size_nm: float | tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    *,
    params: AnalysisParams | None = None,
    keep_maps: bool = True,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Find every atom in an image or movie.

    Parameters
    ----------
    source : path or array-like
        A file that :func:`napari_atomlens.read` reads (its first image), or an array
        (H, W) or (T, H, W).
    model : str
        Name or path of a model.
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    frames : sequence of int, optional
        Which frames; all by default.
    params : AnalysisParams, optional
        Everything else; `model` is ignored when given.
    keep_maps : bool
        Keep the probability and unfamiliar maps; those of long movies go to a temporary
        zarr store on disk, so that memory does not grow with the movie.
    progress : callable, optional
        Called with (frames done, frames in all).
    cancelled : callable, optional
        Asked between frames; what is finished is returned.

    Returns
    -------
    Result
    """
    chosen = params or AnalysisParams(model=model)
    name, technique = "array", ""
    if isinstance(source, (str, Path)):
        from napari_atomlens.io.formats.readers import read

        technique = technique_of(source)

        images = read(source)
        source_image = images[0]
        name, data = Path(source).name, source_image.data
        if pixel_size_nm is None:
            pixel_size_nm = source_image.pixel_size_nm
    else:
        data = source
    size = check_pixel_size(pixel_size_nm)
    movie = as_stack(data)
    order = list(range(movie.shape[0])) if frames is None else [int(f) for f in frames]
    maps = MapStore(len(order)) if keep_maps else None
    results: list[FrameResult] = []
    for result in analyze_frames(
        movie, chosen, pixel_size_nm=size, frames=order, cancelled=cancelled, technique=technique
    ):
        if maps is not None:
            maps.put(len(results), result)
        # the maps are the bulk of a frame: memory must not grow with the movie
        result.probabilities = result.unfamiliar = np.zeros((0, 0), np.float16)
        results.append(result)
        if progress:
            progress(len(results), len(order))
    return collect(results, chosen, size, movie, name, maps)


@dataclass
class SurfaceSites:
    """Sites of a surface, found in a raw STM scan.

    Attributes
    ----------
    sites : pandas.DataFrame
        Atoms table; after a search for anomalies with the columns of
        :func:`napari_atomlens.find_anomalies`, vacant sites included.
    spacing_px : float
        Distance of nearest sites.
    flat : ndarray, shape (H, W)
        The levelled scan.
    messages : list of str
    provenance : dict
    """

    sites: pd.DataFrame
    spacing_px: float
    flat: np.ndarray
    messages: list[str]
    provenance: dict[str, Any]


def find_on_surface(
    image: Any,
    pixel_size_nm: float | tuple[float, float] | None = None,
    anomalies: Any = None,
    *,
    model: str = "auto",
    cancelled: Callable[[], bool] | None = None,
) -> SurfaceSites:
    """Level a raw STM scan, find its sites, and flag charge clouds unlike the others.

    Parameters
    ----------
    image : array-like, shape (H, W)
    pixel_size_nm : float or tuple of float, optional
    anomalies : AnomalyParams, optional
        How the unusual is told (:func:`napari_atomlens.find_anomalies`); not at all without.
    model : str
    cancelled : callable, optional
        Asked between the stages; where it says so, what is left is left out.

    Returns
    -------
    SurfaceSites

    Raises
    ------
    ImageError, ParameterError, ModelError
        If the scan, a parameter or the model cannot be used.
    """
    from napari_atomlens.stm.background import bridged
    from napari_atomlens.stm.levelling import level

    flat = bridged(level(image))
    result = analyze(flat, model, pixel_size_nm, keep_maps=anomalies is not None)
    sites, messages = result.atoms, list(result.messages)
    if anomalies is not None and len(sites) and not (cancelled and cancelled()):
        from napari_atomlens.contours.report import describe_all

        columns = 1 - np.asarray(result.probabilities[0][0], np.float32)
        size = check_pixel_size(pixel_size_nm)
        for _, _, table in describe_all(
            flat, sites, columns, pixel_size_nm=size, params=anomalies, cancelled=cancelled
        ):
            sites = sites if table is None else table
    return SurfaceSites(sites, result.spacing_px, flat, messages, result.provenance)


class MapStore:
    """Probability and unfamiliar maps of many frames: in memory while small, else on disk.

    On disk they are zarr arrays, one chunk per frame, in a temporary folder that goes
    when the store is no longer used.
    """

    in_memory_bytes = 256 << 20

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.probabilities: Any = None
        self.unfamiliar: Any = None

    def _open(self, result: FrameResult) -> None:
        shapes = [(self.n_frames, *m.shape) for m in (result.probabilities, result.unfamiliar)]
        if 2 * np.prod(shapes[0]) <= self.in_memory_bytes:
            self.probabilities, self.unfamiliar = (np.zeros(s, np.float16) for s in shapes)
            return
        import tempfile

        import zarr

        folder = tempfile.TemporaryDirectory(prefix="atomlens-", ignore_cleanup_errors=True)
        self._folder = folder
        self.probabilities, self.unfamiliar = (
            zarr.create_array(f"{folder.name}/{n}", shape=s, chunks=(1, *s[1:]), dtype="float16")
            for n, s in zip(("probabilities", "unfamiliar"), shapes, strict=True)
        )
        # the folder must live as long as the arrays that read it
        weakref.finalize(self.probabilities, folder.cleanup)

    def put(self, index: int, result: FrameResult) -> None:
        """Store the maps of one frame."""
        if self.probabilities is None:
            self._open(result)
        self.probabilities[index] = result.probabilities
        self.unfamiliar[index] = result.unfamiliar

    def ordered(self, order: list[int]) -> tuple[Any, Any]:
        """Maps of the finished frames in the given order."""
        if order == list(range(self.n_frames)):
            return self.probabilities, self.unfamiliar
        return np.asarray(self.probabilities)[order], np.asarray(self.unfamiliar)[order]


def collect(
    results: list[FrameResult],
    params: AnalysisParams,
    pixel_size_nm: tuple[float, float] | None,
    movie: Any,
    name: str = "array",
    maps: MapStore | None = None,
) -> Result:
    """Join the results of frames, in the order of the frames, with their provenance."""
    from napari_atomlens.segmentation.runtime import half_precision
    from napari_atomlens.segmentation.zoo import find_model

    order = sorted(range(len(results)), key=lambda i: results[i].frame)
    results = [results[i] for i in order]
    info = find_model(results[0].model or params.model if results else params.model)
    reason = next((r.model_reason for r in results if r.model_reason), "")

    def join(which: str) -> pd.DataFrame:
        parts = [t for r in results if len(t := getattr(r, which))]
        return pd.concat(parts, ignore_index=True) if parts else tables.empty(which)

    seconds: dict[str, float] = {}
    for r in results:
        for stage, s in r.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + s
    shape = tuple(int(s) for s in movie.shape[1:3])
    probabilities: Any = np.zeros((0, len(info.classes), *shape), np.float16)
    unfamiliar: Any = np.zeros((0, *shape), np.float16)
    if maps is not None and results:
        probabilities, unfamiliar = maps.ordered(order)
    messages = [
        f"Frame {r.frame}: {r.message}" if movie.shape[0] > 1 else r.message
        for r in results
        if r.message
    ]
    if reason and info.name != "universal":
        messages.insert(0, reason)
    return Result(
        atoms=join("atoms"),
        contours=join("contours"),
        outlines={r.frame: r.outlines for r in results},
        probabilities=probabilities,
        unfamiliar=unfamiliar,
        classes=info.classes,
        frames=[r.frame for r in results],
        provenance={
            "atomlens": __version__,
            "parameters": as_dict(params),
            "model": info.name,
            "model_chosen": reason or "given",
            "precision": "bfloat16" if half_precision() else "float32",
            "model_sha256": info.file_hash(),
            "image": name,
            "image_sha256": image_hash(movie[results[0].frame]) if results else "",
            "image_shape": [int(s) for s in movie.shape],
            "pixel_size_nm": pixel_size_nm,
            "window": max((r.window for r in results), default=1),
            "spacing_px": {str(r.frame): r.spacing_px for r in results},
        },
        messages=messages,
        seconds=seconds,
    )
