"""Prediction: resample to the network's sampling, predict in tiles, map back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional as nnf

from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.candidates import Candidates
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import as_frame
from napari_atomlens.segmentation.zoo import ModelInfo, find_model, load_network

#: Side of the inner part of a tile, and reflected border, in pixels of the network.
TILE_PX, BORDER_PX = 512, 16
#: Images with more pixels are done window by window: memory must not follow their size.
LARGE = 5000**2


@dataclass
class Probabilities:
    """What the network says of one frame.

    Attributes
    ----------
    maps : ndarray of float16, shape (n_classes, H, W)
        Class probabilities at the size of the input; they sum to one.
    classes : tuple of str
        Names of the classes, background first.
    centre : ndarray of float32, shape (h, w)
        Height of the peak at each column's centre (0 to 1), at the network's sampling;
        of a large image it is not kept, nor are `soft` and `strange` (all are empty).
    soft : ndarray of float32, shape (n_classes, h, w)
        Class probabilities at the network's sampling.
    strange : ndarray of float32, shape (h, w)
        The unfamiliar-region map at the network's sampling.
    unfamiliar : ndarray of float16, shape (H, W)
        0 where the image looks like the training images, 1 where it does not.
    zoom : tuple of float
        Network pixels per image pixel, (y, x).
    spacing_px : float
        Distance between nearest columns that the image was resampled for.
    frame : ndarray of float32, shape (H, W)
        The frame without hot pixels, as the refinement wants it.
    """

    maps: np.ndarray
    classes: tuple[str, ...]
    centre: np.ndarray
    soft: np.ndarray
    strange: np.ndarray
    unfamiliar: np.ndarray
    zoom: tuple[float, float]
    spacing_px: float
    frame: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    candidates: Candidates | None = None


def resample(frame: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resample (N, H, W) to `size`; pixel centres keep (i + 0.5) / n."""
    if tuple(frame.shape[-2:]) == tuple(size):
        return frame
    down = size[0] < frame.shape[-2]
    return nnf.interpolate(
        frame[:, None],
        size=size,
        mode="bilinear" if down else "bicubic",
        antialias=down,
        align_corners=False,
    )[:, 0]


@torch.inference_mode()
def run_network(
    net: ColumnNet, views: torch.Tensor, tile_px: int = TILE_PX, border_px: int = BORDER_PX
) -> torch.Tensor:
    """Run the network over (N, 2, H, W) views with a reflected border, in tiles.

    Returns
    -------
    torch.Tensor, shape (N, n_classes + 1, H, W)
        Logits. Tiles overlap by the receptive field, so that tiling changes nothing.
    """
    n, _, h, w = views.shape
    views = views.to(net.head.weight.dtype)
    unit = net.multiple
    bottom, right = (-h) % unit, (-w) % unit
    border = min(border_px, (h - 1) // unit * unit, (w - 1) // unit * unit)
    # reflection needs less padding than the side has pixels
    padded = nnf.pad(
        views, (border, min(border + right, w - 1), border, min(border + bottom, h - 1)), "reflect"
    )
    fill = (0, (-padded.shape[3]) % unit, 0, (-padded.shape[2]) % unit)
    padded = nnf.pad(padded, fill, "replicate").contiguous(memory_format=torch.channels_last)
    height, width = padded.shape[2:]
    if max(height, width) <= tile_px + 2 * net.halo:
        return net(padded)[:, :, border : border + h, border : border + w].float()
    out = torch.empty(n, net.n_classes + 1, h, w)
    for y in range(0, h, tile_px):
        for x in range(0, w, tile_px):
            y1, x1 = min(y + tile_px, h), min(x + tile_px, w)
            top = max(0, (y + border - net.halo) // unit * unit)
            left = max(0, (x + border - net.halo) // unit * unit)
            low = min(height, -(-(y1 + border + net.halo) // unit) * unit)
            far = min(width, -(-(x1 + border + net.halo) // unit) * unit)
            piece = net(padded[:, :, top:low, left:far])
            out[:, :, y:y1, x:x1] = piece[
                :, :, y + border - top : y1 + border - top, x + border - left : x1 + border - left
            ]
    return out


def network_size(shape: tuple[int, int], spacing_px: float, preferred_px: float) -> tuple[int, int]:
    """Size of the resampled frame; a change of scale under 8 % is not worth resampling."""
    zoom = preferred_px / spacing_px
    if abs(np.log(zoom)) < 0.08:
        return shape
    return max(16, round(shape[0] * zoom)), max(16, round(shape[1] * zoom))


def segment(
    image: Any,
    model: str | ModelInfo = "auto",
    spacing_px: float = 0.0,
    *,
    tile_px: int = TILE_PX,
) -> Probabilities:
    """Class probabilities of one frame.

    Parameters
    ----------
    image : array-like, shape (H, W)
        Any real number type; NaN and infinite pixels are bridged.
    model : str or ModelInfo
        Name or path of a model; "auto" takes the universal one.
    spacing_px : float
        Distance between nearest columns in pixels; 0 finds it in the image.

    Returns
    -------
    Probabilities

    Raises
    ------
    ImageError, ModelError
        If the image or the model cannot be used.
    CalibrationError
        If the spacing cannot be found in the image.
    """
    from napari_atomlens.segmentation.scale import check_spacing, find_spacing
    from napari_atomlens.segmentation.unfamiliar import unfamiliar_map

    info = model if isinstance(model, ModelInfo) else find_model(model)
    start = time.perf_counter()
    frame = remove_hot_pixels(as_frame(image))
    runtime.prepare()
    net = load_network(info)
    seconds = {"prepare": time.perf_counter() - start}
    start = time.perf_counter()
    spacing = check_spacing(spacing_px, frame.shape) or find_spacing(frame, info)
    seconds["scale"] = time.perf_counter() - start
    start = time.perf_counter()
    size = network_size(frame.shape, spacing, info.preferred_spacing_px)
    if max(frame.size, size[0] * size[1]) > LARGE:
        result = _segment_large(frame, info, net, spacing, size, seconds)
        seconds["network"] = time.perf_counter() - start
        return result
    small = resample(torch.from_numpy(frame)[None], size)
    logits = run_network(net, two_views(small), tile_px)[0]
    soft = torch.softmax(logits[:-1], 0)
    centre = torch.sigmoid(logits[-1])
    del small, logits  # of large images every copy counts
    strange = unfamiliar_map(soft, centre)
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
    )
    seconds["network"] = time.perf_counter() - start
    return result


def _segment_large(
    frame: np.ndarray,
    info: ModelInfo,
    net: ColumnNet,
    spacing: float,
    size: tuple[int, int],
    seconds: dict[str, float],
) -> Probabilities:
    """Class probabilities of a frame that is too large to be held several times."""
    from napari_atomlens.segmentation.tiles import predict_tiled

    small = resample(torch.from_numpy(frame)[None], size)[0]
    soft, strange, candidates = predict_tiled(net, small)
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
        spacing_px=spacing, frame=frame, seconds=seconds, candidates=candidates,
    )  # fmt: skip


def _shrink(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return nnf.interpolate(x[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
