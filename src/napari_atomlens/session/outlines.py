"""The outlines of the atoms of one image: the latest run's, with what the user drew or deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.contours.tracing import outline
from napari_atomlens.points import inside_polygon
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.edits.rebase import SAME_ATOM

#: An edit changes no outline farther from it than this, over the spacing.
REACH = 3.0
#: Contours table of one frame and the outlines (n, 2) in the order of its rows.
Outlined = tuple[pd.DataFrame, list[np.ndarray]]


def is_users(rows: pd.DataFrame) -> np.ndarray:
    """Which rows of a table the user made or changed (bool, one per row)."""
    mark = np.zeros(len(rows), bool)
    if "edited" in rows:
        mark |= rows["edited"].astype(bool).to_numpy()
    if "source" in rows:
        mark |= (rows["source"].astype(str) == "user").to_numpy()
    return mark


def centres(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Mean vertex of each outline, shape (n, 2)."""
    if not len(outlines):
        return np.zeros((0, 2))
    return np.stack([np.asarray(o, dtype=float).mean(axis=0) for o in outlines])


def same_place(spacing_px: float) -> float:
    """Distance below which two places are of the same atom."""
    return SAME_ATOM * spacing_px if np.isfinite(spacing_px) else 1.0


def merge_outlines(old: Outlined, new: Outlined, spacing_px: float) -> Outlined:
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
    gap = np.linalg.norm(centres(new[1])[:, None] - centres(kept)[None], axis=2)
    rest = np.flatnonzero((gap >= same_place(spacing_px)).all(axis=1))
    table = pd.concat([new[0].iloc[rest], old[0].iloc[mine]], ignore_index=True)
    if "edited" in table:
        table["edited"] = table["edited"].astype(object).map(lambda v: v is True)
    return table, [new[1][i] for i in rest] + kept


def with_outline(
    outlined: Outlined, frame: int, atom_id: int, tracing: np.ndarray | None, edited: bool
) -> Outlined:
    """Contours of a frame with another outline of one atom; without one where it is None."""
    table, outlines = outlined
    rest = (table["atom_id"] != atom_id).to_numpy()
    table = table[rest].reset_index(drop=True)
    outlines = [o for o, keep in zip(outlines, rest, strict=True) if keep]
    if tracing is None:
        return table, outlines
    row = tables.make(
        "contours", {"frame": frame, "atom_id": atom_id, "species": "", "edited": edited}, 1
    )
    table = pd.concat([table, row], ignore_index=True) if len(table) else row
    table["edited"] = table["edited"].astype(object).map(lambda v: v is True)
    return table, [*outlines, np.asarray(tracing, np.float32)]


