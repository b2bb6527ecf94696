"""Files of many images: what is a movie, which image is taken, what is said of the others."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

import napari_atomlens as al
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.image import Image, as_stack, image_hash, lazy_frames
from napari_atomlens.io.formats.choice import take_image
from napari_atomlens.io.formats.kinds import SUFFIXES
from napari_atomlens.io.formats.numbered import as_movies
from napari_atomlens.io.formats.readers import read
from napari_atomlens.runs.inputs import find_inputs
from napari_atomlens.runs.provenance import pixels_hash

SCENE = al.simulate("honeycomb", (96, 96), 10.0)[0].astype(np.float32)


def images(*names: str, shape: tuple[int, int] = (8, 8)) -> list[Image]:
    return [Image(f"f.x: {name}", np.full(shape, k), "yx") for k, name in enumerate(names)]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two detectors, of which the first in the alphabet is flat."""
    path = tmp_path / "two.emd"
    with h5py.File(path, "w") as file:
        for name, data in (("ABF", np.zeros_like(SCENE)), ("HAADF", SCENE)):
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = data
            for q in (1, 2):
                group.create_dataset(f"dim{q}", data=np.arange(96) * 0.02).attrs["units"] = "[n_m]"
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("channel 1", "channel 2"), ("ch0", "ch1"), ("DF1", "DF2"), ("detector 1", "detector 2"),
        ("Z forward", "Z backward"), ("forward 1", "forward 2"), ("Z", "Current"),
    ],
)  # fmt: skip
def test_detectors_channels_and_directions_are_no_movie(names: tuple[str, ...]) -> None:
    given = images(*names)
    assert as_movies(given) == given


@pytest.mark.parametrize("word", ["frame_", "image ", "page ", "arr_", "", "Frame#"])
def test_what_differs_in_its_number_alone_is_a_movie_in_that_order(word: str) -> None:
    (movie,) = as_movies(images(*(f"{word}{k}" for k in (10, 9, 1))))
    assert movie.name == "f.x" and movie.axes == "tyx"
    assert np.asarray(movie.data)[:, 0, 0].tolist() == [2, 1, 0]


def test_numbered_images_that_differ_otherwise_are_no_movie() -> None:
    small = images("frame 1", shape=(8, 8)) + images("frame 2", shape=(8, 9))
    biased = [
        Image(f"f.x: image {k}", np.zeros((8, 8)), "yx", metadata={"bias_v": float(k)})
        for k in range(2)
    ]
    assert as_movies(small) == small and as_movies(biased) == biased


def test_a_movie_beside_other_images_keeps_its_own_name() -> None:
    found = as_movies(images("sum", "run/frame 1", "run/frame 2"))
    assert [i.name for i in found] == ["f.x: sum", "f.x: run"]


def test_arrays_saved_one_by_one_are_one_movie(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", *(SCENE + k for k in range(12)))
    (movie,) = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(movie.data, [SCENE + k for k in range(12)])


@pytest.mark.parametrize(
    "wanted", ["two.emd: data/HAADF", "data/HAADF", "HAADF", "haadf", "*H*", 1]
)
def test_an_image_is_chosen_by_name_pattern_part_or_number(two: Path, wanted: str | int) -> None:
    taken = take_image(read(two), wanted)
    assert taken.image.name == "two.emd: data/HAADF" and taken.left_out == ("data/ABF",)
    assert "data/HAADF is taken" in taken.sentence and "data/ABF is left out" in taken.sentence


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("BF9", "it has data/ABF and data/HAADF"), ("a", "fits 2 images"), (2, "number 2")],
)
def test_a_name_that_is_none_or_of_several_is_told(
    two: Path, wanted: str | int, words: str
) -> None:
    with pytest.raises(FormatError, match=words):
        take_image(read(two), wanted)


