"""Every descriptor of every contour of an image or a movie, in one table.

How each behaves: positions and offsets move with the image; lengths, areas, offsets and
integrated intensities grow with the scale; aspect, eccentricity, solidity, circularity, Hu's
and the Fourier invariants, psi_n and the angles are the same whatever the rotation,
translation and scale; orientation and the two components of stretch turn with the image.
Hu 7 alone changes its sign in a mirror.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.contours import mask, polygons
from napari_atomlens.contours.surroundings import surroundings
from napari_atomlens.errors import ImageError
from napari_atomlens.image import Pixels, as_pixels, check_pixel_size
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.segmentation.probabilities import column_probability
from napari_atomlens.segmentation.zoo import roles_of

#: Descriptors of lengths, and what they are called in nm.
_LENGTHS = (
    "perimeter_px", "equivalent_diameter_px", "major_px", "minor_px", "offset_px",
    "site_offset_px", "neighbour_distance_px",
)  # fmt: skip


@dataclass(frozen=True)
class DescribeParams(Params):
    """How contours are described.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.DescribeParams(cutoff=1.5).cutoff
    1.5
    """

    cutoff: float = param(1.25, "atoms within so many nearest distances are neighbours", ge=1, le=5)
    ring: float = param(
        1.5, "the local background is taken on the outline grown by this factor", ge=1, le=4
    )


def describe_contours(
    source: Any,
    atoms: pd.DataFrame | None = None,
    *,
    probability: Any = None,
    image: Any = None,
    pixel_size_nm: float | tuple[float, float] | None = None,
    params: DescribeParams = DescribeParams(),
) -> pd.DataFrame:
    """Describe all contours of an image or a movie.

    Parameters
    ----------
    source : Result, mapping, sequence or ndarray of int
        What :func:`napari_atomlens.analyze` returned; or outlines by frame (a mapping of
        int to sequences of arrays (m, 2) of row and column), or those of one image; or a
        label image (H, W) or movie (T, H, W), whose moments are then sums over pixels,
        equal to those of scikit-image's ``regionprops``.
    atoms : pandas.DataFrame, optional
        Atoms table whose rows, frame by frame, go with the outlines (the result's own by
        default). Without it offsets from the fitted position are NaN and the surroundings
        are those of the contours' centres.
    probability : array-like, optional
        Probability of a column, (H, W) or (T, H, W). The result's own by default.
    image : array-like, optional
        The image (H, W) or movie (T, H, W), for the intensities.
    pixel_size_nm : float or tuple of float, optional
        (y, x) in nm; adds columns in nm.
    params : DescribeParams

    Returns
    -------
    pandas.DataFrame
        The contours table (:data:`napari_atomlens.tables.CONTOURS`), with more columns:
        see ``docs/contours.md``. NaN where something is not known.

    Raises
    ------
    ImageError
        If maps, outlines and atoms do not fit together.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> atoms = al.find_atoms(probabilities)
    >>> _, outlines = al.outline(probabilities.columns, atoms)
    >>> described = al.describe_contours({0: outlines}, atoms, image=image)
    >>> {"area_px2", "eccentricity", "n_neighbours"} <= set(described)
    True
    """
    params = of_kind(DescribeParams, params)
    size = check_pixel_size(pixel_size_nm)
    if atoms is not None:
        needed = ["frame", "atom_id", "y_px", "x_px"]
        if isinstance(atoms, pd.DataFrame) and "site_y_px" in atoms:
            needed.append("site_x_px")
        atoms = tables.check_table(atoms, needed)
    frames: Mapping[int, Any]
    known: pd.DataFrame | None = None
    maps = partial(_plane, probability)
    if hasattr(source, "outlines") and hasattr(source, "atoms"):
        frames, known = source.outlines, getattr(source, "contours", None)
        atoms = source.atoms if atoms is None else atoms
        if probability is None:
            maps = partial(_columns_of, source)
        if size is None:
            size = check_pixel_size(source.provenance.get("pixel_size_nm"))
    elif isinstance(source, Mapping):
        frames = {_frame_number(f): _as_outlines(v) for f, v in source.items()}
    elif isinstance(source, np.ndarray) and source.dtype.kind in "iub" and source.ndim in (2, 3):
        stack = source[None] if source.ndim == 2 else source
        frames = dict(enumerate(stack))
    elif isinstance(source, Sequence) or (isinstance(source, np.ndarray) and source.ndim == 3):
        frames = {0: _as_outlines(source)}
    else:
        raise ImageError(
            "Contours are outlines (m, 2), one list or one per frame, or a label image of integers."
        )
    parts = list(_frames(frames, atoms, known, maps, image, params))
    parts = [p for p in parts if len(p["frame"])]
    if not parts:
        return tables.empty("contours")
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    joined |= _places(joined, params)
    n = len(joined["frame"])
    if size is not None:
        joined |= _in_nm(joined, size)
    if known is not None and len(known) == n and "anomaly_class" in known:
        for name in ("anomaly_p", "anomaly_class"):
            joined[name] = known[name].to_numpy()
    return tables.make("contours", joined, n)


def _frame_number(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
        raise ImageError(f"Outlines belong to frames by their number, not {given!r}.")
    return int(given)


def _as_outlines(group: Any) -> Any:
    """Return outlines as arrays of vertices; a label image as it is."""
    if isinstance(group, np.ndarray) and group.dtype.kind in "iub" and group.ndim == 2:
        return group
    try:
        outlines = [np.asarray(o, float) for o in group]
    except (TypeError, ValueError):
        outlines = [np.zeros(0)]
    if any(o.ndim != 2 or o.shape[1] != 2 or not len(o) for o in outlines):
        raise ImageError("Every outline is an array (m, 2) of rows and columns.")
    if not all(np.isfinite(o).all() for o in outlines):
        raise ImageError("Some outlines have vertices that are no finite numbers.")
    return outlines


def _columns_of(result: Any, frame: int, position: int) -> np.ndarray | None:
    """Probability of a column (H, W) in the frame at a position of a result with maps."""
    maps = result.probabilities
    if maps is None or 0 in np.shape(maps):
        return None
    return column_probability(np.asarray(maps[position]), roles_of(result.classes))


def _plane(stack: Any, frame: int, position: int) -> np.ndarray | None:
    """One frame (H, W) of an image or a movie."""
    if stack is None:
        return None
    if not isinstance(stack, Pixels):
        stack = as_pixels(stack)
    shape = tuple(stack.shape)
    if 0 in shape:
        return None
    if len(shape) == 2:
        return as_pixels(stack).astype(float)
    if len(shape) != 3:
        raise ImageError(f"Maps have two or three axes, but these have {len(shape)}.")
    if not 0 <= frame < shape[0]:
        raise ImageError(f"There is no frame {frame}: the maps have {shape[0]}.")
    return as_pixels(stack[frame]).astype(float)


def _frames(
    frames: Mapping[int, Any],
    atoms: pd.DataFrame | None,
    known: pd.DataFrame | None,
    maps: Callable[[int, int], np.ndarray | None],
    image: Any,
    params: DescribeParams,
) -> Iterator[dict[str, np.ndarray]]:
    """Descriptors that need one frame only."""
    rows_of: dict[Any, np.ndarray] = {}
    if atoms is not None:
        rows_of = {f: np.asarray(v) for f, v in atoms.groupby("frame").indices.items()}
    for position, (frame, contours) in enumerate(sorted(frames.items())):
        labels = contours if isinstance(contours, np.ndarray) and contours.ndim == 2 else None
        pixels = None
        if labels is not None:
            labels = _numbered(labels)
            pixels = mask.LabelPixels(labels)
            ids, vertices, part = mask.describe_labels(pixels)
        else:
            try:
                vertices, _ = polygons.padded(contours)
            except ValueError as error:
                raise ImageError(f"Frame {frame}: {error}.") from error
            ids, part = np.arange(len(vertices)), polygons.basic_shape(vertices, 3)
        n = len(vertices)
        part["frame"] = np.full(n, frame, np.int64)
        part["atom_id"] = np.asarray(ids, np.int64)
        centre = np.full((n, 2), np.nan)
        site = np.full((n, 2), np.nan)
        level = np.full(n, np.nan)
        if atoms is not None:
            rows = rows_of.get(frame, np.zeros(0, np.int64))
            mine = atoms.iloc[rows]
            if known is not None and len(known):
                order = known.loc[known["frame"] == frame, "atom_id"]
                if len(order) == n:
                    mine = mine.set_index("atom_id").reindex(order).reset_index()
            if len(mine) != n:
                raise ImageError(
                    f"Frame {frame} has {n} contours but {len(mine)} atoms; they must go together."
                )
            part["atom_id"] = mine["atom_id"].to_numpy(np.int64)
            centre = mine[["y_px", "x_px"]].to_numpy(float)
            for name in ("species", "sublattice"):
                if name in mine:  # the kinds that sites are compared within
                    part[name] = mine[name].to_numpy()
            if "site_y_px" in mine:
                site = mine[["site_y_px", "site_x_px"]].to_numpy(float)
            if "background" in mine:
                level = mine["background"].to_numpy(float)
        part |= {"y_px": centre[:, 0], "x_px": centre[:, 1]}
        part |= {"site_y_px": site[:, 0], "site_x_px": site[:, 1]}
        probability = maps(frame, position)
        raw = _plane(image, frame, position)
        part |= _under(vertices, part, pixels, probability, raw, level, params)
        yield part


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Labels, of a mask its connected regions."""
    if labels.dtype != bool:
        if labels.min(initial=0) < 0:
            raise ImageError("Labels must not be negative.")
        return labels
    from skimage.measure import label

    return np.asarray(label(labels))


