"""Classes of sites: patches turned by the symmetry of the lattice, or descriptors.

Rotated copies of one defect must fall together. So every patch is cut in all orientations
that the symmetry of its site allows, the distance of two sites is the least over these, and
along the tree of least distances each site is turned to fit its neighbour. What is left is
an ordinary cloud of vectors for HDBSCAN, Gaussian mixtures or mean-shift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.contours.surroundings import nearest
from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.image import Pixels, Stack, as_stack
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.tables import check_table, chosen_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: So many sites at most are compared with each other; the rest with the nearest of them.
LANDMARKS = 2000
#: Principal components in which orientations are compared, and classes looked for at most.
ORBIT_COMPONENTS, MOST_COMPONENTS = 12, 12
#: Mean-shift takes too long beyond.
MOST_FOR_MEAN_SHIFT = 5000


@dataclass(frozen=True)
class ClassParams(Params):
    """How sites are put into classes.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.ClassParams(method="mixture", most=4).method
    'mixture'
    """

    method: Literal["hdbscan", "mixture", "mean-shift"] = param(
        "hdbscan", "hdbscan finds rare classes and outliers; mixture counts by BIC"
    )
    fold: int = param(
        0, "turns under which a site looks the same (3 for a monolayer); 0 finds it, 1 is none",
        ge=0, le=12,
    )  # fmt: skip
    mirror: bool = param(False, "mirror images are of one class too")
    radius: float = param(1.4, "radius of the patches", unit="nearest distances", ge=0.5, le=10)
    components: int = param(
        0, "principal components that are kept; 0 keeps those above noise", ge=0, le=100
    )
    smallest: int = param(0, "fewest sites of a class; 0 chooses", ge=0, le=100000)
    most: int = param(12, "most classes of a mixture", ge=1, le=60)
    seed: int = param(0, "seed of what is drawn by chance", ge=0, le=2**31 - 1)


@dataclass
class Classes:
    """Sites in classes.

    Attributes
    ----------
    label : ndarray of int, shape (n,)
        Class of each row, 0 the largest; -1 belongs to none.
    embedding : ndarray, shape (n, k)
        Principal components of the aligned patches or of the descriptors; NaN where a patch
        leaves the image.
    patches : ndarray, shape (n, s, s)
        Aligned patches; empty where descriptors were used.
    means : ndarray, shape (n_classes, s, s)
        Mean patch of each class.
    bic : dict of int to float
        Bayesian information criterion by number of classes (mixtures only).
    fold : int
        Symmetry that was used.
    """

    label: np.ndarray
    embedding: np.ndarray
    patches: np.ndarray
    means: np.ndarray
    bic: dict[int, float] = field(default_factory=dict)
    fold: int = 1


def _chosen(sites: pd.DataFrame, rows: ArrayLike | None) -> pd.DataFrame:
    """Return the sites that are classified, or say why they cannot be."""
    chosen = sites if rows is None else sites.iloc[_places(rows, len(sites))]
    if len(chosen) < 4:
        raise ParameterError(f"Classes need at least four sites, but there are {len(chosen)}.")
    return chosen


def classify_sites(
    image: ArrayLike | Pixels,
    sites: pd.DataFrame,
    params: ClassParams = ClassParams(),
    *,
    rows: ArrayLike | None = None,
) -> Classes:
    """Put sites into classes by the image round them.

    Parameters
    ----------
    image : array-like, shape (H, W) or (T, H, W)
    sites : pandas.DataFrame
        Needs ``frame``, ``y_px``, ``x_px``; where there is ``site_y_px``, ``site_x_px``, patches
        are centred on the site. All of them say what the lattice is like.
    params : ClassParams
    rows : ndarray of bool or int, optional
        Which of them to classify: those of one kind, or the flagged ones.

    Returns
    -------
    Classes
        In the order of the rows that were classified.

    Raises
    ------
    ImageError, ParameterError
        If there is nothing to classify or the image does not fit.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> len(al.classify_sites(image, atoms).label) == len(atoms)
    True
    """
    params = of_kind(ClassParams, params)
    sites = check_table(sites, ("frame", "y_px", "x_px"), "sites")
    stack, chosen = as_stack(image), _chosen(sites, rows)
    fold = params.fold or symmetry(chosen if "n_neighbours" in chosen else sites)
    spacing, angle = spacing_of(sites), lattice_angle(sites, fold)
    copies = oriented_patches(stack, chosen, fold, params, spacing, angle)
    whole = np.flatnonzero(np.isfinite(copies).all((1, 2, 3)))
    if len(whole) < 4:
        raise ImageError("The patches round these sites leave the image; choose a smaller radius.")
    scores = orbit_components(copies[whole], params)
    choice = alignment(scores, params.seed)
    patches = np.full((len(chosen), *copies.shape[2:]), np.nan)
    patches[whole] = copies[whole, choice]
    found = components(patches[whole].reshape(len(whole), -1), params)
    embedding = np.full((len(chosen), found.shape[1]), np.nan)
    embedding[whole] = found
    label = np.full(len(chosen), -1)
    label[whole], bic = cluster(embedding[whole], params)
    means = [patches[label == k].mean(0) for k in range(label.max() + 1)]
    return Classes(
        label, embedding, patches,
        np.stack(means) if means else np.zeros((0, *patches.shape[1:])), bic, fold,
    )  # fmt: skip


def classify_descriptors(
    table: pd.DataFrame, columns: list[str], params: ClassParams = ClassParams()
) -> Classes:
    """Put rows into classes by columns of a table, each in units of its robust spread.

    Raises
    ------
    ParameterError
        If a column is missing or fewer than four rows are complete.
    """
    missing = [c for c in columns if c not in table]
    if missing or not columns:
        raise ParameterError(f"There is no column {(missing or [''])[0]!r} to classify by.")
    values = table[columns].to_numpy(float)
    whole = np.flatnonzero(np.isfinite(values).all(1))
    if len(whole) < 4:
        raise ParameterError("Classes need at least four complete rows.")
    v = values[whole] - np.median(values[whole], axis=0)
    spread = arrays.spread(v, 0, centre=0.0)
    v = v / np.where(spread > 0, spread, np.maximum(v.std(0), 1e-300))
    from sklearn.decomposition import PCA

    kept = min(params.components or v.shape[1], v.shape[1], len(v))
    embedding = np.full((len(table), kept), np.nan)
    embedding[whole] = PCA(kept, random_state=params.seed).fit_transform(v)
    label = np.full(len(table), -1)
    label[whole], bic = cluster(embedding[whole], params)
    empty = np.zeros((0, 0, 0))
    return Classes(label, embedding, empty, empty, bic, 1)


def _centres(sites: pd.DataFrame) -> np.ndarray:
    place = sites[["y_px", "x_px"]].to_numpy(float)
    if "site_y_px" in sites:
        site = sites[["site_y_px", "site_x_px"]].to_numpy(float)
        place = np.where(np.isfinite(site), site, place)
    return place


def symmetry(sites: pd.DataFrame) -> int:
    """Number of turns under which the surroundings of most sites look the same.

    Taken from the number of neighbours (column ``n_neighbours`` where it is there).
    """
    if "n_neighbours" in sites:
        count = sites["n_neighbours"].to_numpy(int)
    else:
        distance, _, typical = nearest(_centres(sites), sites["frame"].to_numpy())
        count = (distance <= 1.25 * typical[:, None]).sum(1)
    common = int(np.bincount(count[count > 0]).argmax()) if (count > 0).any() else 1
    return common if common in (2, 3, 4, 6) else 1


def lattice_angle(sites: pd.DataFrame, fold: int) -> float:
    """Direction of the bonds (radians, counter-clockwise as drawn), modulo 2 pi / fold.

    ``attrs["angle_rad"]`` where it is there. Where the bonds of two sublattices point in
    opposite directions, as in a honeycomb, those of the more frequent kind count.
    """
    if "angle_rad" in sites.attrs:
        return float(sites.attrs["angle_rad"])
    if "kind" in sites and fold % 2:
        common = sites["kind"].astype(str).mode().iloc[0]
        first = (sites["kind"].astype(str) == common).to_numpy()
    else:
        first = np.ones(len(sites), bool)
    place = _centres(sites)
    distance, index, typical = nearest(place, sites["frame"].to_numpy())
    i, k = np.nonzero((distance <= 1.25 * typical[:, None]) & first[:, None])
    if not len(i) or fold < 2:
        return 0.0
    d = place[index[i, k]] - place[i]
    return float(np.angle(np.exp(1j * fold * np.arctan2(-d[:, 0], d[:, 1])).sum()) / fold)


def _places(rows: ArrayLike, n: int) -> np.ndarray:
    """Rows as places, whether they are given as a mask or as numbers."""
    array = np.asarray(rows)
    if array.ndim and (array.dtype == bool or array.dtype == object):
        if len(array) != n:
            raise ParameterError(f"The mask has {len(array)} rows, but there are {n} sites.")
        return np.flatnonzero(array.astype(bool))
    return chosen_rows(array, n)


def spacing_of(sites: pd.DataFrame) -> float:
    """Distance between nearest sites (px): ``attrs["spacing_px"]`` where it is there."""
    if "spacing_px" in sites.attrs:
        return float(sites.attrs["spacing_px"])
    _, _, typical = nearest(_centres(sites), sites["frame"].to_numpy())
    spacing = float(np.nanmedian(typical)) if np.isfinite(typical).any() else np.nan
    if not np.isfinite(spacing):
        raise ParameterError("A single site has no neighbours to take the scale from.")
    return spacing


def oriented_patches(
    stack: Stack,
    sites: pd.DataFrame,
    fold: int,
    params: ClassParams,
    spacing: float,
    angle: float,
) -> np.ndarray:
    """Patches in all orientations, (n, orientations, s, s); NaN where they leave the image.

    Sampled from the image once for each orientation, so that a turned patch has lost no more
    than any other. Pixels in the corners, which are not in the disc, are zero.
    """
    centre = _centres(sites)
    reach = params.radius * spacing
    radius = int(np.ceil(reach))
    # few pixels across are enough for a class, and PCA is quick
    step = max(1.0, 2 * radius / 32)
    axis = np.arange(-np.floor(radius / step), np.floor(radius / step) + 1) * step
    y, x = np.meshgrid(axis, axis, indexing="ij")
    disc = np.hypot(y, x) <= reach + 0.5
    turns = [
        (2 * np.pi * k / fold, m)
        for m in (False, *([True] if params.mirror else []))
        for k in range(fold)
    ]
    out = np.zeros((len(sites), len(turns), *y.shape), np.float32)
    frames = sites["frame"].to_numpy()
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        if not 0 <= frame < len(stack):
            raise ImageError(f"There is no frame {frame} in the image.")
        image = np.asarray(stack[int(frame)], float)
        image = np.where(np.isfinite(image), image, np.nanmean(image))
        if step > 1.5:
            image = scipy.ndimage.gaussian_filter(image, 0.4 * step)
        smooth = scipy.ndimage.spline_filter(image, order=3)
        h, w = image.shape
        for t, (turn, mirrored) in enumerate(turns):
            # patch axes along the lattice: u to the right along its bonds, v up
            u, v = x, (y if mirrored else -y)
            a = angle + turn
            dx, dy = u * np.cos(a) - v * np.sin(a), -(u * np.sin(a) + v * np.cos(a))
            rr = centre[rows, 0, None, None] + dy
            cc = centre[rows, 1, None, None] + dx
            values = scipy.ndimage.map_coordinates(
                smooth, [rr, cc], order=3, mode="nearest", prefilter=False
            )
            off = ((rr < -0.5) | (rr > h - 0.5) | (cc < -0.5) | (cc > w - 0.5)) & disc
            values[off] = np.nan
            out[rows, t] = np.where(disc, values, 0)
    return out


def orbit_components(copies: np.ndarray, params: ClassParams) -> np.ndarray:
    """Principal components of patches and all their turned copies, (n, orientations, k)."""
    from sklearn.decomposition import PCA

    n, g = copies.shape[:2]
    flat = copies.reshape(n * g, -1)
    k = min(ORBIT_COMPONENTS, *flat.shape)
    solver = PCA(k, svd_solver="randomized" if min(flat.shape) > 2 * k else "auto",
                 random_state=params.seed)  # fmt: skip
    return np.asarray(solver.fit_transform(flat), np.float32).reshape(n, g, k)


def components(flat: np.ndarray, params: ClassParams) -> np.ndarray:
    """Principal components of aligned patches (n, pixels) to (n, k).

    Unless told how many, those are kept whose variance is beyond that of the first component
    of what twelve components leave, with every pixel shuffled among the patches (parallel
    analysis; J. L. Horn, Psychometrika 30, 179, 1965), at least two.
    """
    from sklearn.decomposition import PCA

    n, pixels = flat.shape
    most = min(params.components or MOST_COMPONENTS, n - 1, pixels)
    solver = PCA(most, svd_solver="randomized" if min(n, pixels) > 2 * most else "auto",
                 random_state=params.seed)  # fmt: skip
    scores = np.asarray(solver.fit_transform(flat))
    if params.components:
        return scores
    thin = slice(None, None, max(1, n // LANDMARKS))
    rest = flat[thin] - solver.inverse_transform(scores[thin])
    shuffled = np.random.default_rng(params.seed).permuted(rest, axis=0)
    edge = PCA(1, svd_solver="randomized", random_state=params.seed).fit(shuffled)
    kept = int((solver.explained_variance_ > 1.3 * edge.explained_variance_[0]).sum())
    return scores[:, : max(2, kept)]


def orbit_distance(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squared distance of the first copies of `a` to any copy of `b`, and which.

    Returns
    -------
    d2 : ndarray, shape (n, m)
    turn : ndarray of int, shape (n, m)
    """
    d2 = np.full((len(a), len(b)), np.inf, np.float32)
    turn = np.zeros((len(a), len(b)), np.int16)
    first = a[:, 0]
    for t in range(b.shape[1]):
        other = b[:, t]
        now = (first**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * first @ other.T
        better = now < d2
        d2[better] = now[better]
        turn[better] = t
    return np.maximum(d2, 0), turn


def alignment(scores: np.ndarray, seed: int = 0) -> np.ndarray:
    """Orientation of each site in which it fits those like it, (n,).

    Parameters
    ----------
    scores : ndarray, shape (n, orientations, k)
    """
    n, g, _ = scores.shape
    choice = np.zeros(n, np.int64)
    if g == 1 or n < 2:
        return choice
    rng = np.random.default_rng(seed)
    marks = np.sort(rng.choice(n, LANDMARKS, replace=False)) if n > LANDMARKS else np.arange(n)
    some = scores[marks]
    d2, _ = orbit_distance(some, some)
    d2 = np.minimum(d2, d2.T)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(np.sqrt(d2) + 1e-6)
    order, before = scipy.sparse.csgraph.breadth_first_order(tree, 0, directed=False)
    for node in order[1:]:
        parent = some[before[node], choice[marks[before[node]]]]
        choice[marks[node]] = int(((some[node] - parent) ** 2).sum(1).argmin())
    rest = np.setdiff1d(np.arange(n), marks)
    if len(rest):
        aligned = some[np.arange(len(marks)), choice[marks]]
        lookup = scipy.spatial.cKDTree(aligned)
        distance = np.stack([lookup.query(scores[rest, t])[0] for t in range(g)], axis=1)
        choice[rest] = distance.argmin(1)
    return choice


def cluster(vectors: np.ndarray, params: ClassParams) -> tuple[np.ndarray, dict[int, float]]:
    """Classes of vectors, the largest first, -1 for outliers; and BIC where there is one."""
    n = len(vectors)
    smallest = params.smallest or max(5, round(0.01 * n))
    bic: dict[int, float] = {}
    if params.method == "hdbscan":
        from sklearn.cluster import HDBSCAN

        found = HDBSCAN(
            min_cluster_size=min(max(2, smallest), n), min_samples=min(3, n - 1), copy=True
        ).fit_predict(vectors)
        found = near_ones(vectors, found)
    elif params.method == "mixture":
        from sklearn.mixture import GaussianMixture

        models = {}
        for k in range(1, min(params.most, max(1, n // 3)) + 1):
            model = GaussianMixture(
                k, covariance_type="diag", n_init=3, random_state=params.seed, reg_covar=1e-6
            ).fit(vectors)
            models[k], bic[k] = model, float(model.bic(vectors))
        found = models[min(bic, key=lambda k: bic[k])].predict(vectors)
    else:
        from sklearn.cluster import MeanShift, estimate_bandwidth

        if n > MOST_FOR_MEAN_SHIFT:
            raise ParameterError(
                f"Mean-shift takes too long for {n} sites; choose HDBSCAN or at most "
                f"{MOST_FOR_MEAN_SHIFT} sites."
            )
        width = estimate_bandwidth(vectors, quantile=0.15, random_state=params.seed)
        found = MeanShift(bandwidth=max(float(width), 1e-9), bin_seeding=True).fit_predict(vectors)
    return numbered_by_size(found), bic


def near_ones(vectors: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Give outliers of HDBSCAN that lie within the reach of a class to it.

    Its core distances leave out the rim of a dense class; the rim is where the distance to
    the middle is not larger than that of any member, by more than a tenth.
    """
    out = label.copy()
    rest = np.flatnonzero(label < 0)
    classes = [k for k in np.unique(label) if k >= 0]
    if not len(rest) or not classes:
        return out
    ratio = np.full((len(rest), len(classes)), np.inf)
    for c, k in enumerate(classes):
        members = vectors[label == k]
        middle = np.median(members, axis=0)
        reach = np.quantile(np.linalg.norm(members - middle, axis=1), 0.98)
        ratio[:, c] = np.linalg.norm(vectors[rest] - middle, axis=1) / max(reach, 1e-12)
    best = ratio.argmin(1)
    close = ratio[np.arange(len(rest)), best] < 1.1
    out[rest[close]] = np.asarray(classes)[best[close]]
    return out


def numbered_by_size(label: np.ndarray) -> np.ndarray:
    """Number classes anew, the largest 0; -1 stays."""
    names, count = np.unique(label[label >= 0], return_counts=True)
    number = {int(k): i for i, k in enumerate(names[np.argsort(-count, kind="stable")])}
    return np.array([number.get(int(k), -1) for k in label], dtype=np.int64)
