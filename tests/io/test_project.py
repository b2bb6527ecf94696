"""Projects: what was saved comes back, and nothing half-written is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_atomlens import tables
from napari_atomlens.errors import FormatError
from napari_atomlens.io.projects import folder as module
from napari_atomlens.runs.result import Result, load


def result(n: int = 3) -> Result:
    rng = np.random.default_rng(0)
    atoms = tables.empty("atoms").reindex(range(n))
    for column, dtype in tables.ATOMS.items():
        value = {"float64": 1.5, "int64": 7, "bool": True, "object": "Si"}[dtype]
        atoms[column] = pd.Series([value] * n, dtype=dtype)
    atoms.loc[0, "y_nm"] = np.nan
    contours = tables.empty("contours")
    return Result(
        atoms=atoms, contours=contours,
        outlines={0: [rng.random((5, 2)), rng.random((8, 2))], 3: []},
        probabilities=rng.random((2, 3, 8, 9)).astype(np.float16),
        unfamiliar=rng.random((2, 8, 9)).astype(np.float16),
        classes=("background", "atom", "two"), frames=[0, 3],
        provenance={"spacing_px": {"0": 8.5, "3": float("nan")}, "pixel_size_nm": (0.1, 0.2),
                    "n": np.int64(4)},
        messages=["Frame 3: nothing, 3 Å."], seconds={"atoms": 0.5},
    )  # fmt: skip


def test_everything_comes_back(tmp_path: Path) -> None:
    first = result()
    path = first.save(tmp_path / "new" / "a")
    assert path == tmp_path / "new" / "a.atomlens"
    again = load(path)
    pd.testing.assert_frame_equal(again.atoms, first.atoms)
    pd.testing.assert_frame_equal(again.contours, first.contours, check_index_type=False)
    assert again.outlines.keys() == first.outlines.keys() and again.outlines[3] == []
    for a, b in zip(again.outlines[0], first.outlines[0], strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("probabilities", "unfamiliar"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        assert getattr(again, name).dtype == np.float16
    for name in ("classes", "frames", "messages", "seconds"):
        assert getattr(again, name) == getattr(first, name)
    assert again.provenance["pixel_size_nm"] == (0.1, 0.2) and again.provenance["n"] == 4
    assert again.spacing_px == 8.5


def test_an_older_project_is_replaced(tmp_path: Path) -> None:
    path = result(3).save(tmp_path / "a.atomlens")
    result(5).save(path)
    assert len(load(path).atoms) == 5
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_older_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = result(3).save(tmp_path / "a.atomlens")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "save_maps", full)
    with pytest.raises(FormatError, match="disk full"):
        result(5).save(path)
    assert len(load(path).atoms) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_other_things_are_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "mine.atomlens"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    with pytest.raises(FormatError, match="not a project"):
        result().save(folder)
    assert (folder / "thesis.txt").read_text() == "all of it"


def test_missing_and_foreign(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        load(tmp_path / "none.atomlens")
    with pytest.raises(FormatError, match="not an AtomLens project"):
        load(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "run.json",
        "atoms/part-00000000.parquet",
        "outlines/part-00000000.parquet",
        "maps.zarr/zarr.json",
        "frames/part-00000000.parquet",
    ],
)
@pytest.mark.parametrize("how", ["truncated", "empty", "missing"])
def test_damaged(tmp_path: Path, file: str, how: str) -> None:
    path = result().save(tmp_path / "a")
    content = (path / file).read_bytes()
    if how == "missing":
        (path / file).unlink()
    else:
        (path / file).write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    with pytest.raises(FormatError, match=r"a\.atomlens is"):
        load(path)


def test_a_later_version(tmp_path: Path) -> None:
    path = result().save(tmp_path / "a")
    text = (path / "run.json").read_text(encoding="utf-8")
    (path / "run.json").write_text(
        text.replace('"format_version": 3', '"format_version": 99'), encoding="utf-8"
    )
    with pytest.raises(FormatError, match="later version"):
        load(path)


def test_a_project_of_version_1_opens() -> None:
    again = load(Path(__file__).parent / "data" / "version1.atomlens")
    assert len(again.atoms) == 6 and again.frames == [0, 3]
    assert again.probabilities.shape == (2, 4, 8, 9) and again.provenance["image"] == "old.npy"
    assert [len(o) for o in again.outlines[0]] == [5, 8]