class Outlines:
    """The outlines of an image or movie, frame by frame."""

    def __init__(self) -> None:
        self._of: dict[int, Outlined] = {}
        self._from: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __contains__(self, frame: int) -> bool:
        return frame in self._of

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._of))

    def __getitem__(self, frame: int) -> Outlined:
        """Contours table of a frame and its outlines; empty where there are none."""
        return self._of.get(frame, (tables.empty("contours"), []))

    def __setitem__(self, frame: int, outlined: Outlined) -> None:
        self._of[frame] = outlined

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()
        self._from.clear()

    def by_atom(self, frame: int) -> dict[int, np.ndarray]:
        """Outlines of a frame by the id of their atom."""
        table, outlines = self[frame]
        return dict(zip((int(i) for i in table["atom_id"]), outlines, strict=True))

    def table(self) -> pd.DataFrame:
        """Contours table of all frames."""
        parts = [t for f in self if len(t := self._of[f][0])]
        return pd.concat(parts, ignore_index=True) if parts else tables.empty("contours")

    # ------------------------------------------------------------------ a new run

    def take(self, result: FrameResult, c: Corrections, spacing_px: float) -> bool:
        """Put the outlines of a run under what the user did.

        Returns
        -------
        bool
            Whether they are those of the run, one by one: what was drawn of them holds.
        """
        f = result.frame
        species = result.atoms.set_index("atom_id")["species"].astype(str)
        table = result.contours.assign(
            species=result.contours["atom_id"].map(species).fillna(""), edited=False
        )
        table, which = of_atoms(table, result, c, spacing_px)
        new = table, [np.asarray(result.outlines[i], np.float32) for i in which]
        as_run = len(which) == len(result.outlines)
        if f in self._of:
            as_run = as_run and not is_users(self._of[f][0]).any()
            new = merge_outlines(self._of[f], new, spacing_px)
        mine = c.contours(f)
        for atom_id, tracing in mine.items():
            new = with_outline(new, f, atom_id, tracing, True)
        self._of[f] = new
        self._note_atoms(f, c)
        return as_run and not mine

    def _note_atoms(self, frame: int, c: Corrections) -> None:
        """Remember of which atoms the outlines of a frame are."""
        now = c.columns(frame)
        self._from[frame] = now.ids.copy(), now.positions.copy()

    # -------------------------------------------------------------------- an edit

    def redraw(
        self, frame: int, c: Corrections, probability: np.ndarray, spacing_px: float
    ) -> None:
        """Outline the atoms of an edited frame anew, from the map of all atoms together.

        Only what the edit can have changed: the atoms themselves and their neighbours.
        """
        new = self._some_anew(frame, c, probability, spacing_px)
        for atom_id in removed_by_hand(c, frame):
            new = with_outline(new, frame, atom_id, None, True)
        if frame in self._of:
            new = merge_outlines(self._of[frame], new, spacing_px)
        self._of[frame] = new
        self._note_atoms(frame, c)

    def _some_anew(
        self, frame: int, c: Corrections, probability: np.ndarray, spacing_px: float
    ) -> Outlined:
        """Outlines of all atoms, those far from every change as they were."""
        now, known = c.columns(frame), self._from.get(frame)
        if known is None or not np.isfinite(spacing_px) or not len(now):
            return _outlined(frame, c, probability)
        near = near_changes(*known, now.ids, now.positions, REACH * spacing_px)
        table, outlines = self._of.get(frame, (tables.empty("contours"), []))
        stays = ~is_users(table) & np.isin(table["atom_id"], now.ids[~near])
        anew = np.flatnonzero(~np.isin(now.ids, table["atom_id"].to_numpy()[stays]))
        fresh, drawn = _outlined(frame, c, probability, now.ids[anew])
        old = table[stays]
        species = dict(zip(now.ids.tolist(), now.data["species"], strict=True))
        old = old.assign(species=[str(species[int(i)]) for i in old["atom_id"]])
        both = pd.concat([old, fresh], ignore_index=True) if len(old) else fresh
        kept = [outlines[k] for k in np.flatnonzero(stays)]
        rank = {int(i): k for k, i in enumerate(now.ids)}  # in the order of the atoms, as ever
        order = np.argsort([rank[int(i)] for i in both["atom_id"]], kind="stable")
        every = [*kept, *drawn]
        return both.iloc[order].reset_index(drop=True), [every[k] for k in order]

    def complete(self, frame: int, c: Corrections, probability: np.ndarray | None) -> bool:
        """Outline those atoms of the user that a run has not found.

        Returns
        -------
        bool
            Whether every atom has an outline now: without a map they have none.
        """
        table, outlines = self[frame]
        known = [*table["atom_id"], *removed_by_hand(c, frame)]
        if np.isin(c.columns(frame).ids, known).all():
            return True
        if probability is None:
            return False
        every, drawn = _outlined(frame, c, probability)
        rows = np.flatnonzero(~every["atom_id"].isin(known))
        more = pd.concat([table, every.iloc[rows]], ignore_index=True)
        more["edited"] = more["edited"].astype(object).map(lambda v: v is True)
        self._of[frame] = more, [*outlines, *(drawn[k] for k in rows)]
        return True

    def prune(self, frame: int, c: Corrections) -> bool:
        """Let go of outlines whose atoms are gone or elsewhere, where there is no map.

        Returns
        -------
        bool
            Whether every atom still has an outline.
        """
        if frame not in self._of:
            return True
        table, outlines = self._of[frame]
        now = c.columns(frame)
        keep = is_users(table)
        for k, atom_id in enumerate(table["atom_id"]):
            at = now.index(int(atom_id))
            if at >= 0 and not keep[k]:
                keep[k] = inside_polygon(now.positions[at : at + 1], outlines[k])[0]
        rows = np.flatnonzero(keep)
        self._of[frame] = table.iloc[rows].reset_index(drop=True), [outlines[k] for k in rows]
        known = [*table["atom_id"].to_numpy()[rows], *removed_by_hand(c, frame)]
        return bool(np.isin(now.ids, known).all())

    def draw(self, frame: int, atom_id: int, tracing: np.ndarray | None, edited: bool) -> None:
        """Give one atom another outline, or none."""
        self._of[frame] = with_outline(self[frame], frame, atom_id, tracing, edited)


