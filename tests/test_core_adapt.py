"""Adapting: labels land where the atoms are, the held-back figure decides, nothing is forgotten."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from napari_atomlens import tables
from napari_atomlens.errors import (
    CalibrationError,
    ImageError,
    ModelError,
    ParameterError,
    TableError,
)
from napari_atomlens.segmentation import find_model, list_models
from napari_atomlens.simulation import simulate
from napari_atomlens.simulation.scoring import score
from napari_atomlens.training import (
    AdaptParams,
    adapt,
    chemistry_labels,
    discard,
    fourier_labels,
    fourier_recipe,
    keep,
    label_frame,
)
from napari_atomlens.training.adaptation import judge, split_frames, temperature_of
from napari_atomlens.training.keeping import check_name
from napari_atomlens.training.labelled import Crops

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


def atoms_of(places: np.ndarray) -> pd.DataFrame:
    return tables.make(
        "atoms", {"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1], "species": "column"},
        len(places),
    )  # fmt: skip


@pytest.fixture(scope="module")
def crystal() -> tuple[np.ndarray, np.ndarray]:
    image, scene = simulate("perovskite", (160, 144), 13.0, rotation_deg=12, counts=2000, seed=5)
    places = np.c_[scene.y, scene.x]
    return image, places[np.all((places >= 0) & (places < (160, 144)), axis=1)]


@pytest.mark.parametrize("spacing", [6.0, 13.0, 25.0])
def test_targets_lie_on_the_columns_in_every_crop(spacing: float) -> None:
    image, scene = simulate("square", (200, 180), spacing, rotation_deg=9, counts=np.inf, seed=1)
    labelled = label_frame(image, atoms_of(np.c_[scene.y, scene.x]), spacing)
    crops = Crops([labelled], 10.0, 64, seed=3)
    inside, gap = 0, []
    for _ in range(20):
        crops._weathered = lambda crop: crop  # type: ignore[method-assign]
        crop, target, weight = crops.draw()
        assert target.shape == (4, 64, 64) and weight.shape == (64, 64)
        peaks = np.argwhere(target[3] > 0.9)
        peaks = peaks[np.all((peaks > 3) & (peaks < 60), axis=1)]
        peaks = peaks[weight[tuple(peaks.T)] > 0]
        inside += len(peaks)
        pixels = crop.numpy()
        around = np.array([pixels[y - 3 : y + 4, x - 3 : x + 4] for y, x in peaks])
        top = np.array([np.unravel_index(a.argmax(), a.shape) for a in around]) - 3
        gap.append(np.hypot(*top.reshape(-1, 2).T))
    assert inside > 60
    assert np.quantile(np.concatenate(gap), 0.95) <= 1.5


def test_nothing_is_learned_where_labels_are_not_trusted(
    crystal: tuple[np.ndarray, np.ndarray],
) -> None:
    image, places = crystal
    usable = np.zeros(image.shape, bool)
    usable[:60] = True
    labelled = label_frame(image, atoms_of(places), 13.0, usable)
    crops = Crops([labelled], 10.0, 64, seed=0)
    share = np.mean([crops.draw()[2].mean() for _ in range(60)])
    assert 0.1 < share < 0.7
    rest, strip = split_frames(labelled, 0.25, 0)
    assert not (rest.usable & strip).any() and not strip[:60].any()
    with pytest.raises(ImageError, match="left to learn"):
        Crops([label_frame(image, atoms_of(places), 13.0, ~np.ones_like(usable))], 10.0, 64, 0)


@pytest.mark.parametrize("side", range(4))
def test_a_strip_of_each_side_is_held_back(
    crystal: tuple[np.ndarray, np.ndarray], side: int
) -> None:
    image, places = crystal
    rest, strip = split_frames(label_frame(image, atoms_of(places)), 0.25, side)
    assert strip.mean() == pytest.approx(0.25, abs=0.01)
    assert (rest.usable ^ strip).all()


def test_bad_labels_are_refused(crystal: tuple[np.ndarray, np.ndarray]) -> None:
    image, places = crystal
    atoms = atoms_of(places)
    with pytest.raises(TableError, match="no column"):
        label_frame(image, atoms.drop(columns="y_px"))
    with pytest.raises(TableError, match="at least 8"):
        label_frame(image, atoms.iloc[:5])
    with pytest.raises(TableError, match="no position"):
        label_frame(image, atoms.assign(y_px=np.nan))
    with pytest.raises(ImageError, match="size of the image"):
        label_frame(image, atoms, usable=np.ones((3, 3), bool))
    with pytest.raises(TableError, match="at least one frame"):
        adapt([])
    for name in ("universal", "", "a/b", "auto"):
        with pytest.raises(ModelError):
            check_name(name)


def test_temperature_makes_probabilities_honest() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logit))
    for t in (0.5, 1.0, 2.5):
        stated = 1 / (1 + np.exp(-logit * t))
        assert temperature_of(np.c_[stated, truth]) == pytest.approx(t, rel=0.1)
    assert temperature_of(np.zeros((5, 2))) == 1.0


@pytest.mark.needs_model
def test_a_contrast_that_nobody_knew_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapt import bright_field  # of the benchmarks

    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    labelled = []
    for i in range(2):
        image, places = bright_field("square", i, (160, 160))
        inside = np.all((places >= 0) & (places <= 159), axis=1)
        labelled.append(label_frame(image, atoms_of(places[inside])))
    told: list[int] = []
    before = {k: v.clone() for k, v in _statistics("auto").items()}
    p = AdaptParams(name="dark", steps=150, batch=6, replay=2, threads=1)
    result = adapt(labelled, p, progress=lambda step, steps: told.append(step))
    assert told == list(range(1, 151)) and len(result.losses) == 150
    assert result.before < 0.2 and result.after > 0.8 and result.is_better
    assert np.mean(result.losses[-10:]) < 0.7 * np.mean(result.losses[:10])
    assert "dark" not in {m.name for m in list_models()}  # nothing is kept unasked
    info = keep(result)
    assert info.name == "dark" and "held back" in info.card and info.calibration["atoms"]
    assert {"universal", "dark"} <= {m.name for m in list_models()}
    after = _statistics("dark")
    for name, value in before.items():
        assert torch.equal(value, after[name]), f"{name} moved"


def _statistics(model: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    state = load_file(str(find_model(model).path))
    return {k: v.float() for k, v in state.items() if "running_" in k}


@pytest.mark.needs_model
def test_what_is_not_better_is_said_and_not_kept(
    crystal: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path / "models"))
    image, places = crystal
    result = adapt(
        [label_frame(image, atoms_of(places))], AdaptParams(steps=1, batch=1, replay=0, threads=1)
    )
    assert not result.is_better and "not better" in result.sentence
    discard(result)
    assert not result.path.exists() and not (tmp_path / "models").exists()
    np.save(tmp_path / "i.npy", image.astype(np.float32))
    atoms_of(places).to_csv(tmp_path / "a.csv", index=False)
    from napari_atomlens.cli import app

    arguments = ["adapt", str(tmp_path / "i.npy"), "--atoms", str(tmp_path / "a.csv")]
    arguments += ["--steps", "1", "--batch", "1", "--replay", "0", "--name", "mine"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and "not kept" in done.output
    done = CliRunner().invoke(app, [*arguments, "--keep"])
    assert done.exit_code == 0 and (tmp_path / "models" / "mine.safetensors").exists()
    # an earlier model of that name is not replaced unasked, and that is said before the work
    before = {p.name: p.read_bytes() for p in (tmp_path / "models").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("napari_atomlens.training.adaptation.adapting", None)
        done = CliRunner().invoke(app, [*arguments, "--keep"])
    assert done.exit_code == 2 and "a model mine already" in done.output
    result = adapt(
        [label_frame(image, atoms_of(places))],
        AdaptParams(name="mine", steps=1, batch=1, replay=0, threads=1, seed=3),
    )
    with pytest.raises(ModelError, match="a model mine already"):
        keep(result)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "models").iterdir()}
    assert keep(result, "other").card.startswith("# other\n")
    assert before == {n: (tmp_path / "models" / n).read_bytes() for n in before}
    done = CliRunner().invoke(app, [*arguments, "--seed", "3", "--keep", "--replace"])
    assert done.exit_code == 0, done.output
    assert before["mine.safetensors"] != (tmp_path / "models" / "mine.safetensors").read_bytes()
    done = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "none.csv")])
    assert done.exit_code == 2 and "no file" in done.output


# ------------------------------------------------------------------------ without labels


def test_the_fourier_recipe_labels_a_crystal() -> None:
    image, scene = simulate(
        "tmd", (220, 220), 9.5, rotation_deg=17, counts=400, seed=2, chalcogen=0.4
    )
    found = fourier_recipe(image)
    places = found.atoms[["y_px", "x_px"]].to_numpy()
    true = np.c_[scene.y, scene.x]
    assert score(places, true, 9.5 / 3, image.shape, 20).f1 > 0.97
    labelled = fourier_labels(image)
    assert labelled.spacing_px == pytest.approx(9.5, rel=0.05)
    assert 0.4 < labelled.usable.mean() < 1 and not labelled.usable[0].any()


def test_the_recipe_asks_nobody_where_an_atom_is_missing() -> None:
    image, scene = simulate("square", (200, 200), 10.0, rotation_deg=5, counts=np.inf, seed=1)
    middle = np.argmin(np.hypot(scene.y - 100, scene.x - 100))
    y, x = scene.y[middle], scene.x[middle]
    from napari_atomlens.simulation.formation import render_columns

    hole = image - render_columns(
        (200, 200), y[None], x[None], scene.amplitude[[middle]], scene.sigma[[middle]]
    )
    labelled = fourier_labels(hole)
    assert not labelled.usable[round(y), round(x)]
    assert labelled.usable[60:80, 60:80].all()


def test_the_recipe_refuses_noise() -> None:
    with pytest.raises(CalibrationError):
        fourier_labels(np.random.default_rng(0).random((128, 128)))


def tmd_of(seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Image of a TMD, and its columns as an analysis names them, all of them sure."""
    image, scene = simulate("tmd", (160, 160), 11.0, rotation_deg=7, counts=3000, seed=seed)
    places = np.c_[scene.y, scene.x]
    metal = scene.amplitude > np.median(scene.amplitude)
    atoms = atoms_of(places).assign(
        species=np.where(metal, "metal", "chalcogen pair"), probability=0.999,
        species_probability=0.999,
    )  # fmt: skip
    inside = np.all((places >= 0) & (places <= 159), axis=1)
    return image, atoms[inside].reset_index(drop=True)


