"""Foreign atoms that hop: identities, rates with intervals, the drift of what noise hides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import ParameterError
from napari_atomlens.session.movie_run import defects_of
from napari_atomlens.simulation import faults, seed_for
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.tracking import find_spots, follow, follow_foreign, hop_rates, wave_drift
from napari_atomlens.tracking.walkers import link_walkers

HOP = 9.3
TURN = np.arange(3) * 2 * np.pi / 3 + 0.2
BONDS = HOP * np.c_[-np.sin(TURN), np.cos(TURN)]


def walk(
    rng: np.random.Generator, n: int, frames: int, rate: float, *, once: bool = False,
    room: float = 300.0, noise: float = 0.7, missed: float = 0.03,
) -> pd.DataFrame:  # fmt: skip
    """Atoms that hop along the bonds of a honeycomb; `once` at most between two frames."""
    rows = []
    for k in range(n):
        side, place = int(rng.integers(2)), rng.uniform(0, room, 2)
        for f in range(frames):
            hops = int(rng.random() < rate) if once else int(rng.poisson(rate))
            for _ in range(hops if f else 0):
                place = place + (1 - 2 * side) * BONDS[rng.integers(3)]
                side = 1 - side
            if rng.random() > missed:
                rows.append((f, k, *(place + rng.normal(0, noise, 2))))
    return pd.DataFrame(rows, columns=["frame", "track_id", "y_px", "x_px"]).sort_values("frame")


@pytest.mark.parametrize(("rate", "once"), [(0.3, True), (0.3, False), (0.8, False)])
def test_one_identity_through_hops_misses_and_false_spots(rate: float, once: bool) -> None:
    rng = np.random.default_rng(seed_for("test", 2201))
    right = total = 0
    for _ in range(5):
        t = walk(rng, 4, 50, rate, once=once, room=600.0)
        false = pd.DataFrame({"frame": rng.integers(0, 50, 4), "track_id": -1})
        false[["y_px", "x_px"]] = rng.uniform(0, 600, (4, 2))
        t = pd.concat([t, false]).sort_values("frame", kind="stable")
        found = link_walkers(t["frame"].to_numpy(), t[["y_px", "x_px"]].to_numpy(), HOP, 6 * HOP, 5)
        real = t["track_id"].to_numpy() >= 0
        table = pd.crosstab(t["track_id"].to_numpy()[real], found.track[real])
        right, total = right + int(table.max(axis=1).sum()), total + int(real.sum())
    assert right / total >= 0.98


def test_two_that_may_have_changed_places_are_told_as_doubtful() -> None:
    frame = np.repeat(np.arange(8), 2)
    a = np.c_[np.full(8, 50.0), np.full(8, 50.0)]
    b = np.c_[np.full(8, 50.0), np.full(8, 50.0 + 2 * HOP)]
    a[4:], b[4:] = (50 + 0.9 * HOP, 50 + 1.0 * HOP), (50 - 0.9 * HOP, 50 + 1.0 * HOP)
    place = np.stack([a, b], 1).reshape(-1, 2)
    found = link_walkers(frame, place, HOP, 6 * HOP, 2)
    assert len(np.unique(found.track)) == 2
    chance = found.probability.reshape(8, 2)
    assert (chance[4] < 0.6).all() and (chance[[2, 3, 6]] > 0.95).all()


@pytest.mark.parametrize(("rate", "once"), [(0.2, False), (0.6, False), (0.3, True)])
def test_rates_are_those_of_the_walk_and_intervals_hold_them(rate: float, once: bool) -> None:
    rng = np.random.default_rng(seed_for("test", 2202))
    rates, inside, ways, held = [], 0, 0, 0
    for _ in range(24):
        out = hop_rates(walk(rng, 8, 40, rate, once=once))
        whole, each = out[out["direction_deg"].isna()].iloc[0], out[out["direction_deg"].notna()]
        rates.append(whole["rate"])
        inside += whole["low"] <= rate <= whole["high"]
        ways += len(each)
        held += int(((each["low"] <= rate / 3) & (rate / 3 <= each["high"])).sum())
        assert out.attrs["lattice"] == "honeycomb"
        assert out.attrs["hop_px"] == pytest.approx(HOP, rel=0.08)
    assert np.mean(rates) == pytest.approx(rate, rel=0.05)
    assert inside >= 20 and held / ways > 0.9


def test_rates_by_state_and_in_seconds() -> None:
    rng = np.random.default_rng(seed_for("test", 2203))
    slow, fast = walk(rng, 8, 60, 0.1), walk(rng, 8, 60, 0.6)
    fast["track_id"] += 100
    t = pd.concat([slow.assign(formula="Si1C3"), fast.assign(formula="Si1C4")])
    out = hop_rates(t, state="formula", time_step_s=0.5, pixel_size_nm=0.01)
    by = out[out["direction_deg"].isna()].set_index("state")
    assert by.loc["Si1C3", "rate"] == pytest.approx(0.2, rel=0.3)
    assert by.loc["Si1C4", "rate"] == pytest.approx(1.2, rel=0.25)
    assert by.loc["Si1C4", "d"] == pytest.approx(1.2 * (0.01 * HOP) ** 2 / 4, rel=0.3)
    still = walk(rng, 2, 10, 0.0, noise=0.0)
    with pytest.raises(ParameterError, match="Nothing hops"):
        hop_rates(still)
    with pytest.raises(ParameterError, match="no lattice"):
        hop_rates(t, lattice="round")


@pytest.fixture(scope="module")
def hidden() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Movie of a foreign atom in graphene that noise hides, its places, and the drift."""
    rng = np.random.default_rng(seed_for("test", 2204))
    turns = np.array([0.3, 0.3 + np.pi / 3])
    a = HOP * np.sqrt(3) * np.c_[np.cos(turns), np.sin(turns)]
    ij = np.mgrid[-40:60, -40:60].reshape(2, -1).T
    sites = np.concatenate([ij @ a, (ij + 1 / 3) @ a])
    sites = sites[np.all((sites > -40) & (sites < 260), axis=1)]
    at = int(np.hypot(*(sites - 100).T).argmin())
    drift, data, places = np.zeros(2), [], []
    steps = rng.normal(0, 2.0, (20, 2))
    drifts = []
    for f in range(20):
        drift = drift + (steps[f] if f else 0)
        if f:
            near = np.flatnonzero(np.abs(np.hypot(*(sites - sites[at]).T) - HOP) < 0.1)
            at = int(rng.choice(near))
        height = np.full(len(sites), 1.0)
        height[at] = 5.0
        here = sites + drift
        clean = 1.0 + render_columns((192, 192), here[:, 0], here[:, 1], 2.5 * height, 3.2)
        data.append(faults.shot_noise(clean, rng))
        places.append(here[at])
        drifts.append(drift)
    return np.stack(data), np.array(places), np.array(drifts)


