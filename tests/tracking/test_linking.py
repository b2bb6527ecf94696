"""Identities: drift, gaps, competition, and what must not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import ParameterError
from napari_atomlens.simulation import seed_for
from napari_atomlens.tracking import (
    LinkParams,
    correct_scan,
    estimate_drift,
    image_drift,
    remove_drift,
    track_events,
    tracks_table,
)
from napari_atomlens.tracking.linking import assign_pairs


def square(n: int = 8, gap: float = 10.0) -> np.ndarray:
    return gap * np.stack(np.divmod(np.arange(n * n), n), 1).astype(float) + 20


def movie(
    places: np.ndarray, n_frames: int = 12, drift: tuple[float, float] = (0.0, 0.0),
    jitter: float = 0.2, missed: float = 0.0, false: float = 0.0, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    rng = np.random.default_rng(seed)
    rows = []
    for t in range(n_frames):
        seen = np.flatnonzero(rng.random(len(places)) >= missed)
        here = places[seen] + t * np.asarray(drift) + rng.normal(0, jitter, (len(seen), 2))
        wrong = rng.uniform(
            places.min(0), places.max(0), (rng.poisson(false * len(places)), 2)
        ) + t * np.asarray(drift)
        both = np.concatenate([here, wrong])
        true = np.r_[seen, np.full(len(wrong), -1)]
        order = rng.permutation(len(both))
        rows.append(np.c_[np.full(len(both), t), both[order], true[order]])
    v = np.concatenate(rows)
    return pd.DataFrame(
        {
            "frame": v[:, 0].astype(int),
            "y_px": v[:, 1],
            "x_px": v[:, 2],
            "true": v[:, 3].astype(int),
        }
    )


def switches(linked: pd.DataFrame) -> int:
    """Changes of identity along the true tracks."""
    t = linked[linked["true"] >= 0].sort_values(["true", "frame"])
    same = t["true"].to_numpy()[1:] == t["true"].to_numpy()[:-1]
    return int((t["track_id"].to_numpy()[1:] != t["track_id"].to_numpy()[:-1])[same].sum())


@given(st.floats(0, 6.28), st.floats(0, 4.0), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_a_drifting_lattice_keeps_its_identities(direction, speed, seed):
    drift = (speed * np.sin(direction), speed * np.cos(direction))
    table = movie(square(), drift=drift, missed=0.04, seed=seed)
    linked = al.link(table, LinkParams(max_gap=6))
    assert switches(linked) == 0
    found = linked.attrs["drift"]
    assert found["drift_y_px"][-1] == pytest.approx(11 * drift[0], abs=0.35)
    assert found["drift_x_px"][-1] == pytest.approx(11 * drift[1], abs=0.35)


@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.2, 30))
@example(662, -3.0, 30.0)  # the medians of the axes of the steps did not turn with the movie
@example(127, 0.5, 0.2)
@settings(max_examples=20, deadline=None)
def test_rotation_scale_and_order_of_rows_do_not_matter(seed, turn, scale):
    table = movie(square(6), drift=(0.7, -0.4), missed=0.05, false=0.03, seed=seed)
    first = al.link(table)
    c, s = np.cos(turn), np.sin(turn)
    place = scale * table[["y_px", "x_px"]].to_numpy() @ np.array([[c, s], [-s, c]])
    other = table.assign(y_px=place[:, 0], x_px=place[:, 1])
    other = other.sample(frac=1, random_state=seed)
    second = al.link(other).loc[table.index]
    pairs = set(zip(first["track_id"], second["track_id"], strict=True))
    assert len(pairs) == first["track_id"].nunique() == second["track_id"].nunique()


def test_where_candidates_compete_the_whole_is_best_not_the_first():
    # greedy would give 10.9 to the second atom, and the first would be lost
    table = pd.DataFrame({"frame": [0, 0, 1, 1], "y_px": 0.0, "x_px": [10.0, 11.0, 10.9, 12.0]})
    linked = al.link(table, LinkParams(search_px=2.0, drift="none"))
    assert linked["track_id"].tolist() == [0, 1, 0, 1]


@given(st.integers(0, 500), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_assignment_is_optimal(seed, n, m):
    from itertools import permutations

    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 2, (n, m))
    i, j = (v.ravel() for v in np.meshgrid(range(n), range(m), indexing="ij"))
    keep = rng.random(n * m) < 0.7
    picked = np.flatnonzero(keep)[assign_pairs(i[keep], j[keep], cost.ravel()[keep], 1.0)]
    assert len(set(i[picked])) == len(picked) == len(set(j[picked]))
    gain = (cost.ravel()[picked] - 1).sum()
    table = np.where(keep.reshape(n, m), np.minimum(cost - 1, 0), 0)
    big = np.zeros((max(n, m), max(n, m)))
    big[:n, :m] = table
    best = min(big[range(len(big)), list(p)].sum() for p in permutations(range(len(big))))
    assert gain == pytest.approx(best, abs=1e-12)


def test_a_gap_is_bridged_up_to_its_limit():
    table = movie(square(5))
    mine = (table["true"] == 7) & table["frame"].between(4, 6)
    assert switches(al.link(table[~mine], LinkParams(max_gap=3))) == 0
    cut = al.link(table[~mine], LinkParams(max_gap=2))
    assert switches(cut) == 1
    assert switches(al.link(table[~mine], LinkParams(max_gap=-1))) == 0


def test_atoms_that_drift_out_and_in_are_born_and_die():
    table = movie(square(12), n_frames=20, drift=(2.0, 0.0), jitter=0.1)
    seen = table[table["y_px"].between(60, 130)]
    linked = al.link(seen)
    assert switches(linked) == 0
    events = track_events(linked)
    assert (events["kind"] == "appeared").sum() > 12 and (events["kind"] == "vanished").sum() > 12


def test_species_may_change_or_not():
    table = movie(square(5), n_frames=6).assign(species="W")
    table.loc[(table["true"] == 3) & (table["frame"] >= 3), "species"] = "S"
    free = al.link(table)
    assert switches(free) == 0
    became = track_events(free)
    assert became[became["kind"] == "became S"]["frame"].tolist() == [3]
    fixed = al.link(table, LinkParams(species="stays", jump_px=-1))
    assert switches(fixed) == 1


def test_few_atoms_moved_by_hand_keep_their_identity():
    corral = 60 + 50 * np.c_[np.sin(np.arange(9) * 0.7), np.cos(np.arange(9) * 0.7)]
    table = movie(corral, n_frames=4, jitter=0.1)
    table.loc[(table["true"] == 2) & (table["frame"] >= 2), "x_px"] += 28
    linked = al.link(table)
    assert switches(linked) == 0
    moved = track_events(linked)
    assert moved["kind"].tolist() == ["moved"] and moved["frame"].tolist() == [2]
    assert moved["size_px"].iloc[0] == pytest.approx(28, abs=1.0)
    assert switches(al.link(table, LinkParams(jump_px=-1))) == 1


def test_the_velocity_model_follows_fast_atoms():
    start = square(5, 40.0)
    rng = np.random.default_rng(1)
    speed = rng.normal(0, 12, start.shape)
    rows = [np.c_[np.full(25, t), start + t * speed, np.arange(25)] for t in range(8)]
    v = np.concatenate(rows)
    table = pd.DataFrame(v, columns=["frame", "y_px", "x_px", "true"]).astype(
        {"frame": int, "true": int}
    )
    options = {"search_px": 25.0, "drift": "none", "jump_px": -1.0}
    with_speed = switches(al.link(table, LinkParams(motion="velocity", **options)))
    without = switches(al.link(table, LinkParams(motion="last", **options)))
    assert with_speed < without


def test_tables_and_empty_input():
    table = movie(square(4), n_frames=3).assign(atom_id=np.arange(48), species="C")
    tracks = tracks_table(al.link(table))
    assert list(tracks.columns[: len(tables.TRACKS)]) == list(tables.TRACKS)
    assert tracks["track_id"].is_monotonic_increasing
    nothing = al.link(tables.empty("atoms"))
    assert len(nothing) == 0 and "track_id" in nothing
    assert len(tracks_table(nothing)) == 0 and len(track_events(nothing)) == 0
    one = al.link(table.iloc[:1])
    assert one["track_id"].tolist() == [0]


def test_bad_input_is_a_sentence():
    table = movie(square(4), n_frames=3)
    with pytest.raises(ParameterError, match="no column x_px"):
        al.link(table.drop(columns="x_px"))
    with pytest.raises(ParameterError, match="no position"):
        al.link(table.assign(y_px=np.nan))
    with pytest.raises(ParameterError, match="search_px"):
        al.link(table, LinkParams(search_px=-1))
    with pytest.raises(ParameterError, match="pandas"):
        al.link([1, 2])


def test_drift_does_not_add_up_errors():
    table = movie(square(), n_frames=200, drift=(0.5, 0.2), jitter=0.4)
    linked = al.link(table)
    true = np.arange(200)[:, None] * (0.5, 0.2)
    found = np.c_[linked.attrs["drift"]["drift_y_px"], linked.attrs["drift"]["drift_x_px"]]
    assert np.abs(found - true).max() < 0.3
    drift = estimate_drift(table)
    assert len(drift) == 200 and (drift["drift_err_px"].iloc[1:] > 0).all()
    corrected = remove_drift(table, drift)
    assert (table["y_px"] == corrected["y_px"]).all()
    assert corrected.groupby("true")["y_corr_px"].std().median() < 0.6


def test_drift_from_pixels_is_found_below_a_pixel():
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.standard_normal((120, 120)), 3)
    steps = np.array([(0, 0), (1.3, -2.6), (4.7, -3.1)])
    stack = np.stack([shift(scene, s, order=3, mode="nearest")[10:-10, 10:-10] for s in steps])
    stack += 0.002 * rng.standard_normal(stack.shape)
    found = image_drift(stack)
    np.testing.assert_allclose(found[["drift_y_px", "drift_x_px"]], steps, atol=0.06)
    assert (found["score"] > 0.95).all()


def test_scan_distortion_is_removed_and_raw_places_stay():
    rng = np.random.default_rng(3)
    places = square(14, 11.0)
    table = movie(places, n_frames=30, jitter=0.05).assign(sigma_px=2.5, x_err_px=0.05)
    shear = rng.normal(0, 0.004, 30)
    rows = rng.normal(0, 1.0, (30, 220))
    smooth = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    smooth /= smooth.sum()
    jitter = np.array([np.convolve(r, smooth, "same") for r in rows])
    frame, y = table["frame"].to_numpy(), table["y_px"].to_numpy()
    felt = jitter[frame, np.rint(y).astype(int)]
    table["x_px"] = table["x_px"] + shear[frame] * (y - 90) + felt
    linked = al.link(table)
    better = correct_scan(linked)
    true = places[table["true"], 1]

    def scatter(x):
        off = x - true
        return np.std(off - np.bincount(frame, off)[frame] / np.bincount(frame)[frame])

    assert scatter(better["x_corr_px"]) < 0.45 * scatter(linked["x_corr_px"])
    assert better.attrs["row_jitter_px"] == pytest.approx(np.std(felt), rel=0.4)
    pd.testing.assert_series_equal(better["x_px"], table["x_px"])


def test_a_quiet_scan_is_left_alone():
    table = movie(square(12), n_frames=20, jitter=0.1).assign(sigma_px=2.5, x_err_px=0.1)
    linked = al.link(table)
    better = correct_scan(linked)
    assert better.attrs["row_jitter_px"] == 0
    assert (better["x_corr_px"] - linked["x_corr_px"]).abs().max() < 0.12


def broken_lattice(
    step: float, seed: int, marks: bool, frames: int = 6
) -> tuple[pd.DataFrame, np.ndarray]:
    """Square lattice of 12 px that moves `step` px a frame; with vacancies and a foreign atom."""
    rng = np.random.default_rng(seed_for("test", 2210 + seed))
    y, x = (v.ravel() for v in np.mgrid[-14:26, -14:26] * 12.0)
    there = np.ones(len(y), bool)
    inside = np.flatnonzero((y > 30) & (y < 100) & (x > 30) & (x < 100))
    odd = rng.choice(inside, 4, replace=False)
    there[odd[:3]] = not marks
    height = np.where(np.arange(len(y)) == odd[3], 2.2 if marks else 1.0, 1.0)
    parts = []
    drift = step * np.arange(frames)[:, None] * np.array([np.cos(0.4), np.sin(0.4)])
    for f in range(frames):
        place = np.c_[y, x] + drift[f] + rng.normal(0, 0.2, (len(y), 2))
        seen = np.all((place > 2) & (place < 126), axis=1) & there & (rng.random(len(y)) > 0.01)
        parts.append(pd.DataFrame({
            "frame": f, "y_px": place[seen, 0], "x_px": place[seen, 1],
            "site": np.flatnonzero(seen),
            "amplitude": height[seen] * rng.normal(1, 0.05, seen.sum()),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True), drift


@pytest.mark.parametrize("step", [3.6, 8.4, 16.8, 24.0])
def test_vacancies_and_a_foreign_atom_tell_by_which_vector_a_lattice_moved(step: float) -> None:
    for seed in range(3):
        atoms, drift = broken_lattice(step, seed, marks=True)
        found = al.link(atoms)
        known = pd.DataFrame(found.attrs["drift"])
        np.testing.assert_allclose(known[["drift_y_px", "drift_x_px"]], drift, atol=0.5)
        assert (found.groupby("track_id")["site"].nunique() == 1).mean() > 0.98
        assert "doubt" not in found.attrs


def test_a_perfect_lattice_that_moves_far_says_by_what_it_may_be_off() -> None:
    far, _ = broken_lattice(8.4, 1, marks=False)
    said = al.link(far).attrs["doubt"]
    assert "off by a vector of the lattice" in said and "12." in said
    near, drift = broken_lattice(1.5, 1, marks=False)
    found = al.link(near)
    assert "doubt" not in found.attrs  # a small step is what it seems
    np.testing.assert_allclose(found.attrs["drift"]["drift_y_px"], drift[:, 0], atol=0.3)
