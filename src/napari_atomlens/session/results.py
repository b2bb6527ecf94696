"""What the runs over one image gave besides atoms and outlines: maps, spacing, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.segmentation.probabilities import column_probability
from napari_atomlens.segmentation.zoo import role_of, roles_of
from napari_atomlens.session.edits import Conflict
from napari_atomlens.session.pixels import KnownPixels

#: Maps of all classes are kept up to this size, else only the one of all atoms together.
MAX_MAP_BYTES = 2**30
ANY_ATOM = "any atom"


def shown_maps(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the maps that can be looked at: all atoms together, then class by class."""
    return (ANY_ATOM, *(c for c in classes if c != "background"))


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
    if name != ANY_ATOM:
        return np.asarray(probabilities[list(classes).index(name)], dtype=np.float16)
    total = column_probability(probabilities, roles_of(classes))
    return np.clip(total, 0, 1).astype(np.float16)


def runs_after(older: Sequence[Mapping[str, Any]], run: dict[str, Any]) -> list[dict[str, Any]]:
    """Provenance of all runs that something shows, the latest last.

    A run leaves the list when later runs have redone all its frames.
    """
    fresh = set(run.get("frames", []))
    kept = []
    for one in older:
        if one.get("started") == run.get("started"):
            continue
        frames = [f for f in one.get("frames", []) if f not in fresh]
        if frames:
            kept.append({**one, "frames": frames})
    return [*kept, run]


@dataclass(frozen=True)
class Run:
    """A run that was begun: on which pixels, after which change of the atoms."""

    pixels: KnownPixels | None
    revision: int


@dataclass(frozen=True)
class Taken:
    """What became of the results of some frames.

    Attributes
    ----------
    conflicts : list of Conflict
        What the run and the edits do not agree on.
    as_run : frozenset of int
        Frames whose outlines are those of the run, one by one.
    n_atoms : int
        Atoms that these frames have now, with what the user added and deleted.
    n_edits : int
        Edits of the whole image that were kept.
    """

    conflicts: list[Conflict]
    as_run: frozenset[int]
    n_atoms: int = 0
    n_edits: int = 0

    @property
    def kept(self) -> str:
        """Say how many edits were kept; "" where there are none."""
        n = self.n_edits
        return f"{n:,} edit{'' if n == 1 else 's'} kept" if n else ""


class Results:
    """Maps, classes, spacing and provenance of the runs over one image.

    Attributes
    ----------
    shape : tuple of int
        (T, H, W) of the image.
    classes : tuple of str
        Of the model, background first.
    spacing_px : float
        Distance between nearest columns, NaN where it is not known.
    provenance : dict
        Of the latest run; its "frames" grow as they come.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.spacing_px = float("nan")
        self.provenance: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self._spacings: list[float] = []
        self._maps: np.ndarray | None = None
        self._unfamiliar: np.ndarray | None = None

    def begin(self, shape: tuple[int, ...], provenance: dict[str, Any]) -> None:
        """Prepare for the results of a run; maps of another shape are forgotten."""
        provenance.setdefault("started", datetime.now(UTC).isoformat())
        self.provenance, self._spacings = provenance, []
        if shape != self.shape:
            self._maps = self._unfamiliar = None
        self.shape = shape

    def take(
        self, results: Sequence[FrameResult], maps: bool = True, unfamiliar: bool = True
    ) -> None:
        """Keep what some frames gave.

        Parameters
        ----------
        results : sequence of FrameResult
        maps, unfamiliar : bool
            Whether to keep the maps; they take memory.
        """
        self.classes = results[0].classes
        self._spacings += [r.spacing_px for r in results if np.isfinite(r.spacing_px)]
        if self._spacings:
            self.spacing_px = float(np.median(self._spacings))
        if good := {str(r.frame): asdict(r.quality) for r in results if r.quality is not None}:
            self.provenance.setdefault("quality", {}).update(good)
        done = self.provenance.setdefault("frames", [])
        done += [int(r.frame) for r in results]
        self.runs = runs_after(self.runs, self.provenance)
        if maps:
            self._take_maps(results)
        if unfamiliar:
            if self._unfamiliar is None:
                self._unfamiliar = np.zeros(self.shape, np.float16)
            for r in results:
                self._unfamiliar[r.frame] = r.unfamiliar

    def _take_maps(self, results: Sequence[FrameResult]) -> None:
        names = shown_maps(self.classes)
        each = int(np.prod(self.shape)) * 2
        n = len(names) if each * len(names) <= MAX_MAP_BYTES else 1
        if self._maps is None or len(self._maps) != n:
            self._maps = np.zeros((n, *self.shape), np.float16)
        for r in results:
            for k, name in enumerate(names[:n]):
                self._maps[k, r.frame] = map_of(r.probabilities, r.classes, name)

    @property
    def dark(self) -> bool:
        """Whether the latest run found the columns dark."""
        latest = self.provenance or (self.runs[-1] if self.runs else {})
        return latest.get("contrast") == "dark columns"

    @property
    def species(self) -> list[str]:
        """Classes that atoms can be of."""
        return [c for c in self.classes if role_of(c) == "column"]

    def map_names(self) -> tuple[str, ...]:
        """Names of the class maps that can be shown now."""
        names = shown_maps(self.classes) if self.classes else (ANY_ATOM,)
        return names[: len(self._maps)] if self._maps is not None else names

    def map(self, name: str = ANY_ATOM) -> np.ndarray | None:
        """Map (T, H, W) of a class; of all atoms together where there is no such one."""
        if self._maps is None:
            return None
        names = self.map_names()
        return self._maps[names.index(name) if name in names else 0]

    @property
    def unfamiliar(self) -> np.ndarray | None:
        """Map (T, H, W) of where the image is unlike what the model was trained on."""
        return self._unfamiliar

    def probability(self, frame: int) -> np.ndarray | None:
        """Map (H, W) of all atoms together of a frame, None where it was not kept."""
        if self._maps is None or not 0 <= frame < self.shape[0]:
            return None
        return self._maps[0][frame]