def test_a_foreign_atom_of_a_noisy_movie_is_one_and_each_hop_is_told(
    hidden: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    data, places, drifts = hidden
    spots = find_spots(data)
    off = np.hypot(*(spots[["y_px", "x_px"]].to_numpy() - places[spots["frame"]]).T)
    assert (off < 4).sum() == 20 and (off >= 4).sum() <= 1
    drift, waves = wave_drift(data, spots)
    assert waves is not None and waves.spacing == pytest.approx(HOP, rel=0.03)
    np.testing.assert_allclose(drift[["drift_y_px", "drift_x_px"]], drifts, atol=0.7)
    found = follow_foreign(data)
    assert found.tracks["track_id"].nunique() == 1 and len(found.tracks) >= 19
    hops = found.events[found.events["kind"] == "hopped"]
    assert hops["frame"].tolist() == list(range(1, 20))
    np.testing.assert_allclose(hops["size_px"], HOP, atol=2.5)
    assert (hops["probability"] > 0.9).all()


def test_nothing_foreign_is_found_where_nothing_is() -> None:
    rng = np.random.default_rng(seed_for("test", 2205))
    noise = rng.poisson(20, (6, 96, 96)).astype(float)
    found = follow_foreign(noise)
    assert len(found.tracks) == 0 and len(found.events) == 0
    lattice = al.simulate("honeycomb", (128, 128), 10.0)[0]
    assert len(follow_foreign(np.stack([lattice] * 3)).tracks) == 0


def test_a_window_shows_the_foreign_atom_where_noise_hides_the_lattice(
    hidden: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    data, places, _ = hidden
    rng = np.random.default_rng(seed_for("test", 2206))
    false = pd.DataFrame({"frame": np.repeat(np.arange(20), 30), "species": "column"})
    false[["y_px", "x_px"]] = rng.uniform(0, 191, (len(false), 2))
    false["atom_id"] = np.arange(len(false))
    moving = defects_of(follow(false), data)
    assert moving is not None
    assert moving.tracks["track_id"].nunique() == 1 and len(moving.tracks) >= 19
    off = moving.tracks[["y_px", "x_px"]].to_numpy() - places[moving.tracks["frame"]]
    assert np.hypot(*off.T).max() < 4
