"""What came out of an image against what is in it: right, false, marked, said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from .scenes import Scene, inside

#: A z beyond this counts as this: one atom must not make the figure of a row.
CLIP = 20.0


@dataclass
class Tally:
    """Counts over the images of one kind."""

    images: int = 0
    area: float = 0.0
    true: int = 0
    hits: int = 0
    false: int = 0
    unmarked: int = 0  #: false atoms with a probability above 0.9 and no mark
    marked_true: int = 0
    warned: int = 0
    refused: int = 0
    z: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    bins: np.ndarray = field(default_factory=lambda: np.zeros((10, 3)))

    def __iadd__(self, other: Tally) -> Tally:
        for name in ("images", "area", "true", "hits", "false", "unmarked", "marked_true",
                     "warned", "refused"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("z", "heights", "said"):
            getattr(self, name).extend(getattr(other, name))
        self.bins = self.bins + other.bins
        return self

    @property
    def f1(self) -> float:
        """Of found against true columns, NaN where there is none to find."""
        whole = 2 * self.hits + self.false + (self.true - self.hits)
        return 2 * self.hits / whole if self.true else float("nan")

    @property
    def silent(self) -> float:
        """Unmarked false atoms: % of the true ones, or per 100,000 px2 where there are none."""
        return 100 * self.unmarked / self.true if self.true else 1e5 * self.unmarked / self.area

    @property
    def z_rms(self) -> float:
        """Root mean square of errors over stated errors."""
        return float(np.sqrt(np.mean(np.square(self.z)))) if self.z else float("nan")

    @property
    def ece(self) -> float:
        """Expected calibration error of the reported probabilities."""
        n, p, right = self.bins.T
        some = n > 0
        if not some.any():
            return float("nan")
        return float((np.abs(p - right)[some]).sum() / n.sum())


def marked(atoms: pd.DataFrame) -> np.ndarray:
    """Which atoms carry a mark of their own; a sentence for the image marks none."""
    out = ~atoms["fit_ok"].to_numpy(bool) | (atoms["probability"].to_numpy(float) <= 0.9)
    if "unfamiliar" in atoms:
        out |= atoms["unfamiliar"].to_numpy(float) > 0.5
    return out


def pairs(found: np.ndarray, true: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of found and true places that belong together, one to one within a radius."""
    if not len(found) or not len(true):
        return np.zeros(0, int), np.zeros(0, int)
    near = cKDTree(found).sparse_distance_matrix(cKDTree(true), radius, output_type="coo_matrix")
    mutual = _mutual(found, true, radius)
    left, right = np.unique(near.row), np.unique(near.col)
    if len(mutual[0]) == len(left) == len(right):  # nothing is disputed
        return mutual
    cost = np.full((len(left), len(right)), 10.0 * radius)
    cost[np.searchsorted(left, near.row), np.searchsorted(right, near.col)] = near.data
    a, b = linear_sum_assignment(cost)
    good = cost[a, b] <= radius
    return left[a[good]], right[b[good]]


def _mutual(found: np.ndarray, true: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    d, k = cKDTree(true).query(found)
    back = cKDTree(found).query(true)[1]
    same = (d <= radius) & (back[k] == np.arange(len(found)))
    return np.flatnonzero(same), k[same]


def judge(scene: Scene, atoms: pd.DataFrame, messages: list[str], frame: int = 0) -> Tally:
    """Score one image, or one frame of a movie."""
    shape: tuple[int, int] = tuple(scene.image.shape[-2:])  # type: ignore[assignment]
    out = Tally(images=1, area=float(np.prod(shape)))
    true = np.zeros((0, 2)) if frame in scene.empty_frames else scene.true
    found = atoms[["y_px", "x_px"]].to_numpy(float)
    a, b = pairs(found, true, scene.spacing / 4)
    hit, hit_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    hit[a], hit_true[b] = True, True
    excused = _excused(scene, found, ~hit, shape)
    counts_true = inside(true, shape, scene.spacing / 2) & ~_ignored(scene, true)
    marks = marked(atoms) if len(atoms) else np.zeros(0, bool)
    false = ~hit & ~excused
    out.true, out.hits = int(counts_true.sum()), int((counts_true & hit_true).sum())
    out.false, out.unmarked = int(false.sum()), int((false & ~marks).sum())
    counted = counts_true[b]
    a, b = a[counted], b[counted]
    out.marked_true = int(marks[a].sum())
    plain = a[~marks[a]], b[~marks[a]]
    stated = atoms[["y_err_px", "x_err_px"]].to_numpy(float)[plain[0]]
    z = (found[plain[0]] - true[plain[1]]) / np.where(stated > 0, stated, np.nan)
    out.z = np.clip(z[np.isfinite(z)], -CLIP, CLIP).ravel().tolist()
    if scene.heights is not None:
        amplitude = atoms["amplitude"].to_numpy(float)
        out.heights = (amplitude[a] / scene.heights[b]).tolist()
    p = atoms["probability"].to_numpy(float)
    judged = np.isfinite(p) & (false | np.isin(np.arange(len(p)), a))
    which = np.clip((p[judged] * 10).astype(int), 0, 9)
    for column, weight in enumerate((np.ones(judged.sum()), p[judged], hit[judged] * 1.0)):
        out.bins[:, column] = np.bincount(which, weight, 10)
    out.said = [m for m in messages if m]
    out.warned = int(bool(out.said))
    return out


def _ignored(scene: Scene, places: np.ndarray) -> np.ndarray:
    if scene.ignored is None or not len(places):
        return np.zeros(len(places), bool)
    pixel = np.clip(np.rint(places).astype(int), 0, np.array(scene.ignored.shape) - 1)
    return scene.ignored[tuple(pixel.T)]


def _excused(
    scene: Scene, found: np.ndarray, unmatched: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Which found atoms do not count: those of optional columns, at the border, where ignored."""
    out = ~inside(found, shape, scene.spacing / 2) | _ignored(scene, found)
    rest = np.flatnonzero(unmatched)
    at, _ = pairs(found[rest], scene.optional, scene.spacing / 4)
    out[rest[at]] = True
    return out
