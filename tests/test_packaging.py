"""The manifest is valid, all that it names exists, and it travels with the package."""

from __future__ import annotations

import importlib
import tarfile
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from npe2 import PluginManifest

from napari_atomlens.io.formats.kinds import KINDS, SUFFIXES

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "src/napari_atomlens/napari.yaml"


def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def python_names() -> list[str]:
    return [c.python_name for c in manifest().contributions.commands]


def test_manifest_is_valid() -> None:
    found = manifest()
    assert found.name == "napari-atomlens"
    assert found.display_name == "AtomLens"


@pytest.mark.parametrize("name", python_names())
def test_every_command_can_be_imported(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_every_contribution_names_a_command() -> None:
    points = manifest().contributions
    ids = {c.id for c in points.commands}
    users = [*points.widgets, *points.readers, *points.writers, *points.sample_data]
    users += [item for items in points.menus.values() for item in items]
    assert {u.command for u in users} == ids


def test_find_atoms_is_in_the_plugins_and_the_layers_menu() -> None:
    points = manifest().contributions
    assert {"Find atoms", "Measure", "Explore", "Movie", "Chemistry"} <= {
        w.display_name for w in points.widgets
    }
    assert [m.command for m in points.menus["napari/layers/segment"]] == [
        "napari-atomlens.find_atoms",
        "napari-atomlens.batch",
    ]
    assert [m.command for m in points.menus["napari/layers/metadata"]] == [
        "napari-atomlens.calibrate"
    ]


def test_measure_is_in_the_layers_menu() -> None:
    points = manifest().contributions
    assert "napari-atomlens.measure" in [m.command for m in points.menus["napari/layers/measure"]]


def test_the_manifest_lists_the_kinds_of_files() -> None:
    listed = {r.command: r.filename_patterns for r in manifest().contributions.readers}
    patterns = listed["napari-atomlens.get_reader"]
    left = {s for kind in KINDS for s in kind.left_to_napari}
    assert left >= {".png", ".jpg", ".jpeg"}  # pictures stay with napari
    assert sorted(patterns) == sorted([*(f"*{s}" for s in set(SUFFIXES) - left), "*.atomlens"])


def test_top_level_manifest_is_the_one_in_the_package() -> None:
    top = ROOT / "napari.yaml"
    if not top.is_symlink():
        # a clone on a system without links holds the target's path as text
        assert top.read_text(encoding="utf-8").strip() == "src/napari_atomlens/napari.yaml"
    else:
        assert top.resolve() == MANIFEST.resolve()


def test_entry_point_is_a_top_level_module() -> None:
    try:
        points = distribution("napari-atomlens").entry_points
    except PackageNotFoundError:
        pytest.skip("napari-atomlens is not installed")
    (point,) = points.select(group="napari.manifest")
    assert point.value == "napari_atomlens:napari.yaml"
    (script,) = points.select(group="console_scripts")
    assert script.name == "atomlens"


def test_wheel_has_the_manifest_and_the_models(tmp_path: Path) -> None:
    wheel_builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder
    (path,) = wheel_builder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        packaged = wheel.read("napari_atomlens/napari.yaml")
    assert packaged == MANIFEST.read_bytes()
    assert "napari_atomlens/py.typed" in names
    weights = ROOT / "src/napari_atomlens/segmentation/weights"
    for file in [*weights.glob("*.safetensors"), *weights.glob("*.md")]:
        assert f"napari_atomlens/segmentation/weights/{file.name}" in names
    assert not [n for n in names if n.endswith((".pt", ".pyc"))]


def test_source_archive_has_the_manifest_once(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.sdist").SdistBuilder
    (path,) = builder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as archive:
        found = [m for m in archive.getmembers() if m.name.endswith("napari.yaml")]
    assert [m.name.split("/", 1)[1] for m in found] == ["src/napari_atomlens/napari.yaml"]
    assert found[0].isfile()
