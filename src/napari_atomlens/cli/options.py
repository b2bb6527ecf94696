"""Options of commands, made from the dataclasses of parameters: nothing is typed twice.

A command is a function. Its arguments are those of the command, and an argument that is
annotated with a dataclass of parameters (:class:`napari_atomlens.params.Params`) stands for an
option of every field; the function gets the finished object.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer
from typer.core import TyperCommand

from napari_atomlens.cli.output import sentences
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import ParamInfo, Params, describe


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value:g} nm is not a size above 0.")
    return value


PIXEL_SIZE = typer.Option(
    "--pixel-size", metavar="NM", callback=_positive,
    help="Pixel size in nm; without it, the one in the file.",
)  # fmt: skip
#: Options and arguments that several commands have.
PixelSize = Annotated[float | None, PIXEL_SIZE]
Frames = Annotated[
    str, typer.Option(metavar="LIST", help="Frames, such as 0,5,10-20; all by default.")
]
ImageName = Annotated[
    str,
    typer.Option(
        "--image", metavar="NAME",
        help="Image of a file that holds several: its name, or a part of it that no other has; "
        "the first by default.",
    ),
]  # fmt: skip
OutFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the tables (of one folder per input, where there are several); by "
        "default one here that is named after the input.",
    ),
]
#: Fields that are the pixel size of an image; they all have that one option.
_PIXEL_FIELDS = ("pixel_size_nm",)


@dataclass(frozen=True)
class Without:
    """Fields of a dataclass that get no option, because the command decides them."""

    fields: tuple[str, ...]

    def __init__(self, *fields: str) -> None:
        object.__setattr__(self, "fields", fields)


@dataclass(frozen=True)
class Panel:
    """The options of one dataclass of parameters in one command.

    Attributes
    ----------
    argument : str
        Of the function of the command.
    params : type
        The dataclass.
    flags : dict of str to str
        Option of each field, such as ``spacing_px`` to ``--spacing``. Where another option of
        the command has the name already, that of the argument goes before it.
    """

    argument: str
    params: type[Params]
    flags: dict[str, str]

    def key(self, field: str) -> str:
        """Name of the parameter of the command that a field has."""
        return f"{self.argument}__{field}"

    def made(self, given: dict[str, object]) -> Params:
        """Return the parameters that the options say."""
        values = {f: given.pop(self.key(f)) for f in self.flags}
        # without an option a pixel size is what the dataclass says it is
        return self.params(
            **{f: v for f, v in values.items() if not (v is None and f in _PIXEL_FIELDS)}
        )

    def options(self, panel: str | None) -> list[inspect.Parameter]:
        """Return the options, as parameters of a function."""
        return [
            _option(info, self.key(info.name), self.flags[info.name], panel)
            for info in describe(self.params)
            if info.name in self.flags
        ]


def _flag(info: ParamInfo) -> str:
    if info.name in _PIXEL_FIELDS:
        return "--pixel-size"
    word = info.name.removesuffix(f"_{info.unit}") if info.unit else info.name
    return "--" + word.replace("_", "-")


def _option(info: ParamInfo, key: str, flag: str, panel: str | None) -> inspect.Parameter:
    """Make the option of one field."""
    text = f"{info.help} ({info.unit})" if info.unit else info.help
    unit = info.unit.upper() if info.unit else None
    kind: object = info.kind
    default: object = info.default
    if info.name in _PIXEL_FIELDS:
        return _parameter(key, float | None, PIXEL_SIZE, None)
    if info.kind is bool:
        made = typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=panel)
    elif info.kind is int or info.kind is float:
        made = typer.Option(
            flag, help=text, metavar=unit, min=info.minimum, max=info.maximum,
            rich_help_panel=panel,
        )  # fmt: skip
    else:
        if info.choices:
            kind = Literal.__getitem__(info.choices)
        made = typer.Option(flag, help=text, rich_help_panel=panel)
    if info.optional:
        kind = Optional[kind]  # noqa: UP045 - the kind is known when the program runs
    return _parameter(key, kind, made, default)


def _parameter(name: str, kind: object, about: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about]
    )


def _arguments(function: Callable[..., None]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function, eval_str=True).parameters)


def _without(annotation: object) -> tuple[object, tuple[str, ...]]:
    """Return the type that is meant, and the fields that get no option."""
    if typing.get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *more = typing.get_args(annotation)
    return kind, tuple(f for m in more if isinstance(m, Without) for f in m.fields)


def groups(function: Callable[..., None]) -> list[Panel]:
    """Return the options of every dataclass of parameters that a command takes."""
    found: list[Panel] = []
    taken = {"--" + name.replace("_", "-") for name in _arguments(function)}
    for name, parameter in _arguments(function).items():
        params, left_out = _without(parameter.annotation)
        if not (isinstance(params, type) and issubclass(params, Params)):
            continue
        flags = {}
        for info in describe(params):
            if info.name in left_out:
                continue
            flag = _flag(info)
            if flag in taken:
                flag = f"--{name.replace('_', '-')}-{flag[2:]}"
            taken.add(flag)
            flags[info.name] = flag
        found.append(Panel(name, params, flags))
    return found


def build(name: str, function: Callable[..., None]) -> TyperCommand:
    """Build a command from its function; its mistakes become sentences.

    Parameters
    ----------
    name : str
        Of the command.
    function : callable
        See above; its docstring is the help.
    """
    made = groups(function)
    arguments = _arguments(function)
    own = [p for n, p in arguments.items() if n not in {g.argument for g in made}]
    everything = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    for group in made:
        everything += group.options(_panel(group) if len(made) > 1 else None)

    @functools.wraps(function)
    def command(**given: object) -> None:
        with sentences():
            params = {g.argument: g.made(given) for g in made}
            function(**given, **params)

    del command.__wrapped__
    command.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in everything}
    lone = typer.Typer(add_completion=False)
    lone.command(name)(command)
    built = typer.main.get_command(lone)
    assert isinstance(built, TyperCommand)
    return built


def _panel(group: Panel) -> str:
    """Heading of the options of a dataclass in the help."""
    return group.argument.replace("_", " ").capitalize()


def parse_frames(text: str) -> list[int] | None:
    """Read a choice of frames such as "0,5,10-20"; an empty text means all of them.

    Raises
    ------
    ParameterError
        If the text is anything else.
    """
    frames: list[int] = []
    for piece in text.replace(" ", "").split(",") if text.strip() else []:
        first, dash, last = piece.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ParameterError(f"frames is {text!r}, but must be like 0,5,10-20.")
        frames += range(int(first), int(last if dash else first) + 1)
    if not frames and text.strip():
        raise ParameterError(f"frames is {text!r}, which holds no frame.")
    return frames or None
