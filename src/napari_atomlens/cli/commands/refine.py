"""``atomlens refine``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_atomlens import __version__
from napari_atomlens.cli.options import ImageName, PixelSize
from napari_atomlens.cli.output import say, there
from napari_atomlens.cli.progress import bar
from napari_atomlens.io.export.tables import write_named
from napari_atomlens.io.projects.atoms import read_atoms
from napari_atomlens.runs.own import refine_atoms
from napari_atomlens.runs.source import open_source


def run(
    source: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image or movie.")],
    positions: Annotated[
        Path,
        typer.Argument(
            metavar="POSITIONS",
            help="Table of atoms, or text of another program: columns x and y, or two columns "
            "of numbers.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of atoms.csv.")],
    unit: Annotated[
        Literal["", "px", "nm", "angstrom", "pm"],
        typer.Option(
            help="Of the positions; by default what the names of the columns say, else pixels."
        ),
    ] = "",
    first_pixel: Annotated[
        int,
        typer.Option(min=0, max=1, help="Number of the first pixel: 1 in MATLAB and StatSTEM."),
    ] = 0,
    order: Annotated[Literal["xy", "yx"], typer.Option(help="Of columns without names.")] = "xy",
    spacing: Annotated[
        float,
        typer.Option(
            metavar="PX",
            min=0,
            max=2000,
            help="Distance between nearest columns in pixels; 0 takes that of the positions.",
        ),
    ] = 0.0,
    image: ImageName = "",
    pixel_size: PixelSize = None,
) -> None:
    """Refine positions of your own on the pixels of an image."""
    opened = open_source(there(source), pixel_size, image=image or None)
    if opened.sentence:
        say(f"{source.name}: {opened.sentence}")
    atoms = read_atoms(
        there(positions), unit=unit, first_pixel=1 if first_pixel else 0, order=order,
        pixel_size_nm=opened.pixel_size_nm,
    )  # fmt: skip
    with bar("frames", "Stopped; nothing was written.") as progress:
        found = refine_atoms(opened, atoms, spacing_px=spacing, progress=progress)
    write_named(
        {"atoms": found}, out,
        {"atomlens": __version__, "file": opened.name, "image": opened.image_name,
         "images_left_out": list(opened.left_out), "atoms": positions.name,
         "pixel_size_nm": opened.pixel_size_nm,
         "positions": {"unit": unit, "first_pixel": first_pixel, "order": order}},
    )  # fmt: skip
    n = int((found["source"] == "fit").sum())
    typer.echo(f"{source.name}: {n} of {len(found)} positions refined -> {out}")
    if n < len(found):
        say(
            f"{source.name}: {len(found) - n} positions were left as they were: the fit ran away, "
            'or they are outside of the image (source is "user").'
        )
