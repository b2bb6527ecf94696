"""Pixels, normalisation, tiling, the scale, and the model zoo."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.cli import app
from napari_atomlens.errors import CalibrationError, ImageError, ModelError
from napari_atomlens.segmentation import (
    choose_model,
    find_model,
    find_spacing,
    left_out,
    list_models,
    segment,
    zoo,
)
from napari_atomlens.segmentation.forward import run_network
from napari_atomlens.segmentation.loading import load_network, update_facts
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import remove_hot_pixels
from napari_atomlens.segmentation.pixels import as_frame
from napari_atomlens.segmentation.zoo import BUNDLED
from napari_atomlens.simulation import faults, samples, seed_for, simulate
from napari_atomlens.simulation.formation import render_columns


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (np.full((32, 32), np.nan), "finite"),
        (np.ones((32, 32)), "constant"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((1, 1)), "pixels"),
        (np.zeros(50), "two dimensions"),
        (np.zeros((2, 2, 32, 32)), "two dimensions"),
        (np.ones((32, 32), complex), "complex"),
        (np.array([["a", "b"]]), "numbers"),
        (np.array([[None, 1]], dtype=object), "numbers"),
    ],
)
def test_unusable_images_give_one_sentence(bad, word):
    with pytest.raises(ImageError, match=word) as error:
        as_frame(bad)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", ">f4", "f8", "f2", "?"])
def test_every_real_type_is_read(dtype):
    image = (np.add.outer(np.arange(32), np.arange(32)) % 2).astype(dtype)
    frame = as_frame(image)
    assert frame.dtype == np.float32 and frame.dtype.isnative
    np.testing.assert_array_equal(frame, image.astype(float))


def test_holes_are_bridged_and_extremes_survive():
    image = np.random.default_rng(0).random((32, 32))
    image[3, 4], image[7, 8] = np.nan, np.inf
    assert np.isfinite(as_frame(image)).all()
    for scaled in (1e200 * image, -1e3 - image, 1e12 + image, 1e-200 * np.nan_to_num(image)):
        frame = as_frame(scaled)
        assert np.isfinite(frame).all() and frame.std() > 0


def test_hot_pixels_go_and_narrow_columns_stay():
    y, x = np.mgrid[4:60:6, 4:60:6].reshape(2, -1).astype(float)
    clean = (0.2 + render_columns((64, 64), y + 0.2, x, 1.0, 0.9)).astype(np.float32)
    np.testing.assert_array_equal(remove_hot_pixels(clean), clean)
    rng = np.random.default_rng(1)
    image = (clean + 0.02 * rng.standard_normal(clean.shape)).astype(np.float32)
    for factor in (2, 30, 1000):
        hot = image.copy()
        hot[7, 7] = factor * image.max()
        assert remove_hot_pixels(hot)[7, 7] < image.max()


def test_single_counts_at_low_dose_are_not_hot():
    image = np.random.default_rng(2).poisson(0.05, (256, 256)).astype(np.float32)
    assert remove_hot_pixels(image).sum() > 0.97 * image.sum()


def test_tiles_change_nothing():
    torch.manual_seed(0)
    net = ColumnNet().fused()
    views = torch.randn(1, 2, 330, 290)
    whole = run_network(net, views, 4096)
    for tile in (128, 200):
        assert (run_network(net, views, tile) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(101, 87), (64, 150)])
def test_probabilities_have_the_size_of_the_input_and_sum_to_one(shape):
    image, _ = simulate("honeycomb", shape, 9, seed=seed_for("test", 1))
    p = segment(image, spacing_px=9)
    assert p.maps.shape == (4, *shape) and p.unfamiliar.shape == shape
    np.testing.assert_allclose(p.maps.astype(float).sum(0), 1, atol=5e-3)


@pytest.mark.parametrize(
    ("lattice", "spacing"),
    [("honeycomb", 5), ("square", 12), ("perovskite", 12), ("dumbbell", 9), ("tmd", 40),
     ("honeycomb", 90)],
)  # fmt: skip
def test_the_scale_is_found_in_the_image(lattice, spacing):
    side = int(np.clip(16 * spacing, 160, 700))
    image, _ = simulate(lattice, (side, side), spacing, rotation_deg=23, seed=seed_for("test", 2))
    assert find_spacing(image) == pytest.approx(spacing, rel=0.06)


def test_no_lattice_is_said_and_absurd_spacings_are_refused():
    noise = np.random.default_rng(0).standard_normal((200, 200))
    with pytest.raises(CalibrationError, match="set the distance"):
        find_spacing(noise)
    for absurd in (0.5, 5000, -3, float("nan")):
        with pytest.raises(CalibrationError):
            segment(noise, spacing_px=absurd)


def test_inverted_contrast_is_unfamiliar():
    image, _ = simulate("honeycomb", (200, 200), 10, seed=seed_for("test", 3))
    assert (segment(image, spacing_px=10, contrast="bright").unfamiliar > 0.5).mean() < 0.02
    assert (segment(-image, spacing_px=10, contrast="bright").unfamiliar > 0.5).mean() > 0.5


def test_one_hot_pixel_changes_nothing():
    image, _ = simulate("honeycomb", (128, 128), 10, seed=seed_for("test", 4))
    hot = faults.hot_pixels(image, 1, 1000, np.random.default_rng(0))
    before, after = (segment(i, spacing_px=10).maps.astype(float) for i in (image, hot))
    assert np.quantile(np.abs(before - after), 0.99) < 0.02


def test_models_say_what_is_wrong_with_them(tmp_path, monkeypatch):
    good = BUNDLED / "universal.safetensors"
    with pytest.raises(ModelError, match="no model named"):
        find_model("nothing")
    with pytest.raises(ModelError, match="no model file"):
        find_model(str(tmp_path / "gone.safetensors"))
    (tmp_path / "text.safetensors").write_text("this is not a model at all, but a text")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:200_000])
    with pytest.raises(ModelError, match="not a model"):
        find_model(str(tmp_path / "text.safetensors"))
    with pytest.raises(ModelError, match="damaged"):
        load_network(find_model(str(tmp_path / "cut.safetensors")))
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    names = [m.name for m in list_models()]
    assert "universal" in names and "text" not in names
    header = json.dumps({"__metadata__": {"atomlens": "[]"}}).encode()
    (tmp_path / "list.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "list" not in [m.name for m in list_models()]


def test_a_model_file_says_what_its_classes_stand_for(tmp_path: Path) -> None:
    seen = segment(samples.graphene_si(128).data, "graphene")
    assert seen.roles == ("background", "column", "column", "column", "contamination")
    path = tmp_path / "mine.safetensors"
    shutil.copy(find_model("graphene").path, path)
    update_facts(path, roles=["background", "column", "contamination", "column", "contamination"])
    info = find_model(str(path))
    other = segment(samples.graphene_si(128).data, info)
    np.testing.assert_array_equal(other.maps, seen.maps)
    np.testing.assert_allclose(other.columns, seen.columns - seen.maps[2], atol=1e-3)
    assert set(find_atoms(other)["species"]) <= {"C", "heavy"}
    update_facts(path, roles=["column", "nothing"])
    with pytest.raises(ModelError, match="stands for"):
        find_model(str(path))


def model_file(path: Path, facts: dict[str, object] | str, **weights: object) -> None:
    """Write the universal model with other facts or weights."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    good = BUNDLED / "universal.safetensors"
    with safe_open(str(good), "pt") as file:
        known = json.loads(file.metadata()["atomlens"])
    text = facts if isinstance(facts, str) else json.dumps({**known, **facts})
    save_file({**load_file(str(good)), **weights}, str(path), {"atomlens": text})


