"""``atomlens watch``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from napari_atomlens.cli.output import say
from napari_atomlens.cli.progress import until_stopped
from napari_atomlens.progress import Progress
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.watch import FolderWatch

#: Seconds between two lines that say how many files wait.
SAYS_EVERY_S = 10.0


def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to watch.")],
    once: Annotated[
        bool, typer.Option("--once", help="Analyse what is there and end, instead of waiting.")
    ] = False,
    *,
    params: WatchParams,
) -> None:
    """Analyse every new file of a folder; one line of JSON for each on standard output."""
    watching = FolderWatch(folder, params)
    say(f"Watching {folder}; results go to {watching.out}. Ctrl-C ends.")
    with until_stopped(lambda: "Stopped; the next start goes on from here.") as stop:
        for event in watching.run(Progress(_Behind(), stop), once=once):
            typer.echo(event.as_json())
            sys.stdout.flush()


class _Behind:
    """Says what there is to say, and now and then how many files wait."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        if what:
            say(what)
        elif total - done > 1 and time.monotonic() - self._said > SAYS_EVERY_S:
            self._said = time.monotonic()
            say(f"{total - done} files wait.")
