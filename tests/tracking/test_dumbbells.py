"""Dumbbells: pairing, measures with honest errors, identity, changes with a false-alarm rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.simulation import crystals, movies
from napari_atomlens.tracking import (
    ChangeParams,
    DumbbellParams,
    deviations,
    find_changes,
    follow,
    neighbour_correlation,
)
from napari_atomlens.tracking.changes import series, thresholds
from napari_atomlens.tracking.dumbbells import pair_correlation, union_ellipse


def columns_of(movie: movies.Movie) -> pd.DataFrame:
    """Truth per column, as `detections` wants it."""
    t = movie.truth
    return pd.concat(
        [
            pd.DataFrame(
                {"frame": t["frame"], "id": 2 * t["id"] + k, "y_px": t[f"{e}y_px"],
                 "x_px": t[f"{e}x_px"]}
            )
            for k, e in enumerate("ab")
        ],
        ignore_index=True,
    )  # fmt: skip


def atoms_of(movie: movies.Movie, seed: int = 0, **detector: float) -> pd.DataFrame:
    size = movie.extra.get("size", 256)
    return movies.detections(columns_of(movie), size, np.random.default_rng(seed), **detector)


@given(st.floats(0, 6.28), st.floats(3, 40), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_lengths_and_angles_at_any_rotation_and_scale(turn, spacing, seed):
    places, kind = crystals.fill(
        crystals.dumbbell(0.6), (16 * spacing, 16 * spacing), spacing, turn, (1.0, 2.0)
    )
    rng = np.random.default_rng(seed)
    atoms = pd.DataFrame(
        {"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1], "sigma_px": 1.0,
         "amplitude": np.where(kind == 0, 1.0, 0.6)}
    )  # fmt: skip
    d = al.measure_dumbbells(atoms.sample(frac=1, random_state=seed, ignore_index=True))
    assert len(d) > 0.8 * len(places) / 2
    np.testing.assert_allclose(d["length_px"], spacing, rtol=1e-6)
    # from the brighter column to the weaker, counter-clockwise from +x as drawn
    c, s = np.cos(turn), np.sin(turn)
    vector = crystals.dumbbell().basis[1] @ np.array([[c, s], [-s, c]])
    off = np.exp(1j * (d["angle_rad"] - np.arctan2(-vector[0], vector[1])))
    np.testing.assert_allclose(off, 1, atol=1e-6)
    np.testing.assert_allclose(d["intensity_ratio"], 0.6)
    del rng


@pytest.mark.parametrize("lattice", ["honeycomb", "square", "hexagonal", "perovskite"])
def test_other_lattices_have_none(lattice):
    places, _ = crystals.fill(crystals.CRYSTALS[lattice](), (150, 150), 10.0, 0.3)
    atoms = pd.DataFrame({"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1]})
    d = al.measure_dumbbells(atoms)
    assert len(d) == 0 and list(d.columns[: len(tables.DUMBBELLS)]) == list(tables.DUMBBELLS)


@pytest.mark.parametrize("part", [0.15, 0.25, 0.4])
def test_atoms_strewn_over_sites_are_no_dumbbells(part):
    sites, _ = crystals.fill(crystals.molecules(), (400, 400), 18.0, 0.2)
    seen = sites[np.random.default_rng(3).random(len(sites)) < part]
    d = al.measure_dumbbells(pd.DataFrame({"frame": 0, "y_px": seen[:, 0], "x_px": seen[:, 1]}))
    assert len(d) == 0


def test_two_grains_have_two_vectors():
    left, _ = crystals.fill(crystals.dumbbell(), (200, 200), 9.0, 0.1)
    right, _ = crystals.fill(crystals.dumbbell(), (200, 200), 9.0, 1.2)
    places = np.concatenate([left[left[:, 1] < 95], right[right[:, 1] > 105]])
    d = al.measure_dumbbells(pd.DataFrame({"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1]}))
    angle = d.groupby("grain")["angle_rad"].median().to_numpy()
    assert len(angle) == 2
    assert (
        abs(np.exp(2j * (angle[0] - angle[1])) - np.exp(2.2j)) < 0.1
        or abs(np.exp(2j * (angle[1] - angle[0])) - np.exp(2.2j)) < 0.1
    )


def test_each_column_has_at_most_one_partner():
    movie = movies.silicon_110(n_frames=6, render=False)
    atoms = atoms_of(movie, jitter_px=0.4, missed=0.1, false=0.3)
    d = al.measure_dumbbells(atoms)
    for _, part in d.groupby("frame"):
        ends = pd.concat([part["atom_a"], part["atom_b"]])
        assert ends.is_unique


def test_identity_through_drift_misses_and_borders():
    movie = movies.silicon_110(n_frames=50, drift_px=(1.4, 1.4), seed=4, render=False)
    atoms = atoms_of(movie, jitter_px=0.15)
    d = al.measure_dumbbells(atoms)
    true = atoms.set_index("atom_id")["id"]
    a, b = true.loc[d["atom_a"]].to_numpy(), true.loc[d["atom_b"]].to_numpy()
    good = (a >= 0) & (a // 2 == b // 2)
    assert good.mean() > 0.97
    ids = d[good].groupby(a[good] // 2)["dumbbell_id"].nunique()
    assert (ids == 1).mean() >= 0.99
    # the ends never change places either
    ends = d[good].assign(end=a[good] % 2).groupby("dumbbell_id")["end"].nunique()
    assert (ends == 1).all()


def test_errors_are_those_of_the_positions():
    movie = movies.silicon_110(n_frames=40, render=False, drift_px=(0, 0))
    atoms = atoms_of(movie, jitter_px=0.2, missed=0, false=0)
    d = al.measure_dumbbells(atoms, pixel_size_nm=0.0136)
    inner = d[(d["y_px"].between(8, 247)) & (d["x_px"].between(8, 247))]
    z = (inner["length_px"] - 0.1358 / 0.0136) / inner["length_err_px"]
    assert z.std() == pytest.approx(1, abs=0.05)
    turned = inner["angle_rad"] - movie.truth["angle_rad"].iloc[0]
    assert (turned / inner["angle_err_rad"]).std() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(inner["length_nm"], inner["length_px"] * 0.0136)
    no_errors = al.measure_dumbbells(atoms.drop(columns=["y_err_px", "x_err_px"]))
    assert no_errors["length_err_px"].isna().all()


def test_unfitted_columns_have_no_error():
    movie = movies.silicon_110(n_frames=2, render=False)
    atoms = atoms_of(movie, jitter_px=0.1).assign(fit_ok=False)
    assert al.measure_dumbbells(atoms)["length_err_px"].isna().all()


def test_correlation_of_errors_vanishes_far_apart():
    assert np.abs(pair_correlation(12, 1, 1, 0.2)[:2]).max() < 0.02
    near = pair_correlation(2.5, 1, 1, 0.2)
    assert abs(near[0]) > 0.05 and np.isfinite(near).all()
    assert pair_correlation(float("nan"), 1, 1, 1)[:2] == (0, 0)


def test_the_ellipse_of_two_discs():
    major, minor, angle = union_ellipse(
        np.array([[[10.0, 10.0], [10.0, 16.0]]]), np.full((1, 2), 5.0), np.full((1, 2), 4.0),
        np.full((1, 2), 4.0), np.zeros((1, 2)),
    )  # fmt: skip
    # variance along x: that of a disc, and half the distance squared
    assert major[0] == pytest.approx(4 * np.sqrt(1 + 9))
    assert minor[0] == pytest.approx(4) and angle[0] == pytest.approx(0)


def watched(n: int = 200, frames: int = 50, seed: int = 0) -> pd.DataFrame:
    """Dumbbells that do nothing but jitter; 2.9 pm and 1.4 degrees at 13.6 pm a pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(n), 15)
    t = np.tile(np.arange(frames), n)
    return pd.DataFrame(
        {"frame": t, "dumbbell_id": np.repeat(np.arange(n), frames),
         "y_px": np.repeat(30.0 * y, frames), "x_px": np.repeat(30.0 * x, frames),
         "length_px": 10 + rng.normal(0, 0.213, n * frames), "length_err_px": 0.213,
         "angle_rad": rng.normal(0, np.radians(1.4), n * frames),
         "angle_err_rad": np.radians(1.4)}
    )  # fmt: skip


