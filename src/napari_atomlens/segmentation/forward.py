"""The network forward: resampling to its sampling and back, tiles with their border."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as nnf

from napari_atomlens.progress import Progress
from napari_atomlens.segmentation.network import ColumnNet

#: Side of the inner part of a tile, and reflected border, in pixels of the network.
TILE_PX, BORDER_PX = 512, 16


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
    net: ColumnNet,
    views: torch.Tensor,
    tile_px: int = TILE_PX,
    border_px: int = BORDER_PX,
    watch: Progress = Progress(),
) -> torch.Tensor:
    """Run the network over (N, 2, H, W) views with a reflected border, in tiles.

    Returns
    -------
    torch.Tensor, shape (N, n_classes + 1, H, W)
        Logits. Tiles overlap by the receptive field, so that tiling changes nothing.

    Raises
    ------
    StoppedError
        If it is asked to stop, before the next tile.
    """
    watch.check()
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
            watch.check()
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


def _shrink(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return nnf.interpolate(x[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
