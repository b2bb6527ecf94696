"""``atomlens adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from napari_atomlens import training
from napari_atomlens.cli.options import ImageName, PixelSize, parse_frames
from napari_atomlens.cli.output import say, there
from napari_atomlens.cli.progress import bar
from napari_atomlens.errors import ParameterError
from napari_atomlens.image import Image, as_stack
from napari_atomlens.io.formats.choice import take_image
from napari_atomlens.io.formats.readers import read
from napari_atomlens.io.projects.atoms import in_pixels, read_atoms
from napari_atomlens.training.labelled import Labelled
from napari_atomlens.training.params import AdaptParams, FourierParams


def run(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image or movie to learn from.")],
    atoms: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Corrected atoms: CSV, Parquet, extended XYZ, CIF or a project; "
            "without it the Fourier-subtraction recipe labels the frame.",
        ),
    ] = None,
    image_name: ImageName = "",
    pixel_size: PixelSize = None,
    frames: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Frames to learn from, such as 0,2; the corrected ones by default.",
        ),
    ] = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the new model even where it is not better.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an earlier model of that name.")
    ] = False,
    *,
    params: AdaptParams,
    recipe: FourierParams,
) -> None:
    """Teach a model what you have corrected, or what the Fourier recipe says of one frame."""
    if not replace:
        training.check_new(params.name)  # before the work, not after it
    taken = take_image(read(there(image)), image_name)
    if taken.sentence:
        say(f"{image.name}: {taken.sentence}")
    labelled = _labelled(taken.image, atoms, pixel_size, parse_frames(frames), recipe)
    with bar("step", "Stopped after {done} steps; no model was kept.") as progress:
        result = training.adapt(labelled, params, progress)
        if progress.stopped:
            training.discard(result)
    typer.echo(result.sentence)
    if not (result.is_better or keep):
        training.discard(result)
        say("The new model was not kept (--keep keeps it).")
        raise typer.Exit(1)
    typer.echo(f"The model {result.name} is in {training.keep(result, replace=replace).path}.")


def _labelled(
    image: Image,
    atoms: Path | None,
    pixel_size: float | None,
    frames: list[int] | None,
    recipe: FourierParams,
) -> list[Labelled]:
    """Return the frames to learn from, with their atoms."""
    movie = as_stack(image.data)

    def pixels(f: int) -> np.ndarray:
        if not 0 <= f < movie.shape[0]:
            raise ParameterError(
                f"Frame {f} does not exist; the movie has {movie.shape[0]} frames."
            )
        return np.asarray(movie[f])

    if atoms is None:
        return [training.fourier_labels(pixels(f), recipe) for f in frames or [0]]
    table = in_pixels(read_atoms(there(atoms)), pixel_size or image.pixel_size_nm)
    return [
        training.label_frame(pixels(f), table[table["frame"] == f], recipe.spacing_px)
        for f in frames or sorted({int(f) for f in table["frame"]})
    ]
