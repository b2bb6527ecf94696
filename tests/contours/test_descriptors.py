"""Descriptors: exact for known shapes, invariant where they say so, equal to scikit-image."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.measure import regionprops_table

import napari_atomlens as al
from napari_atomlens.contours import polygons
from napari_atomlens.contours.surroundings import surroundings
from napari_atomlens.contours.tracing import trace
from napari_atomlens.errors import CalibrationError, ImageError, TableError

INVARIANT = [
    "eccentricity", "aspect", "solidity", "circularity", "fourier_1_minor",
    *(f"fourier_{k}_{a}" for k in (2, 3, 4) for a in ("major", "minor")),
    *(f"hu_{k}" for k in range(1, 8)),
]  # fmt: skip


def wobbly(seed: int, m: int = 60) -> np.ndarray:
    """A star-shaped outline without symmetry, (m, 2) of (row, column)."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2 * np.pi, m, endpoint=False)
    r = 6 + sum(
        rng.normal(0, 0.5) * np.cos(k * t) + rng.normal(0, 0.5) * np.sin(k * t) for k in (1, 2, 3)
    )
    r = np.maximum(r, 2)
    return np.c_[-1.5 * r * np.sin(t), r * np.cos(t)]


def turned(outline: np.ndarray, angle: float) -> np.ndarray:
    """Outline turned counter-clockwise as drawn."""
    y, x = outline.T
    return np.c_[y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)]


