"""Frames that an instrument hands over, without files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
from numpy.typing import ArrayLike

from napari_atomlens.errors import AtomLensError, ParameterError, printable
from napari_atomlens.image import Image, Pixels, as_stack
from napari_atomlens.params import of_kind
from napari_atomlens.runs.hooks import Event, Hooks, event_of
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import analyse_scan, warm_up


def stream(
    frames: Iterable[Image | ArrayLike],
    params: WatchParams = WatchParams(),
    *,
    pixel_size_nm: tuple[float, float] | None = None,
) -> Iterator[Event]:
    """Analyse frames as they come, without files: what an instrument hands over.

    Parameters
    ----------
    frames : iterable of array-like (H, W), or of images of :func:`napari_atomlens.read`
        STM or STEM.
    params : WatchParams
        What it says of files and folders has no meaning here.
    pixel_size_nm : tuple of float, optional
        (y, x), where a frame does not say.

    Yields
    ------
    Event
        "analysed", "rejected", or "failed" with a sentence; one for each frame.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> events = al.stream([image], al.WatchParams(analysis="atoms"))
    >>> [event.event for event in events]
    ['analysed']
    """
    if not isinstance(frames, Iterable):
        raise ParameterError("A stream takes frames one after the other, such as a list.")
    params = of_kind(WatchParams, params)
    if isinstance(frames, Pixels):  # a movie
        movie = as_stack(frames)
        frames = (movie[k] for k in range(len(movie)))
    with (
        closing(Hooks(params.hook, params.hook_limit_s)) as hooks,
        ThreadPoolExecutor(1) as telling,  # the next frame does not wait for a hook
    ):
        warm_up(params)
        for k, frame in enumerate(frames):
            name = printable(str(getattr(frame, "name", "") or f"frame {k}"))
            event = _event_of_frame(name, frame, params, pixel_size_nm)
            if hooks:
                telling.submit(hooks.tell, event)
            yield event


def _event_of_frame(
    name: str,
    frame: Image | ArrayLike,
    params: WatchParams,
    pixel_size_nm: tuple[float, float] | None,
) -> Event:
    start = time.perf_counter()
    size = getattr(frame, "pixel_size_nm", None) or pixel_size_nm
    data = frame if isinstance(frame, np.ndarray) else getattr(frame, "data", frame)
    try:
        scan = analyse_scan(np.asarray(data), size, params)
    except AtomLensError as error:
        return Event("failed", name, printable(str(error)))
    except Exception as error:  # an instrument hands over whatever it has; the next frame counts
        why = f"{name} could not be analysed: {type(error).__name__}: {error}"
        return Event("failed", name, printable(why))
    seconds = {**scan.seconds, "total": time.perf_counter() - start}
    return event_of(name, scan, params, seconds)
