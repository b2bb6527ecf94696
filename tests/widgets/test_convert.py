"""Tables to layer data and back, without a viewer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pint
import pytest

from napari_atomlens import tables
from napari_atomlens.errors import ImageError
from napari_atomlens.image import source_stack
from napari_atomlens.runs.frame import IDS_PER_FRAME
from napari_atomlens.session import outlines as outlines_of
from napari_atomlens.session.results import map_of, shown_maps
from napari_atomlens.widgets.base import images
from napari_atomlens.widgets.layers import convert, styles

UNITS = pint.get_application_registry()


def atoms_of(places: list[tuple[float, float]], frame: int = 0, **columns: object) -> pd.DataFrame:
    y, x = np.array(places, dtype=float).reshape(-1, 2).T
    ids = frame * IDS_PER_FRAME + np.arange(len(places))
    return tables.make(
        "atoms",
        {"frame": frame, "atom_id": ids, "y_px": y, "x_px": x, "species": "column",
         "probability": 0.9, "source": "fit", **columns},
        len(places),
    )  # fmt: skip


@pytest.mark.parametrize("ndim", [2, 3])
def test_atoms_go_to_points_and_back(ndim: int) -> None:
    atoms = atoms_of([(1.25, 2.5), (3, 4)], frame=0 if ndim == 2 else 7, y_nm=0.1, x_nm=0.2)
    data = convert.points_from_atoms(atoms, ndim)
    features = convert.features_from_atoms(atoms, ["column", "bright column"])
    assert data.shape == (2, ndim)
    assert list(features["species"].cat.categories) == ["column", "bright column", ""]
    back = convert.atoms_from_points(data, features)
    pd.testing.assert_frame_equal(back, atoms, check_categorical=False)


def test_empty_tables_go_there_and_back() -> None:
    atoms = tables.empty("atoms")
    data = convert.points_from_atoms(atoms, 3)
    features = convert.features_from_atoms(atoms, ["column"])
    assert data.shape == (0, 3)
    back = convert.atoms_from_points(data, features)
    assert len(back) == 0 and list(back) == list(tables.ATOMS)
    assert convert.common_species(atoms) == ""


def test_moved_added_and_renamed_atoms_are_the_users() -> None:
    atoms = atoms_of([(1, 1), (5, 5), (9, 9)])
    data = convert.points_from_atoms(atoms, 2)
    features = convert.features_from_atoms(atoms, ["column", "bright column"])
    data[1] += 0.5
    features.loc[2, "species"] = "bright column"
    data = np.vstack([data, [[20, 21]]])
    features = pd.concat([features, features.iloc[[0]]], ignore_index=True)  # as napari does
    table = convert.atoms_from_points(data, features, (0.1, 0.2), atoms)
    assert list(table["source"]) == ["fit", "user", "user", "user"]
    assert list(table["edited"]) == [False, True, True, True]
    assert table["atom_id"].is_unique
    assert np.isnan(table["probability"][[1, 3]]).all()
    assert table["probability"][2] == 0.9  # still where the network saw it
    np.testing.assert_allclose(table.loc[3, ["y_nm", "x_nm"]].astype(float), [2.0, 4.2])
    assert np.isnan(table["y_nm"][0])


def test_outlines_go_to_shapes_and_back() -> None:
    square = np.array([[0, 0], [0, 2], [2, 2], [2, 0]], dtype=float)
    closed = np.vstack([square, square[:1]])
    shapes = convert.shapes_from_outlines([square, closed], 3, 3)
    assert [s.shape for s in shapes] == [(4, 3), (4, 3)]
    assert (shapes[0][:, 0] == 3).all()
    for outline in convert.outlines_from_shapes(shapes):
        np.testing.assert_array_equal(outline, square)


def test_outlines_that_the_user_drew_stay() -> None:
    square = np.array([[0, 0], [0, 2], [2, 2], [2, 0]], dtype=float)

    def rows(n: int, edited: bool) -> pd.DataFrame:
        return tables.make("contours", {"atom_id": np.arange(n), "frame": 0}, n).assign(
            species="column", edited=edited
        )

    old = (rows(2, False).assign(edited=[False, True]), [square, square + 20])
    new = (rows(3, False), [square, square + 20.5, square + 40])
    table, outlines = outlines_of.merge_outlines(old, new, spacing_px=10)
    assert len(table) == len(outlines) == 3
    assert list(table["edited"]) == [False, False, True]
    np.testing.assert_array_equal(outlines[2], square + 20)


def test_maps_of_classes() -> None:
    classes = ("background", "column", "bright column", "contamination")
    maps = np.array([0.1, 0.3, 0.4, 0.2], np.float16)[:, None, None] * np.ones((1, 4, 5))
    assert shown_maps(classes) == ("any atom", *classes[1:])
    total = map_of(maps, classes, "any atom")
    assert total.dtype == np.float16 and total.shape == (4, 5)
    np.testing.assert_allclose(total.astype(float), 0.7, atol=2e-3)
    one = map_of(maps, classes, "contamination")
    np.testing.assert_allclose(one.astype(float), 0.2, atol=1e-3)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (("nm", "nm"), (0.02, 0.01)),
        (("angstrom", "angstrom"), (0.002, 0.001)),
        (("second", "um", "um"), (20.0, 10.0)),
        (("pixel", "pixel"), None),
        (("second", "second"), None),
    ],
)
def test_pixel_size_comes_from_units_that_are_lengths(units: tuple, expected: tuple) -> None:
    scale = (1.0,) * (len(units) - 2) + (0.02, 0.01)
    found = images.pixel_size_nm(scale, [UNITS.Unit(u) for u in units])
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_current_frame_comes_first() -> None:
    assert convert.frame_order(2, 5) == [2, 3, 4, 0, 1]
    assert convert.frame_order(99, 3) == [2, 0, 1]
    assert convert.frame_order(0, 1) == [0]


def test_stacks_are_read_frame_by_frame() -> None:
    import dask.array as da
    import zarr

    movie = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    stored = zarr.array(movie)
    for data in (movie, da.from_array(movie, chunks=(1, 4, 5)), stored):
        stack = source_stack(data)
        assert stack.shape == (3, 4, 5) and len(stack) == 3
        np.testing.assert_array_equal(stack[1], movie[1])
    for data in (movie[0], zarr.array(movie[0])):
        assert source_stack(data).shape == (1, 4, 5)
        np.testing.assert_array_equal(source_stack(data)[0], movie[0])


def test_colours_become_luminance() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (2, 4, 5)).astype(np.uint8)
    movie = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_allclose(source_stack(movie, rgb=True)[1], grey[1], rtol=1e-5)
    np.testing.assert_allclose(source_stack(movie[0], rgb=True)[0], grey[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((2, 3, 8, 8), ()), ((5,), ()), ((3, 8, 8), ("channel", "y", "x")), ((0, 8), ())],
)
def test_what_is_no_image_is_refused_with_a_sentence(shape: tuple, labels: tuple) -> None:
    with pytest.raises(ImageError, match=r"\.$"):
        source_stack(np.zeros(shape), axis_labels=labels)


def test_every_class_has_a_colour_of_its_own() -> None:
    colours = styles.class_colours(["background", "column", "bright column", "Mo", "S2", "Se"])
    assert "background" not in colours
    assert len(set(colours.values())) == len(colours)


def test_styles_are_arguments_of_layers() -> None:
    style = styles.AtomStyle(size=4.5, border_color_cycle={"column": "red"})
    assert style.as_kwargs()["size"] == 4.5
    assert styles.atom_size(10) == pytest.approx(3.3)
    assert styles.atom_size(float("nan")) > 0 and styles.edge_width(float("nan")) > 0


def test_a_class_that_is_named_twice_keeps_its_colour() -> None:
    legend = styles.class_colours(["background", "C", "Si", "heavy", "contamination"])
    layer = styles.class_colours(["C", "Si", "heavy", "C", "Si"])  # of the model, of the atoms
    assert all(layer[name] == legend[name] for name in ("C", "Si", "heavy"))
    assert len(set(legend.values())) == len(legend)
