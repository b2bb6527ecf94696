"""Outlines: sub-pixel vertices, right shapes, right axis order."""

import importlib

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.contours import label_image, outline, outline_shapes
from napari_atomlens.contours.tracing import trace


def ellipse_map(shape, y, x, long, short, angle):
    """Probability map of one ellipse with a soft edge, and its background."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    dy, dx = rows - y, cols - x
    along = dx * np.cos(angle) - dy * np.sin(angle)
    across = dx * np.sin(angle) + dy * np.cos(angle)
    r = np.hypot(along / long, across / short)
    p = 1 / (1 + np.exp((r - 1) * np.sqrt(long * short) * 3))
    return p


def atoms(*centres):
    return pd.DataFrame(
        {"y_px": [c[0] for c in centres], "x_px": [c[1] for c in centres],
         "atom_id": range(len(centres))}
    )  # fmt: skip


@pytest.mark.parametrize("aspect", [1.0, 1.4, 1.8])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.3, -0.9])
def test_ellipse_gives_its_area_axes_and_angle(aspect, angle):
    long, short = 8 * np.sqrt(aspect), 8 / np.sqrt(aspect)
    table, lines = outline(
        ellipse_map((60, 70), 30.3, 34.7, long, short, angle), atoms((30.3, 34.7))
    )
    row = table.iloc[0]
    assert row.area_px2 == pytest.approx(np.pi * 64, rel=0.03)
    assert row.major_px / row.minor_px == pytest.approx(aspect, rel=0.03)
    assert abs(row.offset_y_px) < 0.05 and abs(row.offset_x_px) < 0.05
    assert row.solidity > 0.97
    if aspect > 1.2:
        difference = (row.orientation_rad - angle + np.pi / 2) % np.pi - np.pi / 2
        assert abs(np.rad2deg(difference)) < 2
    assert lines[0][:, 0].mean() == pytest.approx(30.3, abs=0.3)
    assert lines[0][:, 1].mean() == pytest.approx(34.7, abs=0.3)


def test_touching_atoms_are_split_half_way():
    one = ellipse_map((40, 60), 20, 24, 6, 6, 0)
    two = ellipse_map((40, 60), 20, 34, 6, 6, 0)
    p = np.maximum(one, two)
    _, lines = outline(p, atoms((20, 24), (20, 34)))
    assert lines[0][:, 1].max() <= 29 + 1e-6
    assert lines[1][:, 1].min() >= 29 - 1e-6


def test_border_atom_stays_in_the_image_and_empty_table_is_empty():
    p = ellipse_map((30, 30), 1, 1, 6, 6, 0)
    _, lines = outline(p, atoms((1, 1)))
    assert lines[0].min() >= -0.5
    table, lines = outline(p, atoms((1, 1)).iloc[:0])
    assert len(table) == 0 and lines == [] and "area_px2" in table


def test_unlikely_atom_gets_the_outline_at_half_of_its_own_height():
    p = ellipse_map((60, 60), 30, 30, 8, 8, 0) * 0.4
    table, _ = outline(p, atoms((30, 30)))
    assert table.area_px2[0] == pytest.approx(np.pi * 64, rel=0.05)


def test_describe_is_exact_for_a_rectangle():
    corners = np.array([[[0.0, 0.0], [0.0, 6.0], [2.0, 6.0], [2.0, 0.0]]])
    d = outline_shapes(corners, np.array([[1.0, 3.0]]))
    assert d["area_px2"][0] == pytest.approx(12)
    assert d["perimeter_px"][0] == pytest.approx(16)
    assert d["major_px"][0] == pytest.approx(4 * 6 / np.sqrt(12))
    assert d["minor_px"][0] == pytest.approx(4 * 2 / np.sqrt(12))
    assert d["offset_y_px"][0] == pytest.approx(0, abs=1e-12)
    assert d["solidity"][0] == pytest.approx(1, abs=0.005)


def test_label_image_fills_each_outline_with_its_number():
    square = np.array([[2, 2], [2, 8], [8, 8], [8, 2]], float)
    labels = label_image([square, square + 10], (20, 20))
    assert labels[5, 5] == 1 and labels[15, 15] == 2 and labels[0, 0] == 0


@pytest.mark.parametrize("spacing", [6.0, 11.0, 19.0])
def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch, spacing: float) -> None:
    module = importlib.import_module("napari_atomlens.contours.tracing")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: 12 * spacing, : 10 * spacing]
    centres = spacing * (np.mgrid[:13, :11].reshape(2, -1).T + rng.uniform(-0.1, 0.1, (143, 2)))
    apart = np.hypot(y[..., None] - centres[:, 0], x[..., None] - centres[:, 1]).min(-1)
    columns = np.exp(-0.5 * (apart / (0.3 * spacing)) ** 2).astype(np.float32)
    whole, counts = trace(columns, centres)
    monkeypatch.setattr(module, "BAND_PIXELS", int(2.5 * spacing) * columns.shape[1])
    parts, again = trace(columns, centres)
    np.testing.assert_array_equal(again, counts)
    np.testing.assert_allclose(parts, whole, atol=1e-4)
