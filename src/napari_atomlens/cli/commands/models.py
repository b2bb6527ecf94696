"""``atomlens models``."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_atomlens.cli.output import say
from napari_atomlens.segmentation.zoo import find_model, left_out, list_models


def run(
    card: Annotated[str, typer.Option(metavar="NAME", help="Print the card of this model.")] = "",
) -> None:
    """List the models, or print the card of one."""
    if card:
        info = find_model(card)
        typer.echo(info.card or f"The model {info.name} has no card.")
        return
    found = list_models()
    for info in found:
        about = ", ".join(filter(None, [info.material, info.technique]))
        typer.echo(f"{info.name}: {about}; {info.preferred_spacing_px:g} px between columns")
        typer.echo(f"    classes: {', '.join(info.classes)}")
        typer.echo(f"    weights: {info.path}")
    for sentence in left_out():
        say(sentence)
    if not found:
        say("There are no models.")
