"""Every command: its help, its line, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import run

import napari_atomlens as al
from napari_atomlens import __version__, tables, training
from napari_atomlens.cli.app import COMMANDS
from napari_atomlens.errors import ModelError
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.runs import frame as frame_loop
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.training.params import TrainParams


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    text = " ".join(run(*name.split(), "--help").stdout.split())
    assert "--help" in text and COMMANDS[name].line.split(";")[0][:30] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_that_of_its_function(name: str) -> None:
    entry = COMMANDS[name]
    assert entry.line == (entry.function().__doc__ or "").splitlines()[0]


def test_all_commands_are_listed() -> None:
    first, second = run("--help").stdout, run("train", "--help").stdout
    for name in COMMANDS:
        *group, last = name.split()
        assert f" {last} " in (second if group else first)
    assert " train " in first and run().stdout == first


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["paint"], "paint"),
        (["--colour"], "--colour"),
        (["train", "paint"], "paint"),
        (["analyze"], "INPUT"),
        (["analyze", "a.tif", "--colour", "red"], "--colour"),
        (["movie", "a.tif"], "--out"),
        (["movie", "missing.tif", "--out", "folder"], "missing.tif"),
        (["measure", "missing.csv"], "missing.csv"),
        (["silicon", "missing.sxm"], "missing.sxm"),
        (["assess", "missing.sxm"], "missing.sxm"),
        (["adapt", "missing.tif"], "missing.tif"),
        (["batch", "missing", "--out", "folder"], "missing"),
        (["watch", "missing"], "missing"),
        (["models", "--card", "missing"], "missing"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, code=2)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and word in done.stderr
    assert done.stderr.rstrip()[-1] in ".?"


@pytest.mark.parametrize(
    "command", ["measure", pytest.param("silicon", marks=pytest.mark.needs_model)]
)
def test_a_folder_that_cannot_be_made_is_one_sentence(command: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    image = simulate_silicon(SiliconParams(size_px=128, seed=2**33 + 3)).image
    np.save(tmp_path / "a.npy", image.astype(np.float32))
    write_table(tmp_path / "a.csv", pd.DataFrame({"y_px": [1.0, 9.0], "x_px": [1.0, 9.0]}))
    path = tmp_path / ("a.csv" if command == "measure" else "a.npy")
    done = run(command, path, "--pixel-size", "0.08", "--out", tmp_path / "taken" / "out", code=2)
    assert len(done.stderr.splitlines()) == 1 and "taken" in done.stderr


def test_adapt_reads_atoms_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ase")
    image, scene = al.simulate("square", (96, 96), 10.0, counts=3000, seed=3)
    np.save(tmp_path / "a.npy", image)
    n, size = len(scene.y), 0.02
    atoms = tables.make(
        "atoms",
        {"frame": 0, "atom_id": np.arange(n), "y_px": scene.y, "x_px": scene.x,
         "y_nm": scene.y * size, "x_nm": scene.x * size, "species": "column"}, n,
    )  # fmt: skip
    none = np.zeros((0, 0, 0), np.float16)
    result = al.Result(atoms, tables.empty("contours"), {}, none[None], none, (), [], {})
    paths = [result.save(tmp_path / "a.atomlens")]
    paths += [al.write_atoms(tmp_path / f"a.{k}", atoms) for k in ("csv", "parquet", "extxyz")]
    seen = []

    def stand_in(labelled: Any, params: Any, progress: Any = None) -> Any:
        seen.append(labelled)
        raise ModelError("That is enough.")

    monkeypatch.setattr(training, "adapt", stand_in, raising=False)
    for path in paths:
        run("adapt", tmp_path / "a.npy", "--atoms", path, "--pixel-size", size, code=2)
    for (labelled,) in seen:
        np.testing.assert_allclose(labelled.positions, seen[0][0].positions, atol=1e-4)
    assert len(seen) == 4 and len(seen[0][0].positions) > 50
    done = run("adapt", tmp_path / "a.npy", "--atoms", paths[0], "--frames", "1", code=2)
    assert done.stderr == "Frame 1 does not exist; the movie has 1 frames.\n"


@pytest.mark.needs_model
def test_adapt_learns_from_chemistry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, scene = al.simulate("tmd", (160, 160), 11.0, counts=3000, seed=3)
    np.save(tmp_path / "a.npy", image)
    seen = []

    def stand_in(labelled: Any, params: Any, progress: Any = None) -> Any:
        seen.extend(labelled)
        raise ModelError("That is enough.")

    monkeypatch.setattr(training, "adapt", stand_in, raising=False)
    run("adapt", tmp_path / "a.npy", "--from", "chemistry", code=2)
    (labelled,) = seen
    inside = np.all((scene.y > 12, scene.y < 147, scene.x > 12, scene.x < 147), axis=0).sum()
    assert labelled.named and len(labelled.positions) > 0.9 * inside
    assert 0.3 < labelled.bright.mean() < 0.7
    wrong = run("adapt", tmp_path / "a.npy", "--from", "alchemy", code=2)
    assert wrong.stderr == "from is 'alchemy', but must be fourier or chemistry.\n"


def test_version_and_models() -> None:
    assert run("--version").stdout.strip() == __version__
    assert run("models").exit_code == 0
    assert "no-such-model" in run("models", "--card", "no-such-model", code=2).stderr


@pytest.mark.needs_model
def test_models_lists_the_universal_one() -> None:
    assert "universal" in run("models").stdout
    assert run("models", "--card", "universal").stdout.strip()


def test_training_takes_the_options_of_its_dataclass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_atomlens import training

    seen = []

    def train(params: Any, progress: Any = None) -> Path:
        seen.append(params)
        progress(50, params.steps, "loss 0.2500")
        return tmp_path / "universal.safetensors"

    monkeypatch.setattr(training, "train", train, raising=False)
    done = run("train", "universal", "--out", tmp_path, "--steps", 70, "--no-resume")
    assert seen == [TrainParams(out=str(tmp_path), steps=70, resume=False)]
    assert "step 50 of 70, loss 0.2500" in done.stdout


def test_training_errors_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens import training

    def train(params: Any, progress: Any = None) -> Path:
        raise ModelError("The processes that draw training scenes died.")

    monkeypatch.setattr(training, "train", train, raising=False)
    assert "died" in run("train", "universal", code=2).stderr


def test_demo_says_where_the_picture_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens.widgets import demo

    monkeypatch.setattr(demo, "run_demo", lambda path: path)
    assert "demo.png" in run("demo", "--screenshot", tmp_path / "demo.png").stdout


def test_no_screen_and_no_xvfb_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens.widgets import demo

    monkeypatch.setattr(demo, "has_display", lambda: False)
    monkeypatch.setattr(demo.shutil, "which", lambda name: None)
    assert "Xvfb" in run("demo", code=2).stderr


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb")
def test_virtual_display_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens.widgets.demo import has_display, virtual_display

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    with virtual_display() as name:
        assert name == os.environ["DISPLAY"]
        assert has_display()
        assert os.environ["QT_QPA_PLATFORM"] == "xcb"
    assert "DISPLAY" not in os.environ
    assert os.environ["QT_QPA_PLATFORM"] == "offscreen"


@pytest.mark.needs_model
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb")
def test_demo_without_a_screen_saves_a_picture(tmp_path: Path) -> None:
    # In a process of its own: a real viewer, a real canvas, and no DISPLAY at the start.
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    }
    done = subprocess.run(
        [sys.executable, "-m", "napari_atomlens.cli", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "atomlens-demo.png"
    assert str(picture) in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_movie_is_followed_into_a_folder_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))
    from fake_analysis import FakeAnalysis, lattice

    fake = FakeAnalysis()
    monkeypatch.setattr(frame_loop, "analyze_frames", fake)
    np.save(tmp_path / "movie.npy", lattice(4, frames=6))
    out = tmp_path / "out"
    done = run("movie", tmp_path / "movie.npy", "--out", out, "--pixel-size", "0.02")
    assert "16 atoms followed through 6 frames" in done.output
    for name in ("tracks", "dumbbells", "changes", "events", "drift"):
        assert (out / f"{name}.csv").exists()
    assert json.loads((out / "provenance.json").read_text())["linking"]["max_gap"] == 3
    fake.frames.clear()
    run("movie", tmp_path / "movie.npy", "--out", out, "--pixel-size", "0.02", "--max-gap", "5")
    assert fake.frames == []  # nothing is analysed twice
    assert json.loads((out / "provenance.json").read_text())["linking"]["max_gap"] == 5
    linking = ("--motion", "last", "--search", "4", "--drift", "none", "--jump", "-1")
    run("movie", tmp_path / "movie.npy", "--out", out, "--pixel-size", "0.02", *linking,
        "--watch", "shift", "--no-remove-common")  # fmt: skip
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["linking"] == {
        "search_px": 4.0, "max_gap": 3, "motion": "last", "drift": "none",
        "species": "varies", "jump_px": -1.0,
    }  # fmt: skip
    assert provenance["changes"]["watch"] == "shift"
    assert not provenance["changes"]["remove_common"]
    run("movie", tmp_path / "none.npy", "--out", out, code=2)
    run("movie", tmp_path / "movie.npy", "--out", out, "--window", "3", code=2)
