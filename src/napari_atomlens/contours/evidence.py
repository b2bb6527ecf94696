"""What the raw image says of every site, beside the contour of the network's map.

A network smooths: it makes columns rounder and pulls them to their sites. Here the median
image of each kind of site is taken away, whatever its shape, and what is left is explained,
by linear least squares of all sites together, as sites that are stronger, moved, wider or
stretched: the derivatives of a Gaussian of the kind's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.errors import ImageError
from napari_atomlens.image import Pixels, Stack, as_stack, recorded
from napari_atomlens.lattice.sites import complete_sites
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.points import nearest_distance
from napari_atomlens.tables import check_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: Fewest sites of a kind.
FEWEST = 8
#: Place and shape of a site are divided by its strength, by no less than this.
FAINTEST = 0.3
#: Sites of which less than this was recorded are not measured.
WHOLE = 0.9
#: Rounds in which neighbours are told apart.
ROUNDS = 6
#: Names of the modes, in their order; the last is not shared with the neighbours.
MODES = ("strength", "moved_y_px", "moved_x_px", "wider", "stretch_x", "stretch_diagonal", "level")


@dataclass(frozen=True)
class EvidenceParams(Params):
    """How the image round each site is measured.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> sites = al.describe_sites(image, atoms, params=al.EvidenceParams(scan_lines="no"))
    """

    radius: float = param(
        1.25, "radius of the patches over the distance between nearest sites", ge=0.3, le=3
    )
    scan_lines: Literal["auto", "yes", "no"] = param("auto", "take out an offset of each scan line")


def describe_sites(
    image: ArrayLike | Pixels,
    atoms: pd.DataFrame,
    *,
    complete: bool = True,
    params: EvidenceParams = EvidenceParams(),
) -> pd.DataFrame:
    """Measure every site on the raw image, against the median of its kind.

    Parameters
    ----------
    image : array-like, shape (H, W) or (T, H, W)
    atoms : pandas.DataFrame
        Atoms table. Kinds are its sublattices where known, else its species.
    complete : bool
        Find sublattices, sites and vacant sites first where the table has none
        (:func:`napari_atomlens.lattice.complete_sites`).
    params : EvidenceParams

    Returns
    -------
    pandas.DataFrame
        One row per site: ``frame``, ``atom_id``, ``y_px``, ``x_px``, ``site_y_px``,
        ``site_x_px``, ``species``, ``sublattice``, ``source``, ``kind`` and

        - ``raw_strength``: height over the ordinary one of its kind (1 is ordinary, 0 vacant);
        - ``raw_moved_y_px``, ``raw_moved_x_px``: displacement from the site (a shift of the
          kind as a whole does not count);
        - ``raw_wider``: logarithm of the width over the ordinary one;
        - ``raw_stretch_x``, ``raw_stretch_diagonal``: logarithm of the aspect, times cosine and
          sine of twice the direction of the long axis;
        - ``raw_level``: background over the ordinary one, in ordinary heights;
        - ``raw_misfit``: rms of what none of these explains, in ordinary heights;
        - ``raw_aspect``, ``raw_orientation_rad``: the same stretch as aspect and angle.

        NaN for kinds of fewer than eight sites, for patches that leave the image, and for sites
        where the image is masked or not-a-number.

    Raises
    ------
    ImageError
        If image and atoms do not fit together.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> sites = al.describe_sites(image, atoms)
    >>> bool(abs(sites["raw_strength"].median() - 1) < 0.1)
    True
    """
    params = of_kind(EvidenceParams, params)
    stack = as_stack(image)
    atoms = check_table(atoms, ("y_px", "x_px"))
    atoms = atoms if "frame" in atoms else atoms.assign(frame=0)
    sites = complete_sites(atoms) if complete else atoms.reset_index(drop=True)
    if len(sites) and not 0 <= sites["frame"].min() <= sites["frame"].max() < len(stack):
        raise ImageError(f"The atoms belong to frames that the image, with {len(stack)}, lacks.")
    out = pd.DataFrame({c: sites[c] for c in ("frame", "atom_id", "y_px", "x_px") if c in sites})
    others: dict[str, object] = {
        "site_y_px": np.nan, "site_x_px": np.nan, "species": "", "sublattice": -1, "source": "",
    }  # fmt: skip
    for name, unknown in others.items():
        out[name] = sites[name] if name in sites else np.full(len(sites), unknown)
    out["kind"] = kinds(out)
    columns = [f"raw_{m}" for m in MODES] + ["raw_misfit"]
    values = np.full((len(out), len(columns)), np.nan)
    for rows, found in _by_frame(stack, out, params):
        values[rows] = found
    out[columns] = values
    stretch = values[:, 4] + 1j * values[:, 5]
    out["raw_aspect"] = np.exp(np.abs(stretch))
    out["raw_orientation_rad"] = 0.5 * np.angle(stretch)
    return out


def kinds(table: pd.DataFrame) -> np.ndarray:
    """Name of the kind of each row: its sublattice where known, else its species."""
    n = len(table)
    species = table["species"].astype(str) if "species" in table else pd.Series([""] * n)
    lattice = table["sublattice"] if "sublattice" in table else pd.Series([-1] * n)
    letters = lattice.map(lambda k: f"sublattice {chr(65 + int(k))}" if 0 <= k < 26 else "")
    return np.where(lattice >= 0, letters, species.to_numpy()).astype(object)


def _by_frame(
    stack: Stack, sites: pd.DataFrame, params: EvidenceParams
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index of the rows of a frame, and what was measured of them (see `describe_sites`)."""
    for frame in np.unique(sites["frame"].to_numpy()):
        group = sites[sites["frame"] == frame]
        image = np.array(stack[frame], float)
        sound = recorded(image)
        if sound.any():
            arrays.bridge(image, sound)
        span = float(np.ptp(image))
        if span and not 1e-30 < span < 1e30:  # all that is measured is relative
            image = (image - image.min()) / span
        place = group[["y_px", "x_px"]].to_numpy(float)
        site = group[["site_y_px", "site_x_px"]].to_numpy(float)
        centre = np.where(np.isfinite(site), site, place)
        if len(centre) < FEWEST or not np.isfinite(centre).all():
            continue
        names, kind = np.unique(group["kind"].to_numpy().astype(str), return_inverse=True)
        size = np.bincount(kind, minlength=len(names))
        kind = np.where(size[kind] >= FEWEST, kind, -1)
        found = measure_sites(image, centre, kind, params)
        if not sound.all():  # nobody knows what is where nothing was recorded
            reach = 0.3 * nearest_distance(centre)
            share = scipy.ndimage.gaussian_filter(sound.astype(np.float32), reach, mode="nearest")
            at = np.clip(np.rint(centre), 0, np.array(image.shape) - 1).astype(int)
            found[share[at[:, 0], at[:, 1]] < WHOLE] = np.nan
        yield group.index.to_numpy(), found


