"""The one bar, and the one way in which Ctrl-C ends a command."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from napari_atomlens.cli.output import say
from napari_atomlens.progress import Progress


@contextlib.contextmanager
def until_stopped(
    sentence: Callable[[], str], *, listens: bool = True
) -> Iterator[Callable[[], bool]]:
    """Make of Ctrl-C a wish to stop; a second one interrupts at once.

    Parameters
    ----------
    sentence : callable
        Gives what is said when the command was stopped; its exit code is then 130.
    listens : bool
        False where the job does not ask whether to stop: the first Ctrl-C interrupts it.

    Yields
    ------
    callable
        Whether it is wished to stop.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() or not listens:
            raise KeyboardInterrupt
        asked.set()

    # only the main thread may listen to signals
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, ask) if main else None
    try:
        yield asked.is_set
    except KeyboardInterrupt:
        asked.set()
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
    if asked.is_set():
        say(sentence())
        raise typer.Exit(130)


@contextlib.contextmanager
def bar(
    what: str, stopped: str = "Stopped.", *, lines: bool = False, listens: bool = True
) -> Iterator[Progress]:
    """Show how far a job is, where there is a terminal; Ctrl-C asks the job to stop.

    Parameters
    ----------
    what : str
        What is counted, such as "frames".
    stopped : str
        What is said when it was stopped; ``{done}`` is how much was done.
    lines : bool
        Where there is no terminal a line on standard output takes the place of the bar.
    listens : bool
        Whether the job asks the progress if it is to stop.

    Yields
    ------
    Progress
    """
    done = 0
    shown = Bar(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.description} {task.fields[about]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip
    task = shown.add_task(what, total=None, about="")

    def report(ready: int, total: int, about: str) -> None:
        nonlocal done
        done = ready or done
        shown.update(task, completed=done, total=total or None, about=about)
        if shown.disable and lines:
            count = f"{what} {ready} of {total}" if total else ""
            typer.echo(", ".join(filter(None, [count, about])))

    with until_stopped(lambda: stopped.format(done=done), listens=listens) as stop, shown:
        yield Progress(report, stop)
