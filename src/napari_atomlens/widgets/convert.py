"""Tables and maps to layer data, and back. No Qt and no napari here.

Coordinates are (t, y, x) for movies and (y, x) for images, in pixels of the source image:
the layers share its scale, units and axes instead of converting anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.runs.frame import IDS_PER_FRAME
from napari_atomlens.segmentation.probabilities import column_probability
from napari_atomlens.segmentation.zoo import roles_of

if TYPE_CHECKING:
    import pint


#: Key of our entry in the metadata of a layer.
KEY = "napari-atomlens"
#: Measured where an atom was; unknown once the user has put it elsewhere.
MEASURED = ("probability", "amplitude", "sigma_px", "background", "y_err_px", "x_err_px")
#: A machine atom this near to an atom of the user (in spacings) is the same atom.
SAME_ATOM = 0.5


def frame_order(current: int, n_frames: int) -> list[int]:
    """Frames in the order in which to compute them: the current one, what follows, the rest."""
    current = min(max(int(current), 0), max(n_frames - 1, 0))
    return [(current + i) % n_frames for i in range(n_frames)]


def pixel_size_nm(scale: Sequence[float], units: Sequence[pint.Unit]) -> tuple[float, float] | None:
    """Pixel size (y, x) in nm of a layer, None where its units are no lengths.

    Parameters
    ----------
    scale : sequence of float
        Of the layer; the last two are y and x.
    units : sequence of pint.Unit
        Of the layer.
    """
    sizes = []
    for step, unit in zip(list(scale)[-2:], list(units)[-2:], strict=True):
        if not unit.is_compatible_with("nm"):
            return None
        sizes.append(float((abs(float(step)) * unit).to("nm").magnitude))
    return (sizes[0], sizes[1]) if all(np.isfinite(s) and s > 0 for s in sizes) else None


def points_from_atoms(atoms: pd.DataFrame, ndim: int) -> np.ndarray:
    """Coordinates of atoms, shape (n, ndim): (y, x), or (t, y, x) with the frame as t."""
    columns = ["frame", "y_px", "x_px"][-ndim:]
    # a copy: pandas hands out read-only arrays, and napari moves points in place
    return np.array(atoms[columns], dtype=float).reshape(-1, ndim)


def features_from_atoms(atoms: pd.DataFrame, species: Iterable[str]) -> pd.DataFrame:
    """Atoms table as the features of a Points layer.

    The species become categorical, so that napari's features table offers them as a list.
    """
    features = atoms.reset_index(drop=True)
    there = [s for s in features["species"].astype(str).unique() if s]
    names = list(dict.fromkeys([*species, *there, ""]))
    return features.assign(species=pd.Categorical(features["species"].astype(str), names))


def common_species(atoms: pd.DataFrame) -> str:
    """Most frequent species, which an atom added by hand gets; "" where there is none."""
    counts = atoms["species"].astype(str).value_counts()
    return str(counts.index[0]) if len(counts) else ""


def user_values(species: str) -> dict[str, object]:
    """Values of an atom added by hand, but for its place and its id."""
    row = tables.make("atoms", {"species": species, "edited": True, "source": "user"}, 1)
    return {c: row[c].iloc[0] for c in tables.ATOMS}


def new_id(taken: Iterable[int], frame: int) -> int:
    """Return an id for an atom added by hand in `frame`, one that the machine never gives."""
    first = frame * IDS_PER_FRAME + IDS_PER_FRAME // 2
    ids = np.fromiter(taken, dtype=np.int64)
    ids = ids[(ids >= first) & (ids < first + IDS_PER_FRAME // 2)]
    return int(ids.max()) + 1 if len(ids) else first


def atoms_from_points(
    data: np.ndarray,
    features: pd.DataFrame,
    pixel_size: tuple[float, float] | None = None,
    machine: pd.DataFrame | None = None,
    others: Iterable[int] = (),
) -> pd.DataFrame:
    """Atoms table from a Points layer; the positions of the points count.

    What the user did is marked: a point whose id is taken or missing was added, one that is
    not where its features say was moved, one whose species is not the machine's was renamed.

    Parameters
    ----------
    data : ndarray, shape (n, 2) or (n, 3)
        Of the layer.
    features : pandas.DataFrame
        Of the layer.
    pixel_size : tuple of float, optional
        (y, x) in nm.
    machine : pandas.DataFrame, optional
        Atoms table as it was computed.
    others : iterable of int
        Ids of atoms that are not among these points but must stay unique.

    Returns
    -------
    pandas.DataFrame
        Atoms table (see :mod:`napari_atomlens.tables`) with the rows in the same order.
    """
    data = np.asarray(data, dtype=float)
    atoms = tables.make("atoms", {}, len(data))
    for column in features:
        values = features[column].reset_index(drop=True)
        if column not in tables.ATOMS:
            atoms[column] = values
            continue
        dtype = tables.ATOMS[column]
        if dtype == "int64":
            values = pd.to_numeric(values, errors="coerce").fillna(-1)
        elif dtype == "bool":
            values = values.astype(object).map(lambda v: v is True or v == 1)
        elif dtype == "object":
            values = values.astype(object).where(values.notna(), "").map(str)
        atoms[column] = values.astype(np.dtype(dtype))
    position = data[:, -2:]
    frame = np.round(data[:, 0]).astype(np.int64) if data.shape[1] == 3 else np.zeros(len(data))
    added = (atoms["atom_id"].duplicated() | (atoms["atom_id"] < 0)).to_numpy()
    known = atoms[["y_px", "x_px"]].to_numpy()
    moved = ~(np.abs(known - position) <= 1e-6).all(axis=1) | (atoms["frame"] != frame).to_numpy()
    atoms["frame"] = frame.astype(np.int64)
    atoms[["y_px", "x_px"]] = position
    size = np.full(2, np.nan) if pixel_size is None else np.asarray(pixel_size)
    touched = added | moved
    atoms.loc[touched, ["y_nm", "x_nm"]] = position[touched] * size
    atoms.loc[touched, list(MEASURED)] = np.nan
    atoms.loc[touched, "fit_ok"] = False
    renamed = np.zeros(len(atoms), bool)
    if machine is not None and len(machine):
        told = atoms["atom_id"].map(machine.set_index("atom_id")["species"].astype(str))
        renamed = (told.notna() & (told != atoms["species"])).to_numpy() & ~added
    atoms.loc[touched | renamed, "edited"] = True
    atoms.loc[touched | renamed, "source"] = "user"
    taken = set(atoms.loc[~added, "atom_id"]) | set(others) if added.any() else set()
    for row in np.flatnonzero(added):
        fresh = new_id(taken, int(frame[row]))
        taken.add(fresh)
        atoms.loc[row, "atom_id"] = fresh
    return atoms


def is_users(rows: pd.DataFrame) -> np.ndarray:
    """Which rows of a table the user made or changed (bool, one per row)."""
    mark = np.zeros(len(rows), bool)
    if "edited" in rows:
        mark |= rows["edited"].astype(bool).to_numpy()
    if "source" in rows:
        mark |= (rows["source"].astype(str) == "user").to_numpy()
    return mark


def shapes_from_outlines(outlines: Sequence[np.ndarray], frame: int, ndim: int) -> list[np.ndarray]:
    """Outlines (n, 2) of one frame as the polygons of a Shapes layer, each (n, ndim).

    A last vertex that repeats the first is left out: polygons close themselves.
    """
    shapes = []
    for outline in outlines:
        vertices = np.asarray(outline, dtype=float)
        if len(vertices) > 3 and np.allclose(vertices[0], vertices[-1]):
            vertices = vertices[:-1]
        if ndim == 3:
            vertices = np.column_stack([np.full(len(vertices), float(frame)), vertices])
        shapes.append(vertices)
    return shapes


def label_zoom(shape: Sequence[int], itemsize: int, max_side: int, max_bytes: int) -> int:
    """How many times finer than the image (1 to 4) outlines are drawn as labels.

    Parameters
    ----------
    shape : sequence of int
        (T, H, W) of the image.
    itemsize : int
        Bytes of a label.
    max_side, max_bytes : int
        Largest side of a frame, and size of all labels, that is worth it.
    """
    for zoom in (4, 3, 2):
        size = int(np.prod(shape)) * zoom**2 * itemsize
        if zoom * max(shape[-2:]) <= max_side and size <= max_bytes:
            return zoom
    return 1


def zoomed(outlines: Sequence[np.ndarray], zoom: int) -> list[np.ndarray]:
    """Outlines in the pixels of a grid that is `zoom` times finer than the image."""
    return [np.asarray(o, dtype=float) * zoom + (zoom - 1) / 2 for o in outlines]


def outlines_from_shapes(data: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outlines (n, 2) of the polygons of a Shapes layer."""
    return [np.asarray(vertices, dtype=float)[:, -2:] for vertices in data]


