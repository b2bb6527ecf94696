"""``atomlens assess``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.cli.options import ImageName
from napari_atomlens.cli.output import each, say
from napari_atomlens.image import Image
from napari_atomlens.io.formats.choice import take_image
from napari_atomlens.io.formats.readers import read
from napari_atomlens.stm.assessment import assess


def run(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Scans to assess.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each image.")
    ] = False,
    all_channels: Annotated[
        bool, typer.Option("--all", help="Every image of a file, not only one.")
    ] = False,
    image: ImageName = "",
) -> None:
    """Say whether STM scans are any good, and why not."""

    def one(path: Path) -> None:
        images = read(path)
        if all_channels:
            for one_of_all in images:
                _tell(one_of_all, as_json)
            return
        taken = take_image(images, image)
        _tell(taken.image, as_json)
        if taken.sentence:
            say(f"{path.name}: {taken.sentence}")

    each(inputs, one)


def _tell(image: Image, as_json: bool) -> None:
    verdict = assess(image)
    usable = float(verdict.usable_mask.mean())
    if as_json:
        facts = {"name": image.name, "score": round(verdict.score, 4), "label": verdict.label,
                 "reasons": verdict.reasons, "usable": round(usable, 4),
                 "faults": verdict.faults}  # fmt: skip
        typer.echo(json.dumps(facts))
        return
    typer.echo(
        f"{image.name}: {verdict.label} ({verdict.score:.2f}), {100 * usable:.0f} % usable. "
        f"{' '.join(verdict.reasons)}"
    )
