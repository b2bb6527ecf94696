"""Classes: rotated copies fall together, the user's changes are kept, bad input is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from napari_atomlens.contours.classbook import ClassBook, populations
from napari_atomlens.contours.classes import (
    ClassParams,
    alignment,
    classify_descriptors,
    classify_sites,
    numbered_by_size,
    symmetry,
)
from napari_atomlens.errors import ImageError, ParameterError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gallery import SIX_DEFECTS, defect_gallery


@pytest.fixture(scope="module")
def gallery():
    return defect_gallery(1500, each=8, seed=2)


@pytest.mark.parametrize("method", ["hdbscan", "mixture"])
def test_rotated_copies_fall_in_one_class(gallery, method) -> None:
    image, sites = gallery
    found = classify_sites(image, sites, ClassParams(method=method))
    assert found.fold == 3
    assert adjusted_rand_score(sites.defect, found.label) >= 0.95
    assert len(found.means) == len(SIX_DEFECTS)
    if method == "mixture":
        assert min(found.bic, key=lambda k: found.bic[k]) == 6
    # without turning, orientations become classes
    plain = classify_sites(image, sites, ClassParams(method=method, fold=1, most=24))
    assert adjusted_rand_score(sites.defect, plain.label) < 0.7


def test_aligned_patches_look_alike(gallery) -> None:
    image, sites = gallery
    found = classify_sites(image, sites)
    for name in SIX_DEFECTS:
        patches = found.patches[(sites.defect == name).to_numpy()]
        within = patches.std(0).mean()
        assert within < 0.6 * np.roll(patches, 1, axis=2).std(0).mean() + patches.mean(0).std()
    assert np.isfinite(found.embedding).all()


def test_some_rows_of_all_sites(gallery) -> None:
    image, sites = gallery
    mask = (sites.defect != "V_S").to_numpy()
    some = classify_sites(image, sites, ClassParams(method="mixture"), rows=mask)
    assert len(some.label) == mask.sum()
    assert adjusted_rand_score(sites.defect[mask], some.label) >= 0.95
    by_number = classify_sites(
        image, sites, ClassParams(method="mixture"), rows=np.flatnonzero(mask)
    )
    np.testing.assert_array_equal(by_number.label, some.label)
    with pytest.raises(ParameterError, match="mask"):
        classify_sites(image, sites, rows=mask[:3])


def test_mirror_images_are_one_class_where_asked() -> None:
    """Left and right hands on a square lattice along x: two classes, or one."""
    rng = np.random.default_rng(0)
    n, step = 8, 40
    place = (np.stack(np.meshgrid(range(n), range(n), indexing="ij"), -1).reshape(-1, 2) + 1) * step
    hand, turn = rng.integers(0, 2, n * n), rng.integers(0, 4, n * n)
    rows, cols = np.mgrid[: (n + 1) * step, : (n + 1) * step]
    image = 0.02 * rng.normal(size=rows.shape)
    for (y, x), h, t in zip(place, hand, turn, strict=True):
        # a long arm along x and a short one along y, up for one hand and down for the other
        for dy, dx, height in ((0, 9, 1.0), (-5 if h else 5, 0, 0.8), (0, 0, 0.5)):
            for _ in range(t):
                dy, dx = -dx, dy
            image += height * np.exp(-((rows - y - dy) ** 2 + (cols - x - dx) ** 2) / 8)
    sites = pd.DataFrame({"frame": 0, "y_px": place[:, 0] * 1.0, "x_px": place[:, 1] * 1.0})
    sites.attrs["spacing_px"], sites.attrs["angle_rad"] = 10.0, 0.0
    params = {"method": "mixture", "fold": 4, "most": 4}
    two = classify_sites(image, sites, ClassParams(**params))
    assert adjusted_rand_score(hand, two.label) == 1
    one = classify_sites(image, sites, ClassParams(mirror=True, **params))
    assert one.label.max() == 0


def test_alignment_undoes_a_cyclic_shift() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 4))
    turns = rng.integers(0, 3, 50)
    # copy t of a site turned by r is copy t + r of the site that is not
    scores = np.stack([np.roll(base, -r, axis=0) for r in turns]) + 0.01 * rng.normal(
        size=(50, 3, 4)
    )
    choice = alignment(scores.astype(np.float32))
    aligned = scores[np.arange(50), choice]
    assert aligned.std(0).max() < 0.05


def test_symmetry_from_the_neighbours() -> None:
    place = np.stack(np.meshgrid(range(8), range(8), indexing="ij"), -1).reshape(-1, 2) * 10.0
    square = pd.DataFrame({"frame": 0, "y_px": place[:, 0], "x_px": place[:, 1]})
    assert symmetry(square) == 4
    skewed = place @ np.array([[np.sqrt(3) / 2, 0.5], [0, 1]])
    assert symmetry(pd.DataFrame({"frame": 0, "y_px": skewed[:, 0], "x_px": skewed[:, 1]})) == 6


def test_descriptors_and_mean_shift() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [200, 40, 20])
    table = pd.DataFrame({"a": truth * 3.0, "b": (truth == 1) * 4.0, "c": 0.0})
    table[["a", "b"]] += rng.normal(0, 0.3, (260, 2))
    table.loc[3, "a"] = np.nan
    for method in ("hdbscan", "mixture", "mean-shift"):
        found = classify_descriptors(table, ["a", "b", "c"], ClassParams(method=method))
        assert found.label[3] == -1
        assert adjusted_rand_score(np.delete(truth, 3), np.delete(found.label, 3)) > 0.8, method


def test_bad_input_is_refused(gallery) -> None:
    image, sites = gallery
    for call, error in (
        (lambda: classify_sites(image, sites[:2]), ParameterError),
        (lambda: classify_sites(image[0], sites), ImageError),
        (lambda: classify_sites(image, sites.drop(columns="y_px")), ParameterError),
        (lambda: classify_sites(image, sites.assign(frame=4)), ImageError),
        (lambda: classify_sites(image, sites, ClassParams(method="guess")), ParameterError),
        (lambda: classify_descriptors(sites, ["nothing"]), ParameterError),
    ):
        with pytest.raises(error, match=r"\.$"):
            call()


def test_the_largest_class_comes_first() -> None:
    assert numbered_by_size(np.array([5, 5, -1, 2, 2, 2])).tolist() == [1, 1, -1, 0, 0, 0]


LABELS = np.array([0, 0, 0, 1, 1, 2, -1, 0])


def test_merge_split_rename_recolour_undo_and_file() -> None:
    embedding = np.zeros((8, 2))
    embedding[[0, 1], 0] = 10 + np.array([0, 0.1])
    embedding[[2, 7], 0] = np.array([0, 0.1])
    book = ClassBook().rename(1, " pairs ").merge(1, 2).recolour(1, "#ABCDEF")
    assert book.apply(LABELS).tolist() == [0, 0, 0, 1, 1, 1, -1, 0]
    split = book.split(0, book.apply(LABELS), embedding)
    labels = split.apply(LABELS)
    assert labels[0] == labels[1] != labels[2] == labels[7] and 2 not in labels
    again = ClassBook.from_dict(json.loads(json.dumps(split.as_dict())))
    assert again.apply(LABELS).tolist() == labels.tolist()
    assert again.name(1) == "pairs" and again.colour(1) == "#abcdef"
    assert split.undo().apply(LABELS).tolist() == book.apply(LABELS).tolist()
    assert book.undo().colour(1) != "#abcdef" and book.undo().name(1) == "pairs"
    assert LABELS.tolist() == [0, 0, 0, 1, 1, 2, -1, 0]  # the machine's labels stay


def test_what_cannot_be_done_to_classes_is_said() -> None:
    for call in (
        lambda: ClassBook().merge(1, 1),
        lambda: ClassBook().recolour(0, "red"),
        lambda: ClassBook().split(2, LABELS, np.zeros((8, 2))),
        lambda: ClassBook.from_dict({"journal": [{"do": "burn"}]}),
        lambda: ClassBook.from_dict({}),
    ):
        with pytest.raises(ParameterError, match=r"\.$"):
            call()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), min_size=1, max_size=60))
def test_populations_count_every_site_once(rows) -> None:
    frame, label = np.array(rows).T
    table = populations(frame, label)
    assert table.to_numpy().sum() == len(rows)
    for f in table.index:
        for k in table.columns:
            assert table.loc[f, k] == ((frame == f) & (label == k)).sum()
