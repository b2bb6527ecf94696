"""The network over an image of any size: window by window, with what no window can know given.

A window is as much larger than the part it is used for as normalisation, network and
unfamiliar-region map reach; level and scale of the grey values are those of the whole
image. What comes out is that of the whole image but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_atomlens.progress import Progress
from napari_atomlens.segmentation.candidates import Candidates, find_candidates
from napari_atomlens.segmentation.forward import run_network
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import SURROUNDINGS_PX, grey_range, two_views
from napari_atomlens.segmentation.unfamiliar import unfamiliar_map

#: Side of the part of a window that is used, in pixels of the network.
PART_PX = 1024
#: Windows begin at multiples of this, so that blocks and poolings of windows coincide.
GRID_PX = 16


def own_part(
    places: np.ndarray, corner: tuple[int, int], side: int, shape: tuple[int, int]
) -> np.ndarray:
    """Which places lie in the part that begins at a corner; every place lies in one part."""
    first = np.array(corner)
    # what lies on the rim of the image belongs to the part at the rim
    low = np.where(first == 0, -np.inf, first - 0.5)
    high = np.where(first + side >= np.array(shape), np.inf, first + side - 0.5)
    inside: np.ndarray = np.all((places >= low) & (places < high), axis=1)
    return inside


def predict_tiled(
    net: ColumnNet,
    small: torch.Tensor,
    kinds: Sequence[int],
    part_px: int = PART_PX,
    watch: Progress = Progress(),
    grey: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[np.ndarray, np.ndarray, Candidates]:
    """Run the network over a resampled frame, window by window.

    Parameters
    ----------
    net : ColumnNet
    small : torch.Tensor of float32, shape (h, w)
        The frame at the network's sampling.
    kinds : sequence of int
        Numbers of the classes that are columns.
    part_px : int
        Side of the part of a window that is used, a multiple of `GRID_PX`.
    watch : Progress
        Asked before each window, and within, whether to stop.
    grey : tuple of torch.Tensor, optional
        Level and scale of the grey values; of the whole frame by default.

    Returns
    -------
    soft : ndarray of float16, shape (n_classes, h, w)
        Class probabilities.
    strange : ndarray of float16, shape (h, w)
        The unfamiliar-region map.
    candidates : Candidates
        Of the whole frame, sorted by row and column.
    """
    h, w = small.shape
    reach = 3 * SURROUNDINGS_PX + net.halo + 40
    margin = -(-reach // GRID_PX) * GRID_PX
    grey = grey_range(small[None]) if grey is None else grey
    soft = np.empty((net.n_classes, h, w), np.float16)
    strange = np.empty((h, w), np.float16)
    found: list[Candidates] = []
    for y in range(0, h, part_px):
        for x in range(0, w, part_px):
            y1, x1 = min(y + part_px, h), min(x + part_px, w)
            top, left = max(0, y - margin), max(0, x - margin)
            window = small[top : y1 + margin, left : x1 + margin].contiguous()
            logits = run_network(net, two_views(window[None], grey), watch=watch)[0]
            classes, centre = torch.softmax(logits[:-1], 0), torch.sigmoid(logits[-1])
            odd = unfamiliar_map(classes, centre, kinds)
            here = find_candidates(centre.numpy(), classes.numpy(), odd.numpy(), kinds)
            part = slice(y - top, y1 - top), slice(x - left, x1 - left)
            soft[:, y:y1, x:x1] = classes[:, *part].numpy()
            strange[y:y1, x:x1] = odd[part].numpy()
            places = here.positions + np.array([top, left])
            own = own_part(places, (y, x), part_px, (h, w))
            here = here[own]
            found.append(Candidates(places[own], here.height, here.columns, here.familiar))
    every = Candidates(
        *(np.concatenate([getattr(f, n) for f in found]) for n in Candidates.__dataclass_fields__)
    )
    return soft, strange, every[np.lexsort(every.positions.T[::-1])]
