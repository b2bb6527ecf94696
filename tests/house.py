"""Reads the source of the package and answers what it imports, and what in it is long or bare.

Standard library only, and nothing of the package is imported: the rules and the ceilings of the
house (``test_house_rules.py``, ``test_house_ceilings.py``) also run on small trees made for a
test. ``python tests/house.py`` prints the figures.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "napari_atomlens"

#: The rooms of the house, lowest first: each imports only from those before it.
ROOMS = (
    "errors", "elements", "params", "meanings", "tables", "familiar", "cells", "progress",
    "files", "folders", "untrusted", "points", "arrays", "cards", "image", "calibration",
    "segmentation", "atoms", "lattice", "contours", "graphs", "tracking", "stm", "simulation",
    "training", "io.formats", "io.export", "io.projects", "io", "runs", "session.edits",
    "session", "widgets.base", "widgets.layers", "widgets.open_save", "widgets", "cli",
)  # fmt: skip
GUI = {"napari", "qtpy", "superqt", "magicgui", "vispy", "pyqtgraph"} | {
    "PySide6",
    "PyQt6",
    "PyQt5",
}
LONG_FUNCTION, LONG_MODULE = 60, 500
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    """One name that a module takes: from where, where it stands, whether it runs."""

    line: int
    module: str  #: dotted name of the module that the statement names
    name: str = ""  #: the name taken from it; empty for ``import module``
    inside: bool = False  #: in a function
    typing: bool = False  #: under ``if TYPE_CHECKING``: not run

    @property
    def dotted(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass
class Module:
    """One file of the package."""

    name: str
    path: Path
    label: str  #: path below the package
    is_face: bool
    text: str
    tree: ast.Module
    #: Of a face: name that it hands on -> the module that has it, and its name there.
    stub: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def below(self) -> list[str]:
        """Parts of the name below the package."""
        return self.name.split(".")[1:]

    @property
    def room(self) -> str:
        """Room in which the module stands; empty for the face of the package."""
        return room_of(self.below)

    @property
    def package(self) -> str:
        """Name of the package that holds the module; of the face itself, its own name."""
        return self.name if self.is_face else self.name.rpartition(".")[0]

    @property
    def n_lines(self) -> int:
        """Number of lines."""
        return self.text.count("\n")

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of the file, wherever it stands."""
        return list(self._imports())

    def _imports(self) -> Iterator[Import]:
        stack: list[tuple[ast.AST, bool, bool]] = [(self.tree, False, False)]
        while stack:
            node, inside, typing = stack.pop()
            if isinstance(node, ast.Import):
                yield from (Import(node.lineno, a.name, "", inside, typing) for a in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = absolute(self.package, node)
                yield from (Import(node.lineno, module, a.name, inside, typing) for a in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                stack += [(n, inside, True) for n in node.body]
                stack += [(n, inside, typing) for n in node.orelse]
            else:
                inside = inside or isinstance(node, Function)
                stack += [(n, inside, typing) for n in ast.iter_child_nodes(node)]


def absolute(package: str, node: ast.ImportFrom) -> str:
    """Module that a ``from`` statement names, its dots resolved in `package`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def room_of(parts: list[str]) -> str:
    """Room of a module, given the parts of its name below the package."""
    two = ".".join(parts[:2])
    return two if two in ROOMS else (parts[0] if parts else "")


def functions(tree: ast.AST) -> Iterator[tuple[str, ast.AST, bool]]:
    """Every function: dotted name, node, and whether its name and its owners' are public."""

    def walk(node: ast.AST, owner: str, public: bool) -> Iterator[tuple[str, ast.AST, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (*Function, ast.ClassDef)):
                shown = public and not child.name.startswith("_")
                is_function = isinstance(child, Function)
                if is_function:
                    yield owner + child.name, child, shown
                yield from walk(child, f"{owner}{child.name}.", shown and not is_function)
            else:
                yield from walk(child, owner, public)

    return walk(tree, "", True)


def repeats(node: ast.AST) -> bool:
    """Whether a function is one form of an overloaded one, or sets or deletes a property."""
    said = [getattr(d, "id", getattr(d, "attr", "")) for d in node.decorator_list]  # type: ignore[attr-defined]
    return bool({"overload", "setter", "deleter"} & set(said))


#: What writes a file by its name, and what does so where it is not given an open file.
WRITES = {"write_text", "write_bytes", "savefig", "save_file", "tofile", "savetxt", "imsave"}
INTO_FILES = {"to_csv", "to_parquet", "imwrite", "savez", "savez_compressed", "ZipFile", "dump"}


def writes(call: ast.Call) -> bool:
    """Whether a call writes a file by its name, not through the room that does so durably."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes_from = 1 if isinstance(call.func, ast.Name) or name == "ZipFile" else 0
    given = [*call.args[modes_from:], *(k.value for k in call.keywords if k.arg in ("mode", None))]
    modes = {a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    if name == "open":
        return any(len(m) <= 4 and set(m) & set("wax+") and set(m) <= set("rwaxbt+") for m in modes)
    if name in INTO_FILES and call.args and not isinstance(call.args[0], ast.Constant):
        reads = name == "ZipFile" and not modes & {"w", "a", "x"}
        return not reads and getattr(call.args[0], "id", "") != "file"
    return name in WRITES


def length(node: ast.AST) -> int:
    """Lines of a function, its docstring and not its decorators counted."""
    return (node.end_lineno or 0) - node.lineno + 1  # type: ignore[attr-defined]


class House:
    """All modules of the package at `source`; the answers are lists of places, sorted."""

    def __init__(self, source: Path = SOURCE) -> None:
        self.root = source.name
        self.modules: dict[str, Module] = {}
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source.parent).with_suffix("").parts
            is_face = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_face else parts)
            text = path.read_text(encoding="utf-8")
            label = path.relative_to(source).as_posix()
            module = Module(name, path, label, is_face, text, ast.parse(text))
            if is_face:
                stub = path.with_suffix(".pyi")
                said = stub.read_text(encoding="utf-8") if stub.is_file() else ""
                for node in [*ast.walk(ast.parse(said)), *module.tree.body]:
                    if isinstance(node, ast.ImportFrom):
                        for a in node.names:
                            module.stub[a.asname or a.name] = (absolute(name, node), a.name)
            self.modules[name] = module

    # ------------------------------------------------------------------ what is taken

    def home(self, taken: Import) -> str:
        """Module of ours in which a taken name is defined, faces followed; empty: not ours."""
        if taken.module.split(".")[0] != self.root:
            return ""
        module, name = taken.module, taken.name
        for _ in range(6):
            if f"{module}.{name}" in self.modules:
                return f"{module}.{name}"
            onward = self.modules[module].stub.get(name) if module in self.modules else None
            if onward is None:
                break
            module, name = onward
        return module

    def room(self, taken: Import) -> str:
        """Room in which a taken name is at home; empty where it is not of ours."""
        home = self.home(taken)
        return room_of(home.split(".")[1:]) if home else ""

    # -------------------------------------------------------------------------- rules

    def outside_the_order(self) -> list[str]:
        """Modules whose room has no place in the order."""
        rooms = {*ROOMS, ""}
        return sorted(m.label for m in self.modules.values() if m.room not in rooms)

    def upward(self) -> list[str]:
        """Imports from a room that comes later; those for types alone count, too."""
        rank = {name: k for k, name in enumerate(ROOMS)}
        if not any(m.room == "widgets.layers" for m in self):
            # what opens and saves stands on layers that are still among the docks
            rank["widgets.open_save"] = rank["widgets"]
        return sorted(
            f"{m.label}:{taken.line} {taken.dotted}"
            for m in self
            if m.room in rank
            for taken in m.imports
            if rank.get(self.room(taken), -1) > rank[m.room]
        )

    def bare_writes(self) -> list[str]:
        """Files that are written by their names elsewhere than in `files`."""
        return sorted(
            f"{m.label}:{node.lineno} {ast.unparse(node.func)}"
            for m in self
            if m.room != "files"
            for node in ast.walk(m.tree)
            if isinstance(node, ast.Call) and writes(node)
        )

    def circles(self) -> list[str]:
        """Modules that import each other in a loop; faces only hand names on and are left out."""
        graph = {
            m.name: sorted(
                home
                for taken in m.imports
                if not taken.typing and (home := self.home(taken)) in self.modules
                if home != m.name and not self.modules[home].is_face
            )
            for m in self
            if not m.is_face
        }
        found = []
        while True:
            try:
                graphlib.TopologicalSorter(graph).prepare()
            except graphlib.CycleError as error:
                loop = error.args[1]  # each is imported by the next; the first stands last again
                found.append(" <- ".join(n.partition(".")[2] for n in loop))
                graph[loop[1]] = [n for n in graph[loop[1]] if n != loop[0]]
            else:
                return found

    def inner_imports(self) -> list[str]:
        """Statements inside a function that import something of ours."""
        return sorted(
            {
                f"{m.label}:{taken.line} {taken.module}"
                for m in self
                for taken in m.imports
                if taken.inside and self.home(taken)
            }
        )

    def own_face(self) -> list[str]:
        """Names taken from the face of a package by a module that stands in this package."""
        found = []
        for m in self:
            packages = {p for p in self.modules if m.name.startswith(f"{p}.")}
            for taken in m.imports:
                if taken.typing:
                    continue
                # the face itself, whole, or what it only hands on; not its own, as the version
                face = self.modules.get(taken.module)
                handed = taken.module in packages and face and taken.name in face.stub
                if taken.dotted in packages or handed:
                    found.append(f"{m.label}:{taken.line} {taken.dotted}")
        return sorted(found)

    def by_string(self) -> list[str]:
        """Modules of ours that are imported by a string, or that may be: the name is computed."""
        found = []
        for m in self:
            for node in ast.walk(m.tree):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called in ("import_module", "__import__"):
                    said = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                    if any(str(s).split(".")[0] in (self.root, "") for s in said):
                        found.append(f"{m.label}:{node.lineno}")
        return sorted(found)

    def any_by_attribute(self) -> list[str]:
        """Places that write `Any` as an attribute of a module, which no count of names sees."""
        return sorted(
            f"{m.label}:{node.lineno}"
            for m in self
            for node in ast.walk(m.tree)
            if (isinstance(node, ast.Attribute) and node.attr == "Any")
            or (isinstance(node, ast.alias) and node.name == "Any" and node.asname)
        )

    def heavy_params(self) -> list[str]:
        """Modules with a ``...Params`` that import torch, themselves or by what they import."""
        torch = {
            m.name
            for m in self
            for taken in m.imports
            if taken.module.split(".")[0] == "torch" and not (taken.inside or taken.typing)
        }
        taken = {
            m.name: {
                self.home(t) for t in m.imports if not (t.typing or t.inside) and not m.is_face
            }
            for m in self
        }
        found = []
        for m in self:
            names = [n.name for n in m.tree.body if isinstance(n, ast.ClassDef)]
            if any(n.endswith("Params") for n in names):
                seen, new = set(), {m.name}
                while new:
                    seen |= new
                    new = {t for name in new for t in taken.get(name, ())} - seen
                if seen & torch:
                    found.append(f"{m.label} through {', '.join(sorted(seen & torch))}")
        return sorted(found)

    def strays(self) -> list[str]:
        """Imports of napari and Qt outside the widgets."""
        return sorted(
            f"{m.label}:{taken.line} {taken.dotted}"
            for m in self
            if m.room.split(".")[0] != "widgets"
            for taken in m.imports
            if taken.module.split(".")[0] in GUI
        )

    def silent(self) -> list[str]:
        """Handlers of every exception, and prints: a user sees neither."""
        return sorted(
            f"{m.label}:{node.lineno}"
            for m in self
            for node in ast.walk(m.tree)
            if (isinstance(node, ast.ExceptHandler) and node.type is None)
            or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print")
        )

    # ------------------------------------------------------------------------ figures

    def n_any(self) -> dict[str, int]:
        """How often each module says `Any`."""
        count = {
            m.label: sum(isinstance(n, ast.Name) and n.id == "Any" for n in ast.walk(m.tree))
            for m in self
        }
        return {label: n for label, n in count.items() if n}

    def any_per_thousand(self) -> float:
        """`Any` per 1,000 lines, to one place."""
        lines = sum(m.n_lines for m in self)
        return round(1000 * sum(self.n_any().values()) / max(lines, 1), 1)

    def long_functions(self) -> list[str]:
        """Functions of more than 60 lines."""
        return sorted(
            f"{m.label}:{node.lineno} {name} {length(node)}"  # type: ignore[attr-defined]
            for m in self
            for name, node, _ in functions(m.tree)
            if length(node) > LONG_FUNCTION
        )

    def long_modules(self) -> list[str]:
        """Modules of more than 500 lines."""
        return sorted(f"{m.label} {m.n_lines}" for m in self if m.n_lines > LONG_MODULE)

    def undocumented(self) -> list[str]:
        """Public functions without a docstring; what `overload` or a setter repeats needs none."""
        return sorted(
            f"{m.label}:{node.lineno} {name}"  # type: ignore[attr-defined]
            for m in self
            for name, node, public in functions(m.tree)
            if public and not ast.get_docstring(node) and not repeats(node)  # type: ignore[arg-type]
        )

    def without_example(self) -> list[str]:
        """Functions and classes of the top-level face whose docstring shows no example."""
        found = []
        for name in self.modules[self.root].stub:
            home = self.modules.get(self.home(Import(0, self.root, name)))
            for node in home.tree.body if home else ():
                if (
                    isinstance(node, (*Function, ast.ClassDef))
                    and node.name == name
                    and ">>>" not in (ast.get_docstring(node) or "")
                ):
                    found.append(name)
        return sorted(found)

    def same_names(self) -> list[str]:
        """Public names that two or more top-level packages define, each for itself."""
        homes: dict[str, dict[str, str]] = {}
        for m in self:
            for node in m.tree.body:
                if isinstance(node, (*Function, ast.ClassDef)) and not node.name.startswith("_"):
                    homes.setdefault(node.name, {}).setdefault(
                        m.below[0] if m.below else "", m.label
                    )
        return sorted(f"{n}: {', '.join(h.values())}" for n, h in homes.items() if len(h) > 1)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules.values())


#: Figure -> the places behind it.
FIGURES = {
    "modules outside the order": House.outside_the_order,
    "upward imports": House.upward,
    "circles": House.circles,
    "files written by their names": House.bare_writes,
    "own imports inside functions": House.inner_imports,
    "names taken from the own face": House.own_face,
    "own modules imported by a string": House.by_string,
    "Any by attribute": House.any_by_attribute,
    "Params that load torch": House.heavy_params,
    "napari and Qt outside widgets": House.strays,
    "functions above 60 lines": House.long_functions,
    "modules above 500 lines": House.long_modules,
    "public functions without docstring": House.undocumented,
    "top-level names without example": House.without_example,
    "same public name in two packages": House.same_names,
}


def main() -> None:
    """Print the figures; with ``--list`` also the places."""
    house = House()
    for what, places in FIGURES.items():
        found = places(house)
        sys.stdout.write(f"{what}: {len(found)}\n")
        if "--list" in sys.argv[1:]:
            sys.stdout.writelines(f"    {place}\n" for place in found)
    sys.stdout.write(f"Any per 1,000 lines: {house.any_per_thousand()}\n")


if __name__ == "__main__":
    main()
