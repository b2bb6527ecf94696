"""``atomlens silicon``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from napari_atomlens import __version__, stm, tables
from napari_atomlens.cli.options import Frames, ImageName, OutFolder, PixelSize, parse_frames
from napari_atomlens.cli.output import each, folders, say
from napari_atomlens.cli.progress import bar
from napari_atomlens.errors import AtomLensError, ParameterError
from napari_atomlens.io.export.tables import write_named
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress
from napari_atomlens.runs.source import open_source
from napari_atomlens.stm.groups import GroupParams
from napari_atomlens.stm.params import SiliconAnalysisParams
from napari_atomlens.stm.silicon import SiliconResult


def run(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Raw STM scans of H-Si(100).")
    ],
    pixel_size: PixelSize = None,
    frames: Frames = "",
    image: ImageName = "",
    out: OutFolder = None,
    *,
    analysis: SiliconAnalysisParams,
    groups: GroupParams,
) -> None:
    """Find dimers, defects and steps in STM scans of H-Si(100), and judge the scans.

    Writes atoms.csv (dimers), defects.csv, steps.csv, groups.csv (classes of defects that look
    alike) and summary.json (the verdict on each frame, and counts).
    """
    chosen = parse_frames(frames)
    places = folders(inputs, out, "silicon")

    def one(path: Path) -> None:
        opened = open_source(path, pixel_size, image=image or None)
        movie, size = opened.movie, opened.pixel_size_nm
        if opened.sentence:
            say(f"{path.name}: {opened.sentence}")
        found = Collected()
        with bar("frames", "Stopped after {done} frames; the tables hold these.") as progress:
            order = _existing(chosen, len(movie))
            progress(0, len(order))
            for k, frame in enumerate(order):
                z = np.asarray(movie[frame])
                stop = Progress(stop=lambda: progress.stopped)
                result = stm.analyze_silicon(z, size, analysis, progress=stop)
                if progress.stopped:
                    break
                found.add(frame, z, result, groups)
                progress(k + 1, len(order))
            write_named(
                found.tables(), places[path],
                {"atomlens": __version__, "file": path.name, "image": opened.image_name,
                 "images_left_out": list(opened.left_out),
                 "parameters": {**as_dict(analysis), "groups": as_dict(groups)},
                 "frames": found.frames}, note="summary.json",
            )  # fmt: skip
        found.tell(path, places[path])

    each(inputs, one)


def _existing(chosen: list[int] | None, n: int) -> list[int]:
    order = list(range(n)) if chosen is None else chosen
    if missing := [f for f in order if f >= n]:
        raise ParameterError(f"Frame {missing[0]} does not exist; the scan has {n} frames.")
    return order


class Collected:
    """Tables and verdicts of the frames of one file.

    Attributes
    ----------
    frames : list of dict
        The verdict on each frame, counts of what was found, sentences.
    """

    def __init__(self) -> None:
        self.frames: list[dict[str, object]] = []
        self._parts: dict[str, list[pd.DataFrame]] = {}

    def add(self, frame: int, z: np.ndarray, result: SiliconResult, groups: GroupParams) -> None:
        """Take what was found in a frame, with its defects in classes."""
        messages, defects = list(result.messages), result.defects
        try:
            grouped = stm.group_defects(z, result.probabilities, defects, groups)
        except AtomLensError as error:  # too few of them
            messages.append(str(error))
        else:
            defects = defects.assign(group=grouped.label)
            self._put("groups", frame, grouped.table)
        ids = result.atoms["atom_id"] + frame * tables.IDS_PER_FRAME
        self._put("atoms", frame, result.atoms.assign(atom_id=ids))
        self._put("defects", frame, defects)
        self._put("steps", frame, result.terraces.edges)
        verdict = result.verdict
        kinds = {str(k): int(n) for k, n in defects["kind"].value_counts().items()}
        self.frames.append({
            "frame": frame,
            "verdict": {"score": verdict.score, "label": verdict.label,
                        "reasons": verdict.reasons, "faults": verdict.faults,
                        "usable": float(verdict.usable_mask.mean())},
            "dimers": len(result.atoms), "defects": kinds, "steps": len(result.terraces.edges),
            "terraces": len(result.terraces.table), "row_px": result.row_px,
            "pixel_size_nm": result.pixel_size_nm, "messages": messages,
        })  # fmt: skip

    def _put(self, name: str, frame: int, table: pd.DataFrame) -> None:
        columns = ["frame", *(c for c in table if c != "frame")]
        self._parts.setdefault(name, []).append(table.assign(frame=frame)[columns])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of all frames."""
        found = {}
        for name in ("atoms", "defects", "steps", "groups"):
            parts = self._parts.get(name, [])
            full = [p for p in parts if len(p)] or parts[:1]
            if full:
                found[name] = pd.concat(full, ignore_index=True)
        return found

    def tell(self, path: Path, folder: Path) -> None:
        """Say what was found."""
        n = {name: len(table) for name, table in self.tables().items()}
        typer.echo(
            f"{path.name}: {n.get('atoms', 0)} dimers, {n.get('defects', 0)} defects, "
            f"{n.get('steps', 0)} steps in {len(self.frames)} "
            f"frame{'s' * (len(self.frames) != 1)} -> {folder}"
        )
        for entry in self.frames:
            where = f"{path.name}, frame {entry['frame']}" if len(self.frames) > 1 else path.name
            messages = entry["messages"]
            for message in messages if isinstance(messages, list) else ():
                say(f"{where}: {message}")
