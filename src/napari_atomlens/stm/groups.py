"""Unsupervised classes of defects, from what the networks say round each of them.

The combined outputs of the network in rings round every defect make a vector that does not
depend on the direction of the rows; mean-shift with an estimated bandwidth groups them, so
that kinds that nobody has named form classes of their own.

References
----------
M. Ziatdinov et al., arXiv:2002.04716: mean-shift over outputs of networks on H-Si(100).
D. Comaniciu, P. Meer, IEEE Trans. Pattern Anal. Mach. Intell. 24, 603 (2002): mean-shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy

from napari_atomlens.contours.classes import numbered_by_size
from napari_atomlens.errors import ParameterError
from napari_atomlens.image import as_pixels
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.segmentation.probabilities import Probabilities
from napari_atomlens.tables import check_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: Edges of the rings round a defect, in pixels of the network (8 between dimer rows).
RINGS_PX = (0.0, 2.5, 5.0, 8.0)


@dataclass(frozen=True)
class GroupParams(Params):
    """How defects are grouped.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.GroupParams(quantile=0.2).smallest
    2
    """

    quantile: float = param(
        0.1, "share of pairs that are neighbours, for the bandwidth: less makes more classes",
        ge=0.01, le=0.9,
    )  # fmt: skip
    smallest: int = param(2, "fewest defects of a class; others belong to none", ge=1, le=100000)
    seed: int = param(0, "seed of what is drawn by chance", ge=0, le=2**31 - 1)


@dataclass(frozen=True)
class DefectGroups:
    """Defects in classes.

    Attributes
    ----------
    label : ndarray of int, shape (n,)
        Class of every defect, 0 the largest; -1 belongs to none.
    features : ndarray, shape (n, k)
    bandwidth : float
    table : pandas.DataFrame
        One row per class: ``group``, ``count``, ``kind`` (the most frequent name),
        ``purity`` (its share), ``extended`` (share of extended defects).
    gallery : list of ndarray, each (m, s, s)
        Patches of up to 12 defects of each class, typical ones first.
    """

    label: np.ndarray
    features: np.ndarray
    bandwidth: float
    table: pd.DataFrame
    gallery: list[np.ndarray]


def ring_features(probabilities: Probabilities, defects: pd.DataFrame) -> np.ndarray:
    """Combined network outputs in rings round each defect, (n, classes x rings).

    Square roots of the mean probabilities: Euclidean distance between them is that of
    Hellinger, which does not let the surest class drown the rest.
    """
    stack = np.concatenate([probabilities.soft, probabilities.centre[None]])
    zoom = np.asarray(probabilities.zoom)
    at = (defects[["y_px", "x_px"]].to_numpy(float) + 0.5) * zoom - 0.5
    reach = int(np.ceil(RINGS_PX[-1]))
    offset = np.arange(-reach, reach + 1)
    dy, dx = (v.ravel() for v in np.meshgrid(offset, offset, indexing="ij"))
    ring = np.digitize(np.hypot(dy, dx), RINGS_PX) - 1
    inside = ring < len(RINGS_PX) - 1
    dy, dx, ring = dy[inside], dx[inside], ring[inside]
    out = np.zeros((len(at), len(RINGS_PX) - 1, len(stack)))
    for k, channel in enumerate(stack):
        values = scipy.ndimage.map_coordinates(
            channel, [at[:, :1] + dy[None], at[:, 1:] + dx[None]], order=1, mode="nearest"
        )
        for r in range(len(RINGS_PX) - 1):
            out[:, r, k] = values[:, ring == r].mean(1)
    return np.sqrt(np.clip(out, 0, 1)).reshape(len(at), out.shape[1] * out.shape[2])


def mean_shift(
    vectors: np.ndarray, params: GroupParams = GroupParams()
) -> tuple[np.ndarray, float]:
    """Group vectors by mean-shift; classes by size, -1 for those below the smallest size.

    Raises
    ------
    ParameterError
        If there are too few vectors, or more than mean-shift can treat.
    """
    from sklearn.cluster import MeanShift, estimate_bandwidth

    n = len(vectors)
    if n < 4:
        raise ParameterError(f"Classes need at least four defects, but there are {n}.")
    if n > 20000:
        raise ParameterError(f"Mean-shift takes too long for {n} defects; choose some of them.")
    if not np.isfinite(vectors).all():
        raise ParameterError("Classes need finite features.")
    width = float(
        estimate_bandwidth(vectors, quantile=params.quantile, n_samples=min(n, 1500),
                           random_state=params.seed)
    )  # fmt: skip
    width = max(width, 1e-6)
    label = MeanShift(bandwidth=width, bin_seeding=n > 3000).fit_predict(vectors)
    count = np.bincount(label)
    return numbered_by_size(np.where(count[label] >= params.smallest, label, -1)), width


def group_defects(
    image: ArrayLike,
    probabilities: Probabilities,
    defects: pd.DataFrame,
    params: GroupParams = GroupParams(),
) -> DefectGroups:
    """Group the defects of a scan; step edges, which have no centre, are left out (-1).

    Parameters
    ----------
    image : array-like, shape (H, W)
        For the galleries.
    probabilities : Probabilities
    defects : pandas.DataFrame
        As :func:`napari_atomlens.stm.silicon.analyze_silicon` gives them.
    params : GroupParams

    Examples
    --------
    >>> import napari_atomlens as al
    >>> scan = al.simulate_silicon(al.SiliconParams(size_px=192, defects_per_nm2=0.1)).image
    >>> found = al.analyze_silicon(scan, pixel_size_nm=0.08)
    >>> groups = al.group_defects(found.terraces.flat, found.probabilities, found.defects)
    >>> len(groups.label) == len(found.defects)
    True
    """
    params = of_kind(GroupParams, params)
    defects = check_table(defects, ("y_px", "x_px", "kind"), "defects", places=False)
    if not isinstance(probabilities, Probabilities):
        raise ParameterError("Defects are grouped by the Probabilities in which they were found.")
    local = (defects["kind"] != "step edge").to_numpy()
    features = np.full(
        (len(defects), (probabilities.soft.shape[0] + 1) * (len(RINGS_PX) - 1)), np.nan
    )
    features[local] = ring_features(probabilities, defects[local])
    label = np.full(len(defects), -1)
    label[local], width = mean_shift(features[local], params)
    rows, gallery = [], []
    kinds = defects["kind"].to_numpy()
    extended = (
        defects["extended"].to_numpy(bool) if "extended" in defects else np.zeros(len(label), bool)
    )
    for g in range(label.max() + 1):
        members = np.flatnonzero(label == g)
        names, count = np.unique(kinds[members].astype(str), return_counts=True)
        rows.append((g, len(members), names[count.argmax()], count.max() / len(members),
                     float(extended[members].mean())))  # fmt: skip
        middle = np.median(features[members], axis=0)
        typical = members[np.argsort(np.linalg.norm(features[members] - middle, axis=1))][:12]
        gallery.append(patches(image, defects.iloc[typical], 1.6 * probabilities.spacing_px))
    table = pd.DataFrame(rows, columns=["group", "count", "kind", "purity", "extended"])
    return DefectGroups(label, features, width, table, gallery)


def patches(image: ArrayLike, places: pd.DataFrame, radius_px: float) -> np.ndarray:
    """Patches (n, s, s) of an image round places, reflected at its borders."""
    z = as_pixels(image).astype(float)
    r = max(2, int(np.ceil(radius_px)))
    padded = np.pad(z, r, mode="reflect" if min(z.shape) > r else "edge")
    at = np.rint(places[["y_px", "x_px"]].to_numpy(float)).astype(int)
    at = np.clip(at, 0, np.asarray(z.shape) - 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * r + 1, 2 * r + 1))
    return np.array(views[at[:, 0], at[:, 1]])
