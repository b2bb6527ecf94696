"""``atomlens demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.widgets import demo


def run(
    screenshot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save the window as a picture and leave."),
    ] = None,
) -> None:
    """Open napari on a simulated sample with every atom found.

    Without a screen a virtual display is used and the window is saved as a picture.
    """
    saved = demo.run_demo(screenshot)
    if saved:
        typer.echo(f"The window is saved as {saved.resolve()}")