def test_false_alarms_are_as_rare_as_asked():
    for rate in (0.01, 0.1):
        flagged = sum(
            find_changes(watched(seed=s), ChangeParams(false_alarms=rate))["dumbbell_id"].nunique()
            for s in range(10)
        )
        # 2,000 dumbbells: within about three standard deviations of a Poisson number
        assert 0.2 * rate * 2000 < flagged < rate * 2000 + 3.5 * np.sqrt(rate * 2000)


def test_steps_are_found_where_and_as_large_as_they_are():
    table = watched()
    stepped = {7: 20, 40: 31, 77: 9, 120: 44}
    for i, k in stepped.items():
        table.loc[(table["dumbbell_id"] == i) & (table["frame"] >= k), "length_px"] += 0.588
    table.loc[(table["dumbbell_id"] == 99) & (table["frame"] >= 25), "angle_rad"] -= np.radians(4)
    events = find_changes(table)
    for i, k in stepped.items():
        mine = events[(events["dumbbell_id"] == i) & (events["quantity"] == "length")]
        assert mine["kind"].tolist() == ["step"]
        assert abs(mine["frame"].iloc[0] - k) <= 2
        assert mine["size"].iloc[0] == pytest.approx(0.588, abs=4 * mine["size_err"].iloc[0])
    turned = events[events["dumbbell_id"] == 99]
    assert turned["quantity"].tolist() == ["angle"] and turned["size"].iloc[0] < 0


