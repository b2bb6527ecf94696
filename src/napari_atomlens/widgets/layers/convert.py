"""Tables and maps to layer data, and back. No Qt and no napari here.

Coordinates are (t, y, x) for movies and (y, x) for images, in pixels of the source image:
the layers share its scale, units and axes instead of converting anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.runs.frame import IDS_PER_FRAME

#: Measured where an atom was; unknown once the user has put it elsewhere.
MEASURED = (
    "probability", "amplitude", "sigma_px", "volume", "volume_err", "background", "y_err_px",
    "x_err_px",
)  # fmt: skip


def frame_order(current: int, n_frames: int) -> list[int]:
    """Frames in the order in which to compute them: the current one, what follows, the rest."""
    current = min(max(int(current), 0), max(n_frames - 1, 0))
    return [(current + i) % n_frames for i in range(n_frames)]


def frames_of(data: np.ndarray) -> np.ndarray:
    """Frame of every point (n,) of a Points layer, all 0 of an image."""
    if data.shape[1] < 3:
        return np.zeros(len(data), np.int64)
    return np.asarray(np.round(np.asarray(data, float)[:, -3]), np.int64)


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
    if "unfamiliar" not in features:  # the layer draws by it
        features = features.assign(unfamiliar=np.nan)
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
    atoms = _typed(features, len(data))
    position = data[:, -2:]
    frame = frames_of(data)
    added = (atoms["atom_id"].duplicated() | (atoms["atom_id"] < 0)).to_numpy()
    known = atoms[["y_px", "x_px"]].to_numpy()
    moved = ~(np.abs(known - position) <= 1e-6).all(axis=1) | (atoms["frame"] != frame).to_numpy()
    atoms["frame"] = frame
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
    if added.any():
        atoms["atom_id"] = _with_new_ids(atoms["atom_id"].to_numpy(), frame, added, others)
    return atoms


def _typed(features: pd.DataFrame, n: int) -> pd.DataFrame:
    """Atoms table of `n` rows with the features of a layer, in the types of the table."""
    atoms = tables.make("atoms", {}, n)
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
    return atoms


def _with_new_ids(
    ids: np.ndarray, frame: np.ndarray, added: np.ndarray, others: Iterable[int]
) -> np.ndarray:
    """Ids (n,) where those of `added` atoms are new ones."""
    taken = set(ids[~added].tolist()) | set(others)
    ids = ids.copy()
    for one in np.unique(frame[added]):
        rows = np.flatnonzero(added & (frame == one))
        ids[rows] = new_id(taken, int(one)) + np.arange(len(rows))
    return ids


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


def frames_of_shapes(data: Sequence[np.ndarray]) -> np.ndarray:
    """Frame of each polygon of a Shapes layer; all 0 of an image."""
    return np.array([round(float(v[0, 0])) if v.shape[1] == 3 else 0 for v in data], int)


def outlines_from_shapes(data: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outlines (n, 2) of the polygons of a Shapes layer."""
    return [np.asarray(vertices, dtype=float)[:, -2:] for vertices in data]
