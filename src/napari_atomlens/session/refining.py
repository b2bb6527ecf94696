"""Atoms that are there, refined on the pixels by the fit of all columns together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import TableError
from napari_atomlens.image import Stack
from napari_atomlens.progress import Progress
from napari_atomlens.runs.own import refine_atoms
from napari_atomlens.runs.source import Source
from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.columns import plain
from napari_atomlens.session.session import Session

#: What the fit says of an atom.
FITTED = (
    "y_px", "x_px", "amplitude", "sigma_px", "volume", "volume_err", "background", "y_err_px",
    "x_err_px", "fit_ok", "chi2", "seen_y_px", "seen_x_px",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Refined:
    """What the fit says of the atoms of one frame.

    Attributes
    ----------
    before, after : pandas.DataFrame
        Atoms table as it was given to the fit, and as that returned it, row by row.
    """

    before: pd.DataFrame
    after: pd.DataFrame


def refine_frames(
    pixels: Stack,
    atoms: pd.DataFrame,
    spacing_px: float = float("nan"),
    only: Collection[int] = (),
    progress: Progress = Progress(),
) -> Iterator[Refined]:
    """Refine atoms frame by frame; the others of a frame are fitted with those that are wanted.

    Parameters
    ----------
    pixels : Stack, shape (T, H, W)
    atoms : pandas.DataFrame
        Atoms table.
    spacing_px : float
        Distance between nearest columns; that of the atoms where it is not known.
    only : collection of int
        Ids of the atoms that are wanted; all by default.
    progress : Progress
        Asked between frames, and within, whether to stop.

    Raises
    ------
    TableError
        If none is in its frame, or a frame does not exist.
    """
    wanted = atoms["atom_id"].isin(only) if len(only) else pd.Series(True, atoms.index)
    frames = sorted(set(atoms.loc[wanted, "frame"]))
    spacing = spacing_px if np.isfinite(spacing_px) else 0.0
    source = Source(pixels)
    for k, frame in enumerate(frames):
        progress(k, len(frames))
        mine = atoms[atoms["frame"] == frame]
        after = refine_atoms(
            source, mine, spacing_px=spacing, progress=Progress(stop=lambda: progress.stopped)
        )
        keep = wanted.loc[mine.index].to_numpy()
        yield Refined(mine[keep].reset_index(drop=True), after[keep].reset_index(drop=True))


def take_refined(
    session: Session, parts: Collection[Refined], pixel_size_nm: tuple[float, float] | None
) -> str:
    """Let atoms be where the fit found them, as one edit; says what came of it.

    Those that were edited meanwhile, or that the fit could not hold, stay as they are.

    Parameters
    ----------
    session : Session
    parts : collection of Refined
    pixel_size_nm : tuple of float or None
        (y, x).
    """
    before = pd.concat([p.before for p in parts], ignore_index=True)
    after = pd.concat([p.after for p in parts], ignore_index=True)
    now = session.atoms().set_index("atom_id").reindex(before["atom_id"])
    held = (after["source"] == "fit").to_numpy()
    same = (now[["y_px", "x_px"]].to_numpy() == before[["y_px", "x_px"]].to_numpy()).all(1)
    use = np.flatnonzero(held & same)
    if not len(use):
        raise TableError(
            "The fit held for none of the atoms: are they within a third of a spacing of columns?"
        )
    names = [n for n in FITTED if n in after and n in tables.ATOMS]
    rows = [
        {n: plain(v) for n, v in zip(names, row, strict=True)}
        for row in after.loc[use, names].itertuples(index=False, name=None)
    ]
    ids = [int(i) for i in before["atom_id"].iloc[use]]
    if session.edit(actions.refine, ids, rows, pixel_size_nm) is None:
        return session.problem
    axes = ["y_px", "x_px"]
    moved = after[axes].to_numpy(float)[use] - before[axes].to_numpy(float)[use]
    far = float(np.sqrt(np.mean(np.sum(moved**2, axis=1))))
    error = float(np.nanmedian(np.hypot(after["y_err_px"].iloc[use], after["x_err_px"].iloc[use])))
    said = (
        f"{len(use)} of {len(before)} atoms refined, moved by {far:.2g} px (root mean square); "
        f"standard error {error:.2g} px."
    )
    if n := int((~held).sum()):
        said += f" {n} stay where they were: the fit ran away, or they lie outside of the image."
    return said
