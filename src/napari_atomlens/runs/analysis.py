"""The main job from end to end: image or movie in, tables out.

:func:`napari_atomlens.runs.frame.analyze_frames` is the one loop over frames; `analyze` keeps in
memory what it gives, movies, batches and watches write it to a folder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.io.projects.folder import no_maps
from napari_atomlens.params import merged
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs import provenance
from napari_atomlens.runs.frame import FrameResult, check_frames
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import Plan
from napari_atomlens.runs.result import Result
from napari_atomlens.runs.source import Given, Source, open_source
from napari_atomlens.runs.store import MapStore, row_of
from napari_atomlens.segmentation.zoo import find_model


def analyze(
    source: Given,
    model: str | None = None,
    pixel_size_nm: float | tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
    *,
    image: str | int | None = None,
    params: AnalysisParams | None = None,
    keep_maps: bool = True,
    progress: ProgressLike = None,
    **settings: object,
) -> Result:
    """Find every atom in an image or movie.

    Parameters
    ----------
    source : path, list of path, Image or array-like
        What :func:`napari_atomlens.read` reads or returned, or an array (H, W) or (T, H, W).
    model : str, optional
        Name or path of a model; "auto", the default, chooses one.
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    frames : sequence of int, optional
        Which frames; all by default.
    image : str or int, optional
        Name or number of the image of a file that holds several; the messages name it.
    params : AnalysisParams, optional
    keep_maps : bool
        Keep the probability and unfamiliar maps; those of long movies go to a temporary
        zarr store on disk, so that memory does not grow with the movie.
    progress : Progress or callable, optional
        Called with (frames done, frames in all); asked between frames whether to stop, what is
        finished is returned.
    **settings
        Parameters by name, such as ``spacing_px=12``; with `model` they win over `params`.

    Returns
    -------
    Result

    Raises
    ------
    AtomLensError
        One sentence, if the file, the image, a parameter or the model cannot be used.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> result = al.analyze(image, model="universal", spacing_px=10.0, pixel_size_nm=0.0142)
    >>> len(result.atoms) == len(result.contours)
    True
    >>> bool(result.bonds["length_nm"].between(0.13, 0.16).mean() > 0.9)
    True
    """
    named = settings if model is None else {"model": model, **settings}
    chosen = merged(AnalysisParams, params, named)
    opened = open_source(source, pixel_size_nm, image=image)
    order = check_frames(frames, opened.shape[0])
    return _in_memory(opened, chosen, order, as_progress(progress), keep_maps=keep_maps)


def _in_memory(
    source: Source, params: AnalysisParams, order: list[int], watch: Progress, *, keep_maps: bool
) -> Result:
    """Analyse frames and keep what they give."""
    maps = MapStore(len(order)) if keep_maps else None
    results: list[FrameResult] = []
    for result in loop.analyze_frames(
        source.movie, params, pixel_size_nm=source.pixel_size_nm, frames=order,
        technique=source.technique, progress=Progress(stop=lambda: watch.stopped),
    ):  # fmt: skip
        if maps is not None:
            maps.put(len(results), result)
        # the maps are the bulk of a frame: memory must not grow with the movie
        result.probabilities = result.unfamiliar = np.zeros((0, 0), np.float16)
        results.append(result)
        watch(len(results), len(order))
    plan = results[-1].plan if results else None
    if plan is None:  # stopped before the first frame, or a loop without plans
        plan = Plan(params, find_model(params.model), pixel_size_nm=source.pixel_size_nm)
    return collect(results, plan, source, maps)


def collect(
    results: list[FrameResult], plan: Plan, source: Source, maps: MapStore | None = None
) -> Result:
    """Join the results of frames, in the order of the frames, with their provenance.

    Parameters
    ----------
    results : list of FrameResult
    plan : Plan
        As it stood after the last frame.
    source : Source
    maps : MapStore, optional
        Maps in the order of `results`.
    """
    order = sorted(range(len(results)), key=lambda i: results[i].frame)
    results = [results[i] for i in order]
    rows = pd.DataFrame([row_of(r) for r in results])
    if not len(rows):
        rows = pd.DataFrame(columns=["frame", "spacing_px", "window", "message"])
    record = provenance.finished(provenance.begin(plan, source), rows)

    def join(which: str) -> pd.DataFrame:
        parts = [t for r in results if len(t := getattr(r, which))]
        return pd.concat(parts, ignore_index=True) if parts else tables.empty(which)

    seconds: dict[str, float] = {}
    for r in results:
        for stage, s in r.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + s
    probabilities, unfamiliar = no_maps(len(plan.model.classes), source.shape[1:])
    if maps is not None and results:
        probabilities, unfamiliar = maps.ordered(order)
    return Result(
        join("atoms"), join("contours"), {r.frame: r.outlines for r in results}, probabilities,
        unfamiliar, plan.model.classes, [r.frame for r in results], record,
        provenance.messages_of(record, rows), seconds,
    )  # fmt: skip
