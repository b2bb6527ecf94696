"""Write docs/reference/*.md: parameters, tables, files and commands, as the code has them.

Usage: ``python docs/make_tables.py``; ``python docs/make_tables.py --published [FOLDER]`` prints
what is read of the published files in a folder (of docs/files_published.md).
"""

from __future__ import annotations

import argparse
import importlib
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args, get_origin

import typer

from napari_atomlens import meanings, tables
from napari_atomlens.cli import app
from napari_atomlens.errors import FormatError
from napari_atomlens.io import read
from napari_atomlens.io.formats import facts, kinds, told
from napari_atomlens.params import ParamInfo, Params, describe

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "napari_atomlens"
PAGES = Path(__file__).parent / "reference"
PUBLISHED = ROOT.parent / "shared" / "data"
HEAD = "<!-- made by docs/make_tables.py; change the code, then run it again -->\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a Markdown table; columns that are empty in every row are left out."""
    columns = list(head)
    cells = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    kept = [k for k in range(len(columns)) if any(row[k] for row in cells)]
    return [
        "| " + " | ".join(line[k] or " " for k in kept) + " |"
        for line in (columns, ["---"] * len(columns), *cells)
    ]


def code(value: object) -> str:
    """Write a value as code, text without marks where there is none."""
    if value is None:
        return "None"
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{value}`" if str(value) != "" else '`""`'


def bounds(low: float | None, high: float | None) -> str:
    """Write inclusive bounds."""
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high else ""


# ------------------------------------------------------------------------- parameters


def parameter_classes() -> list[type[Params]]:
    """Every parameter class of the package outside the widgets, by module."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for said in re.findall(r"^class (\w+)\(\w*Params\):", path.read_text("utf-8"), re.M):
            made = getattr(importlib.import_module(name), said)
            if issubclass(made, Params):
                found.append(made)
    return found


def allowed(info: ParamInfo) -> str:
    """Choices or bounds of a parameter, and its kind where these do not say it."""
    if info.choices:
        said = ", ".join(code(c) for c in info.choices)
    elif info.kind in (int, float):
        said = bounds(info.minimum, info.maximum) or "any number"
        said = f"whole, {said}" if info.kind is int else said
    else:
        said = {bool: "True, False", str: "text"}.get(info.kind, info.kind.__name__)
    return f"{said}, or None" if info.optional else said


def default(value: object) -> str:
    """Write a default; that of a long tuple is told by its length."""
    if isinstance(value, tuple) and len(str(value)) > 60:
        return f"{len(value)} of them"
    return "" if repr(value).startswith("<") else code(value)


def parameters() -> str:
    """Page of the parameters."""
    lines = [
        "# Parameters",
        "",
        "Every parameter of the package. The same definition makes the forms in napari, the",
        "options of the command line and the record of provenance. A parameter that is out of its",
        "bounds is refused with a sentence where the object is made.",
    ]
    for made in parameter_classes():
        inherited = [b for b in made.__bases__ if b is not Params]
        older = {i.name for b in inherited for i in describe(b)}
        first = (made.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        lines += ["", f"## {made.__name__}", "", f"`{made.__module__}`. {first}", ""]
        if inherited:
            names = ", ".join(f"[{b.__name__}](#{b.__name__.lower()})" for b in inherited)
            lines += [f"All of {names}, and:", ""]
        lines += table(
            ("parameter", "default", "unit", "allowed", "what it is"),
            (
                (f"`{i.name}`", default(i.default), i.unit, allowed(i), i.help)
                for i in describe(made)
                if i.name not in older
            ),
        )
    return page(lines)


# ----------------------------------------------------------------------------- tables


def data_tables() -> str:
    """Page of the tables."""
    lines = [
        "# Tables",
        "",
        "The columns of every table, in their order. A value that is not known is empty (NaN for",
        "numbers, -1 for whole ones, an empty text), never a guess. Positions are in pixels, the",
        "centre of the first pixel is (0, 0); y points down. Angles are counter-clockwise from +x",
        "as drawn. What other functions, as `measure_lattice`, add to the atoms their pages say.",
    ]
    for name, columns in tables.TABLES.items():
        lines += ["", f"## {name}", ""]
        lines += table(
            ("column", "type", "unit", "what it is"),
            (
                (f"`{c}`", KINDS_OF_VALUES[dtype], meanings.unit(c), tables.meaning(name, c))
                for c, dtype in columns.items()
            ),
        )
    return page(lines)


KINDS_OF_VALUES = {
    tables.F: "number", tables.I: "whole number", tables.B: "true or false", tables.S: "text",
}  # fmt: skip


# ------------------------------------------------------------------------------ files


def files() -> str:
    """Page of the files that are read."""
    lines = [
        "# Files that are read",
        "",
        "By `al.read`, in napari and on the command line. What a file is, its content decides. A",
        "folder that is watched, or given to a batch, is searched for those that are marked; parts",
        "of others are left out there (the parameters `*_0001.mtrx` of an Omicron scan, an emi",
        "file whose series are there).",
        "",
    ]
    lines += table(
        ("suffix", "what it is", "read by", "technique", "dropped on napari", "watched"),
        (
            (
                f"`{suffix}`" if suffix.startswith(".") else f"`*{suffix}`",
                kind.words.removeprefix("a ").removeprefix("an "),
                f"`{kind.read.__module__.rpartition('.')[2]}.{kind.read.__name__}`",
                kind.technique,
                opened_by(suffix, kind),
                "yes" if is_watched(suffix, kind) else "",
            )
            for suffix, kind in sorted(
                kinds.SUFFIXES.items(), key=lambda pair: pair[0].lstrip("._")
            )
        ),
    )
    lines += [
        "",
        "## What is read of them",
        "",
        "Of every layout an image is read. A pixel size, a time or a unit that the file does not",
        "have is not known, and never guessed.",
        "",
    ]
    lines += table(
        ("format", "suffixes", "movies from", "pixel size from", "time from", "pixels in",
         "refused, in a sentence", "tested with"),
        (
            (x.name, f"`{x.suffixes}`", x.movies, x.pixel_size, x.time, x.units, x.refused,
             x.tested)
            for x in told.LAYOUTS
        ),
    )  # fmt: skip
    lines += [
        "",
        "## What is said of a measurement",
        "",
        "In `Image.metadata`, under the same names for all formats; what a file does not say is",
        "not there. Docks show it below the choice of the image.",
        "",
    ]
    lines += table(("name", "what it is"), ((f"`{k}`", v) for k, v in facts.FACTS.items()))
    return page(lines)


def opened_by(suffix: str, kind: kinds.Kind) -> str:
    """Who opens a file that is dropped on napari."""
    if suffix in kind.left_to_napari:
        return "opened by napari, on choice by us"
    return "opened by us where the content is an image" if suffix in kind.common else "opened by us"


def is_watched(suffix: str, kind: kinds.Kind) -> bool:
    """Whether a file of such a name is found in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{suffix}"
        if kind.read.__name__ == "read_zarr":
            path.mkdir()
        else:
            path.write_text("1 2 3 4 5 6 7 8\n" * 8, encoding="utf-8")
        return kinds.is_image_file(path)


# --------------------------------------------------------------------------- commands


def commands() -> str:
    """Page of the command line."""
    group = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "`atomlens COMMAND --help` says the same. Every mistake is told in one sentence.",
    ]
    for name, command in every_command(group):
        lines += ["", f"## {name}", "", first_paragraph(command.help), ""]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p not in arguments and p.name != "help"]
        usage = " ".join(argument(p) for p in arguments)
        lines += ["```", f"{name} {usage}".strip() + (" [OPTIONS]" if options else ""), "```", ""]
        lines += [f"- `{argument(p)}`: {sentence(p.help)}" for p in arguments if p.help] + [""]
        if options:
            lines += table(
                ("option", "default", "allowed", "what it is"),
                (
                    (
                        " / ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)),
                        option_default(p),
                        option_allowed(p),
                        sentence(p.help or " "),
                    )
                    for p in options
                ),
            )
    return page(lines)


def every_command(group: object, before: str = "atomlens") -> list[tuple[str, object]]:
    """Name and command of each command of a group and of the groups in it."""
    context = typer.Context(group, info_name=before)
    found: list[tuple[str, object]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if hasattr(command, "list_commands"):
            found += every_command(command, f"{before} {name}")
        else:
            found.append((f"{before} {name}", command))
    return found


def first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def argument(parameter: object) -> str:
    """Write an argument as it stands in the usage."""
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def sentence(text: str) -> str:
    """Write help as it stands in a list."""
    return (text if text[:2].isupper() else text[0].lower() + text[1:]).rstrip(". ")


def option_default(option: object) -> str:
    """Write the default of an option; none where it has to be given."""
    if option.required:
        return "needed"
    value = option.default() if callable(option.default) else option.default
    if value in (None, (), ""):
        return ""
    if option.is_flag:
        chosen = option.opts if value else option.secondary_opts
        return code(chosen[0]) if chosen else ""
    return code(getattr(value, "value", value))


def option_allowed(option: object) -> str:
    """Choices or bounds of an option, and what it takes where these do not say it."""
    kind = option.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return ", ".join(code(c) for c in get_args(kind))
    if option.is_flag:
        return ""
    said = bounds(option.min, option.max) or {float: "number", str: "text", Path: "path"}.get(kind)
    return (f"whole, {said}" if said else "whole number") if kind is int else said or "text"


# -------------------------------------------------------------------- published files


def published(folder: Path) -> list[str]:
    """Lines of the table of what is read of the published files in a folder."""
    suffixes = tuple(kinds.SUFFIXES)
    found = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(suffixes))
    rows = alike([row for file in found for row in images_of(file, folder)])
    return table(("file", "image, or why not", "shape", "axes", "pixel size, nm (y x x)"), rows)


def images_of(file: Path, folder: Path) -> list[list[str]]:
    """One row for each image of a file, or one that says why it is refused."""
    name = str(file.relative_to(folder))
    try:
        images = read(file)
    except FormatError as error:
        return [[name, str(error), "", "", ""]]
    out = []
    for image in images:
        size = image.pixel_size_nm
        pixel = "not stored" if size is None else " x ".join(f"{s:.6g}" for s in size)
        shape = " x ".join(str(n) for n in image.data.shape)
        title = image.name.removeprefix(file.name).lstrip(": ")
        out.append([name, title, f"{shape} {image.data.dtype}", image.axes, pixel])
    return out


def alike(rows: list[list[str]], most: int = 3) -> list[list[str]]:
    """More than `most` files below one folder of folders with the same answer are one line."""
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for row in rows:
        parts = Path(row[0]).parts
        key = (*parts[:2], *row[1:]) if len(parts) > 3 else tuple(row)
        groups.setdefault(key, []).append(row)
    out = []
    for key, same in groups.items():
        if len(same) > most and len(Path(same[0][0]).parts) > 3:
            same = [[f"{key[0]}/{key[1]}: {len(same)} files", *same[0][1:]]]
        out += same
    return out


# ------------------------------------------------------------------------------- main


def page(lines: list[str]) -> str:
    return HEAD + "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Name and text of every page."""
    return {
        "parameters.md": parameters(),
        "tables.md": data_tables(),
        "files.md": files(),
        "commands.md": commands(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, nargs="?", const=PUBLISHED, metavar="FOLDER")
    folder = parser.parse_args().published
    if folder is not None:
        if not folder.is_dir():
            parser.error(f"{folder} does not exist.")
        print("\n".join(published(folder)))
        return
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