BAD_FACTS: dict[str, dict[str, object] | str] = {
    "classes-number": {"classes": 5},
    "classes-text": {"classes": "abcd"},
    "classes-empty": {"classes": []},
    "classes-many": {"classes": [f"c{k}" for k in range(10_000)]},
    "classes-numbers": {"classes": [1, 2, 3, 4]},
    "classes-twice": {"classes": ["a", "a", "a", "a"]},
    "classes-three": {"classes": ["background", "column", "other"]},
    "spacing-text": {"preferred_spacing_px": "ten"},
    "spacing-zero": {"preferred_spacing_px": 0},
    "spacing-nan": {"preferred_spacing_px": float("nan")},
    "spacing-huge": {"preferred_spacing_px": 1e300},
    "architecture": {"architecture": 7},
    "widths": {"architecture": {"name": "ColumnNet-half", "n_classes": 4, "widths": [10**9] * 3}},
    "roles": {"roles": 3},
    "roles-odd": {"roles": [["background"], "column", "column", "column"]},
    "material": {"material": ["x"]},
    "calibration": {"calibration": "none"},
    "calibration-nan": {"calibration": {"atoms": {"a": float("inf")}}},
    "lattice": {"lattice": {"spacing_nm": 0.2}},
    "lattice-text": {"lattice": {"spacing_nm": ["x"], "contrast": [0, 1], "neighbours": 3}},
    "figures": {"figures": {"f1": "good", "universal_f1": 0.5}},
    "nested": '{"a":' * 200_000 + "1" + "}" * 200_000,
    "no-json": "{",
    "list": "[]",
}


