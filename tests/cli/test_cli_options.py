"""Options are those of the dataclasses: names, defaults, bounds, choices; typed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from command import run
from typer.testing import CliRunner

from napari_atomlens.cli.app import COMMANDS
from napari_atomlens.cli.options import Panel, Without, build, groups, parse_frames
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import ParamInfo, Params, describe, param

PIXEL_SIZE = ("pixel_size_nm",)


def fields() -> list[Any]:
    """Every field of parameters of every command."""
    return [
        pytest.param(name, group, info, id=f"{name}-{group.argument}-{info.name}")
        for name, entry in COMMANDS.items()
        for group in groups(entry.function())
        for info in describe(group.params)
        if info.name in group.flags
    ]


@pytest.mark.parametrize(("name", "group", "info"), fields())
def test_an_option_is_its_field(name: str, group: Panel, info: ParamInfo) -> None:
    command = build(name, COMMANDS[name].function())
    (option,) = [p for p in command.params if p.name == group.key(info.name)]
    flag = group.flags[info.name]
    assert flag in option.opts
    assert flag.endswith((info.name.removesuffix(f"_{info.unit}") if info.unit else info.name)
                         .replace("_", "-")) or info.name in PIXEL_SIZE  # fmt: skip
    if info.name in PIXEL_SIZE:
        assert flag == "--pixel-size" and option.default is None
        return
    assert option.default == info.default
    assert info.help in (option.help or "")
    text = CliRunner().invoke(_alone(command), ["--help"], env={"COLUMNS": "400"}).output
    (line,) = [x for x in text.splitlines() if f" {flag} " in x]
    for choice in info.choices:
        assert choice in line
    if info.kind in (int, float) and info.minimum is not None:
        assert f"{info.minimum}<=x" in line or f"x>={info.minimum}" in line
    if info.kind in (int, float) and info.maximum is not None:
        assert f"x<={info.maximum}" in line


def _alone(command: Any) -> typer.Typer:
    """Put a built command where CliRunner finds it."""
    holder = typer.Typer()

    class Holder(typer.core.TyperGroup):
        def main(self, *args: Any, **settings: Any) -> Any:
            return command.main(*args, **settings)

    holder.callback(cls=Holder)(lambda: None)
    return holder


OUTSIDE = [
    p for p in fields() if p.values[2].kind in (int, float) and p.values[2].maximum is not None
    and p.values[2].name not in PIXEL_SIZE
]  # fmt: skip


@pytest.mark.parametrize(("name", "group", "info"), OUTSIDE)
def test_what_is_out_of_bounds_is_one_sentence(name: str, group: Panel, info: ParamInfo) -> None:
    assert info.maximum is not None
    flag = group.flags[info.name]
    done = run(*name.split(), *_needed(name), flag, int(info.maximum) + 1, code=2)
    assert len(done.stderr.splitlines()) == 1 and flag in done.stderr


CHOICES = [p for p in fields() if p.values[2].choices]


@pytest.mark.parametrize(("name", "group", "info"), CHOICES)
def test_an_unknown_choice_is_one_sentence(name: str, group: Panel, info: ParamInfo) -> None:
    flag = group.flags[info.name]
    done = run(*name.split(), *_needed(name), flag, "no such choice", code=2)
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert flag in done.stderr and all(c in done.stderr for c in info.choices)


def _needed(name: str) -> list[str]:
    """Arguments without which a command cannot start."""
    if name.startswith("train") and name != "train crystal":
        return []
    return ["file", "--out", "folder"] if name in ("movie", "batch") else ["file"]


@dataclass(frozen=True)
class Colours(Params):
    """Two fields."""

    colour: Literal["red", "green"] = param("red", "which one")
    depth_px: float = param(1.0, "how deep", unit="px", ge=0, le=9)


@dataclass(frozen=True)
class More(Params):
    """Fields with the names of others."""

    colour: Literal["blue", "red"] = param("blue", "another")
    limit: int | None = param(None, "none by default", ge=0, le=9)
    out: str = param("", "a folder")
    pixel_size_nm: float = param(0.5, "size", unit="nm", ge=0)


def paint(out: Annotated[str, typer.Option()] = "", *, colours: Colours, more: More) -> None:
    """Paint."""
    SEEN.append((out, colours, more))


SEEN: list[tuple[str, Colours, More]] = []


def call(function: Callable[..., None], *arguments: str) -> None:
    build("paint", function)(list(arguments), standalone_mode=False)


def test_names_that_clash_get_the_name_of_the_argument_before() -> None:
    assert [g.flags for g in groups(paint)] == [
        {"colour": "--colour", "depth_px": "--depth"},
        {
            "colour": "--more-colour",
            "limit": "--limit",
            "out": "--more-out",
            "pixel_size_nm": "--pixel-size",
        },
    ]  # fmt: skip
    SEEN.clear()
    call(paint)
    call(paint, "--colour", "green", "--more-colour", "red", "--out", "a", "--more-out", "b",
         "--pixel-size", "2", "--limit", "3")  # fmt: skip
    assert [
        ("", Colours(), More()),
        ("a", Colours("green"), More("red", 3, "b", 2.0)),
    ] == SEEN


def test_fields_that_the_command_decides_have_no_option() -> None:
    def draw(*, colours: Annotated[Colours, Without("colour")]) -> None:
        """Draw."""

    (group,) = groups(draw)
    assert group.flags == {"depth_px": "--depth"}


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf"])
def test_a_pixel_size_is_above_zero(size: str) -> None:
    done = run("analyze", "a.tif", "--pixel-size", size, code=2)
    assert len(done.stderr.splitlines()) == 1 and "--pixel-size" in done.stderr


@pytest.mark.parametrize(
    ("text", "frames"),
    [("", None), (" ", None), ("4", [4]), ("0,5,7-9", [0, 5, 7, 8, 9]), ("3, 1", [3, 1])],
)
def test_frames(text: str, frames: list[int] | None) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["a", "1-", "-3", "5-2", "1,,2", "1.5"])
def test_wrong_frames(text: str) -> None:
    with pytest.raises(ParameterError, match="frames"):
        parse_frames(text)
