"""Prediction: resample to the network's sampling, predict in tiles, map back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as nnf

from napari_atomlens import arrays
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.forward import (
    TILE_PX,
    _shrink,
    network_size,
    resample,
    run_network,
)
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import grey_range, remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import frame_and_mask
from napari_atomlens.segmentation.probabilities import LARGE, Probabilities
from napari_atomlens.segmentation.scale import find_spacing
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.tiles import predict_tiled
from napari_atomlens.segmentation.unfamiliar import unfamiliar_map
from napari_atomlens.segmentation.zoo import ModelInfo, columns_among, find_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def predict_classes(
    image: ArrayLike,
    model: str | ModelInfo = "auto",
    spacing_px: float = 0.0,
    *,
    dark: bool = False,
    tile_px: int = TILE_PX,
    progress: ProgressLike = None,
) -> Probabilities:
    """Class probabilities of one frame.

    Parameters
    ----------
    image : array-like, shape (H, W)
        Any real number type; what was not recorded (NaN, masks, filled lines) is bridged.
    model : str or ModelInfo
        Name or path of a model; "auto" takes the universal one.
    spacing_px : float
        Distance between nearest columns in pixels; 0 finds it in the image.
    dark : bool
        Columns are darker than what lies between them; minus the grey values are looked at.
    tile_px : int
        Side of the tiles, at the network's sampling.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    Probabilities

    Raises
    ------
    ImageError, ModelError
        If the image or the model cannot be used.
    CalibrationError
        If the spacing cannot be found in the image.
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> probabilities.maps.shape, probabilities.classes
    ((4, 96, 96), ('background', 'column', 'bright column', 'contamination'))
    """
    info = model if isinstance(model, ModelInfo) else find_model(model)
    watch, start = as_progress(progress), time.perf_counter()
    frame, there = frame_and_mask(image)
    frame = remove_hot_pixels(frame)
    if dark:
        frame = remove_hot_pixels(-frame)
    runtime.prepare()
    net = load_network(info)
    seconds = {"prepare": time.perf_counter() - start}
    start = time.perf_counter()
    part = frame if there is None else np.ascontiguousarray(frame[arrays.box_of(there)])
    spacing = check_spacing(spacing_px, frame.shape) or find_spacing(part, info, progress=watch)
    seconds["scale"] = time.perf_counter() - start
    start = time.perf_counter()
    size = network_size(frame.shape, spacing, info.preferred_spacing_px)
    if max(frame.size, size[0] * size[1]) > LARGE:
        result = _segment_large(frame, info, net, spacing, size, seconds, watch, there)
        result.dark = dark
        _leave_empty(result)
        seconds["network"] = time.perf_counter() - start
        return result
    small = resample(torch.from_numpy(frame)[None], size)
    grey = _grey_of_recorded(small, there)
    logits = run_network(net, two_views(small, grey), tile_px, watch=watch)[0]
    soft = torch.softmax(logits[:-1], 0)
    centre = torch.sigmoid(logits[-1])
    del small, logits  # of large images every copy counts
    strange = unfamiliar_map(soft, centre, columns_among(info.roles))
    maps = _shrink(soft, frame.shape)
    result = Probabilities(
        maps=maps.to(torch.float16).numpy(),
        classes=info.classes,
        centre=centre.numpy(),
        soft=soft.numpy(),
        strange=strange.numpy(),
        unfamiliar=_shrink(strange[None], frame.shape)[0].to(torch.float16).numpy(),
        zoom=(size[0] / frame.shape[0], size[1] / frame.shape[1]),
        spacing_px=spacing,
        frame=frame,
        seconds=seconds,
        roles=info.roles,
        recorded=there,
        dark=dark,
    )
    _leave_empty(result)
    seconds["network"] = time.perf_counter() - start
    return result


def _leave_empty(probabilities: Probabilities) -> None:
    """Nothing is a column where nothing was recorded."""
    if probabilities.recorded is not None:
        missing = ~probabilities.recorded
        probabilities.maps[:, missing] = 0
        probabilities.maps[probabilities.roles.index("background"), missing] = 1


def _grey_of_recorded(
    small: torch.Tensor, there: np.ndarray | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Level and scale of the grey values of what was recorded, of a resampled frame (1, h, w)."""
    if there is None:
        return grey_range(small)
    mask = nnf.interpolate(
        torch.from_numpy(there.astype(np.float32))[None, None], size=small.shape[-2:]
    )
    known = small[mask[:, 0] > 0.5]
    return grey_range(known[None] if len(known) else small)


def _segment_large(
    frame: np.ndarray,
    info: ModelInfo,
    net: ColumnNet,
    spacing: float,
    size: tuple[int, int],
    seconds: dict[str, float],
    watch: Progress,
    there: np.ndarray | None,
) -> Probabilities:
    """Class probabilities of a frame that is too large to be held several times."""
    small = resample(torch.from_numpy(frame)[None], size)[0]
    grey = _grey_of_recorded(small[None], there)
    kinds = columns_among(info.roles)
    soft, strange, candidates = predict_tiled(net, small, kinds, grey=grey, watch=watch)
    del small

    def full(one: np.ndarray) -> np.ndarray:
        if one.shape == frame.shape:
            return one
        return _shrink(torch.from_numpy(one).float()[None], frame.shape)[0].half().numpy()

    maps = soft
    if size != frame.shape:
        maps = np.empty((len(soft), *frame.shape), np.float16)
        for k, one in enumerate(soft):
            maps[k] = full(one)
    nothing = np.zeros((0, 0), np.float32)
    return Probabilities(
        maps=maps, classes=info.classes, centre=nothing, soft=nothing[None], strange=nothing,
        unfamiliar=full(strange), zoom=(size[0] / frame.shape[0], size[1] / frame.shape[1]),
        spacing_px=spacing, frame=frame, seconds=seconds, candidates=candidates, roles=info.roles,
        recorded=there,
    )  # fmt: skip