def test_one_bad_model_disables_no_other(tmp_path: Path, monkeypatch) -> None:
    for name, facts in BAD_FACTS.items():
        model_file(tmp_path / f"{name}.safetensors", facts)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "empty.safetensors").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.safetensors")
    os.symlink("loop.safetensors", tmp_path / "loop.safetensors")
    model_file(tmp_path / "latin.safetensors", {"material": "gold"})
    (tmp_path / "latin.md").write_bytes("# Größe".encode("latin-1"))
    model_file(tmp_path / "universal.safetensors", {"material": "mine"})
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    found = {m.name: m for m in list_models()}
    assert set(found) == {p.stem for p in BUNDLED.glob("*.safetensors")} | {"latin"}
    assert found["latin"].card.startswith("# Gr")
    # a bundled one is not replaced by what has its name, but that can be asked for
    assert found["universal"].material == "any"
    assert find_model(str(tmp_path / "universal.safetensors")).material == "mine"
    said = left_out()
    assert any("has the name of a bundled one" in sentence for sentence in said)
    for name in BAD_FACTS:
        with pytest.raises(ModelError) as error:
            find_model(name)
        assert str(error.value) in said and str(error.value).endswith(".")
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0 and "latin: gold" in listed.stdout
    assert "nested too deeply" in listed.stderr


def test_a_card_is_read_once_until_it_changes(tmp_path: Path, monkeypatch) -> None:
    model_file(tmp_path / "mine.safetensors", {"material": "gold"})
    (tmp_path / "mine.md").write_text("# one")
    (tmp_path / "bad.safetensors").write_text("no model")
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    read, header = [], zoo.header_of

    def counted(path: Path) -> dict:
        read.append(path.name)
        return header(path)

    monkeypatch.setattr(zoo, "header_of", counted)
    for _ in range(2):  # as the docks do
        assert find_model("mine").card == "# one" and len(left_out()) == 1
        assert "mine" in {m.name for m in list_models()}
    assert read.count("mine.safetensors") == read.count("bad.safetensors") == 1
    (tmp_path / "mine.md").write_text("# another")
    assert find_model("mine").card == "# another"
    model_file(tmp_path / "bad.safetensors", {"material": "silver"})
    assert find_model("bad").material == "silver" and left_out() == []
    (tmp_path / "mine.safetensors").unlink()
    assert "mine" not in {m.name for m in list_models()}


def test_bad_weights_are_the_failure_of_the_model_not_of_the_image(
    tmp_path: Path, monkeypatch
) -> None:
    image, _ = simulate("honeycomb", (128, 128), 10, seed=seed_for("test", 5))
    weight = torch.zeros(32, 32, 3, 3)
    bad = {
        "nan": {"down1.0.weight": weight * float("nan")}, "zero": {"down1.0.weight": weight},
        "shape": {"down1.0.weight": torch.ones(3, 3)}, "none": {"down1.0.weight": weight[:0]},
        "negative": {"down1.1.running_var": -torch.ones(32)},
        "huge": {"down1.0.weight": weight + 1e35, "down1.1.weight": torch.full((32,), 1e35)},
    }  # fmt: skip
    for name, weights in bad.items():
        model_file(tmp_path / f"{name}.safetensors", {}, **weights)
        with pytest.raises(ModelError, match=f"weights in {name}.safetensors"):
            segment(image, str(tmp_path / f"{name}.safetensors"), spacing_px=10)
    # chosen by itself it is passed over, with a sentence
    lattice = find_model("graphene").lattice
    model_file(tmp_path / "mine.safetensors", {"lattice": lattice}, **bad["nan"])
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    choice = choose_model(samples.graphene_si(192).data, samples.graphene_si(192).pixel_size_nm)
    assert choice.info.name == "graphene" and "weights in mine.safetensors" in choice.reason
