"""The application ``atomlens``: one table of its commands, each loaded when it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from napari_atomlens import __version__
from napari_atomlens.cli import commands
from napari_atomlens.cli.options import build
from napari_atomlens.cli.output import say

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter


@dataclass(frozen=True)
class Listed:
    """A command: its line in the help of the application, and where its function is.

    The line is the first one of the docstring of the function, which cannot be read before
    everything that the command needs is loaded; a test compares the two.
    """

    line: str
    function: Callable[[], Callable[..., None]]


#: Every command, those of a group under the name of the group; the order is that of the help.
COMMANDS = {
    "analyze": Listed(
        "Find every atom in images or movies and write the tables as CSV files.",
        lambda: commands.analyze.run,
    ),
    "measure": Listed(
        "Measure the lattice of atoms: cell, strain, polarisation, vacant sites.",
        lambda: commands.measure.run,
    ),
    "match": Listed(
        "Match a crystal with the columns of an image: zone axis, sites, defects, polarity.",
        lambda: commands.match.run,
    ),
    "movie": Listed(
        "Follow every atom and dumbbell through a movie of any length; stops and goes on.",
        lambda: commands.movie.run,
    ),
    "batch": Listed(
        "Find every atom in many images and movies; one Parquet data set comes out.",
        lambda: commands.batch.run,
    ),
    "watch": Listed(
        "Analyse every new file of a folder; one line of JSON for each on standard output.",
        lambda: commands.watch.run,
    ),
    "silicon": Listed(
        "Find dimers, defects and steps in STM scans of H-Si(100), and judge the scans.",
        lambda: commands.silicon.run,
    ),
    "refine": Listed(
        "Refine positions of your own on the pixels of an image.", lambda: commands.refine.run
    ),
    "assess": Listed(
        "Say whether STM scans are any good, and why not.", lambda: commands.assess.run
    ),
    "adapt": Listed(
        "Teach a model what you have corrected, or what a recipe is sure of in one frame.",
        lambda: commands.adapt.run,
    ),
    "models": Listed("List the models, or print the card of one.", lambda: commands.models.run),
    "demo": Listed(
        "Open napari on a simulated sample with every atom found.", lambda: commands.demo.run
    ),
    "train universal": Listed(
        "Train the universal model on simulated images; a second call goes on where it stopped.",
        lambda: commands.train.for_universal,
    ),
    "train graphene": Listed(
        "Train the graphene model on simulated images; a second call goes on where it stopped.",
        lambda: commands.train.for_graphene,
    ),
    "train silicon-110": Listed(
        "Train the silicon-110 model on simulated images; a second call goes on where it stopped.",
        lambda: commands.train.for_silicon_110,
    ),
    "train tmd": Listed(
        "Train the tmd model on simulated images; a second call goes on where it stopped.",
        lambda: commands.train.for_tmd,
    ),
    "train perovskite": Listed(
        "Train the perovskite model on simulated images; a second call goes on where it stopped.",
        lambda: commands.train.for_perovskite,
    ),
    "train crystal": Listed(
        "Train a model for your own crystal; a second call goes on where it stopped.",
        lambda: commands.crystal.run,
    ),
    "train silicon": Listed(
        "Train the network of the defects of H-Si(100) on simulated scans.",
        lambda: commands.train.for_silicon,
    ),
    "train assess": Listed(
        "Train the assessment of scans on simulated faults.", lambda: commands.train.for_assessment
    ),
}


class LazyGroup(TyperGroup):
    """A group whose commands are built when they are asked for; its help loads none of them."""

    prefix: ClassVar[str] = ""
    _listing = False

    def _entries(self) -> dict[str, Listed]:
        mine = {k.removeprefix(self.prefix): v for k, v in COMMANDS.items()
                if k.startswith(self.prefix)}  # fmt: skip
        return {k: v for k, v in mine.items() if " " not in k}

    def list_commands(self, ctx: Context) -> list[str]:
        """Names of all commands."""
        return [*self._entries(), *super().list_commands(ctx)]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return a command, built now; while they are listed, only its name and its line."""
        entry = self._entries().get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        if self._listing:
            return TyperCommand(cmd_name, help=entry.line)
        return build(cmd_name, entry.function())

    @contextlib.contextmanager
    def _lines_only(self) -> Iterator[None]:
        self._listing = True
        try:
            yield
        finally:
            self._listing = False

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help."""
        with self._lines_only():
            super().format_help(ctx, formatter)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the arguments; without any the help is shown."""
        with _one_sentence():
            return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def invoke(self, ctx: Context) -> object:
        """Run the command that is asked for."""
        with _one_sentence():
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Say wrong options and arguments in one sentence, like every other mistake."""
    try:
        yield
    except typer.TyperException as error:
        text = " ".join(error.format_message().replace("Value error, ", "").split())
        say(text if text.endswith((".", "?")) else f"{text}.")
        raise typer.Exit(error.exit_code) from None


class _Training(LazyGroup):
    prefix = "train "


app = typer.Typer(cls=LazyGroup, pretty_exceptions_enable=False)
training = typer.Typer(cls=_Training)
app.add_typer(training, name="train")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Find, measure and follow every atom in STEM and STM images."""


@training.callback()
def _train() -> None:
    """Train a model."""
