"""``atomlens movie``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from napari_atomlens.cli.options import Frames, ImageName, PixelSize, parse_frames
from napari_atomlens.cli.output import expanded, say
from napari_atomlens.cli.progress import bar
from napari_atomlens.io.projects.parts import Parts
from napari_atomlens.progress import Progress
from napari_atomlens.runs.movie import analyze_movie, follow_folder
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.source import open_source
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.params import DumbbellParams, LinkParams

#: So many different sentences on frames are said.
MOST_SAID = 8


def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Movie to analyse; several files, or a folder of them, are its frames.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the results; a run that was begun there goes on."
        ),
    ],
    pixel_size: PixelSize = None,
    frames: Frames = "",
    image: ImageName = "",
    *,
    analysis: AnalysisParams,
    linking: LinkParams,
    dumbbells: DumbbellParams,
    changes: ChangeParams,
) -> None:
    """Follow every atom and dumbbell through a movie of any length; stops and goes on."""
    chosen, files = parse_frames(frames), expanded(inputs)
    opened = open_source(files if len(files) > 1 else files[0], pixel_size, image=image or None)
    if opened.sentence:
        say(f"{opened.name}: {opened.sentence}")
    stopped = "Stopped after {done} frames; the same command goes on from there."
    with bar("frames", stopped) as progress:
        for _ in analyze_movie(opened, out, analysis, frames=chosen, progress=progress):
            pass
        found = None
        if not progress.stopped:
            found = follow_folder(
                out, linking=linking, changes=changes, dumbbells=dumbbells,
                progress=Progress(lambda done, total, what: progress.say(what),
                                  lambda: progress.stopped),
            )  # fmt: skip
    if found is None:
        return
    tracks, pairs, rows = found.tracks, found.dumbbells, Parts(out).read("frames")
    text = f"{tracks['track_id'].nunique():,} atoms followed through {len(rows):,} frames"
    if len(pairs):
        text += f", {pairs['dumbbell_id'].nunique():,} dumbbells, {len(found.changes):,} changes"
    typer.echo(f"{opened.name}: {text} -> {out}")
    for sentence in said_of_frames(rows):
        say(f"{opened.name}: {sentence}")


def said_of_frames(rows: pd.DataFrame) -> list[str]:
    """Return what is to be said of frames: each sentence once, with the frames that it is of.

    Parameters
    ----------
    rows : pandas.DataFrame
        Table of the frames: ``frame``, ``message``, ``error``.
    """
    told: dict[str, list[int]] = {}
    for frame, *texts in rows[["frame", "message", "error"]].itertuples(index=False, name=None):
        for text in texts:
            if text:
                told.setdefault(str(text), []).append(int(frame))
    often = sorted(told.items(), key=lambda one: -len(one[1]))
    said = [f"{_frames(of, len(rows))}: {text}" for text, of in often[:MOST_SAID]]
    if len(often) > MOST_SAID:
        said.append(f"{len(often) - MOST_SAID} more sentences are in the table frames.")
    return said


def _frames(of: list[int], n: int) -> str:
    """Name frames."""
    if len(of) == n:
        return "Every frame"
    return f"Frame {of[0]}" if len(of) == 1 else f"{len(of)} frames, from {min(of)} to {max(of)}"
