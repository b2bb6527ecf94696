"""Single atoms in numbers: density, distances against chance, groups, kinds of intensity."""

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.graphs.populations import (
    PopulationParams,
    describe_population,
    mixture,
    random_places,
)

FEW = PopulationParams(draws=19)


def table(places: np.ndarray, **more: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1], "sigma_px": 3.0, "volume": 1.0}
        | more
    )


def test_number_per_area_is_that_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 199, (80, 2))
    film = np.zeros((200, 200), bool)
    film[:100] = True
    found = describe_population(table(places), (200, 200), FEW, pixel_size_nm=0.1, where=film)
    row = found.summary.iloc[0]
    inside = int((np.rint(places[:, 0]) < 100).sum())
    assert row["n_atoms"] == inside and row["area_nm2"] == pytest.approx(200.0)
    assert row["per_nm2"] == pytest.approx(inside / 200)
    assert row["per_nm2_err"] == pytest.approx(np.sqrt(inside) / 200)


def test_doubtful_atoms_make_the_number_less_certain() -> None:
    places = np.random.default_rng(1).uniform(0, 199, (50, 2))
    sure = describe_population(table(places), (200, 200), FEW, pixel_size_nm=0.1).summary
    unsure = table(places, probability=0.6)
    doubt = describe_population(unsure, (200, 200), FEW, pixel_size_nm=0.1).summary
    assert doubt["per_nm2_err"].iloc[0] > 1.05 * sure["per_nm2_err"].iloc[0]


def test_random_places_lie_in_the_band_and_clustered_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    mask = np.ones((300, 300), bool)
    outside = 0
    for _ in range(6):
        places = random_places(60, mask, 7.2, rng)
        chance = describe_population(table(places), mask.shape, FEW).summary["nearest_chance"]
        outside += not 0.0 < chance.iloc[0] < 1.0
    assert outside <= 2
    first = random_places(30, mask, 30.0, rng)
    pairs = np.concatenate([first, first + np.array([8.0, 0.0])])
    found = describe_population(table(pairs), mask.shape, FEW)
    assert found.summary["nearest_chance"].iloc[0] == 0.0  # none at random has less
    near = found.distances[found.distances["distance_px"].between(8.5, 12)]
    assert (near["share"] > near["random_high"]).all()


def test_groups_are_what_is_connected_within_the_reach() -> None:
    places = np.array([[10, 10], [10, 18], [10, 26], [100, 100], [108, 100], [180.0, 30]])
    found = describe_population(table(places), (200, 200), PopulationParams(reach_nm=0.3, draws=19),
                                pixel_size_nm=0.03)  # fmt: skip
    assert sorted(found.groups["n_atoms"]) == [2, 3]
    assert found.groups["extent_nm"].max() == pytest.approx(16 * 0.03)
    assert list(found.atoms["group_size"]) == [3, 3, 3, 2, 2, 1]
    row = found.summary.iloc[0]
    assert (row["alone"], row["pairs"], row["larger"]) == (1, 1, 1)
    nearer = PopulationParams(reach_nm=0.2, draws=19)
    assert not len(
        describe_population(table(places), (200, 200), nearer, pixel_size_nm=0.03).groups
    )


def test_mixture_tells_two_kinds_and_one() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(10, 1, 200)
    assert len(mixture(one, np.zeros(200), 4)[0]) == 1
    both = np.r_[one, rng.normal(20, 1, 100)]
    mean, spread, share, belongs = mixture(both, np.full(300, 0.5), 4)
    assert mean == pytest.approx([10, 20], abs=0.4)
    assert spread == pytest.approx(np.full(2, np.sqrt(1 - 0.25)), abs=0.25)  # less their errors
    assert share == pytest.approx([2 / 3, 1 / 3], abs=0.03)
    assert belongs.argmax(1)[:200].mean() < 0.02


def test_what_cannot_be_known_is_said() -> None:
    places = np.random.default_rng(4).uniform(0, 99, (9, 2))
    with pytest.raises(ParameterError, match="pixel size"):
        describe_population(table(places), (100, 100), PopulationParams(reach_nm=0.3))
    with pytest.raises(TableError, match="widths"):
        describe_population(table(places).drop(columns="sigma_px"), (100, 100), FEW)
    with pytest.raises(ParameterError, match="mask"):
        describe_population(table(places), (100, 100), FEW, where=np.ones((3, 3)))
    found = describe_population(table(places[:0]), (100, 100), FEW)
    assert not len(found.summary) and "no atom" in found.sentence()
    single = describe_population(table(places[:1]), (100, 100), FEW)
    assert single.summary["n_atoms"].iloc[0] == 1 and not len(single.distances)
