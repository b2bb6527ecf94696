"""A small lattice with what a run finds in it; no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.session.session import Session

CLASSES = ("background", "column", "contamination")
SPACING, SIDE = 10.0, 5
SIZE = int(SPACING * SIDE)


def places(shift: float = 0.0, drop: Sequence[int] = ()) -> np.ndarray:
    """Atoms of a square lattice, those of `drop` left out."""
    return np.delete(SPACING * np.argwhere(np.ones((SIDE, SIDE))) + 5.0 + shift, list(drop), axis=0)


def image(frames: int = 0, shift: float = 0.0) -> np.ndarray:
    """The lattice as an image, or as a movie."""
    y, x = np.mgrid[:SIZE, :SIZE]
    out = np.zeros((SIZE, SIZE))
    for place in places(shift):
        out += np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 8)
    return np.stack([out] * frames).astype(np.float32) if frames else out.astype(np.float32)


def atoms_at(where: np.ndarray, frame: int = 0, **columns: object) -> pd.DataFrame:
    """Atoms table of places, as a model gives it."""
    n = len(where)
    known = {
        "frame": frame, "atom_id": frame * tables.IDS_PER_FRAME + np.arange(n),
        "y_px": where[:, 0], "x_px": where[:, 1], "species": "column", "probability": 0.9,
        "amplitude": 1.0, "source": "fit", "fit_ok": True,
    }  # fmt: skip
    return tables.make("atoms", known | columns, n)


def result(frame: int = 0, shift: float = 0.0, drop: Sequence[int] = ()) -> FrameResult:
    """What a run finds in a frame."""
    where = places(shift, drop)
    atoms = atoms_at(where, frame)
    p = np.clip(image(shift=shift), 0, 1)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = 3 * np.c_[np.sin(angle), np.cos(angle)]
    contours = tables.make(
        "contours", {"frame": frame, "atom_id": atoms["atom_id"], "area_px2": 28.0}, len(where)
    )
    maps = np.stack([1 - p, p, 0 * p]).astype(np.float16)
    return FrameResult(
        frame, maps, CLASSES, atoms, contours, [place + ring for place in where],
        np.zeros((SIZE, SIZE), np.float16), SPACING, model="universal",
    )  # fmt: skip


def session_of(frames: int = 1, maps: bool = True) -> Session:
    """A session that has taken a run over some frames."""
    session = Session("gold", 0.1)
    session.set_pixels(image(frames if frames > 1 else 0))
    run = session.begin((frames, SIZE, SIZE), {"started": "now"})
    session.take([result(f) for f in range(frames)], run, maps=maps)
    return session
