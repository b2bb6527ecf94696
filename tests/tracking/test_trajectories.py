"""Diffusion, transitions and dwell times against known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.simulation import movies
from napari_atomlens.tracking import (
    count_transitions,
    counts_per_frame,
    dwell_times,
    estimate_diffusion,
    mean_dwell,
    mean_squared_displacement,
    occupancy_map,
    track_summary,
    transition_matrix,
)

PIXEL, STEP = 0.03, 2.25


def walkers(d: float, n: int = 100, frames: int = 40, noise: float = 0.3, seed: int = 0, gaps=0.05):
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, np.sqrt(2 * d * STEP) / PIXEL, (n, frames, 2)), axis=1)
    x = walk + rng.normal(0, noise, walk.shape)
    i, t = np.nonzero(rng.random((n, frames)) >= gaps)
    return pd.DataFrame({"frame": t, "track_id": i, "y_px": x[i, t, 0], "x_px": x[i, t, 1]})


@pytest.mark.parametrize("d", [1e-4, 1e-3, 1e-2])
def test_diffusion_is_right_and_its_interval_covers(d):
    found = [
        estimate_diffusion(walkers(d, seed=s), pixel_size_nm=PIXEL, time_step_s=STEP)
        for s in range(6)
    ]
    assert np.mean([f.d for f in found]) == pytest.approx(d, rel=0.06)
    assert sum(f.low <= d <= f.high for f in found) >= 4
    assert found[0].unit == "nm^2/s" and found[0].low < found[0].d < found[0].high
    if d <= 1e-4:  # far larger steps hide the error of localisation
        mean = np.mean([f.localisation for f in found])
        assert mean == pytest.approx(0.3 * PIXEL, rel=0.25)


@given(st.floats(0, 6.28), st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_diffusion_does_not_know_directions_and_scales_with_the_pixel(turn, seed):
    table = walkers(1e-3, n=30, seed=seed)
    one = estimate_diffusion(table, pixel_size_nm=PIXEL, time_step_s=STEP)
    c, s = np.cos(turn), np.sin(turn)
    place = table[["y_px", "x_px"]].to_numpy() @ np.array([[c, s], [-s, c]])
    two = estimate_diffusion(
        table.assign(y_px=place[:, 0], x_px=place[:, 1]), pixel_size_nm=2 * PIXEL, time_step_s=STEP
    )
    assert two.d == pytest.approx(4 * one.d, rel=5e-3)


def test_atoms_that_only_jitter_do_not_diffuse():
    found = estimate_diffusion(walkers(0.0), pixel_size_nm=PIXEL, time_step_s=STEP)
    assert found.low == 0 and found.d < 2e-6
    assert found.localisation == pytest.approx(0.3 * PIXEL, rel=0.05)


def test_msd_has_the_error_of_localisation_at_its_foot():
    msd = mean_squared_displacement(
        walkers(1e-3, n=300), pixel_size_nm=PIXEL, time_step_s=STEP, max_lag=6
    )
    expected = 4 * 1e-3 * msd["time"] + 4 * (0.3 * PIXEL) ** 2
    assert ((msd["msd"] - expected).abs() < 4 * msd["msd_err"]).all()
    assert (msd["msd_err"] / msd["msd"]).max() < 0.1


def test_gaps_are_not_filled():
    table = pd.DataFrame(
        {"frame": [0, 1, 3, 0, 1], "track_id": [0, 0, 0, 1, 1], "y_px": 0.0,
         "x_px": [0.0, 1.0, 5.0, 0.0, 3.0]}
    )  # fmt: skip
    msd = mean_squared_displacement(table, max_lag=3).set_index("lag")
    assert msd.loc[1, "n_pairs"] == 2 and msd.loc[1, "msd"] == pytest.approx(5)
    assert msd.loc[2, "msd"] == 16 and msd.loc[3, "msd"] == 25


def test_vacancies_of_the_simulated_film_diffuse_as_they_were_told():
    movie = movies.ws2_decomposing(
        size_px=200, n_frames=60, holes=0, fragments=0, n_vacancies=40, drift_px=(0, 0)
    )
    table = movie.truth.rename(columns={"id": "track_id"})
    found = estimate_diffusion(
        table, pixel_size_nm=movie.pixel_size_nm, time_step_s=movie.time_step_s
    )
    assert found.d == pytest.approx(movie.extra["d_nm2_s"], rel=0.25)


def test_transitions_are_pooled_and_none_cross_a_gap():
    table = pd.DataFrame(
        {"frame": [0, 1, 2, 4, 0, 1], "track_id": [0, 0, 0, 0, 1, 1],
         "species": ["A", "A", "B", "A", "B", "B"]}
    )  # fmt: skip
    counts = count_transitions(table)
    assert counts.loc["A", "A"] == 1 and counts.loc["A", "B"] == 1
    assert counts.loc["B", "B"] == 1 and counts.loc["B", "A"] == 0
    matrix = transition_matrix(table, states=["A", "B", "C"])
    rows = matrix.groupby("from")["probability"].sum(min_count=1)
    assert rows["A"] == rows["B"] == 1 and np.isnan(rows["C"])
    assert (matrix["low"] <= matrix["probability"].fillna(0.5)).all()
    with pytest.raises(ParameterError, match="B"):
        count_transitions(table, states=["A"])


def test_intervals_of_transitions_cover():
    rng = np.random.default_rng(0)
    p = np.array([[0.9, 0.07, 0.03], [0.2, 0.7, 0.1], [0.02, 0.08, 0.9]])
    inside = []
    for _ in range(150):
        state = np.zeros((10, 101), int)
        for t in range(100):
            state[:, t + 1] = (rng.random((10, 1)) > np.cumsum(p, axis=1)[state[:, t]]).sum(1)
        track, frame = np.divmod(np.arange(state.size), 101)
        table = pd.DataFrame(
            {"frame": frame, "track_id": track, "species": state.ravel().astype(str)}
        )
        m = transition_matrix(table, states=list("012"))
        inside.append(((m["low"] <= p.ravel()) & (p.ravel() <= m["high"])).mean())
    assert np.mean(inside) > 0.92


def test_dwell_times_know_what_they_did_not_see():
    table = pd.DataFrame(
        {"frame": [0, 1, 2, 3, 4, 6], "track_id": 0, "species": ["A", "B", "B", "A", "A", "A"]}
    )
    stays = dwell_times(table)
    assert stays["state"].tolist() == ["A", "B", "A", "A"]
    assert stays["frames"].tolist() == [1, 2, 2, 1]
    assert stays["complete"].tolist() == [False, True, False, False]
    assert stays["left"].tolist() == [True, True, False, False]
    movie = movies.buckybowls(size_px=200, n_frames=60, flip=0.05, seed=1)
    flips = mean_dwell(dwell_times(movie.truth.rename(columns={"id": "track_id"}), "state"))
    assert ((flips["low"] < 20) & (flips["high"] > 20)).all()


def test_counts_summary_and_occupancy():
    table = walkers(1e-3, n=5, frames=10, gaps=0).assign(species=list("AB") * 25)
    table[["y_px", "x_px"]] += 20
    assert counts_per_frame(table)["n"].tolist() == [5] * 10
    assert set(counts_per_frame(table, "species").columns) == {"frame", "A", "B"}
    image = occupancy_map(table, (64, 64))
    assert image.shape == (64, 64) and image.sum() == pytest.approx(50, rel=0.05)
    summary = track_summary(table)
    assert len(summary) == 5 and (summary["n_seen"] == 10).all()
    assert (summary["net_px"] <= summary["path_px"] + 1e-9).all()
    assert len(track_summary(table.iloc[:0])) == 0


def test_bad_input_is_a_sentence():
    table = walkers(1e-3, n=5)
    with pytest.raises(CalibrationError, match="both"):
        estimate_diffusion(table, pixel_size_nm=0.1)
    with pytest.raises(CalibrationError, match="time step"):
        estimate_diffusion(table, pixel_size_nm=0.1, time_step_s=0)
    with pytest.raises(ParameterError, match="long enough"):
        estimate_diffusion(table[table["frame"] == 0])
    with pytest.raises(ParameterError, match="no column"):
        transition_matrix(table)
    with pytest.raises(ParameterError, match="confidence"):
        estimate_diffusion(table, confidence=2)
    still = pd.DataFrame({"frame": [0, 1, 2, 3], "track_id": 0, "y_px": 1.0, "x_px": 1.0})
    with pytest.raises(ParameterError, match="do not move"):
        estimate_diffusion(still)