def measure_sites(
    image: np.ndarray, centre: np.ndarray, kind: np.ndarray, params: EvidenceParams
) -> np.ndarray:
    """Strength, displacement, stretch ... of the sites of one frame, (n, 8).

    Parameters
    ----------
    image : ndarray, shape (H, W)
    centre : ndarray, shape (n, 2)
    kind : ndarray of int, shape (n,)
        -1 for sites of no kind, of which nothing is said.
    params : EvidenceParams
    """
    n = len(centre)
    out = np.full((n, len(MODES) + 1), np.nan)
    spacing = nearest_distance(centre)
    rest, width, height = unlike_median(image, centre, kind, spacing)
    known = np.isfinite(rest)
    if known.mean() < 0.2:
        return out
    rest = np.where(known, rest - np.median(rest[known]), 0.0)
    if params.scan_lines != "no":
        rest = rest - scan_lines(rest, known, spacing, params.scan_lines == "yes")
    use = np.flatnonzero((kind >= 0) & np.isfinite(width))
    if not len(use):
        return out
    radius = max(2, int(np.ceil(params.radius * spacing)))
    found, misfit, whole = explain(
        rest, centre[use], width[use], height[use], radius, params.radius * spacing
    )
    # the level a few sites wide, which does not take up what one site lacks
    spread = arrays.spread(rest[known], centre=0.0)
    wide = scipy.ndimage.gaussian_filter(np.clip(rest, -3 * spread, 3 * spread), 2.5 * spacing)
    heights, _, _ = explain(
        rest - wide, centre[use], width[use], height[use], radius, params.radius * spacing, True
    )
    strength = 1 + heights[:, 0]
    # of a faint site nothing can be said about place and shape
    found[:, 1:6] /= np.maximum(strength, FAINTEST)[:, None]
    found[:, 0] = strength
    found[~whole] = np.nan
    out[use] = np.c_[found, np.where(whole, misfit, np.nan)]
    return out


def cut(smooth: np.ndarray, centre: np.ndarray, radius: int) -> np.ndarray:
    """Patches round sub-pixel centres, (n, 2 radius + 1, 2 radius + 1), NaN off the image."""
    axis = np.arange(-radius, radius + 1, dtype=float)
    rows = centre[:, :1] + axis
    cols = centre[:, 1:] + axis
    shape = (len(centre), len(axis), len(axis))
    grid = np.stack(
        [np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(cols[:, None, :], shape)]
    )
    values = scipy.ndimage.map_coordinates(smooth, grid, order=3, mode="nearest", prefilter=False)
    h, w = smooth.shape
    off = (grid[0] < -0.5) | (grid[0] > h - 0.5) | (grid[1] < -0.5) | (grid[1] > w - 0.5)
    values[off] = np.nan
    return values


