"""The main job from end to end: image or movie in, tables out.

``analyze_frames`` is the one loop over frames; the widget, the command line and
``analyze`` are thin callers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_atomlens.image import as_stack, check_pixel_size
from napari_atomlens.io.formats.kinds import technique_of
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.result import Result, collect
from napari_atomlens.runs.store import MapStore

if TYPE_CHECKING:
    pass


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
    for result in loop.analyze_frames(
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
