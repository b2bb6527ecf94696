"""``atomlens train crystal``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.cli.commands.train import STOPPED
from napari_atomlens.cli.progress import bar
from napari_atomlens.training.crystal import train_crystal
from napari_atomlens.training.params import CrystalParams


def run(
    crystal: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CIF, or another structure that ASE reads.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", help="Zone axis, names of columns and defects; see docs/chemistry.md."
        ),
    ] = None,
    *,
    params: CrystalParams,
) -> None:
    """Train a model for your own crystal; a second call goes on where it stopped.

    The model, with a card of its figures on held-out images, goes to the folder of your own
    models and from there into the window.
    """
    with bar("step", STOPPED, lines=True) as progress:
        info = train_crystal(crystal, recipe, params, progress=progress)
    if info is not None:
        f = info.figures
        typer.echo(
            f"The model {info.name} is in {info.path}; F1 {f['f1']:.3f} on held-out images "
            f"(universal: {f['universal_f1']:.3f})."
        )