def removed_by_hand(c: Corrections, frame: int) -> list[int]:
    """Atoms of a frame whose outlines the user removed."""
    return [i for i, tracing in c.contours(frame).items() if tracing is None]


def near_changes(
    old_ids: np.ndarray, old: np.ndarray, ids: np.ndarray, places: np.ndarray, reach: float
) -> np.ndarray:
    """Which atoms lie near one that is new, gone or elsewhere (bool, one per atom)."""
    there = {int(i): k for k, i in enumerate(old_ids)}
    before = np.array([there.get(int(i), -1) for i in ids], int)
    same = before >= 0
    same[same] = (old[before[same]] == places[same]).all(axis=1)
    gone = np.ones(len(old_ids), bool)
    gone[before[same]] = False
    changed = np.vstack([places[~same], old[gone]])
    if not len(changed):
        return np.zeros(len(ids), bool)
    distance, _ = scipy.spatial.cKDTree(changed).query(places, distance_upper_bound=reach)
    return np.isfinite(distance)


def _outlined(
    frame: int, c: Corrections, probability: np.ndarray, only: np.ndarray | None = None
) -> Outlined:
    """Every atom of a frame outlined in a map, or only those of some ids."""
    atoms = c.table(frame)
    which = None if only is None else np.flatnonzero(atoms["atom_id"].isin(only))
    contours, outlines = outline(
        np.asarray(probability, np.float32), atoms, frame=frame, which=which
    )
    species = atoms.set_index("atom_id")["species"].astype(str)
    table = contours.assign(species=contours["atom_id"].map(species).fillna(""), edited=False)
    return table, [np.asarray(o, np.float32) for o in outlines]


def of_atoms(
    table: pd.DataFrame, result: FrameResult, c: Corrections, spacing_px: float
) -> tuple[pd.DataFrame, list[int]]:
    """Contours of a run for the atoms that there are: which rows stay, with which ids."""
    if not len(c.journal) and not c.renamed:  # what was undone may have renamed atoms
        return table, list(range(len(table)))
    now = c.columns(result.frame)
    ids = table["atom_id"].replace(c.renamed).to_numpy().copy()
    atoms = result.atoms.set_index("atom_id")[["y_px", "x_px"]]
    places = atoms.reindex(table["atom_id"]).to_numpy()
    lost = ~np.isin(ids, now.ids)
    if lost.any() and len(now):  # the user's atom in the place of the model's
        gap, near = scipy.spatial.cKDTree(now.positions).query(
            np.nan_to_num(places[lost], nan=-1e9)
        )
        found = now.ids[near]
        same = (gap < same_place(spacing_px)) & ~np.isin(found, ids)
        ids[lost] = np.where(same, found, -1)
        lost[lost] = ids[lost] < 0
    which = np.flatnonzero(~lost)
    return table.assign(atom_id=ids).iloc[which].reset_index(drop=True), which.tolist()


def outlined_atom(c: Corrections, frame: int, tracing: np.ndarray, taken: set[int]) -> int:
    """Id of the atom inside of a new outline; a new negative one where there is none."""
    atoms = c.columns(frame)
    free = ~np.isin(atoms.ids, list(taken))
    mine = np.flatnonzero(inside_polygon(atoms.positions, tracing) & free)
    if len(mine):
        gap = atoms.positions[mine] - tracing.mean(0)
        return int(atoms.ids[mine[np.hypot(*gap.T).argmin()]])
    spare = -2 - frame * tables.IDS_PER_FRAME
    while spare in taken:
        spare -= 1
    return spare


# ------------------------------------------------------------------------ drawn as labels


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