def test_a_ramp_is_a_trend_and_a_visit_is_passing():
    table = watched()
    ramp = table["dumbbell_id"] == 5
    table.loc[ramp, "length_px"] += 0.9 * table.loc[ramp, "frame"] / 49
    visit = (table["dumbbell_id"] == 11) & table["frame"].between(20, 26)
    table.loc[visit, "length_px"] += 0.8
    events = find_changes(table).set_index("dumbbell_id")
    assert events.loc[5, "kind"] == "trend"
    assert events.loc[5, "size"] == pytest.approx(0.9, abs=0.25)
    assert events.loc[11, "kind"] == "passing"
    assert abs(events.loc[11, "frame"] - 20) <= 1 and abs(events.loc[11, "last"] - 26) <= 1


def test_one_bad_reading_is_no_change():
    table = watched()
    table.loc[(table["dumbbell_id"] == 3) & (table["frame"] == 24), "length_px"] += 5
    assert 3 not in set(find_changes(table)["dumbbell_id"])


def test_what_all_do_together_is_no_change_of_one():
    table = watched()
    table["length_px"] += 0.5 * (table["frame"] >= 25)
    assert find_changes(table)["dumbbell_id"].nunique() <= 8
    kept = find_changes(table, ChangeParams(remove_common=False))
    assert kept["dumbbell_id"].nunique() > 100


def test_neighbours_that_change_together_are_seen():
    table = watched()
    quiet = neighbour_correlation(table, "length")
    assert (quiet["moran"].abs() < 4.5 * quiet["error"]).all()
    near = np.hypot(table["y_px"] - 180, table["x_px"] - 200) < 70
    table.loc[near & (table["frame"] >= 30), "length_px"] += 0.6
    loud = neighbour_correlation(table, "length")
    assert loud["moran"].iloc[30:].mean() > quiet["moran"].iloc[30:].mean() + 0.08
    events = find_changes(table)
    assert events["group_size"].max() >= 8


def test_deviations_stay_in_the_order_of_the_rows():
    table = watched(30).sample(frac=1, random_state=0)
    table.loc[table["dumbbell_id"] == 4, "length_px"] += 3  # a longer one is its own baseline
    out = deviations(table, "length")
    assert (out["dumbbell_id"].to_numpy() == table["dumbbell_id"].to_numpy()).all()
    assert abs(out.loc[out["dumbbell_id"] == 4, "deviation"].mean()) < 0.2
    assert out["score"].std() == pytest.approx(1, abs=0.1)


def test_errors_that_are_too_small_are_found_out():
    table = watched().assign(length_err_px=0.05)
    assert np.nanmedian(series(table, "length").error) == pytest.approx(0.213, rel=0.05)
    assert find_changes(table, ChangeParams(watch="length"))["dumbbell_id"].nunique() < 12


def test_thresholds_rise_as_alarms_become_rare():
    levels = [thresholds(50, 2, rate) for rate in (0.1, 0.01, 1e-3, 1e-5)]
    for name in ("step", "passing", "trend"):
        values = [v[name] for v in levels]
        assert values == sorted(values) and 2.5 < values[0] < values[-1] < 8


def test_bad_input_is_a_sentence():
    with pytest.raises(ParameterError, match="no column"):
        al.measure_dumbbells(pd.DataFrame({"frame": [0]}))
    with pytest.raises(CalibrationError, match="pixel size"):
        movie = movies.silicon_110(n_frames=2, render=False)
        al.measure_dumbbells(atoms_of(movie), pixel_size_nm=-1)
    with pytest.raises(ParameterError, match="cannot be watched"):
        series(watched(20), "colour")
    with pytest.raises(ParameterError, match="false_alarms"):
        find_changes(watched(20), ChangeParams(false_alarms=2))
    with pytest.raises(ParameterError, match="separation"):
        al.measure_dumbbells(tables.empty("atoms"), params=DumbbellParams(separation=0.1))
    assert len(al.measure_dumbbells(tables.empty("atoms"))) == 0
    assert len(find_changes(al.measure_dumbbells(tables.empty("atoms")))) == 0


def test_follow_gives_everything_and_can_be_cancelled():
    movie = movies.silicon_110(n_frames=12, render=False, stepped=0.2, seed=2)
    atoms = atoms_of(movie, jitter_px=0.1, missed=0.02, false=0.01).assign(sigma_px=3.3)
    said: list[str] = []
    found = follow(
        atoms, progress=Progress(lambda done, of, what: said.append(what)), pixel_size_nm=0.0136
    )
    assert len(said) == 4 and len(found.drift) == 12
    assert {"length_corr_px", "angle_corr_rad"} <= set(found.dumbbells)
    assert set(found.changes["quantity"]) <= {"length", "angle"} and len(found.changes)
    stopped = follow(atoms, progress=Progress(stop=lambda: True))
    assert len(stopped.dumbbells) == 0 and len(stopped.tracks) == len(atoms)