def unlike_median(
    image: np.ndarray, centre: np.ndarray, kind: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is left of an image when every site looks like the median of its kind.

    Returns
    -------
    rest : ndarray, shape (H, W)
        NaN where no site is near.
    width, height : ndarray, shape (n,)
        Gaussian width (px) and height of the median of each site's kind.
    """
    smooth = scipy.ndimage.spline_filter(image, order=3)
    radius = int(np.ceil(0.8 * spacing)) + 1
    pixels = np.indices(image.shape).reshape(2, -1).T
    _, nearest = scipy.spatial.cKDTree(centre).query(pixels, distance_upper_bound=0.8 * spacing)
    kind_of = np.append(kind, -1)[nearest]
    rest = np.full(len(pixels), np.nan)
    flat = image.ravel()
    width, height = np.full(len(centre), np.nan), np.full(len(centre), np.nan)
    for k in range(int(kind.max(initial=-1)) + 1):
        rows = np.flatnonzero(kind == k)
        # a few thousand are enough for a median
        some = rows[:: max(1, len(rows) // 3000)]
        patches = cut(smooth, centre[some], radius)
        whole = np.isfinite(patches).all((1, 2))
        if whole.sum() < FEWEST:
            continue
        template = np.median(patches[whole], axis=0)
        typical = some[whole][np.argmin(((centre[some[whole]] - image.shape[0] / 2) ** 2).sum(1))]
        width[rows], height[rows] = gaussian_of(
            template, centre - centre[typical], kind == k, spacing
        )
        curve = scipy.ndimage.spline_filter(template, order=3)
        mine = np.flatnonzero(kind_of == k)
        offset = pixels[mine] - centre[nearest[mine]] + radius
        model = scipy.ndimage.map_coordinates(
            curve, offset.T, order=3, mode="nearest", prefilter=False
        )
        rest[mine] = flat[mine] - model
    return rest.reshape(image.shape), width, height


def gaussian_of(
    template: np.ndarray, offset: np.ndarray, same: np.ndarray, spacing: float
) -> tuple[float, float]:
    """Width and height of the column in the middle of a median image, neighbours included.

    Parameters
    ----------
    template : ndarray, shape (2 r + 1, 2 r + 1)
    offset : ndarray, shape (n, 2)
        All sites from the one in the middle.
    same : ndarray of bool, shape (n,)
        Those of the same kind, which are as high; the others are fitted a height of their own.
    spacing : float
    """
    radius = len(template) // 2
    near = np.hypot(*offset.T) < 2.2 * spacing
    offset, same = offset[near], same[near]
    axis = np.arange(-radius, radius + 1, dtype=float)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inner = np.hypot(y, x) <= 0.75 * spacing
    r2 = (y[inner, None] - offset[:, 0]) ** 2 + (x[inner, None] - offset[:, 1]) ** 2
    best = (np.inf, np.nan, np.nan)
    for sigma in spacing * np.geomspace(0.12, 0.5, 40):
        g = np.exp(-0.5 * r2 / sigma**2)
        parts = [g[:, same].sum(1), np.ones(len(g))]
        if not same.all():
            parts.insert(1, g[:, ~same].sum(1))
        a = np.stack(parts, axis=1)
        solution = np.linalg.lstsq(a, template[inner], rcond=None)[0]
        error = float(((a @ solution - template[inner]) ** 2).sum())
        if solution[0] > 0 and error < best[0]:
            best = (error, float(sigma), float(solution[0]))
    return best[1], best[2]


def explain(
    rest: np.ndarray,
    centre: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    radius: int,
    reach: float,
    only_height: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Explain what is left of an image by changes of its sites, all sites together.

    With `only_height` place and shape are as ordinary, which leaves the heights their least
    error; the result then has one column.

    Least squares of each site on its patch, in rounds: what the others explain is taken away
    first, so that a site does not answer for its neighbour.

    Returns
    -------
    found : ndarray, shape (n, 7)
        Coefficients of :data:`MODES`: relative to the height, displacements in pixels.
    misfit : ndarray, shape (n,)
        rms of what is not explained, over the height.
    whole : ndarray of bool, shape (n,)
        Sites whose column lies on the image, out to its width.
    """
    h, w = rest.shape
    size = 2 * radius + 1
    corner = np.rint(centre).astype(np.int64)
    axis = np.arange(-radius, radius + 1)
    rim = np.pad(rest, radius + 1)
    inside = np.pad(np.ones((h, w), np.float32), radius + 1)
    n, m = len(centre), 1 if only_height else len(MODES)
    shared = 1 if only_height else m - 1  # all but the level
    found = np.zeros((n, m))
    misfit = np.zeros(n)
    row0, col0 = np.clip(corner[:, 0] + 1, 0, h + 1), np.clip(corner[:, 1] + 1, 0, w + 1)
    flat_of = row0 * rim.shape[1] + col0
    grid = (np.arange(size)[:, None] * rim.shape[1] + np.arange(size)).ravel()
    chunk = max(1, (1 << 20) // (m * size * size))
    pieces = [slice(i, min(i + chunk, n)) for i in range(0, n, chunk)]

    def basis(c: slice) -> tuple[np.ndarray, np.ndarray]:
        dy = (axis[None] + (corner[c, 0] - centre[c, 0])[:, None]) / width[c, None]
        dx = (axis[None] + (corner[c, 1] - centre[c, 1])[:, None]) / width[c, None]
        gy, gx = np.exp(-0.5 * dy**2), np.exp(-0.5 * dx**2)
        g = gy[:, :, None] * gx[:, None, :]
        y, x = dy[:, :, None], dx[:, None, :]
        by_width = 1 / width[c, None, None]
        # derivatives by place, log width, and log aspect along x and the rising diagonal
        parts = [g, g * y * by_width, g * x * by_width, g * (y**2 + x**2),
                 0.5 * g * (x**2 - y**2), -g * x * y, np.ones_like(g)]  # fmt: skip
        table = np.stack(parts[:m], axis=1).reshape(len(g), m, -1) * height[c, None, None]
        r = np.hypot(y, x) * width[c, None, None]
        # a soft edge: what lies half-way to the next site is shared
        weight = inside[row0[c, None, None] + axis[None, :, None] + radius,
                        col0[c, None, None] + axis[None, None, :] + radius]  # fmt: skip
        weight = weight * np.exp(-0.5 * (r / (0.85 * reach)) ** 6)
        return table, weight.reshape(len(g), -1)

    solve = []
    for c in pieces:
        table, weight = basis(c)
        weighted = table * weight[:, None]
        normal = weighted @ table.transpose(0, 2, 1)
        ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / m
        ridge = np.maximum(ridge, 1e-30)  # where nothing is seen of a site
        solve.append(np.linalg.solve(normal + ridge * np.eye(m), weighted))
    for turn in range(ROUNDS):
        left = rim.ravel().copy()
        for c in pieces:
            table, _ = basis(c)
            change = np.einsum("nm,nmp->np", found[c, :shared], table[:, :shared])
            left -= np.bincount(
                (flat_of[c, None] + grid).ravel(), change.ravel(), minlength=left.size
            )
        for c, s in zip(pieces, solve, strict=True):
            here = left[flat_of[c, None] + grid]
            step = np.einsum("nmp,np->nm", s, here)
            if turn < ROUNDS - 1:
                found[c, :shared] += 0.8 * step[:, :shared]
                found[c, shared:] = step[:, shared:]
                continue
            table, weight = basis(c)
            here = here - np.einsum("nm,nmp->np", step, table)
            found[c, :shared] += step[:, :shared]
            found[c, shared:] = step[:, shared:]
            misfit[c] = np.sqrt((weight * here**2).sum(1) / np.maximum(weight.sum(1), 1e-9))
    margin = 1.2 * width
    whole = np.all(
        (centre > margin[:, None]) & (centre < np.subtract(rest.shape, 1) - margin[:, None]), axis=1
    )
    return found, misfit / height, whole


def scan_lines(rest: np.ndarray, known: np.ndarray, spacing: float, anyway: bool) -> np.ndarray:
    """Offsets of scan lines, and slow noise along them, (H, W); zero where there are none.

    Parameters
    ----------
    rest : ndarray, shape (H, W)
        What is left of the image without its sites: nothing in it should differ between
        rows and columns but the noise of a scan.
    known : ndarray of bool, shape (H, W)
    spacing : float
    anyway : bool
        Do not ask whether there are any.
    """
    spread = arrays.spread(rest[known], centre=0.0)
    rest = np.clip(rest, -3 * spread, 3 * spread) * known

    def lines(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        sums = scipy.ndimage.gaussian_filter1d(values, 1.5 * spacing, axis=1)
        share = scipy.ndimage.gaussian_filter1d(mask.astype(float), 1.5 * spacing, axis=1)
        return np.asarray(sums / np.maximum(share, 0.1))

    along, across = lines(rest, known), lines(rest.T, known.T)
    # differences of neighbours, so that a slope is no scan line
    rows, cols = (float(np.std(np.diff(v, axis=0))) for v in (along, across))
    if not anyway and rows < 1.5 * cols:
        return np.zeros_like(rest)
    return along
