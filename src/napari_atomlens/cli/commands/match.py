"""``atomlens match``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.cli.commands.measure import STOPPED, Given, read_given
from napari_atomlens.cli.options import (
    Frames,
    ImageName,
    OutFolder,
    PixelSize,
    Without,
    parse_frames,
)
from napari_atomlens.cli.output import each, folders, say
from napari_atomlens.cli.progress import bar
from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs.crystal_match import CrystalMatch, MatchParams
from napari_atomlens.graphs.crystals import find_crystal
from napari_atomlens.graphs.match import match_crystal
from napari_atomlens.io.export.tables import write_named
from napari_atomlens.runs.params import AnalysisParams


def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Tables of atoms (CSV, Parquet, extended XYZ, CIF), projects, images or movies.",
        ),
    ],
    crystal: Annotated[
        list[str],
        typer.Option(
            metavar="CRYSTAL",
            help="A name, such as SrTiO3, MoS2, GaAs or Au, or a CIF file; of several (the option "
            "once more) the one that fits best is taken.",
        ),
    ],
    axis: Annotated[
        str,
        typer.Option(
            metavar="U,V,W",
            help="Zone axis, such as 1,1,0; by default every low-index one is tried.",
        ),
    ] = "",
    pixel_size: PixelSize = None,
    frames: Frames = "",
    image: ImageName = "",
    out: OutFolder = None,
    *,
    matching: MatchParams,
    analysis: Annotated[AnalysisParams, Without("contours")],
) -> None:
    """Match a crystal with the columns of an image: zone axis, sites, defects, polarity.

    Images are analysed first, with the options of the analysis.
    """
    chosen, along = parse_frames(frames), parse_axis(axis)
    crystals = [find_crystal(c) for c in crystal]
    places = folders(inputs, out, "match")

    def one(path: Path) -> None:
        with bar("frames", STOPPED) as progress:
            given = read_given(path, pixel_size, chosen, analysis, progress, image or None)
            found = match_crystal(
                given.atoms, crystals, along, matching, pixel_size_nm=given.pixel_size_nm,
                progress=progress,
            )  # fmt: skip
            if not progress.stopped:
                _write(path, places[path], given, found)

    each(inputs, one)


def parse_axis(text: str) -> list[int] | None:
    """Read a zone axis such as "1,-1,0" or "[1-10]"; an empty text means every one.

    Raises
    ------
    ParameterError
        If the text is anything else.
    """
    plain = text.strip().strip("[]<>").strip()
    if not plain:
        return None
    pieces = plain.replace(",", " ").split()
    if len(pieces) == 1:  # as the matches are written
        pieces = re.findall(r"-?\d", plain) if re.fullmatch(r"(-?\d){3}", plain) else pieces
    try:
        axis = [int(p) for p in pieces]
    except ValueError:
        axis = []
    if len(axis) != 3:
        raise ParameterError(f"axis is {text!r}, but must be like 1,1,0.")
    return axis


def _write(path: Path, folder: Path, given: Given, found: CrystalMatch) -> None:
    tables = {"matched": found.columns, "matches": found.matches, "defects": found.defects}
    write_named(tables, folder, {**given.provenance, "match": found.params})
    typer.echo(f"{path.name}: {found.sentence} -> {folder}")
    for message in found.messages:
        say(f"{path.name}: {message}")
