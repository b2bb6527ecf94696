"""``atomlens batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.cli.options import PixelSize
from napari_atomlens.cli.output import say
from napari_atomlens.cli.progress import bar
from napari_atomlens.runs.batch import BatchSummary, run_batch
from napari_atomlens.runs.params import BatchParams


def run(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Files, and folders of files.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the data set; a run that was begun there goes on."
        ),
    ],
    pixel_size: PixelSize = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Frames side by side; as many as cores by default."),
    ] = None,
    processes: Annotated[
        bool, typer.Option("--processes", help="Worker processes in place of threads.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A dask scheduler, such as tcp://host:8786."),
    ] = None,
    *,
    params: BatchParams,
) -> None:
    """Find every atom in many images and movies; one Parquet data set comes out."""
    stopped = "Stopped after {done} frames; the same command goes on from there."
    with bar("frames", stopped) as progress:
        found = run_batch(
            inputs, out, params, pixel_size_nm=pixel_size, workers=workers, processes=processes,
            scheduler=scheduler, progress=progress, started=say,
        )  # fmt: skip
    _tell(found, out)


def _tell(found: BatchSummary, out: Path) -> None:
    """Say what there is now, and every failure."""
    typer.echo(
        f"{found.n_atoms} atoms in {found.n_frames} frames of {found.n_files} files -> {out} "
        f"({found.n_new_frames} frames in {found.seconds:.1f} s)"
    )
    for message in found.messages:
        say(message)
    for file, frame, reason in found.failures[["file", "frame", "reason"]].itertuples(index=False):
        say(f"{file if frame < 0 else f'{file}, frame {frame}'}: {reason}")
    if len(found.failures):
        raise typer.Exit(2)
