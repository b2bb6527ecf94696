"""Stacks of frames of any array, and grey in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_atomlens.errors import ImageError
from napari_atomlens.image import Stack, as_stack, grey, make_image, source_stack
from napari_atomlens.io.formats.readers import read
from napari_atomlens.segmentation.pixels import as_frame

RNG = np.random.default_rng(5)
COLOURS = RNG.integers(0, 255, (20, 24, 3)).astype(np.uint8)
WANTED = COLOURS @ np.array([0.2126, 0.7152, 0.0722])
MOVIE = RNG.integers(0, 60000, (4, 20, 24)).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "u8", "f2", "f4", ">f8"])
def test_grey_is_the_same_for_every_type(dtype: str) -> None:
    found = grey(COLOURS.astype(dtype))
    assert found.dtype.kind == "f" and found.dtype.isnative
    np.testing.assert_allclose(found, WANTED, rtol=1e-6)


def test_opacity_is_not_looked_at() -> None:
    opacity = RNG.integers(0, 255, (20, 24, 1)).astype(np.uint8)
    np.testing.assert_array_equal(grey(np.concatenate([COLOURS, opacity], -1)), grey(COLOURS))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_equal_channels_are_exact(dtype: str) -> None:
    values = (1e4 * RNG.random((20, 24)) if dtype[0] == "f" else MOVIE[0]).astype(dtype)
    found = grey(np.repeat(values[..., None], 3, -1))
    np.testing.assert_array_equal(found, values, strict=True)
    some = np.repeat(values[..., None], 3, -1)
    some[3, 4, 0] += 1  # the other pixels stay as they are
    np.testing.assert_array_equal(np.delete(grey(some), 3, 0), np.delete(values, 3, 0))


def as_picture(data: np.ndarray, folder: Path) -> np.ndarray:
    tifffile.imwrite(folder / "a.tif", data, photometric="rgb")
    return np.asarray(read(folder / "a.tif")[0].data)


@pytest.mark.parametrize(
    "way",
    [
        lambda data, _: np.asarray(make_image("a", data).data),
        lambda data, _: np.asarray(make_image("a", da.from_array(data, chunks=8)).data),
        as_picture,
        lambda data, _: as_stack(data)[0],
        lambda data, _: as_stack(data[None])[0],
        lambda data, _: source_stack(data, rgb=True)[0],
        lambda data, _: as_frame(data),
    ],
    ids=["array", "dask", "file", "image", "movie", "layer", "analysis"],
)
def test_every_way_makes_the_same_grey(
    way: Callable[[np.ndarray, Path], np.ndarray], tmp_path: Path
) -> None:
    np.testing.assert_allclose(way(COLOURS, tmp_path), WANTED, rtol=1e-6)
    assert way(COLOURS, tmp_path).mean() == pytest.approx(WANTED.mean(), rel=1e-6)


@pytest.mark.parametrize(
    "kind",
    [np.asarray, list, zarr.array, lambda m: da.from_array(m, chunks=(1, 20, 24))],
    ids=["numpy", "list", "zarr", "dask"],
)
def test_a_stack_is_of_any_array(kind: Callable[[np.ndarray], Stack]) -> None:
    stack = as_stack(kind(MOVIE))
    assert stack.shape == MOVIE.shape and len(stack) == 4 and stack.ndim == 3
    assert stack.dtype == MOVIE.dtype
    np.testing.assert_array_equal(np.asarray(stack), MOVIE)
    np.testing.assert_array_equal([f.sum() for f in stack], MOVIE.sum((1, 2)))
    for key in (2, -1, slice(1, 3), (1, slice(2, 5)), (slice(None), 3), slice(2, 2), ..., None):
        np.testing.assert_array_equal(stack[key], MOVIE[key])
    with pytest.raises(IndexError):
        stack[4]
    assert as_stack(stack) is stack


def test_only_what_is_asked_for_is_read() -> None:
    class Counted:
        shape, ndim, dtype = (100, 20, 24), 3, np.dtype("f4")
        read: list[int]

        def __getitem__(self, key: int) -> np.ndarray:
            self.read.append(key)
            return np.full((20, 24), key, "f4")

    source = Counted()
    source.read = []
    stack = as_stack(source)
    assert stack[7].mean() == 7 and source_stack(source)[9].mean() == 9 and source.read == [7, 9]


@pytest.mark.parametrize("make", [as_stack, source_stack])
def test_of_a_pyramid_the_first_level_is_taken(make: Callable[..., Stack]) -> None:
    levels = [MOVIE, MOVIE[:, ::2, ::2], MOVIE[:, ::4, ::4]]
    np.testing.assert_array_equal(np.asarray(make(levels)), MOVIE)
    np.testing.assert_array_equal(make([MOVIE[0], MOVIE[0, ::2, ::2]])[0], MOVIE[0])
    assert make(list(MOVIE)).shape == MOVIE.shape  # frames of one size are a movie


@pytest.mark.parametrize(
    ("shape", "words"), [((2, 3, 8, 8), "has 4"), ((5,), "has 1"), ((0, 8), "empty"), ((), "has 0")]
)
def test_what_is_no_image_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        as_stack(np.zeros(shape))