def test_chemistry_labels_what_is_sure_and_nothing_round_what_is_not() -> None:
    image, atoms = tmd_of(1)
    every = chemistry_labels(image, atoms)
    assert every.named and len(every.positions) == len(atoms) and every.usable.mean() > 0.8
    assert every.bright.sum() == (atoms["species"] == "metal").sum()
    middle = int(np.hypot(atoms["y_px"] - 80, atoms["x_px"] - 80).argmin())
    y, x = np.rint(atoms.loc[middle, ["y_px", "x_px"]].to_numpy(float)).astype(int)
    doubtful = atoms.copy()
    doubtful.loc[middle, "species_probability"] = 0.9
    labelled = chemistry_labels(image, doubtful)
    assert len(labelled.positions) == len(atoms) - 1 and not labelled.usable[y, x]
    # a site that is certainly empty teaches that nothing is there, another one nothing
    gone = doubtful.drop(index=middle)
    sites = doubtful.loc[[middle], ["y_px", "x_px"]]
    empty = chemistry_labels(image, gone, sites.assign(probability=1.0))
    assert empty.usable[y, x] and len(empty.positions) == len(gone)
    assert not chemistry_labels(image, gone, sites.assign(probability=0.8)).usable[y, x]
    with pytest.raises(TableError, match="too few to learn from"):
        chemistry_labels(image, atoms.assign(species_probability=0.5))
    with pytest.raises(ParameterError):
        chemistry_labels(image, atoms, sure=0.2)


@pytest.mark.needs_model
def test_a_column_called_the_other_kind_is_not_found_where_kinds_are_taught() -> None:
    image, atoms = tmd_of(2)
    labelled = chemistry_labels(image, atoms)
    part = [labelled.usable]
    right, _ = judge(find_model("universal"), [labelled], part)
    swapped = replace(labelled, bright=1 - labelled.bright)
    wrong, _ = judge(find_model("universal"), [swapped], part)
    unnamed, _ = judge(find_model("universal"), [replace(swapped, named=False)], part)
    assert right.f1 > 0.9 and wrong.f1 < 0.1 and unnamed.f1 > 0.9