def test_the_result_names_the_image_and_what_was_left_out(two: Path, tmp_path: Path) -> None:
    first = al.analyze(two, model="universal", spacing_px=10.0)
    assert first.messages[0].startswith("Of 2 images data/ABF is taken; data/HAADF is left out")
    chosen = al.analyze(two, model="universal", spacing_px=10.0, image="HAADF")
    assert len(chosen.atoms) > len(first.atoms)
    record = al.load(chosen.save(tmp_path / "a.atomlens")).provenance
    assert record["file"] == "two.emd" and record["image"] == "two.emd: data/HAADF"
    assert record["images_left_out"] == ["data/ABF"] and len(record["image_sha256"]) == 64
    assert record["image_sha256"] != first.provenance["image_sha256"]


def test_a_name_without_a_file_is_refused() -> None:
    with pytest.raises(ParameterError, match="only where a file is given"):
        al.analyze(SCENE, image="HAADF")


def test_a_stream_of_frames_warns_of_what_was_left_out(two: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="data/ABF is taken"):
        list(al.analyze_movie(two, tmp_path / "out", spacing_px=10.0))
    with pytest.warns(UserWarning, match="data/HAADF is taken"):
        list(al.analyze_movie(two, tmp_path / "more", spacing_px=10.0, image="HAADF"))
    assert any("data/ABF is left out" in m for m in al.load(tmp_path / "more").messages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(al.analyze_movie(SCENE, tmp_path / "array", spacing_px=10.0))


def test_a_batch_takes_the_files_and_the_detector_that_it_is_told(
    two: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "other.tif", SCENE)
    done = al.run_batch(
        [tmp_path], tmp_path / "out", image="HAADF", names="*.emd", spacing_px=10.0, workers=1
    )
    assert done.n_files == 1 and not len(done.failures)
    files = al.read_table(tmp_path / "out", "files")
    assert files["name"].tolist() == ["two.emd: data/HAADF"]
    assert json.loads(files["left_out"][0]) == ["data/ABF"]
    assert done.messages == ["two.emd: data/HAADF is taken; data/ABF is left out."]


def test_a_watch_takes_the_files_and_the_detector_that_it_is_told(
    two: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "other.tif", SCENE)
    params = al.WatchParams(analysis="none", settle_s=0.0, image="HAADF", names="two*")
    (event,) = al.watch_folder(tmp_path, params, once=True)
    assert event.name == "two.emd" and "data/HAADF is taken" in event.message
    record = al.load(event.folder).provenance
    assert record["image"] == "two.emd: data/HAADF" and record["images_left_out"] == ["data/ABF"]


def test_a_watch_says_that_it_analyses_one_frame_of_a_movie(tmp_path: Path) -> None:
    np.save(tmp_path / "movie.npy", np.stack([SCENE, SCENE]))
    params = al.WatchParams(analysis="none", settle_s=0.0)
    (event,) = al.watch_folder(tmp_path, params, once=True)
    assert "The first of 2 frames is analysed." in event.message


def test_files_beside_images_are_not_analysed(tmp_path: Path, two: Path) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", SCENE)
    (tmp_path / "scan.json").write_text('{"dose": 3}')
    (tmp_path / "scan.xml").write_text("<dose>3</dose>")
    (tmp_path / "scan.txt").write_text("Dose: 3\nOperator: nobody\n")
    (tmp_path / "scan.tif.hdr").write_text("dose 3")
    (tmp_path / "scan_Results.csv").write_text(" ,Area,X,Y\n1,0,3,4\n2,0,5,6\n")
    (tmp_path / "scan_xy.txt").write_text("1 2\n3 4\n5 6\n")
    assert [p.name for p in find_inputs([tmp_path])] == ["scan.tif", "two.emd"]
    params = al.WatchParams(analysis="none", settle_s=0.0)
    events = list(al.watch_folder(tmp_path, params, once=True))
    assert sorted(e.name for e in events) == ["scan.tif", "two.emd"]


def test_every_suffix_that_is_read_is_found_in_a_folder(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_bytes(b"x")
    found = {p.name.removeprefix("a") for p in find_inputs([tmp_path])}
    text = {s for s, kind in SUFFIXES.items() if kind.name == "text"}  # by what they hold
    assert found == set(SUFFIXES) - text


@pytest.mark.parametrize(
    ("name", "metadata", "wanted", "right"),
    [
        ("scan.tif", {}, "HAADF", "asked"),  # the file says nothing: it is taken, and told
        ("scan_HAADF.tif", {}, "haadf", "fits"),
        ("a.emd", {"detector": "HAADF"}, "HAADF", "fits"),
        ("a.emd", {"detector": "BF"}, "HAADF", "its only one is BF"),
        ("a.dm4", {"title": "0003 ADF"}, "ADF", "fits"),
        ("a.dm4", {"title": "sample 3"}, "ADF", "asked"),
        ("a.dm4", {"title": "0003 ABF"}, "HAADF", "its only one is 0003 ABF"),
        ("scan_ABF.tif", {}, "*HAADF*", "its only one is scan_ABF.tif"),
        ("a.mat: stack", {}, "HAADF", "asked"),
        ("a.sxm: Z forward", {"channel": "Z", "direction": "forward"}, "Z", "fits"),
        (
            "a.sxm: Z forward",
            {"channel": "Z", "direction": "forward"},
            "Current",
            "its only one is Z forward",
        ),
        ("a.gsf", {"channel": "Z"}, "Current", "its only one is Z"),
    ],
)
def test_the_only_image_is_taken_unless_the_file_says_that_it_is_another(
    name: str, metadata: dict[str, str], wanted: str, right: str
) -> None:
    only = [Image(name, np.zeros((4, 4)), "yx", metadata=metadata)]
    if right in ("asked", "fits"):
        taken = take_image(only, wanted)
        assert taken.image is only[0] and (wanted in taken.sentence) == (right == "asked")
    else:
        with pytest.raises(FormatError, match=f"has no image {re.escape(repr(wanted))}; {right}."):
            take_image(only, wanted)


def test_a_batch_by_detector_says_of_single_images_that_the_file_does_not_tell(
    two: Path, tmp_path: Path
) -> None:
    for k in range(2):
        tifffile.imwrite(tmp_path / f"scan{k}.tif", SCENE)
    done = al.run_batch(
        [tmp_path], tmp_path / "out", image="HAADF", spacing_px=10.0, workers=1,
        model="universal",
    )  # fmt: skip
    assert done.n_files == 3 and not len(done.failures)
    said = "\n".join(done.messages)
    assert "scan0.tif and scan1.tif: Its only image is taken; whether that is 'HAADF'" in said
    assert "data/HAADF is taken" in said
    result = al.analyze(tmp_path / "scan0.tif", image="HAADF", spacing_px=10.0, model="universal")
    assert "whether that is 'HAADF'" in result.messages[0]
    assert result.provenance["image_asked"] == "HAADF"


def test_the_hash_tells_movies_apart_that_begin_alike(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).normal(size=(20, 32, 32)).astype(np.float32)
    other = movie.copy()
    other[-1, 3, 3] += 1
    first = pixels_hash(as_stack(movie))
    assert len(first) == 64 and first == pixels_hash(as_stack(movie.copy()))
    assert first != pixels_hash(as_stack(other)) and first != pixels_hash(as_stack(movie[:-1]))
    # of one image it is that of the pixels, as before
    assert pixels_hash(as_stack(movie[0])) == image_hash(movie[0])


def test_the_hash_of_a_long_movie_reads_a_few_of_its_frames() -> None:
    read_frames: list[int] = []

    def frame(k: int) -> np.ndarray:
        read_frames.append(k)
        if k == 0:
            raise OSError("damaged")
        return np.full((8, 8), k, np.int32)

    movie = as_stack(lazy_frames(frame, (100_000, 8, 8), np.dtype(np.int32)))
    assert len(pixels_hash(movie)) == 64
    assert {0, 99_999} <= set(read_frames) and len(set(read_frames)) <= 8


def test_the_only_image_of_an_hdf5_file_is_known_by_its_name_in_the_file(tmp_path: Path) -> None:
    for name in ("ABF", "HAADF"):
        with h5py.File(tmp_path / f"{name[0]}.emd", "w") as file:
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = SCENE
    assert take_image(read(tmp_path / "H.emd"), "HAADF").sentence == ""
    with pytest.raises(FormatError, match="has no image 'HAADF'; its only one is data/ABF"):
        take_image(read(tmp_path / "A.emd"), "HAADF")