def _under(
    vertices: np.ndarray,
    part: dict[str, np.ndarray],
    pixels: mask.LabelPixels | None,
    probability: np.ndarray | None,
    image: np.ndarray | None,
    level: np.ndarray,
    params: DescribeParams,
) -> dict[str, np.ndarray]:
    """What lies beneath the contours, in the probability map and in the image."""
    n = len(vertices)
    area = part["area_px2"]
    out = {
        name: np.full(n, np.nan)
        for name in (
            "mean_probability", "peak_probability", "intensity", "intensity_background",
            "intensity_net",
        )
    }  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        if probability is not None:
            if pixels is not None:
                total, out["peak_probability"] = pixels.values(probability)
            else:
                total = polygons.integrate(probability, vertices)
                out["peak_probability"] = polygons.highest(probability, vertices)
            out["mean_probability"] = total / np.where(area > 0, area, np.nan)
        if image is not None:
            if pixels is not None:
                out["intensity"], _ = pixels.values(image)
            else:
                out["intensity"] = polygons.integrate(image, vertices)
            middle = np.stack([part["centroid_y_px"], part["centroid_x_px"]], 1)
            ring = polygons.ring_median(image, vertices, middle, params.ring)
            out["intensity_background"] = np.where(np.isfinite(level), level, ring)
            out["intensity_net"] = out["intensity"] - area * out["intensity_background"]
    return out


