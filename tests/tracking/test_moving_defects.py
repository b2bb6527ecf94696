"""Defects in motion: identities through hops, what they become, when they meet, how fast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import ParameterError
from napari_atomlens.simulation import movies, seed_for
from napari_atomlens.tracking import (
    MovingDefectParams,
    estimate_diffusion,
    follow_defects,
    transition_matrix,
)


def grid(n_frames: int, drift: tuple[float, float] = (0.0, 0.0), spacing: float = 8.0):
    """Atoms of a square lattice that drifts, at the same sites in all frames."""
    y, x = (v.ravel() for v in np.mgrid[2:15, 2:15] * spacing)
    parts = [
        pd.DataFrame({"frame": f, "y_px": y + f * drift[0], "x_px": x + f * drift[1]})
        for f in range(n_frames)
    ]
    return pd.concat(parts, ignore_index=True)


def rows(*given: tuple[int, float, float, str]) -> pd.DataFrame:
    table = pd.DataFrame(given, columns=["frame", "y_px", "x_px", "formula"])
    return table.assign(defect_id=np.arange(len(table)), kind="vacancy")


def test_a_defect_keeps_its_identity_through_hops_and_drift():
    drift = (1.5, -0.7)
    path = [(40, 40), (40, 40), (48, 40), (48, 48), (48, 48), (56, 48)]
    d = rows(*((f, y + 1.5 * f, x - 0.7 * f, "V") for f, (y, x) in enumerate(path)))
    out = follow_defects(d, grid(6, drift))
    assert out.tracks["track_id"].nunique() == 1
    hops = out.events
    assert hops["kind"].tolist() == ["hopped"] * 3 and hops["frame"].tolist() == [2, 3, 5]
    np.testing.assert_allclose(hops["size_px"], 8, atol=0.05)
    np.testing.assert_allclose(out.tracks[["y_corr_px", "x_corr_px"]], path, atol=0.05)
    # rows in another order change nothing
    again = follow_defects(d.sample(frac=1, random_state=1), grid(6, drift))
    pd.testing.assert_frame_equal(again.tracks, out.tracks)


def test_two_that_meet_and_part_are_told():
    d = rows(
        (0, 40, 40, "V"), (0, 56, 40, "V"), (1, 40, 40, "V"), (1, 56, 40, "V"),
        (2, 46, 40, "2V"), (3, 46, 40, "2V"),
        (4, 40, 40, "V"), (4, 56, 40, "V"), (5, 40, 40, "V"), (5, 56, 40, "V"),
    )  # fmt: skip
    out = follow_defects(d, grid(6), MovingDefectParams(max_gap=0))
    told = out.events.set_index("kind")
    assert set(told.index) >= {"met", "split", "became 2V", "became V"}
    assert told.loc["met", "frame"] == 2 and told.loc["split", "frame"] == 4
    survivor = told.loc["became 2V", "track_id"]
    assert told.loc["met", "other"] == survivor == told.loc["split", "other"]
    table = transition_matrix(out.tracks)
    grown = table[(table["from"] == "V") & (table["to"] == "2V")]
    assert grown["count"].item() == 1


def test_nothing_and_nonsense():
    none = rows().astype({"frame": int, "y_px": float, "x_px": float})
    out = follow_defects(none, grid(3))
    assert not len(out.tracks) and not len(out.events)
    lost = rows((0, np.nan, 3.0, "V"), (0, 40.0, 40.0, "V"))
    assert len(follow_defects(lost, grid(2)).tracks) == 1
    with pytest.raises(ParameterError, match="formula"):
        follow_defects(lost.drop(columns="formula"), grid(2))
    with pytest.raises(ParameterError, match="max_gap"):
        follow_defects(lost, grid(2), MovingDefectParams(max_gap=-2))
    with pytest.raises(ParameterError, match="too few atoms"):
        follow_defects(lost, grid(1).iloc[:1])


def test_diffusion_of_vacancies_that_hop_on_a_sublattice():
    # known truth of the WS2 movie, without pixels: 2e-3 nm2/s
    movie = movies.ws2_decomposing(128, 40, d_nm2_s=2e-3, holes=0, fragments=0, n_vacancies=20,
                                   seed=seed_for("test", 77))  # fmt: skip
    t = movie.truth
    d = t.assign(defect_id=np.arange(len(t)), formula="V_S", kind="vacancy")
    spacing = 0.315 / np.sqrt(3) / movie.pixel_size_nm
    drift = pd.DataFrame(
        {"frame": np.arange(40), "drift_y_px": movie.drift[:, 0], "drift_x_px": movie.drift[:, 1]}
    )
    out = follow_defects(d, grid(1, spacing=spacing), drift=drift)
    merged = out.tracks.merge(t, on=["frame", "y_px", "x_px"])
    assert len(merged) == len(t)
    same = merged.groupby("id")["track_id"].nunique()
    assert (same == 1).mean() > 0.6  # hops of two steps at once are beyond any reach
    found = estimate_diffusion(
        out.tracks, pixel_size_nm=movie.pixel_size_nm, time_step_s=movie.time_step_s
    )
    assert 1.2e-3 < found.d < 2.8e-3


@pytest.mark.needs_model
def test_vacancies_of_the_simulated_movie_from_pixels_to_tracks():
    movie = movies.ws2_decomposing(160, 8, n_vacancies=12, holes=0, fragments=0,
                                   seed=seed_for("test", 78))  # fmt: skip
    result = al.analyze(
        movie.data, pixel_size_nm=movie.pixel_size_nm, keep_maps=False,
        params=al.AnalysisParams(contours=False),
    )  # fmt: skip
    out = follow_defects(result.defects, result.atoms)
    t = out.tracks[out.tracks["formula"] == "V_S"]
    near = t.merge(movie.truth, on="frame", suffixes=("", "_true"))
    near = near[np.hypot(near["y_px"] - near["y_px_true"], near["x_px"] - near["x_px_true"]) < 3]
    assert len(near) > 0.95 * len(movie.truth)
    assert (near.groupby("id")["track_id"].nunique() <= 2).mean() > 0.9
