"""Pixel sizes from distances, materials and scale bars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_atomlens.calibration import MATERIALS, find_scale_bar, from_length, from_material
from napari_atomlens.errors import CalibrationError


@given(st.floats(1, 1e3), st.floats(0.05, 50), st.floats(0.1, 10))
def test_length(px: float, nm: float, aspect: float) -> None:
    y, x = from_length(px, nm, aspect)
    assert x * px == pytest.approx(nm) and y == pytest.approx(aspect * x)


@pytest.mark.parametrize(
    ("px", "nm", "aspect"),
    [(0, 1, 1), (1, 0, 1), (np.nan, 1, 1), (1, -1, 1), (1, 1, 0), (1e6, 1e-3, 1)],
)
def test_absurd_lengths(px: float, nm: float, aspect: float) -> None:
    with pytest.raises(CalibrationError):
        from_length(px, nm, aspect)


def test_materials() -> None:
    assert MATERIALS["graphene"] == pytest.approx(0.1421, abs=1e-4)
    assert MATERIALS["Si [110]"] == pytest.approx(0.1358, abs=1e-4)
    assert from_material(14.21, "graphene")[0] == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(CalibrationError, match="not known"):
        from_material(10, "cheese")


def picture(bright: bool = True) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.integers(30, 200, (200, 300)).astype(np.uint8)
    image[180:185, 20:97] = 255 if bright else 0
    return image


@pytest.mark.parametrize("bright", [True, False])
def test_scale_bar(bright: bool) -> None:
    assert find_scale_bar(picture(bright)) == 77
    assert find_scale_bar(picture(bright)[::-1]) == 77


def test_no_scale_bar() -> None:
    rng = np.random.default_rng(1)
    for image in (rng.random((100, 100)), np.zeros((64, 64)), picture()[:170]):
        with pytest.raises(CalibrationError, match="No scale bar"):
            find_scale_bar(image)
    with pytest.raises(CalibrationError):
        find_scale_bar(np.zeros((3, 100, 100)))


@pytest.mark.needs_model
def test_a_lattice_calibrates_its_image() -> None:
    from napari_atomlens.segmentation import find_spacing
    from napari_atomlens.simulation import seed_for, simulate

    image, _ = simulate("honeycomb", (256, 256), 11.0, rotation_deg=7, counts=3000,
                        seed=seed_for("test", 9_300))  # fmt: skip
    y, x = from_material(find_spacing(image), "graphene")
    assert y == x == pytest.approx(MATERIALS["graphene"] / 11.0, rel=0.02)
