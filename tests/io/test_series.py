"""Movies of one file per frame: their order, what does not fit, and that they stay on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import DTypeLike

import napari_atomlens as al
from napari_atomlens.errors import FormatError
from napari_atomlens.io.formats import readers, series
from napari_atomlens.io.formats.readers import read

SCENE = al.simulate("honeycomb", (96, 96), 10.0)[0].astype(np.float32)


def frames(
    folder: Path, n: int = 12, *, dates: list[str] | None = None, dtype: DTypeLike = np.uint16
) -> list[Path]:
    """Frames whose names are not in the order of the alphabet; every pixel is their number."""
    folder.mkdir(exist_ok=True)
    files = []
    for k in range(n):
        files.append(folder / f"f{k}.tif")
        tifffile.imwrite(
            files[-1], np.full((20, 30), k, dtype), resolution=(5e8, 5e8), resolutionunit=3,
            datetime=None if dates is None else dates[k], metadata=None,
        )  # fmt: skip
    return files


@pytest.mark.parametrize("as_folder", [False, True])
def test_files_are_one_movie_in_the_order_of_their_numbers(tmp_path: Path, as_folder: bool) -> None:
    files = frames(tmp_path / "run")
    (movie,) = read(tmp_path / "run" if as_folder else sorted(map(str, files)))
    assert movie.axes == "tyx" and movie.pixel_size_nm == pytest.approx((0.02, 0.02))
    assert np.asarray(movie.data)[:, 0, 0].tolist() == list(range(12))
    assert movie.metadata["files"] == [f"f{k}.tif" for k in range(12)]
    assert movie.name == "f0.tif to f11.tif" and movie.time_step_s is None


def test_a_file_is_read_when_its_frame_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, seen = frames(tmp_path / "run", 60), []
    right = readers.read_file

    def watched(path: Path) -> list[al.Image]:
        seen.append(path.name)
        return right(path)

    monkeypatch.setattr(readers, "read_file", watched)
    (movie,) = read(files)
    assert seen == ["f0.tif"]
    assert np.asarray(movie.data[41]).max() == 41 and seen == ["f0.tif", "f41.tif"]


@pytest.mark.parametrize("n", [3, 60])
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (np.zeros((20, 31), np.uint16), "f2.tif is 31 x 20 px, but f0.tif is 30 x 20 px"),
        (np.zeros((20, 30), np.float32), "f2.tif has pixels of type float32"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, n: int, odd: np.ndarray, words: str
) -> None:
    files = frames(tmp_path / "run", n)
    tifffile.imwrite(files[2], odd, resolution=(5e8, 5e8), resolutionunit=3, metadata=None)
    with pytest.raises(FormatError, match=words):
        read(files)


def test_a_frame_of_another_scale_is_refused_by_name(tmp_path: Path) -> None:
    files = frames(tmp_path / "run", 3)
    tifffile.imwrite(files[1], np.zeros((20, 30), np.uint16), metadata=None)
    with pytest.raises(FormatError, match=r"f1\.tif has no pixel size, but f0\.tif has"):
        read(files)


def test_a_movie_among_the_frames_is_refused_by_name(tmp_path: Path) -> None:
    files = frames(tmp_path / "run", 3)
    tifffile.imwrite(files[1], np.zeros((4, 20, 30), np.uint16), photometric="minisblack")
    with pytest.raises(FormatError, match=r"f1\.tif holds a movie of 4"):
        read(files)


def test_a_file_that_goes_bad_later_is_named_when_its_frame_is_read(tmp_path: Path) -> None:
    files = frames(tmp_path / "run", 60)
    (movie,) = read(files)
    files[7].write_bytes(files[7].read_bytes()[:100])
    with pytest.raises(FormatError, match=r"f7\.tif"):
        np.asarray(movie.data[7])


def test_scans_with_channels_are_a_movie_of_each(tmp_path: Path) -> None:
    for k in range(3):
        np.savez(tmp_path / f"s{k}.npz", Z=np.full((20, 30), k), Current=np.full((20, 30), -k))
    heights, current = read(tmp_path)
    assert [heights.name, current.name] == ["s0.npz to s2.npz: Z", "s0.npz to s2.npz: Current"]
    assert np.asarray(current.data)[:, 0, 0].tolist() == [0, -1, -2]
    np.savez(tmp_path / "s1.npz", Z=np.zeros((20, 30), int), Phase=np.zeros((20, 30), int))
    with pytest.raises(FormatError, match=r"s1\.npz has not the images of s0\.npz"):
        read(tmp_path)


def test_the_time_is_that_of_the_stamps_where_they_are_regular(tmp_path: Path) -> None:
    regular = [f"2024:05:06 10:{k // 2:02d}:{30 * (k % 2):02d}" for k in range(8)]
    (movie,) = read(frames(tmp_path / "a", 8, dates=regular))
    assert movie.time_step_s == pytest.approx(30.0)
    gap = [*regular[:4], *(f"2024:05:06 12:{k:02d}:00" for k in range(4))]
    assert read(frames(tmp_path / "b", 8, dates=gap))[0].time_step_s is None


def test_a_folder_of_other_things_is_no_movie(tmp_path: Path) -> None:
    for name in ("HAADF", "ABF"):
        np.save(tmp_path / f"{name}.npy", SCENE)
    with pytest.raises(FormatError, match=r"ABF\.npy and HAADF\.npy differ in more than numbers"):
        read(tmp_path)
    tifffile.imwrite(tmp_path / "a.tif", SCENE)
    with pytest.raises(FormatError, match=r"several kinds \(\.npy, \.tif\)"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="empty is a folder without images"):
        read(tmp_path / "empty")


def test_natural_order_has_numbers_of_any_length() -> None:
    names = ["a1b10", "a1b9", "a10b1", "a2b1"]
    found = series.in_natural_order([Path(n) for n in names])
    assert [p.name for p in found] == ["a1b9", "a1b10", "a2b1", "a10b1"]


def test_a_folder_of_frames_is_analysed_as_a_movie(tmp_path: Path) -> None:
    for k in range(3):
        tifffile.imwrite(tmp_path / f"f{k}.tif", SCENE)
    found = al.analyze(tmp_path, spacing_px=10.0, model="universal")
    assert found.frames == [0, 1, 2] and found.atoms["frame"].nunique() == 3
    assert found.provenance["file"] == "f0.tif to f2.tif"
    assert found.provenance["files"] == ["f0.tif", "f1.tif", "f2.tif"]
