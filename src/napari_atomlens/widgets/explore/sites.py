"""What the views of the Explore dock show: one table of sites, its selection, its image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from napari_atomlens.contours.classbook import COLOURS, ClassBook
from napari_atomlens.image import Stack
from napari_atomlens.widgets.base.plots import PLAIN, SHADES, viridis

#: Radius of a patch in distances of nearest sites; in pixels where that is not known.
REACH, RADIUS_PX = 1.4, 16
#: Columns of the classes.
CLASS = "anomaly_class"
SCORE, REASON = "anomaly_score", "anomaly_reason"


@dataclass
class Sites:
    """The sites of one layer.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per point of the layer, in its order.
    frames : ndarray of int, shape (n,)
    stack : Stack or None
        The image, None where there is none.
    spacing_px : float
        Distance of nearest sites, NaN where it is not known.
    book : ClassBook
        Names and colours of the classes.
    selected : ndarray of int
        Rows.
    """

    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    stack: Stack | None = None
    spacing_px: float = float("nan")
    book: ClassBook = field(default_factory=ClassBook)
    selected: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.table)

    def numeric(self) -> list[str]:
        """Names of the columns that are numbers."""
        types = pd.api.types
        return [
            str(c) for c in self.table
            if types.is_numeric_dtype(self.table[c]) and not types.is_bool_dtype(self.table[c])
        ]  # fmt: skip

    def values(self, name: str) -> np.ndarray:
        """Numbers of a column, NaN where it has none."""
        if name not in self.table:
            return np.full(len(self.table), np.nan)
        return pd.to_numeric(self.table[name], errors="coerce").to_numpy(float)

    @property
    def flagged(self) -> np.ndarray:
        """Which rows are unlike the others (n,)."""
        if "anomaly" not in self.table:
            return np.zeros(len(self.table), bool)
        return self.table["anomaly"].fillna(False).to_numpy(bool)

    def shades(self, name: str) -> tuple[np.ndarray | None, list[str]]:
        """Colour of each row by a column: index and list of colours."""
        if name not in self.table:
            return None, [PLAIN]
        column = self.table[name]
        if name == CLASS:
            numbers = column.fillna(-1).astype(int).to_numpy()
            names, index = np.unique(numbers, return_inverse=True)
            return index, [self.book.colour(int(k)) for k in names]
        if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
            codes, _ = pd.factorize(column.astype(str), sort=True)
            return np.asarray(codes) % len(COLOURS), list(COLOURS)
        values = column.to_numpy(float)
        good = values[np.isfinite(values)]
        low, high = np.percentile(good, [1, 99]) if len(good) else (0, 1)
        part = np.nan_to_num((values - low) / max(high - low, 1e-300))
        return np.clip(part * SHADES, 0, SHADES - 1).astype(int), viridis(SHADES)

    def patches(self, rows: np.ndarray) -> np.ndarray:
        """Image round some rows (n, s, s), NaN outside of it."""
        known = np.isfinite(self.spacing_px)
        radius = int(np.clip(REACH * self.spacing_px if known else RADIUS_PX, 6, 64))
        side = 2 * radius + 1
        out = np.full((len(rows), side, side), np.nan)
        if self.stack is None:
            return out
        at = np.rint(self.table[["y_px", "x_px"]].to_numpy(float)[rows]).astype(int)
        frames = np.clip(self.frames[rows], 0, len(self.stack) - 1)
        for frame in np.unique(frames):  # each is read once
            plane = self.stack[int(frame)]
            for k in np.flatnonzero(frames == frame):
                y, x = at[k]
                top, left = max(y - radius, 0), max(x - radius, 0)
                part = np.asarray(
                    plane[top : max(y + radius + 1, 0), left : max(x + radius + 1, 0)], float
                )
                t, s = top - (y - radius), left - (x - radius)
                out[k, t : t + part.shape[0], s : s + part.shape[1]] = part
        return out

    def caption(self, row: int) -> str:
        """Text below the picture of a row."""
        return f"{row}\n{self.values(SCORE)[row]:.1f} σ" if SCORE in self.table else str(row)
