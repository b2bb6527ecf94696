"""The one list of kinds of files, and what of a folder is an image."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from napari_atomlens.io.formats.kinds import (
    BY_NAME,
    KINDS,
    SUFFIXES,
    find_files,
    is_image_file,
    named,
    technique_of,
)
from napari_atomlens.io.formats.told import LAYOUTS


def test_the_list_says_everything_once() -> None:
    suffixes = [s for kind in KINDS for s in kind.suffixes]
    assert len(BY_NAME) == len(KINDS) and len(suffixes) == len(set(suffixes)) == len(SUFFIXES)
    for kind in KINDS:
        assert set(kind.common) | set(kind.left_to_napari) <= set(kind.suffixes)
        assert set(kind.also) <= set(BY_NAME) - {kind.name}


def test_the_table_of_formats_leaves_no_kind_and_no_suffix_out() -> None:
    told = {x.kind for x in LAYOUTS} | {"dm3", "emi"}  # told with dm4 and ser
    assert told == set(BY_NAME)
    said = {s for x in LAYOUTS for s in x.suffixes.split()}
    assert set(SUFFIXES) - said == {".mtrx"}  # the parameters of scans
    assert said - set(SUFFIXES) == {".ome.tif"}


@pytest.mark.parametrize(
    ("name", "kind", "technique"),
    [
        ("a.TIF", "tiff", ""), ("a.ndata1", "nion", ""), ("scan.sxm", "sxm", "STM"),
        ("au--3_1.Z_mtrx", "mtrx", "STM"), ("au--3_1.I_MTRX", "mtrx", "STM"),
        ("au_0001.mtrx", "mtrx", "STM"), ("a.dat", "createc", "STM"), ("a.dm4", "dm4", ""),
    ],
)  # fmt: skip
def test_a_name_says_kind_and_technique(name: str, kind: str, technique: str) -> None:
    assert named(name) is BY_NAME[kind] and technique_of(Path("folder", name)) == technique


def test_other_names_say_nothing() -> None:
    assert named("a.xyz") is None and named("tif") is None and technique_of("a") == ""


def test_what_of_a_folder_is_an_image(tmp_path: Path) -> None:
    for name in (
        "a.tif", "._a.tif", "~a.tif", "a.md", "au--3_1.Z_mtrx", "au--3_1.I_mtrx", "au_0001.mtrx",
        "b.emi", "b_1.ser", "b_2.ser", "alone.emi", "packed.zarr",
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "plain").mkdir()
    zarr.create_array(tmp_path / "store.zarr", shape=(4, 4), dtype="f4")
    zarr.create_array(tmp_path / "unnamed", shape=(4, 4), dtype="f4")
    assert [p.name for p in find_files(tmp_path)] == [
        "a.tif", "alone.emi", "au--3_1.I_mtrx", "au--3_1.Z_mtrx", "b_1.ser", "b_2.ser",
        "packed.zarr", "store.zarr", "unnamed",
    ]  # fmt: skip
    assert not is_image_file(tmp_path / "store.zarr" / "zarr.json")
