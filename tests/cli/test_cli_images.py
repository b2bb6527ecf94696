"""Files of many images on the command line: one is named, the others are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import run

import napari_atomlens as al

SCENE = al.simulate("honeycomb", (96, 96), 10.0)[0].astype(np.float32)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    np.savez(tmp_path / "two.npz", ABF=np.zeros_like(SCENE), HAADF=SCENE)
    return tmp_path / "two.npz"


def test_analyze_names_the_image_and_takes_another_by_name(two: Path, tmp_path: Path) -> None:
    first = run("analyze", two, "--out", tmp_path / "a", "--spacing", 10)
    assert "Of 2 images ABF is taken; HAADF is left out" in first.output
    run("analyze", two, "--out", tmp_path / "b", "--spacing", 10, "--image", "HAADF", "--report")
    about = json.loads((tmp_path / "b" / "provenance.json").read_text())
    assert about["image"] == "two.npz: HAADF" and about["images_left_out"] == ["ABF"]


@pytest.mark.parametrize("command", ["movie", "measure", "assess"])
def test_other_commands_name_the_image_too(command: str, two: Path, tmp_path: Path) -> None:
    more = () if command == "assess" else ("--out", tmp_path / "out", "--spacing", 10)
    done = run(command, two, "--image", "haadf", *more)
    assert "HAADF is taken; ABF is left out" in done.output


def test_a_name_that_is_not_there_is_a_sentence(two: Path) -> None:
    done = run("analyze", two, "--image", "BF9", code=2)
    assert "two.npz has no image 'BF9'; it has ABF and HAADF." in done.output


def test_a_batch_tells_of_images_that_were_left_out(two: Path, tmp_path: Path) -> None:
    done = run("batch", two, "--out", tmp_path / "out", "--image", "HAADF", "--workers", 1)
    assert "two.npz: HAADF is taken; ABF is left out." in done.output


@pytest.mark.parametrize("given", ["files", "folder", "pattern"])
def test_movie_takes_one_file_per_frame(given: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    files = [folder / f"f{k}.npy" for k in (8, 9, 10)]
    for file in files:
        np.save(file, SCENE)
    inputs = {"files": files, "folder": [folder], "pattern": [folder / "f*.npy"]}[given]
    done = run("movie", *inputs, "--out", tmp_path / "out", "--spacing", 10)
    assert "through 3 frames" in done.output and "f8.npy to f10.npy" in done.output
    note = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert note["files"] == ["f8.npy", "f9.npy", "f10.npy"]


def test_movie_says_of_which_frames_there_is_something_to_say(tmp_path: Path) -> None:
    np.save(tmp_path / "movie.npy", np.stack([SCENE, SCENE, np.zeros_like(SCENE)]))
    more = ("--spacing", 10, "--model", "universal")
    done = run("movie", tmp_path / "movie.npy", "--out", tmp_path / "out", *more)
    assert "followed through 3 frames" in done.output
    assert "movie.npy: Frame 2: The image is constant" in done.output
    np.save(tmp_path / "empty.npy", np.zeros((5, 96, 96), np.float32))
    done = run("movie", tmp_path / "empty.npy", "--out", tmp_path / "none", *more)
    assert "Every frame: The image is constant" in done.output
