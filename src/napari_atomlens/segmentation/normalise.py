"""Robust normalisation, per frame: no pixel, however hot, changes what the network sees.

The network gets two views of a frame at its preferred sampling: the intensity scaled by
robust percentiles of the whole frame, and the intensity relative to its surroundings
(mean and spread within a few lattice spacings), which is blind to background steps,
ramps and thickness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens import arrays

if TYPE_CHECKING:
    import torch

#: Width in pixels, at the network's sampling, of what counts as the surroundings.
SURROUNDINGS_PX = 16


def remove_hot_pixels(image: np.ndarray) -> np.ndarray:
    """Replace isolated hot pixels by the median of their neighbours.

    A pixel is hot when it stands more than 6 robust standard deviations above the median
    of its 3 x 3 neighbourhood and is more than 1.9 times as high as the next highest of
    its neighbours, and 1.7 times as high as nearly all other pixels. A column wider
    than 0.8 px (sigma) never looks like that.

    Parameters
    ----------
    image : ndarray of float, shape (H, W)

    Returns
    -------
    ndarray of float, shape (H, W)
        A copy where there was a hot pixel, else `image` itself.
    """
    if min(image.shape) < 3:
        return image
    sample = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    # up to 25 hot pixels, and up to one in 2,000, do not count as what is high here
    level, high = np.quantile(sample, [0.5, 1 - max(5e-4, min(0.02, 25 / sample.size))])
    padded = np.pad(image, 1, mode="reflect")
    h, w = image.shape
    # only local maxima can be hot: few pixels are left for the dear median
    neighbours = np.full_like(image, -np.inf)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            if (dy, dx) != (1, 1):
                np.maximum(neighbours, padded[dy : dy + h, dx : dx + w], out=neighbours)
    # at low dose single counts stand alone in empty surroundings: they are not hot
    floor = 1.7 * max(high - level, 0)
    rows, cols = np.nonzero(image - level > np.maximum(1.9 * (neighbours - level), floor))
    if not len(rows):
        return image
    residual = image - neighbours
    spread = arrays.spread(residual)
    spread = max(spread, 1e-9 * max(abs(level), 1.0))
    around = np.stack(
        [padded[rows + dy, cols + dx] for dy in (0, 1, 2) for dx in (0, 1, 2) if (dy, dx) != (1, 1)]
    )
    median = np.median(around, axis=0)
    hot = image[rows, cols] - np.maximum(neighbours[rows, cols], median) > 6 * spread
    if not hot.any():
        return image
    out = image.copy()
    out[rows[hot], cols[hot]] = median[hot]
    return out


def grey_range(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Level and scale of the global view, each of shape (N, 1, 1)."""
    import torch

    flat = images.reshape(len(images), -1)
    sample = flat[:, :: max(1, flat.shape[1] // 16384)]
    low, high = torch.quantile(sample, torch.tensor([0.02, 0.98]), dim=1)[:, :, None, None]
    return low, torch.clamp(high - low, min=1e-12)


def two_views(
    images: torch.Tensor, grey: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Turn images at the network's sampling into what the network sees.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (N, H, W)
    grey : tuple of torch.Tensor, optional
        :func:`grey_range` of the images that these are windows of.

    Returns
    -------
    torch.Tensor of float32, shape (N, 2, H, W)
        Globally and locally normalised intensity, softly limited.
    """
    import torch
    from torch.nn import functional as nnf

    _, h, w = images.shape
    low, scale = grey or grey_range(images)
    whole = (images - low) / scale

    # block means first: the surroundings are smooth, so that coarse is exact enough
    block = 4
    x = torch.clamp(whole, -1.0, 3.0)[:, None]
    pad = (0, (-w) % block, 0, (-h) % block)
    padded = nnf.pad(x, pad, mode="replicate")
    both = torch.cat([padded, padded**2], 1)
    coarse = nnf.avg_pool2d(both, block)
    sigma = SURROUNDINGS_PX / block
    radius = int(3 * sigma)
    t = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(2, 1, -1)
    for shape, padding in (((1, -1), (radius, radius, 0, 0)), ((-1, 1), (0, 0, radius, radius))):
        coarse = nnf.conv2d(
            nnf.pad(coarse, padding, mode="replicate"), kernel.reshape(2, 1, *shape), groups=2
        )
    smooth = nnf.interpolate(coarse, scale_factor=block, mode="bilinear", align_corners=False)
    mean, square = smooth[:, :1, :h, :w], smooth[:, 1:, :h, :w]
    spread = torch.sqrt(torch.clamp(square - mean**2, min=0) + 0.04**2)
    local = (torch.clamp(whole, -1.0, 6.0)[:, None] - mean) / spread
    # tanh-like limits keep bright atoms apart without letting them dominate
    return torch.cat([_soft(whole[:, None] * 2 - 1, 4.0), _soft(local, 5.0)], 1)


def _soft(x: torch.Tensor, limit: float) -> torch.Tensor:
    return limit * (x / limit).tanh()
