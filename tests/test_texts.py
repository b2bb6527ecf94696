"""What the documentation, the benchmarks and the scripts take from the package exists."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from napari_atomlens import meanings, tables
from napari_atomlens.runs.hooks import HOOK_GROUP

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari_atomlens"
SCRIPTS = [p for f in ("benchmarks", "docs", "scripts") for p in sorted((ROOT / f).rglob("*.py"))]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def found(module: str, name: str = "") -> object | None:
    """What an import of ours gives, None where it fails."""
    try:
        there: object = importlib.import_module(module)
        if not name:
            return there
        if hasattr(there, name):
            return getattr(there, name)
        return importlib.import_module(f"{module}.{name}")
    except ImportError:
        return None


def attribute(node: ast.expr, known: dict[str, object]) -> tuple[str, object | None]:
    """Dotted name of an expression, and what it stands for; "" where it is not of ours."""
    if isinstance(node, ast.Name):
        return (node.id, known[node.id]) if node.id in known else ("", None)
    if isinstance(node, ast.Attribute):
        name, owner = attribute(node.value, known)
        if isinstance(owner, ModuleType):
            return f"{name}.{node.attr}", found(owner.__name__, node.attr)
    return "", None


def is_code(value: object) -> bool:
    """Whether a constant may be the code of a child process."""
    return isinstance(value, str) and "\n" in value and f" {PACKAGE}" in value


def missing(tree: ast.AST) -> Iterator[str]:
    """Yield what a piece of code takes from the package, or passes to it, that is not there."""
    known: dict[str, object] = {}
    for node in ast.walk(tree):
        taken = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            taken = [(a.asname or a.name, str(node.module), a.name) for a in node.names]
        elif isinstance(node, ast.Import):
            taken = [
                (a.asname or PACKAGE, a.name if a.asname else PACKAGE, "")
                for a in node.names
                if a.name.split(".")[0] == PACKAGE and found(a.name)
            ]
            yield from (
                f"line {node.lineno}: import {a.name}"
                for a in node.names
                if a.name.split(".")[0] == PACKAGE and not found(a.name)
            )
        for here, module, name in taken:
            if (thing := found(module, name)) is None:
                yield f"line {node.lineno}: {module}.{name}"
            else:
                known[here] = thing
    known.setdefault("al", found(PACKAGE))  # what pages call it once it was imported above
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            _, owner = attribute(node.value, known)
            if isinstance(owner, ModuleType) and found(owner.__name__, node.attr) is None:
                yield f"line {node.lineno}: {owner.__name__}.{node.attr}"
        elif isinstance(node, ast.Call):
            name, called = attribute(node.func, known)
            if not callable(called) or not getattr(called, "__module__", "").startswith(PACKAGE):
                continue
            try:
                told = inspect.signature(called).parameters
            except ValueError:  # an exception, for example
                continue
            if not any(p.kind is p.VAR_KEYWORD for p in told.values()):
                yield from (
                    f"line {node.lineno}: {name}({k.arg}=...)"
                    for k in node.keywords
                    if k.arg and k.arg not in told
                )
        elif isinstance(node, ast.Constant) and is_code(node.value):
            try:
                inner = ast.parse(node.value)
            except SyntaxError:  # words
                continue
            yield from (f"in the code of line {node.lineno}, {wrong}" for wrong in missing(inner))


@pytest.mark.parametrize("path", SCRIPTS, ids=label)
def test_what_scripts_take_exists(path: Path) -> None:
    assert list(missing(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_the_code_of_a_page_fits_the_package(path: Path) -> None:
    for code in FENCED.findall(path.read_text(encoding="utf-8")):
        assert list(missing(ast.parse(code))) == [], code


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_modules_that_a_page_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for dotted in set(re.findall(rf"\b{PACKAGE}(?:\.[a-z_]\w*)+", text)):
        if dotted.endswith((".yaml", ".html", ".git")) or dotted == HOOK_GROUP:
            continue
        module, _, name = dotted.rpartition(".")
        assert found(module, name) is not None, dotted
    for file in set(
        re.findall(rf"\b(?:src/{PACKAGE}|benchmarks|docs|tests|scripts)/[\w/.-]+\w", text)
    ):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target


def test_reference_pages_say_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs/make_tables.py")
    assert spec and spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    pages = maker.pages()
    folder = ROOT / "docs/reference"
    assert sorted(pages) == sorted(p.name for p in folder.iterdir())
    for name, text in pages.items():
        committed = (folder / name).read_text(encoding="utf-8")
        assert text == committed, f"{name} is not of this code: run python docs/make_tables.py"


def test_every_column_has_a_meaning_and_every_meaning_a_column() -> None:
    columns = [(table, c) for table, made in tables.TABLES.items() for c in made]
    said = {tables.meaning(table, c) for table, c in columns}
    assert all(said)
    unused = [name for name, words in meanings.MEANINGS.items() if words not in said]
    assert unused == []
    with pytest.raises(KeyError):
        tables.meaning("atoms", "colour")


def test_an_offender_is_noticed() -> None:
    code = (
        "import napari_atomlens as al\nimport napari_atomlens.attic\n"
        "from napari_atomlens.atoms import find_nothing, find_atoms\n"
        "from napari_atomlens.runs.nowhere import x\nal.analyse(1)\nal.read(path, colour=2)\n"
        "CHILD = '''\nfrom napari_atomlens.analysis import analyze\n'''\n"
        "find_atoms(1)\nal.analyze(1)\n"
    )
    assert len(list(missing(ast.parse(code)))) == 6