def centres(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Mean vertex of each outline, shape (n, 2)."""
    if not len(outlines):
        return np.zeros((0, 2))
    return np.stack([np.asarray(o, dtype=float).mean(axis=0) for o in outlines])


def merge_outlines(
    old: tuple[pd.DataFrame, list[np.ndarray]],
    new: tuple[pd.DataFrame, list[np.ndarray]],
    spacing_px: float,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Contours of one frame anew; outlines that the user drew or changed stay.

    Parameters
    ----------
    old, new : tuple of (pandas.DataFrame, list of ndarray)
        Contours table and the outlines in the order of its rows.
    spacing_px : float
        Distance between nearest columns.
    """
    mine = np.flatnonzero(is_users(old[0]))
    if not len(mine):
        return new
    kept = [old[1][i] for i in mine]
    radius = SAME_ATOM * spacing_px if np.isfinite(spacing_px) else 1.0
    gap = np.linalg.norm(centres(new[1])[:, None] - centres(kept)[None], axis=2)
    rest = np.flatnonzero((gap >= radius).all(axis=1))
    table = pd.concat([new[0].iloc[rest], old[0].iloc[mine]], ignore_index=True)
    if "edited" in table:
        table["edited"] = table["edited"].astype(object).map(lambda v: v is True)
    return table, [new[1][i] for i in rest] + kept


def shown_maps(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the maps that can be looked at: all atoms together, then class by class."""
    return ("any atom", *(c for c in classes if c != "background"))


def map_of(probabilities: np.ndarray, classes: Sequence[str], name: str) -> np.ndarray:
    """One map (H, W) of float16 out of class probabilities (n_classes, H, W).

    Parameters
    ----------
    probabilities : ndarray, shape (n_classes, H, W)
    classes : sequence of str
        Names of the classes.
    name : str
        A class, or "any atom" for the sum over the classes that are atoms.
    """
    if name != "any atom":
        return np.asarray(probabilities[list(classes).index(name)], dtype=np.float16)
    total = column_probability(probabilities, roles_of(classes))
    return np.clip(total, 0, 1).astype(np.float16)
