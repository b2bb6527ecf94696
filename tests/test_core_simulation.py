"""The simulator: exact truth, seeds that never meet, crystals as they should be."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_atomlens.simulation import seed_for, simulate
from napari_atomlens.simulation.crystals import CRYSTALS, fill
from napari_atomlens.simulation.formation import render_columns, render_truth
from napari_atomlens.simulation.scenes import much_brighter
from napari_atomlens.simulation.scoring import Score, match, score
from napari_atomlens.simulation.training_scenes import training_pair


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
@settings(max_examples=25, deadline=None)
def test_a_column_sits_where_it_was_put_and_holds_its_counts(dy, dx):
    image = render_columns((61, 71), np.array([30 + dy]), np.array([33 + dx]), 5.0, 3.0, reach=8)
    rows, cols = np.mgrid[:61, :71]
    assert (rows * image).sum() / image.sum() == pytest.approx(30 + dy, abs=1e-6)
    assert (cols * image).sum() / image.sum() == pytest.approx(33 + dx, abs=1e-6)
    assert image.sum() == pytest.approx(5 * 2 * np.pi * 9, rel=1e-6)


def test_overlaps_add():
    y, x = np.array([20.0, 22.5]), np.array([20.0, 21.0])
    both = render_columns((40, 40), y, x, 1.0, 3.0)
    single = [render_columns((40, 40), y[[i]], x[[i]], 1.0, 3.0) for i in (0, 1)]
    np.testing.assert_allclose(both, single[0] + single[1], atol=1e-12)


def test_jittered_rows_move_the_column_along_x_only():
    shift = np.zeros(40)
    shift[20] = 2.0
    image = render_columns((40, 40), np.array([20.0]), np.array([20.0]), 1.0, 2.0, row_shift=shift)
    assert image[20].argmax() == 18
    assert image[19].argmax() == image[21].argmax() == 20


@pytest.mark.parametrize("name", sorted(CRYSTALS))
@given(angle=st.floats(0, 6.3))
@settings(max_examples=5, deadline=None)
def test_nearest_columns_are_one_spacing_apart_at_any_rotation(name, angle):
    points, _ = fill(CRYSTALS[name](), (200, 200), 9.0, angle)
    inner = points[np.all((points > 40) & (points < 160), axis=1)]
    assert cKDTree(points).query(inner, k=2)[0][:, 1].min() == pytest.approx(9.0, rel=1e-9)


def test_seeds_of_purposes_never_meet():
    ranges = [
        (seed_for(p, 0), seed_for(p, (1 << 40) - 1))
        for p in ("training", "calibration", "test", "benchmark", "sample")
    ]
    ranges.sort()
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    with pytest.raises(ValueError, match="index"):
        seed_for("test", 1 << 40)


def test_equal_seeds_give_equal_images():
    one, two, other = (simulate("tmd", (64, 64), 9, seed=s)[0] for s in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(training_pair((64, 64), 7)[0], training_pair((64, 64), 7)[0])


def test_dose_is_counts_in_the_weakest_column():
    image, scene = simulate(
        "square", (400, 400), 40, counts=500, background=0.0, sigma=0.12, seed=1
    )
    whole = scene.visible(25)
    per_column = image.sum() / (400 * 400 / 40**2)
    assert whole.sum() > 60
    assert per_column == pytest.approx(500, rel=0.02)


def test_truth_maps_follow_sub_pixel_shifts():
    centre = []
    for shift in (0.0, 0.25, 0.5):
        column, bright, peaks = render_truth(
            (40, 40), np.array([20 + shift]), np.array([20.0]), np.array([4.0]), np.ones(1),
            np.zeros(1), np.zeros(1), 1.3,
        )  # fmt: skip
        rows = np.arange(40)[:, None]
        centre.append([(rows * m).sum() / m.sum() for m in (column, peaks)])
        assert bright.sum() == 0
    np.testing.assert_allclose(np.diff(centre, axis=0), 0.25, atol=0.03)


def test_a_bright_trimer_does_not_hide_itself():
    y, x = np.mgrid[0:10, 0:10].reshape(2, -1).astype(float)
    amplitude = np.ones(100)
    trimer = [44, 45, 54]
    amplitude[trimer] = 4
    bright = much_brighter(y, x, amplitude)
    assert set(np.flatnonzero(bright > 0.5)) == set(trimer)


def test_score_pairs_one_to_one():
    true = np.array([[10.0, 10.0], [20.0, 20.0]])
    found = np.array([[10.0, 10.5], [10.5, 10.0], [30.0, 30.0]])
    s = score(found, true, 2.0, (50, 50), 0)
    assert (s.hits, s.missed, s.false) == (1, 1, 2)
    assert len(match(found, true, 2.0)[0]) == 1
    assert Score(0, 0, 0).f1 == 1