def _places(joined: dict[str, np.ndarray], params: DescribeParams) -> dict[str, np.ndarray]:
    """Offsets, and the surroundings: what needs the other atoms of the frame."""
    contour = np.stack([joined["centroid_y_px"], joined["centroid_x_px"]], 1)
    fitted = np.stack([joined["y_px"], joined["x_px"]], 1)
    site = np.stack([joined["site_y_px"], joined["site_x_px"]], 1)
    place = np.where(np.isfinite(fitted), fitted, contour)
    sound = np.isfinite(place).all(1)
    out: dict[str, np.ndarray] = {}
    frame = joined["frame"]
    around = surroundings(place[sound], frame[sound], params.cutoff)
    for name, values in around.items():
        full = np.full(len(frame), 0 if values.dtype.kind == "i" else np.nan, values.dtype)
        full[sound] = values
        out[name] = full
    middle = np.stack([out.pop("expected_y_px"), out.pop("expected_x_px")], 1)
    site = np.where(np.isfinite(site), site, middle)
    offset, from_site = contour - fitted, contour - site
    out |= {
        "site_y_px": site[:, 0], "site_x_px": site[:, 1],
        "offset_y_px": offset[:, 0], "offset_x_px": offset[:, 1],
        "offset_px": np.hypot(*offset.T),
        "site_offset_y_px": from_site[:, 0], "site_offset_x_px": from_site[:, 1],
        "site_offset_px": np.hypot(*from_site.T),
    }  # fmt: skip
    return out


def _in_nm(joined: dict[str, np.ndarray], size: tuple[float, float]) -> dict[str, np.ndarray]:
    """Areas and lengths in nm; lengths only where pixels are square, angles need it too."""
    out = {"area_nm2": joined["area_px2"] * size[0] * size[1]}
    square = abs(size[0] / size[1] - 1) < 1e-3
    scale = np.sqrt(size[0] * size[1]) if square else np.nan
    for name in _LENGTHS:
        out[name.removesuffix("_px") + "_nm"] = joined[name] * scale
    for name in ("offset", "site_offset"):
        out[f"{name}_nm"] = np.hypot(
            joined[f"{name}_y_px"] * size[0], joined[f"{name}_x_px"] * size[1]
        )
    return out
