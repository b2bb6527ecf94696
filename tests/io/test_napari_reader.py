"""Layers for napari: what the reader hands over is what napari accepts and the widget reads."""

from __future__ import annotations

from pathlib import Path

import napari.layers
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_atomlens.errors import AtomLensError
from napari_atomlens.image import Image
from napari_atomlens.widgets.base.images import pixel_size_nm
from napari_atomlens.widgets.open_save.reader import get_reader, layer_tuple, read_layers
from napari_atomlens.widgets.open_save.writer import write_atoms_csv

FRAME = np.random.default_rng(2).random((20, 30)).astype(np.float32)


@pytest.mark.parametrize("size", [(0.02, 0.01), None])
@pytest.mark.parametrize("step", [0.5, None])
@pytest.mark.parametrize("axes", ["yx", "tyx"])
def test_napari_accepts_the_layers(
    size: tuple[float, float] | None, step: float | None, axes: str
) -> None:
    data = FRAME if axes == "yx" else np.stack([FRAME] * 3)
    image = Image("film", data, axes, size, step if axes == "tyx" else None, {"bias": "1 V"})
    data, keywords, kind = layer_tuple(image, "a.tif")
    layer = napari.layers.Image(data, **keywords)
    assert kind == "image" and layer.name == "film" and layer.metadata["bias"] == "1 V"
    assert layer.axis_labels == tuple(axes)
    assert pixel_size_nm(layer.scale, layer.units) == size
    if axes == "tyx":
        assert layer.units[0].is_compatible_with("s") == (step is not None)
        assert layer.scale[0] == (step or 1)


def test_a_file_becomes_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME, resolution=(1e9, 1e9), resolutionunit="CENTIMETER")
    reader = get_reader(str(path))
    assert reader is not None
    ((data, keywords, kind),) = reader(str(path))
    np.testing.assert_array_equal(data, FRAME)
    assert keywords["scale"] == pytest.approx((0.01, 0.01)) and keywords["units"] == ("nm", "nm")
    assert keywords["name"] == "a.tif" and kind == "image"


def test_the_first_of_many_images_is_shown(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=FRAME, b=FRAME, c=FRAME)
    layers = read_layers(tmp_path / "a.npz")
    assert [k.get("visible", True) for _, k, _ in layers] == [True, False, False]


def test_what_is_not_ours_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy milk.")
    (tmp_path / "table.dat").write_text("1 2 3")
    (tmp_path / "a.xyz").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    for path in [*tmp_path.iterdir(), tmp_path / "missing.tif"]:
        assert get_reader(str(path)) is None
    assert get_reader([]) is None


def test_a_list_of_files_is_a_movie_as_napari_opens_a_stack(tmp_path: Path) -> None:
    for k in (10, 9):
        np.save(tmp_path / f"f{k}.npy", FRAME + k)
    paths = [str(tmp_path / "f10.npy"), str(tmp_path / "f9.npy")]
    for given in (paths, str(tmp_path)):
        reader = get_reader(given)
        assert reader is not None
        ((data, keywords, _),) = reader(given)
        np.testing.assert_array_equal(data, [FRAME + 9, FRAME + 10])
        assert keywords["name"] == "f9.npy to f10.npy"
        assert keywords["metadata"]["files"] == ["f9.npy", "f10.npy"]
        assert napari.layers.Image(data, **keywords).data.shape == (2, *FRAME.shape)


def test_a_folder_of_different_images_is_left_to_others(tmp_path: Path) -> None:
    for name in ("HAADF", "ABF"):
        np.save(tmp_path / f"{name}.npy", FRAME)
    assert get_reader(str(tmp_path)) is None


def test_a_layer_knows_the_images_of_its_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ABF=FRAME, HAADF=FRAME)
    about = [k["metadata"]["file"] for _, k, _ in read_layers(tmp_path / "a.npz")]
    assert [a["image"] for a in about] == ["ABF", "HAADF"]
    assert all(a["images"] == ["ABF", "HAADF"] for a in about)


def test_a_damaged_file_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    reader = get_reader(str(tmp_path / "a.tif"))
    assert reader is not None
    with pytest.raises(AtomLensError, match="zero bytes"):
        reader(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("movie", [False, True])
def test_atoms_as_csv(tmp_path: Path, movie: bool) -> None:
    points = np.array([[0, 1.5, 2.5], [2, 3.25, 4.0]])
    features = pd.DataFrame({"atom_id": [7, 8], "species": ["C", "Si"], "y_px": [0.0, 0.0]})
    layer = napari.layers.Points(
        points if movie else points[:, 1:], features=features,
        scale=(1, 0.1, 0.2) if movie else (0.1, 0.2),
        units=("s", "nm", "nm") if movie else ("nm", "nm"),
    )  # fmt: skip
    data, attributes, _ = layer.as_layer_data_tuple()
    (written,) = write_atoms_csv(str(tmp_path / "atoms.csv"), data, attributes)
    table = pd.read_csv(written)
    assert table["species"].tolist() == ["C", "Si"] and table["atom_id"].tolist() == [7, 8]
    assert table["y_px"].tolist() == [1.5, 3.25] and table["x_px"].tolist() == [2.5, 4.0]
    assert table["y_nm"].tolist() == pytest.approx([0.15, 0.325])
    assert table["x_nm"].tolist() == pytest.approx([0.5, 0.8])
    assert ("frame" in table) == movie
    if movie:
        assert table["frame"].tolist() == [0, 2]


def test_atoms_without_features_and_units(tmp_path: Path) -> None:
    (written,) = write_atoms_csv(tmp_path / "atoms", np.zeros((0, 2)), {})
    assert written.endswith("atoms.csv")
    assert pd.read_csv(written).columns.tolist() == ["y_px", "x_px"]
    with pytest.raises(AtomLensError, match="could not be written"):
        write_atoms_csv(tmp_path / "no" / "folder.csv", np.zeros((1, 2)), {})
