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
from napari_atomlens.runs.analysis import analyze
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.training.labelled import Labelled
from napari_atomlens.training.params import AdaptParams, FourierParams

CHEMISTRY = "chemistry"
SOURCES = ("fourier", CHEMISTRY)


def run(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image or movie to learn from.")],
    atoms: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Corrected atoms: CSV, Parquet, extended XYZ, CIF or a project; "
            "without it --from says what labels the frame.",
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WORD",
            help="Without a table: fourier (the Fourier-subtraction recipe), or chemistry (species "
            "and vacancies of an analysis that lattice and rules are sure of, p > 0.99).",
        ),
    ] = "fourier",
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
    """Teach a model what you have corrected, or what a recipe is sure of in one frame."""
    if source not in SOURCES:
        raise ParameterError(f"from is {source!r}, but must be {' or '.join(SOURCES)}.")
    if not replace:
        training.check_new(params.name)  # before the work, not after it
    taken = take_image(read(there(image)), image_name)
    if taken.sentence:
        say(f"{image.name}: {taken.sentence}")
    labelled = _labelled(taken.image, atoms or source, pixel_size, parse_frames(frames), recipe)
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
    atoms: Path | str,
    pixel_size: float | None,
    frames: list[int] | None,
    recipe: FourierParams,
) -> list[Labelled]:
    """Return the frames to learn from, with their atoms: a table, or the name of a recipe."""
    movie = as_stack(image.data)

    def pixels(f: int) -> np.ndarray:
        if not 0 <= f < movie.shape[0]:
            raise ParameterError(
                f"Frame {f} does not exist; the movie has {movie.shape[0]} frames."
            )
        return np.asarray(movie[f])

    size = pixel_size or image.pixel_size_nm
    if atoms == CHEMISTRY:
        return [_by_chemistry(pixels(f), size) for f in frames or [0]]
    if isinstance(atoms, str):
        return [training.fourier_labels(pixels(f), recipe) for f in frames or [0]]
    table = in_pixels(read_atoms(there(atoms)), size)
    return [
        training.label_frame(pixels(f), table[table["frame"] == f], recipe.spacing_px)
        for f in frames or sorted({int(f) for f in table["frame"]})
    ]


def _by_chemistry(frame: np.ndarray, size: float | tuple[float, float] | None) -> Labelled:
    """Analyse a frame, and take what is sure of it."""
    found = analyze(frame, pixel_size_nm=size, params=AnalysisParams(contours=False))
    return training.chemistry_labels(frame, found.atoms, found.vacancies)
