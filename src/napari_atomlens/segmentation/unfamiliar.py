"""Where the image is unlike anything that the network was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as nnf


def unfamiliar_map(soft: torch.Tensor, centre: torch.Tensor, kinds: Sequence[int]) -> torch.Tensor:
    """How far the network's two answers disagree, smoothed over a few columns.

    Two heads answer the same question in different ways: the classes say which pixels
    belong to a column, the centre peaks say where columns are. On familiar images they
    agree and are sure of themselves: every covered area holds a peak. Where they do not,
    or where the classes are undecided over an area rather than along outlines, the image
    is unlike the training images. This costs nothing next to the network.

    Parameters
    ----------
    soft : torch.Tensor, shape (n_classes, h, w)
        Class probabilities at the network's sampling.
    centre : torch.Tensor, shape (h, w)
        Height of the centre peaks.
    kinds : sequence of int
        Numbers of the classes that are columns.

    Returns
    -------
    torch.Tensor of float32, shape (h, w)
        0 familiar, 1 unfamiliar.
    """
    columns = soft[list(kinds)].sum(0)
    # area of the peak map under a perfect peak of sigma 1.3 px is 10.6 px
    blocks = nnf.avg_pool2d(
        torch.stack([columns * (1 - columns), columns, centre])[None],
        4, ceil_mode=True, count_include_pad=False,
    )  # fmt: skip
    t = torch.arange(-6.0, 7.0)
    kernel = torch.exp(-0.5 * (t / 2.5) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    pad = (6, 6)
    for shape, sides in (((1, -1), (*pad, 0, 0)), ((-1, 1), (0, 0, *pad))):
        blocks = nnf.conv2d(
            nnf.pad(blocks, sides, mode="replicate"), kernel.reshape(3, 1, *shape), groups=3
        )
    doubt, cover, peaks = blocks[0]
    # outlines alone make doubt a fixed small part of the cover: 0.11-0.17 on lattices
    undecided = torch.clamp((doubt / (cover + 0.02) - 0.28) / 0.15, 0, 1)
    # a column covers at most some 90 px at the network's sampling
    bare = torch.clamp((0.12 - peaks / (cover + 1e-3)) / 0.04, 0, 1)
    seen = torch.clamp(cover / 0.03 - 0.5, 0, 1)
    score = torch.maximum(undecided, bare) * seen
    coarse = score[None, None]
    return nnf.interpolate(coarse, size=centre.shape, mode="bilinear", align_corners=False)[0, 0]
