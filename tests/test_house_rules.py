"""Data flows one way, and only the widgets know napari and Qt (docs: CONTRIBUTING.md).

``house.py`` reads the source. Every rule also has an offender planted in a tiny tree: it must be
found, so that no rule can fall silent.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from house import ROOMS, SOURCE, House

HOUSE = House()

#: Imports of ours inside a function that stand there for a reason: file and module.
ALLOWED_INSIDE: set[str] = set()

#: Files written by their names: lines that are appended, and parts of a file that is open.
ALLOWED_WRITES = {
    "io/projects/journal_file.py path.open",  # on the disk line by line
    "io/projects/window.py archive.open",
    "io/projects/window.py zipfile.ZipFile",
    "training/loop.py (folder / 'log.jsonl').open",  # what a training said; nobody reads it back
    "runs/outbox.py path.open",  # whole lines, synchronised
}

#: Packages that hand on no names: one takes from their modules.
WITHOUT_FACE = {
    "io.formats", "io.export", "io.projects", "runs", "session", "session.edits", "widgets",
    "widgets.base", "widgets.layers", "widgets.open_save", "cli",
    *(f"widgets.{d}" for d in ("find_atoms", "correct", "measure", "explore", "movie", "chemistry",
                               "stm")),
}  # fmt: skip


def without_allowed(house: House) -> list[str]:
    """Return the imports inside functions that nobody allowed."""
    return [p for p in house.inner_imports() if re.sub(r":\d+", "", p) not in ALLOWED_INSIDE]


def written_bare(house: House) -> list[str]:
    """Return where files are written that may be lost in a power cut, and nobody allowed it."""
    return [p for p in house.bare_writes() if re.sub(r":\d+", "", p) not in ALLOWED_WRITES]


def in_order(house: House) -> list[str]:
    """Return what stands in no room, and what is imported from a room that comes later."""
    return [f"{label} has no place in the order" for label in house.outside_the_order()] + (
        house.upward()
    )


#: Rule -> what it is called, and for each kind of offender the files of a tiny tree with it.
RULES: dict[Callable[[House], list[str]], dict[str, dict[str, str]]] = {
    in_order: {
        "upward": {"atoms/a.py": "from napari_atomlens.graphs.b import c", "graphs/b.py": "c = 1"},
        "relative": {"points.py": "from . import graphs", "graphs/__init__.py": ""},
        "inside a function": {
            "atoms/a.py": "def f():\n    from ..graphs import b",
            "graphs/b.py": "",
        },
        "through the face": {
            "atoms/a.py": "from napari_atomlens import bond",
            "__init__.pyi": "from .graphs.bonds import bond",
            "graphs/bonds.py": "def bond(): ...",
        },
        "the face of a later room": {
            "atoms/a.py": "from napari_atomlens import graphs",
            "graphs/__init__.py": "",
        },
        "for types alone": {
            "atoms/a.py": "if TYPE_CHECKING:\n    from napari_atomlens.graphs.b import C",
            "graphs/b.py": "class C: ...",
        },
        "inside io": {
            "io/formats/a.py": "from napari_atomlens.io.export.b import c",
            "io/export/b.py": "c = 1",
        },
        "inside the widgets": {
            "widgets/base/a.py": "from napari_atomlens.widgets.layers.b import c",
            "widgets/layers/b.py": "c = 1",
        },
        "from a dock": {
            "widgets/layers/a.py": "from napari_atomlens.widgets.movie.dock import c",
            "widgets/movie/dock.py": "c = 1",
        },
        "opening before layers": {
            "widgets/layers/a.py": "from napari_atomlens.widgets.open_save.b import c",
            "widgets/open_save/b.py": "c = 1",
        },
        "a room of no place": {"attic.py": ""},
    },
    House.circles: {
        "of two": {
            "atoms/a.py": "from napari_atomlens.atoms.b import y\nx = 1",
            "atoms/b.py": "from napari_atomlens.atoms.a import x\ny = 1",
        },
        "of three, through a face and a function": {
            "graphs/__init__.pyi": "from .a import x",
            "graphs/a.py": "from .b import y\nx = 1",
            "graphs/b.py": "from . import c\ny = 1",
            "graphs/c.py": "def f():\n    from napari_atomlens.graphs import x",
        },
    },
    without_allowed: {
        "in a function": {"points.py": "def f():\n    from napari_atomlens import tables"},
        "in a method": {"points.py": "class A:\n    def f(self):\n        from . import tables"},
        "import as": {"points.py": "def f():\n    import napari_atomlens.tables as t"},
    },
    written_bare: {
        "open": {"points.py": "open('a', 'w')"},
        "open of a path": {"points.py": "path.open(mode='ab')"},
        "text": {"points.py": "path.write_text('a')"},
        "table": {"points.py": "table.to_csv(path, index=False)"},
        "arrays": {"points.py": "np.savez(path, a=a)"},
        "figure": {"points.py": "figure.savefig('a.png')"},
        "weights": {"points.py": "save_file({}, path)"},
        "zip": {"points.py": "zipfile.ZipFile(path, 'w')"},
    },
    House.own_face: {
        "a name": {
            "atoms/__init__.pyi": "from .find import find",
            "atoms/a.py": "from napari_atomlens.atoms import find",
            "atoms/find.py": "def find(): ...",
        },
        "the whole face": {"atoms/a.py": "from napari_atomlens import atoms"},
        "of the house": {
            "__init__.pyi": "from .atoms.find import find",
            "cli.py": "from napari_atomlens import find",
            "atoms/find.py": "def find(): ...",
        },
        "the whole house": {"cli.py": "import napari_atomlens as al"},
    },
    House.by_string: {
        "importlib": {
            "cli.py": "import importlib\nimportlib.import_module('napari_atomlens.atoms')"
        },
        "computed": {"cli.py": "import_module(f'napari_atomlens.{name}')"},
        "relative": {"cli.py": "import_module('.atoms', __package__)"},
        "built in": {"cli.py": "__import__('napari_atomlens.atoms')"},
    },
    House.any_by_attribute: {
        "typing.Any": {"points.py": "import typing\nx: typing.Any = 1"},
        "under another name": {"points.py": "from typing import Any as Whatever"},
    },
    House.strays: {
        "napari": {"runs/a.py": "import napari.layers"},
        "Qt in a function": {"session/a.py": "def f():\n    from qtpy.QtCore import QTimer"},
        "for types alone": {"cli.py": "if TYPE_CHECKING:\n    from napari import Viewer"},
    },
    House.silent: {
        "bare except": {"points.py": "try:\n    1\nexcept:\n    pass"},
        "print": {"points.py": "print(1)"},
    },
}
PLANTED = [(rule, what) for rule, offenders in RULES.items() for what in offenders]


def plant(folder: Path, files: dict[str, str]) -> House:
    """Build a tiny package of some files, with the faces that they need."""
    source = folder / "napari_atomlens"
    for name, code in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code + "\n", encoding="utf-8")
    for path in [source, *(p for p in source.rglob("*") if p.is_dir())]:
        (path / "__init__.py").touch()
    return House(source)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[House], list[str]]) -> None:
    assert rule(HOUSE) == []


@pytest.mark.parametrize(("rule", "what"), PLANTED, ids=lambda v: getattr(v, "__name__", v))
def test_a_planted_offender_is_found(
    rule: Callable[[House], list[str]], what: str, tmp_path: Path
) -> None:
    files = RULES[rule][what]
    assert rule(plant(tmp_path, files)), files


def test_what_is_allowed_offends_no_rule(tmp_path: Path) -> None:
    house = plant(
        tmp_path,
        {
            "__init__.py": "__version__ = '1'",
            "tables.py": "x = 1",
            "files.py": "open('a', 'w')",
            "arrays.py": (
                "open('a')\npath.open('rb')\ntable.to_csv(file)\ntable.to_csv(index=False)\n"
                "zipfile.ZipFile(path)"
            ),
            "points.py": "from . import tables\nfrom napari_atomlens.tables import x",
            "atoms/__init__.pyi": "from .find import find",
            "atoms/find.py": "import numpy\nfrom napari_atomlens import __version__, tables",
            "atoms/peaks.py": "from napari_atomlens.atoms import border",
            "atoms/border.py": "",
            # types that two modules know of each other close no circle at run time
            "graphs/a.py": "from .b import y\nx = 1",
            "graphs/b.py": "if TYPE_CHECKING:\n    from .a import x\ny = 1",
            "graphs/c.py": "from napari_atomlens import atoms\nfrom typing import Any\nz: Any = 1",
            "runs/hooks.py": "import importlib\nf = importlib.import_module(name)",
            "widgets/movie/dock.py": (
                "import napari\nfrom napari_atomlens.widgets.open_save.a import b"
            ),
            "widgets/open_save/a.py": "from napari_atomlens.widgets.layers.a import b",
            "widgets/layers/a.py": "from napari_atomlens.widgets.base.a import b",
            "widgets/base/a.py": "b = 1",
        },
    )
    assert {rule.__name__: found for rule in RULES if (found := rule(house))} == {}


# ----------------------------------------------------------------------------------- faces


def faces() -> list[str]:
    return [m.name for m in HOUSE if m.is_face and m.path.with_suffix(".pyi").is_file()]


@pytest.mark.parametrize("name", faces())
def test_a_face_hands_on_what_its_stub_says(name: str) -> None:
    module = importlib.import_module(name)
    stub = HOUSE.modules[name].stub
    assert sorted(module.__all__) == sorted(stub), "__all__ and the imports of the stub"
    for public, (home, there) in stub.items():
        assert getattr(module, public) is getattr(importlib.import_module(home), there)


def test_every_room_has_a_face_or_is_known_to_have_none() -> None:
    packages = {m.name.partition(".")[2] for m in HOUSE if m.is_face and m.below}
    with_stub = {name.partition(".")[2] for name in faces()} - {""}
    assert packages - with_stub <= WITHOUT_FACE
    for m in HOUSE:
        if m.is_face:
            lazy = any(taken.module == "lazy_loader" for taken in m.imports)
            assert lazy == m.path.with_suffix(".pyi").is_file(), m.label


def test_every_room_of_the_order_exists_or_is_yet_to_come() -> None:
    there = {m.room for m in HOUSE}
    assert set(ROOMS) - there <= {"widgets.base", "widgets.layers"}


def test_contributing_lists_the_rooms_in_order() -> None:
    text = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = [room for row in rows for room in re.findall(r"`([\w.]+)`", row)]
    inner = {"io", "session.edits", "widgets.base", "widgets.layers", "widgets.open_save"}
    assert named == [room for room in ROOMS if room not in inner]


def test_weights_come_with_a_card() -> None:
    for file in SOURCE.rglob("*.safetensors"):
        assert file.with_suffix(".md").exists(), f"{file.name} has no card"
