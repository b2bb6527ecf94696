"""``atomlens measure``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from napari_atomlens import __version__
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
from napari_atomlens.io.export.tables import write_named
from napari_atomlens.io.projects.atoms import holds_atoms, in_pixels, pixel_size_in, read_atoms
from napari_atomlens.lattice.lattice import Lattice, LatticeParams
from napari_atomlens.lattice.measure import measure_lattice
from napari_atomlens.progress import Progress
from napari_atomlens.runs import analysis as analysing
from napari_atomlens.runs.params import AnalysisParams

#: Tables of a lattice, in the order in which they are written.
TABLES = ("atoms", "lattices", "sublattices", "distances", "holes", "dislocations")
STOPPED = "Stopped; nothing was written."


@dataclass(frozen=True)
class Given:
    """Atoms to measure, the pixel size where it is known, and where they come from."""

    atoms: pd.DataFrame
    pixel_size_nm: tuple[float, float] | None
    provenance: dict[str, object]


def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Tables of atoms (CSV, Parquet, extended XYZ, CIF), projects, images or movies.",
        ),
    ],
    pixel_size: PixelSize = None,
    frames: Frames = "",
    image: ImageName = "",
    reference: Annotated[
        str,
        typer.Option(
            metavar="Y0,X0,Y1,X1",
            help="Rectangle in pixels whose lattice strain is measured against; by default "
            "the mean lattice of each region.",
        ),
    ] = "",
    out: OutFolder = None,
    *,
    lattice: LatticeParams,
    analysis: Annotated[AnalysisParams, Without("contours")],
) -> None:
    """Measure the lattice of atoms: cell, strain, polarisation, vacant sites.

    Images are analysed first, with the options of the analysis.
    """
    chosen, against = parse_frames(frames), parse_rectangle(reference)
    places = folders(inputs, out, "lattice")

    def one(path: Path) -> None:
        with bar("frames", STOPPED) as progress:
            given = read_given(path, pixel_size, chosen, analysis, progress, image or None)
            found = measure_lattice(
                given.atoms, lattice, reference=against, pixel_size_nm=given.pixel_size_nm,
                progress=progress,
            )  # fmt: skip
            if not progress.stopped:
                _write(path, places[path], given, found)

    each(inputs, one)


def parse_rectangle(text: str) -> str | list[float]:
    """Read "y0,x0,y1,x1"; an empty text means the mean lattice of each region.

    Raises
    ------
    ParameterError
        If the text is anything else.
    """
    if not text.strip():
        return "region"
    try:
        corners = [float(v) for v in text.split(",")]
    except ValueError:
        corners = []
    if len(corners) != 4:
        raise ParameterError(f"reference is {text!r}, but must be like 10,10,200,200.")
    return corners


def read_given(
    path: Path,
    pixel_size: float | None,
    frames: list[int] | None,
    analysis: AnalysisParams,
    progress: Progress,
    image: str | None,
) -> Given:
    """Return the atoms of a table, or of an image that is analysed now."""
    size = None if pixel_size is None else (pixel_size, pixel_size)
    if not holds_atoms(path):
        result = analysing.analyze(
            str(path), params=replace(analysis, contours=False), frames=frames, keep_maps=False,
            pixel_size_nm=size, image=image, progress=progress,
        )  # fmt: skip
        for message in result.messages:
            say(f"{path.name}: {message}")
        return Given(result.atoms, result.pixel_size_nm, result.record())
    atoms = read_atoms(path)
    size = size or pixel_size_in(atoms)
    if frames is not None:
        atoms = atoms[atoms["frame"].isin(frames)]
    return Given(in_pixels(atoms, size), size, {"atomlens": __version__, "atoms": path.name})


def _write(path: Path, folder: Path, given: Given, found: Lattice) -> None:
    tables = {name: table for name in TABLES if len(table := getattr(found, name)) or name in
              ("atoms", "lattices")}  # fmt: skip
    write_named(tables, folder, {**given.provenance, "lattice": found.params})
    n_vacant = int((found.atoms["source"] == "lattice").sum())
    kinds = ", ".join(sorted(set(found.lattices["kind"].astype(str)))) or "none"
    n_regions = len(found.lattices)
    typer.echo(
        f"{path.name}: {len(found.atoms) - n_vacant} atoms, {n_regions} "
        f"region{'s' * (n_regions != 1)} ({kinds}), {n_vacant} vacant "
        f"site{'s' * (n_vacant != 1)} -> {folder}"
    )
    for message in found.messages:
        say(f"{path.name}: {message}")