def one(outline: np.ndarray) -> pd.Series:
    return al.describe_contours([outline]).iloc[0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000), st.floats(-3.1, 3.1), st.floats(0.2, 5),
    st.tuples(st.floats(-300, 300), st.floats(-300, 300)), st.integers(0, 59), st.booleans(),
)  # fmt: skip
def test_rotation_scale_shift_start_and_sense(seed, angle, scale, shift, start, backwards):
    outline = wobbly(seed)
    other = np.roll(turned(outline, angle) * scale + shift, start, axis=0)
    a, b = one(outline), one(other[::-1] if backwards else other)
    for name in INVARIANT:
        # the hull is exact to three parts of a thousand
        tolerance = 3e-3 if name == "solidity" else 1e-6
        assert b[name] == pytest.approx(a[name], rel=tolerance, abs=1e-9), name
    assert b.area_px2 == pytest.approx(scale**2 * a.area_px2, rel=1e-9)
    for name in ("perimeter_px", "major_px", "minor_px", "equivalent_diameter_px"):
        assert b[name] == pytest.approx(scale * a[name], rel=1e-9), name
    if a.aspect > 1.02:
        change = (b.orientation_rad - a.orientation_rad - angle + np.pi / 2) % np.pi - np.pi / 2
        assert abs(change) < 1e-6
    stretch = complex(a.stretch_x, a.stretch_diagonal) * np.exp(2j * angle)
    assert complex(b.stretch_x, b.stretch_diagonal) == pytest.approx(stretch, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_rows_are_not_columns(seed):
    """Swapping row and column mirrors the outline: the angle becomes 90 degrees minus it."""
    outline = wobbly(seed)
    a, b = one(outline), one(outline[:, ::-1])
    expected = -np.pi / 2 - a.orientation_rad
    assert (b.orientation_rad - expected + np.pi / 2) % np.pi - np.pi / 2 == pytest.approx(
        0, abs=1e-6
    )
    assert b.hu_7 == pytest.approx(-a.hu_7, rel=1e-6, abs=1e-15)
    assert (b.centroid_y_px, b.centroid_x_px) == pytest.approx((a.centroid_x_px, a.centroid_y_px))


def test_ellipse_along_x_lies_along_x():
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    row = one(np.c_[20 + 3 * np.sin(t), 50 + 6 * np.cos(t)])
    assert row.orientation_rad == pytest.approx(0, abs=1e-6)
    assert row.aspect == pytest.approx(2, rel=1e-4)
    assert row.major_px == pytest.approx(12, rel=1e-3)
    assert row.fourier_1_minor == pytest.approx(0.587, abs=0.002)  # by arc length, not by angle
    assert row.circularity < 0.9 and row.solidity == pytest.approx(1, abs=1e-3)
    assert (row.centroid_y_px, row.centroid_x_px) == pytest.approx((20, 50))
    tilted = one(np.c_[-(6 * np.cos(t)), 6 * np.cos(t) + 2 * np.sin(t)])
    assert tilted.orientation_rad > 0.5  # up and to the right, as drawn


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    rng = np.random.default_rng(3)
    labels = np.zeros((300, 340), int)
    rows, cols = np.mgrid[:300, :340]
    for k, (y, x) in enumerate(
        np.stack(np.meshgrid(range(20, 290, 30), range(20, 330, 30)), -1).reshape(-1, 2)
    ):
        a, b, t = rng.uniform(3, 11), rng.uniform(3, 11), rng.uniform(0, np.pi)
        dy, dx = rows - y - rng.uniform(-1, 1), cols - x
        u, v = dx * np.cos(t) - dy * np.sin(t), dx * np.sin(t) + dy * np.cos(t)
        labels[(u / a) ** 2 + (v / b) ** 2 + 0.3 * np.sin(3 * np.arctan2(v, u)) < 1] = 2 * k + 5
    return labels


def test_labels_give_what_regionprops_gives(blobs):
    image = np.random.default_rng(0).normal(5, 1, blobs.shape)
    ours = al.describe_contours(blobs, image=image)
    names = ("label", "area", "centroid", "axis_major_length", "axis_minor_length",
             "eccentricity", "orientation", "moments_hu", "equivalent_diameter_area",
             "intensity_mean")  # fmt: skip
    theirs = regionprops_table(blobs, image, properties=names)
    pairs = {
        "atom_id": "label", "area_px2": "area", "centroid_y_px": "centroid-0",
        "centroid_x_px": "centroid-1", "major_px": "axis_major_length",
        "minor_px": "axis_minor_length", "eccentricity": "eccentricity",
        "equivalent_diameter_px": "equivalent_diameter_area",
    } | {f"hu_{k + 1}": f"moments_hu-{k}" for k in range(7)}  # fmt: skip
    for mine, other in pairs.items():
        np.testing.assert_allclose(ours[mine], theirs[other], rtol=1e-9, atol=1e-14, err_msg=mine)
    np.testing.assert_allclose(ours.intensity, theirs["intensity_mean"] * theirs["area"])
    # theirs is measured from the row axis
    clear = ours.aspect > 1.05
    turn = (ours.orientation_rad - theirs["orientation"] - np.pi / 2) % np.pi
    assert np.minimum(turn, np.pi - turn)[clear].max() < 1e-9


def test_a_mask_is_labelled_and_a_movie_keeps_its_frames(blobs):
    once = al.describe_contours(blobs > 0)
    assert len(once) == len(np.unique(blobs)) - 1
    movie = al.describe_contours(np.stack([blobs, np.zeros_like(blobs), blobs]))
    assert movie.frame.value_counts().to_dict() == {0: len(once), 2: len(once)}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_integral_is_that_of_the_pixels_as_squares(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(3, 2, (40, 50))
    # along pixel edges the sum of the pixels, exactly
    box = np.array([[4.5, 6.5], [4.5, 20.5], [17.5, 20.5], [17.5, 6.5]])
    assert polygons.integrate(image, box[None])[0] == pytest.approx(image[5:18, 7:21].sum())
    # any outline on an image that is not all noise: as with sixteen times finer pixels
    image = gaussian_filter(10 * image, 1.5)
    outline = 0.6 * wobbly(seed) + np.array([20, 25])
    fine = 16
    which, rows, cols = polygons.fill_polygons(
        (outline[None] + 0.5) * fine - 0.5, (image.shape[0] * fine, image.shape[1] * fine)
    )
    expected = image[rows // fine, cols // fine].sum() / fine**2
    assert polygons.integrate(image, outline[None])[0] == pytest.approx(expected, rel=1.5e-2)
    assert polygons.integrate(np.full((40, 50), 3.0), outline[None])[0] == pytest.approx(
        3 * polygons.moments(outline[None])[0, 0, 0]
    )
    assert (which == 0).all()


def test_fill_takes_the_pixels_within_even_where_polygons_leave_the_image():
    square = np.array([[[-3.0, -3.0], [-3.0, 2.4], [2.4, 2.4], [2.4, -3.0]]])
    _, rows, cols = polygons.fill_polygons(square, (10, 10))
    assert sorted(zip(rows, cols, strict=True)) == [(r, c) for r in range(3) for c in range(3)]


def grid(n: int = 7, step: float = 10) -> np.ndarray:
    return np.stack(np.meshgrid(range(n), range(n), indexing="ij"), -1).reshape(-1, 2) * step + 10.0


def test_surroundings_of_a_square_and_a_triangular_lattice():
    around = surroundings(grid(), np.zeros(49, int), 1.2)
    middle = 24
    assert around["n_neighbours"][middle] == 4 and around["n_neighbours"][0] == 2
    assert around["psi_4"][middle] == pytest.approx(1)
    assert around["psi_6"][middle] == pytest.approx(0, abs=1e-9)
    assert around["neighbour_distance_px"][middle] == pytest.approx(10)
    assert around["neighbour_angle_std_rad"][middle] == pytest.approx(0, abs=1e-9)
    hexagonal = grid() @ np.array([[np.sqrt(3) / 2, 0.5], [0, 1]])
    around = surroundings(hexagonal, np.zeros(49, int), 1.2)
    assert around["n_neighbours"][middle] == 6
    assert around["psi_6"][middle] == pytest.approx(1)


def test_frames_do_not_see_each_other():
    two = np.r_[grid(), grid() + 0.5]
    frame = np.repeat([0, 3], 49)
    both = surroundings(two, frame)
    alone = surroundings(grid(), np.zeros(49, int))
    for name, values in alone.items():
        np.testing.assert_allclose(both[name][:49], values, err_msg=name)


def test_a_displaced_atom_is_off_the_middle_of_its_neighbours():
    places = grid()
    places[24] += [1.0, -0.5]
    around = surroundings(places, np.zeros(49, int))
    middle = np.stack([around["expected_y_px"], around["expected_x_px"]], 1)
    np.testing.assert_allclose(places[24] - middle[24], [1.0, -0.5], atol=1e-9)
    assert np.isnan(middle[0]).all()  # a corner has no closed shell


def disc_map(centres, size=100, r=4.0):
    rows, cols = np.mgrid[:size, :size]
    value = np.zeros((size, size))
    for y, x in centres:
        value = np.maximum(value, 1 / (1 + np.exp(np.hypot(rows - y, cols - x) * 3 - 3 * r)))
    return value


def test_a_result_is_described_with_its_maps_and_image():
    centres = grid()
    p = disc_map(centres)
    image = 100 * p + 7
    vertices, counts = trace(p, centres)
    atoms = pd.DataFrame(
        {"frame": 0, "atom_id": np.arange(49) + 100, "y_px": centres[:, 0] + 0.3,
         "x_px": centres[:, 1], "background": 7.0}
    )  # fmt: skip
    result = SimpleNamespace(
        outlines={0: polygons.ragged(vertices, counts)}, atoms=atoms, contours=None, frames=[0],
        probabilities=np.stack([1 - p, p, 0 * p])[None],
        classes=("background", "column", "contamination"),
        provenance={"pixel_size_nm": (0.02, 0.02)},
    )  # fmt: skip
    table = al.describe_contours(result, image=image)
    assert list(table.atom_id) == list(range(100, 149))
    np.testing.assert_allclose(table.offset_y_px, -0.3, atol=0.02)
    np.testing.assert_allclose(table.area_px2, np.pi * 16, rtol=0.03)
    np.testing.assert_allclose(table.area_nm2, table.area_px2 * 0.02**2)
    np.testing.assert_allclose(table.major_nm, table.major_px * 0.02)
    assert (table.peak_probability > 0.99).all() and (table.mean_probability < 1).all()
    # what lies within the outline of a soft disc
    np.testing.assert_allclose(table.intensity_net, 100 * table.mean_probability * table.area_px2)
    assert table.site_offset_px[24] == pytest.approx(0.3, abs=0.02)


TWO_ATOMS = pd.DataFrame({"frame": 0, "atom_id": [0, 1], "y_px": 5.0, "x_px": 5.0})


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: al.describe_contours("no contours"), ImageError),
        (lambda: al.describe_contours([np.zeros((0, 2))]), ImageError),
        (lambda: al.describe_contours([wobbly(0)], pd.DataFrame({"frame": [0, 0]})), TableError),
        (lambda: al.describe_contours([wobbly(0)], TWO_ATOMS), ImageError),
        (lambda: al.describe_contours([np.zeros((5, 3))]), ImageError),
        (lambda: al.describe_contours({"a": [wobbly(0)]}), ImageError),
        (lambda: al.describe_contours([[1, 2], [3]]), ImageError),
        (lambda: al.describe_contours({4: [wobbly(0)]}, image=np.zeros((2, 9, 9))), ImageError),
        (lambda: al.describe_contours([wobbly(0)], pixel_size_nm=-1), CalibrationError),
        (lambda: al.describe_contours(np.full((5, 5), -1)), ImageError),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, error):
    with pytest.raises(error, match=r"\.$"):
        call()


def test_nothing_gives_an_empty_table_and_a_line_no_numbers():
    assert len(al.describe_contours([])) == 0
    assert len(al.describe_contours(np.zeros((9, 9), int))) == 0
    flat = al.describe_contours([np.array([[1.0, 1.0], [5.0, 5.0]]), wobbly(1)])
    assert flat.area_px2[0] == 0 and np.isnan(flat.aspect[0]) and np.isfinite(flat.aspect[1])


def test_holes_and_touching_regions_are_followed_along_their_outer_border():
    rows, cols = np.mgrid[:60, :60]
    r = np.hypot(rows - 30, cols - 30)
    ring = np.where((r > 4) & (r < 9), 0.9, np.where(r <= 4, 0.6, 0.0))
    ring[30, 33] = 0.0  # a hole between the middle and the border
    vertices, _ = trace(ring, np.array([[30.0, 30.0]]), 0.5)
    assert polygons.basic_shape(vertices)["area_px2"][0] == pytest.approx(np.pi * 81, rel=0.06)


def test_contours_alone_can_be_searched_for_anomalies():
    rng = np.random.default_rng(0)
    n = 100
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 4 * (1 + 0.02 * rng.normal(size=n))
    radius[17] = 5.5
    centre = grid(10, 14.0)
    outlines = [c + r * np.c_[-np.sin(t), np.cos(t)] for c, r in zip(centre, radius, strict=True)]
    atoms = pd.DataFrame(
        {"frame": 0, "atom_id": np.arange(n), "y_px": centre[:, 0] + 0.05 * rng.normal(size=n),
         "x_px": centre[:, 1] + 0.05 * rng.normal(size=n), "species": "column"}
    )  # fmt: skip
    table = al.find_anomalies(al.describe_contours(outlines, atoms))
    assert table.anomaly[17] and table.anomaly_reason[17].startswith("larger")
    assert table.anomaly.sum() <= 3
