"""Bonds, rings and defects of a session as layer data, made without a window. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Colour-blind safe: few atoms in warm colours, the perfect ring without colour, many in cold.
RING_COLOURS = {
    3: "#d73027",
    4: "#f46d43",
    5: "#fdae61",
    6: "#8d8d8d",
    7: "#74add1",
    8: "#4575b4",
    9: "#5e3c99",
}
MORE_ATOMS = "#762a83"
KIND_COLOURS = ("#ff9f1c", "#3ddc97", "#4cc9f0", "#cc79a7", "#f0e442", "#e8590c", "#7b9ff2")
#: The most frequent rings, those of the perfect crystal, are left out where there are more.
MOST_POLYGONS = 3000


@dataclass(frozen=True)
class BondDrawing:
    """What the layers of a bond graph are given.

    Attributes
    ----------
    vectors : ndarray, shape (n, 2, ndim)
        Start of each bond, and the way to its end.
    bonds : pandas.DataFrame
        Features of the bonds.
    points : ndarray, shape (m, ndim)
        Defects.
    defects : pandas.DataFrame
        Features of the defects.
    colours : ndarray, shape (m, 4)
        Of the defects, by formula.
    rings : RingDrawing
    width : float
        Of a bond, in pixels.
    """

    vectors: np.ndarray
    bonds: pd.DataFrame
    points: np.ndarray
    defects: pd.DataFrame
    colours: np.ndarray
    rings: RingDrawing
    width: float


@dataclass(frozen=True)
class RingDrawing:
    """Rings of one frame.

    Attributes
    ----------
    frame : int
    polygons : list of ndarray, each of shape (k, ndim)
    colours : ndarray, shape (n, 4)
    features : pandas.DataFrame
        ``atoms`` (how many) and ``frame``.
    """

    frame: int
    polygons: list[np.ndarray]
    colours: np.ndarray
    features: pd.DataFrame


def draw_bonds(
    tables: Mapping[str, pd.DataFrame], atoms: pd.DataFrame, frame: int, ndim: int
) -> BondDrawing:
    """Turn tables into the data of layers; what an atom is missing of is left out.

    Parameters
    ----------
    tables : mapping
        "bonds", "rings" and "defects" of a session.
    atoms : pandas.DataFrame
        Atoms table: where the atoms are.
    frame : int
        Whose rings are drawn.
    ndim : int
        2 for an image, 3 for a movie.
    """
    bonds, defects = tables["bonds"], features_of_defects(tables["defects"])
    vectors = vectors_from_bonds(bonds, atoms, ndim)
    there = np.isfinite(vectors).all(axis=(1, 2))  # napari cannot draw one that ends nowhere
    vectors, bonds = vectors[there], bonds[there].reset_index(drop=True)
    return BondDrawing(
        vectors, bonds, points_from_defects(defects, ndim), defects,
        defect_colours(defects["formula"]), draw_rings(tables["rings"], atoms, frame, ndim),
        bond_width(bonds),
    )  # fmt: skip


def draw_rings(rings: pd.DataFrame, atoms: pd.DataFrame, frame: int, ndim: int) -> RingDrawing:
    """Turn the rings of one frame into polygons; too many perfect ones are left out."""
    mine = rings[(rings["frame"] == frame).to_numpy()]
    if len(mine) > MOST_POLYGONS:
        usual = mine["size"].mode().iloc[0]
        mine = mine[(mine["size"] != usual).to_numpy()].head(MOST_POLYGONS)
    sizes = mine["size"].to_numpy(np.int64)
    ids = np.concatenate([np.zeros(0, np.int64), *mine["atom_ids"]])
    corners = np.column_stack([_frames(np.full(len(ids), frame), ndim), _places(atoms, ids)])
    polygons = np.split(corners, np.cumsum(sizes)[:-1]) if len(sizes) else []
    there = np.array([np.isfinite(p).all() for p in polygons], bool)  # all atoms of it
    polygons, sizes = [p for p, whole in zip(polygons, there, strict=True) if whole], sizes[there]
    colours = rgba(ring_colour(int(s)) for s in sizes)
    return RingDrawing(frame, polygons, colours, pd.DataFrame({"atoms": sizes, "frame": frame}))


def vectors_from_bonds(bonds: pd.DataFrame, atoms: pd.DataFrame, ndim: int) -> np.ndarray:
    """Bonds as napari Vectors, shape (n, 2, ndim): start, and the way to the end."""
    start, end = (_places(atoms, bonds[c].to_numpy(np.int64)) for c in ("atom_a", "atom_b"))
    frame = _frames(bonds["frame"].to_numpy(), ndim)
    first = np.column_stack([frame, start])
    way = np.column_stack([np.zeros_like(frame), end - start])
    return np.stack([first, way], axis=1)


def bond_width(bonds: pd.DataFrame) -> float:
    """Width of a bond in image pixels."""
    return 0.06 * float(bonds["length_px"].median()) if len(bonds) else 1.0


def points_from_defects(defects: pd.DataFrame, ndim: int) -> np.ndarray:
    """Defects as points, shape (n, ndim)."""
    frame = _frames(defects["frame"].to_numpy(), ndim)
    return np.column_stack([frame, defects[["y_px", "x_px"]].to_numpy(float)])


def features_of_defects(defects: pd.DataFrame) -> pd.DataFrame:
    """Defects table as the features of a layer: the atoms in one text."""
    ids = [" ".join(map(str, i)) for i in defects["atom_ids"]]
    return defects.reset_index(drop=True).assign(atom_ids=ids)


def defect_colours(formulas: Iterable[str]) -> np.ndarray:
    """Colour of each defect by its formula, shape (n, 4); the most frequent one comes first."""
    all_of_them = list(formulas)
    names = list(pd.Series(all_of_them, dtype=object).value_counts().index)
    colour = {n: KIND_COLOURS[k % len(KIND_COLOURS)] for k, n in enumerate(names)}
    return rgba(colour[f] for f in all_of_them)


def ring_colour(size: int) -> str:
    """Colour of a ring of so many atoms."""
    return RING_COLOURS.get(size, MORE_ATOMS)


def rgba(colours: Iterable[str]) -> np.ndarray:
    """Colours "#rrggbb" as numbers between 0 and 1, shape (n, 4)."""
    rows = [(*bytes.fromhex(c[1:]), 255) for c in colours]
    return np.array(rows, float).reshape(-1, 4) / 255


def _frames(frame: np.ndarray, ndim: int) -> np.ndarray:
    """Frames as the first coordinate of a movie's layer; no column for an image."""
    return np.asarray(frame, float).reshape(-1, 1)[:, : ndim - 2]


def _places(atoms: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """Places (n, 2) of atoms by their ids, NaN where there is no such atom any more."""
    known = atoms["atom_id"].to_numpy(np.int64)
    places = atoms[["y_px", "x_px"]].to_numpy(float)
    if not len(known):
        return np.full((len(ids), 2), np.nan)
    order = np.argsort(known, kind="stable")
    at = order[np.minimum(np.searchsorted(known[order], ids), len(known) - 1)]
    return np.where((known[at] == ids)[:, None], places[at], np.nan)
