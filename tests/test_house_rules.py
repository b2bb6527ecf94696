"""Data flows one way, and only the widgets know napari and Qt (docs: CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "napari_atomlens"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE
FILES = sorted(SOURCE.rglob("*.py"))

# The rooms of the house, lowest first: each imports only from those before it.
ROOMS = (
    "errors", "elements", "params", "tables", "progress", "files", "points", "arrays", "image",
    "calibration", "segmentation", "atoms", "lattice", "contours", "graphs", "tracking", "stm",
    "simulation", "training", "io.formats", "io.export", "io.projects", "runs", "session",
    "widgets", "cli",
)  # fmt: skip


def room_of(parts: list[str] | tuple[str, ...]) -> str:
    """Room of a module, given the parts of its name below the package."""
    two = ".".join(parts[:2])
    return two if two in ROOMS else parts[0]


# Public name of the package to the stage that it comes from.
FACE = {
    alias.name: room_of(str(node.module).split("."))
    for node in ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
RANK = {name: rank for rank, name in enumerate(ROOMS)} | {"io": ROOMS.index("io.projects")}
GUI = {"napari", "qtpy", "superqt", "magicgui", "vispy", "pyqtgraph"} | {
    "PySide6",
    "PyQt6",
    "PyQt5",
}


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of all that a file imports, wherever in the file."""
    here = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
    package = here[:-1]  # the same for a module and for an __init__
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def stage(dotted: str) -> str | None:
    """Stage of our package that a dotted name belongs to, None where it is not of ours."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE or len(parts) < 2:
        return None
    return FACE.get(parts[1]) or room_of(parts[1:])  # a public name, loaded lazily


def own_stage(path: Path) -> str:
    return room_of(path.relative_to(SOURCE).with_suffix("").parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_widgets_know_napari_and_qt(path: Path) -> None:
    if own_stage(path) == "widgets":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [f"line {n}: {what}" for n, what in imports(tree, path) if what.split(".")[0] in GUI]
    assert not wrong, f"{name_of(path)} imports {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_import_only_from_those_before_them(path: Path) -> None:
    own = own_stage(path)
    if own == "__init__":
        return  # the public names, loaded lazily
    assert own in RANK, f"{own} has no place in the order of the house"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        f"line {n}: {what}"
        for n, what in imports(tree, path)
        if (used := stage(what)) in RANK and RANK[used] > RANK[own]
    ]
    assert not wrong, f"{name_of(path)} imports {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_catch_all_and_no_print(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name_of(path)}: bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
            pytest.fail(f"{name_of(path)}: print in line {node.lineno}")


def test_the_rules_notice_an_offender() -> None:
    path = SOURCE / "segmentation" / "offender.py"
    code = (
        "def f():\n    from napari_atomlens.simulation import simulate\n"
        "    from .. import widgets\n    import napari.layers\n"
        "    from napari_atomlens import read\n"
    )
    found = [what for _, what in imports(ast.parse(code), path)]
    assert found == [
        "napari_atomlens.simulation.simulate",
        "napari_atomlens.widgets",
        "napari.layers",
        "napari_atomlens.read",
    ]
    assert [stage(f) for f in found] == ["simulation", "widgets", None, "io.formats"]


def test_weights_come_with_a_card() -> None:
    for file in SOURCE.rglob("*.safetensors"):
        assert file.with_suffix(".md").exists(), f"{file.name} has no card"
