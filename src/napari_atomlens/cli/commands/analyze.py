"""``atomlens analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from napari_atomlens.cli.options import Frames, ImageName, OutFolder, PixelSize, parse_frames
from napari_atomlens.cli.output import each, folders, say
from napari_atomlens.cli.progress import bar
from napari_atomlens.errors import ParameterError
from napari_atomlens.io.export import figures
from napari_atomlens.io.export.report import save_report
from napari_atomlens.io.export.tables import write_tables
from napari_atomlens.runs import analysis, provenance
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.result import Result
from napari_atomlens.runs.source import Source, open_source


def run(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images or movies to analyse.")
    ],
    pixel_size: PixelSize = None,
    frames: Frames = "",
    image: ImageName = "",
    out: OutFolder = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the time spent by stage.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page with image, tables and plots.")
    ] = False,
    movie: Annotated[
        str,
        typer.Option(metavar="gif|mp4", help="Also write a movie with the atoms of every frame."),
    ] = "",
    *,
    params: AnalysisParams,
) -> None:
    """Find every atom in images or movies and write the tables as CSV files."""
    chosen = parse_frames(frames)
    if movie not in ("", "gif", "mp4"):
        raise ParameterError(f"movie is {movie!r}, but must be gif or mp4.")
    places = folders(inputs, out, "atoms")

    def one(path: Path) -> None:
        stopped = "Stopped after {done} frames; the tables hold what was finished."
        with bar("frames", stopped) as progress:
            result = analysis.analyze(
                str(path), params=params, frames=chosen, keep_maps=False,
                pixel_size_nm=None if pixel_size is None else (pixel_size, pixel_size),
                image=image or None, progress=progress,
            )  # fmt: skip
            write_tables(result, places[path])
            _tell(path, places[path], result, verbose)
            if (report or movie) and result.frames:
                opened = open_source(path, image=image or None)
                _draw(opened, places[path], result, report=report, movie=movie)

    each(inputs, one)


def _tell(path: Path, folder: Path, result: Result, verbose: bool) -> None:
    """Say what was found, and what the user should know of it."""
    atoms = result.atoms
    n_frames = atoms["frame"].nunique() if len(atoms) else 0
    where = f" in {n_frames} frames" if n_frames > 1 else ""
    typer.echo(f"{path.name}: {len(atoms)} atoms{where} -> {folder}")
    if good := provenance.quality_of(result.provenance):
        typer.echo(f"{path.name}: {good.sentence()}")
    why = result.provenance.get("model_chosen", "given")
    if why not in ("given", *result.messages):
        say(f"{path.name}: {why}")
    for message in result.messages:
        say(f"{path.name}: {message}")
    if verbose:
        total = sum(result.seconds.values())
        for stage, seconds in result.seconds.items():
            share = seconds / total if total else 0
            typer.echo(f"  {stage:<16}{seconds:9.3f} s {share:6.1%}")
        typer.echo(f"  {'sum of stages':<16}{total:9.3f} s")


def _draw(source: Source, folder: Path, result: Result, *, report: bool, movie: str) -> None:
    """Write the report and the movie of a result beside its tables."""
    stack = source.movie
    if report:
        for kind in ("html", "pdf"):
            save_report(
                folder / f"report.{kind}", np.asarray(stack[result.frames[0]]), result,
                title=source.name, frame=result.frames[0],
            )  # fmt: skip
    if movie:
        order = {f: k for k, f in enumerate(result.frames)}
        figures.save_movie(
            folder / f"movie.{movie}", (np.asarray(stack[f]) for f in result.frames),
            result.atoms.assign(frame=result.atoms["frame"].map(order)),
            result.provenance.get("pixel_size_nm"),
        )  # fmt: skip
