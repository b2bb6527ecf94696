"""Where results are kept while they grow: maps in memory or on disk, tables in a folder.

Image, movie, batch and watch write one layout (:mod:`napari_atomlens.io.projects.folder`)
through :class:`Store`, and go on where an earlier run stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.errors import FormatError
from napari_atomlens.files import Json, sync_folder, sync_tree
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.note import VERSION, read_note, write_note
from napari_atomlens.io.projects.parts import Parts
from napari_atomlens.params import as_dict
from napari_atomlens.runs import provenance
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import Plan, plan_of
from napari_atomlens.runs.source import Source


@dataclass(frozen=True)
class Failure:
    """A frame that could not be analysed, and the sentence that says why."""

    frame: int
    error: str


Outcome = FrameResult | Failure


def row_of(outcome: Outcome, path: str = "") -> Json:
    """Row of the table of frames."""
    row: Json = {"frame": outcome.frame}
    if isinstance(outcome, Failure):
        return row | {
            "n_atoms": 0, "n_contours": 0, "n_outlines": 0, "spacing_px": float("nan"),
            "window": 1, "message": "", "error": outcome.error, "seconds": 0.0, "path": path,
        }  # fmt: skip
    return row | {
        "n_atoms": len(outcome.atoms), "n_contours": len(outcome.contours),
        "n_outlines": len(outcome.outlines), "spacing_px": float(outcome.spacing_px),
        "window": int(outcome.window), "message": outcome.message, "error": "",
        "seconds": float(sum(outcome.seconds.values())), "path": path,
        **({} if outcome.quality is None else asdict(outcome.quality)),
    }  # fmt: skip


def tables_of(outcomes: Sequence[Outcome], path: str = "") -> dict[str, pd.DataFrame]:
    """Tables of some frames, as a part of a folder has them; those without rows are left out."""
    found = [o for o in outcomes if isinstance(o, FrameResult)]
    out: dict[str, pd.DataFrame] = {}
    for name in ("atoms", "contours"):
        full = [t for o in found if len(t := getattr(o, name))]
        if full:
            out[name] = pd.concat(full, ignore_index=True)
    outlines = layout.outline_table({o.frame: o.outlines for o in found})
    if len(outlines):
        out["outlines"] = outlines
    out["frames"] = pd.DataFrame([row_of(o, path) for o in outcomes])
    return out


def fingerprint_of(
    source: Source, params: AnalysisParams, size: tuple[float, float] | None, frames: list[int]
) -> str:
    """What a folder must have been made of to be continued."""
    head = {
        "version": __version__, "parameters": as_dict(params),
        "shape": [int(s) for s in source.movie.shape], "pixel_size_nm": size,
        "frames": [frames[0], frames[-1], len(frames)],
        "pixels": provenance.pixels_hash(source.movie),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


class Store:
    """A folder of results that grows: of one source, or of one file of many.

    Parameters
    ----------
    root : pathlib.Path
    file : str
        Name of the partition, where the folder holds many files.
    """

    def __init__(self, root: Path, file: str = "") -> None:
        self.root, self.file = root, file
        self.parts = Parts(root, file)

    @property
    def note_path(self) -> Path:
        """File that says what is known of the source."""
        return layout.note_path(self.root, self.file)

    def note(self) -> Json | None:
        """What an earlier run wrote of the source, None where there was none."""
        return read_note(self.note_path) if self.note_path.exists() else None

    def write_note(self, note: Json) -> None:
        """Write what is known of the source."""
        write_note(
            self.note_path,
            {"format": layout.FORMAT, "format_version": VERSION, **note},
        )

    def begin(self, plan: Plan, source: Source, *, maps: bool, **more: object) -> Json:
        """Write the note of a source before its first frame, and return it."""
        note = {
            "classes": list(plan.model.classes), "maps": list(layout.MAPS) if maps else [],
            "plan": plan.record(), "provenance": provenance.begin(plan, source), **more,
        }  # fmt: skip
        self.write_note(note)
        return note

    def plan(self, note: Json) -> Plan:
        """Return the plan of the run that began the folder, of what it wrote (:meth:`note`).

        Raises
        ------
        FormatError
            If there is none, or it is damaged.
        """
        try:
            return plan_of(note["plan"])
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"{self.root.name} is damaged: its {self.note_path.name} has no plan."
            ) from error

    def write(self, part: str, outcomes: Sequence[Outcome], path: str = "") -> None:
        """Write some frames as one part: all of it, or nothing."""
        self.parts.write(part, tables_of(outcomes, path))

    def write_one(self, part: str, index: int, outcome: Outcome) -> None:
        """Write one frame of a part that is not complete."""
        self.parts.write_one(part, index, tables_of([outcome]))

    def close(self, part: str) -> None:
        """Join the frames of a part."""
        self.parts.close(part, layout.FRAME_TABLES)

    def forget(self) -> None:
        """Remove all that is known of the source, its maps too: it is another one now."""
        self.parts.forget()
        shutil.rmtree(layout.maps_path(self.root, self.file), ignore_errors=True)

    def put_maps(self, n_frames: int, result: FrameResult) -> None:
        """Write the maps of one frame in the place of the frame in its source.

        They are on the disk when this returns: the frame counts once its tables are written.
        """
        import zarr

        place = layout.maps_path(self.root, self.file)
        root = zarr.open_group(str(place), mode="a")
        for name in layout.MAPS:
            values = getattr(result, name)
            array = root.get(name)
            if isinstance(array, zarr.Array) and array.shape != (n_frames, *values.shape):
                del root[name]  # of a file that has changed since
                array = None
            if not isinstance(array, zarr.Array):
                array = root.create_array(
                    name, shape=(n_frames, *values.shape), chunks=(1, *values.shape),
                    dtype="float16",
                )  # fmt: skip
                root.attrs["classes"] = list(result.classes)
                sync_tree(place)
                for above in (place.parent, self.root):
                    sync_folder(above)
            array[result.frame] = values
            chunks = place / name / "c" / str(result.frame)
            if chunks.is_dir():  # zarr writes none of nothing but zeros
                sync_tree(chunks)
                sync_folder(chunks.parent)
                sync_folder(chunks.parent.parent)


class MapStore:
    """Probability and unfamiliar maps of many frames: in memory while small, else on disk.

    On disk they are zarr arrays, one chunk per frame, in a temporary folder that goes
    when the store is no longer used.
    """

    in_memory_bytes = 256 << 20

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self._maps: list[np.ndarray] = []

    def _open(self, result: FrameResult) -> None:
        shapes = [(self.n_frames, *m.shape) for m in (result.probabilities, result.unfamiliar)]
        if 2 * np.prod(shapes[0]) <= self.in_memory_bytes:
            self._maps = [np.zeros(s, np.float16) for s in shapes]
            return
        import zarr

        folder = tempfile.TemporaryDirectory(prefix="atomlens-", ignore_cleanup_errors=True)
        self._folder = folder
        made = [
            zarr.create_array(f"{folder.name}/{n}", shape=s, chunks=(1, *s[1:]), dtype="float16")
            for n, s in zip(layout.MAPS, shapes, strict=True)
        ]
        self._maps = cast(list[np.ndarray], made)  # who reads them takes them frame by frame
        # the folder must live as long as the arrays that read it
        weakref.finalize(self._maps[0], folder.cleanup)

    def put(self, index: int, result: FrameResult) -> None:
        """Store the maps of one frame."""
        if not self._maps:
            self._open(result)
        for array, values in zip(
            self._maps, (result.probabilities, result.unfamiliar), strict=True
        ):
            array[index] = values

    def ordered(self, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and unfamiliar maps of the finished frames in the given order."""
        if order == list(range(self.n_frames)):
            return self._maps[0], self._maps[1]
        return np.asarray(self._maps[0])[order], np.asarray(self._maps[1])[order]
