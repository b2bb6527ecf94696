"""Sites, evidence, anomalies and names: physics with known truth, invariances, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.contours.anomalies import (
    AnomalyParams,
    benjamini_hochberg,
    find_anomalies,
    judge_sites,
    least_of,
    tail,
)
from napari_atomlens.contours.evidence import EvidenceParams, describe_sites, kinds
from napari_atomlens.contours.naming import name_defects
from napari_atomlens.contours.report import describe_all
from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.lattice.sites import complete_sites
from napari_atomlens.progress import Progress
from napari_atomlens.simulation.surfaces import manganite, ws2


def found(truth: pd.DataFrame, size: int, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Atoms as a finder would give them, with errors of position (px)."""
    rng = np.random.default_rng(seed)
    inner = (truth[["y_px", "x_px"]] > 0).all(axis=1) & (truth[["y_px", "x_px"]] < size - 1).all(
        axis=1
    )
    there = truth[inner & (truth.get("amplitude", pd.Series(1.0, truth.index)) > 0)]
    n = len(there)
    return tables.make("atoms", {
        "frame": 0, "atom_id": np.arange(n), "species": "column", "source": "fit",
        "y_px": there.y_px.to_numpy() + rng.normal(0, noise, n),
        "x_px": there.x_px.to_numpy() + rng.normal(0, noise, n),
        "amplitude": there.get("amplitude", pd.Series(1.0, there.index)).to_numpy(),
    }, n)  # fmt: skip


def nearest_truth(sites: pd.DataFrame, truth: pd.DataFrame, names: tuple[str, str]) -> np.ndarray:
    return cKDTree(truth[list(names)]).query(sites[["y_px", "x_px"]])[1]


@pytest.fixture(scope="module")
def surface() -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    image, truth = manganite(600, seed=11)
    sites = describe_sites(image, found(truth, len(image), 0.15))
    return image, truth, sites


def test_evidence_measures_displacement_and_stretch(surface) -> None:
    _, truth, sites = surface
    near = truth.iloc[nearest_truth(sites, truth, ("site_y_px", "site_x_px"))].reset_index(
        drop=True
    )
    ok = sites.raw_strength.notna().to_numpy()
    moved = ok & (near.kind == "moved").to_numpy()
    real = (near.y_px - near.site_y_px).to_numpy()[moved]
    assert np.corrcoef(real, sites.raw_moved_y_px[moved])[0, 1] > 0.95
    assert np.polyfit(real, sites.raw_moved_y_px[moved], 1)[0] == pytest.approx(0.85, abs=0.2)
    stretched = ok & (near.kind == "stretched").to_numpy()
    assert sites.raw_aspect[stretched].median() == pytest.approx(1.3, abs=0.08)
    turn = (sites.raw_orientation_rad - near.angle_rad)[stretched]
    assert np.abs(np.angle(np.exp(2j * turn).mean())) / 2 < np.deg2rad(6)
    ordinary = ok & (near.kind == "ordinary").to_numpy()
    assert abs(sites.raw_strength[ordinary].median() - 1) < 0.01


def test_anomalies_of_a_surface(surface) -> None:
    _, truth, sites = surface
    table = find_anomalies(sites)
    kind = truth.kind.to_numpy()[nearest_truth(sites, truth, ("site_y_px", "site_x_px"))]
    ok = table.anomaly_p.notna().to_numpy()
    assert roc_auc_score(kind[ok] != "ordinary", table.anomaly_score[ok]) > 0.97
    flagged = table.anomaly.to_numpy()
    assert flagged.sum() >= 5 and (kind[flagged] == "ordinary").mean() < 0.25
    moved = flagged & (kind == "moved")
    assert table.anomaly_reason[moved].str.contains("moved").all()
    assert (table.anomaly_reason[~table.anomaly] == "").all()


def test_clean_surfaces_are_left_alone() -> None:
    share = []
    for seed in range(3):
        image, truth = manganite(500, seed=20 + seed, anomalous=0.0)
        share.append(
            find_anomalies(describe_sites(image, found(truth, len(image), 0.15))).anomaly.mean()
        )
    assert np.mean(share) < 0.01


def test_scan_lines_are_found_and_taken_out() -> None:
    quiet, truth = manganite(400, seed=5, anomalous=0.0, line_noise=0.0)
    lines = quiet + 0.5 * np.random.default_rng(0).normal(size=(len(quiet), 1))
    atoms = found(truth, len(quiet), 0.1)
    spread = {}
    for name, image in (("quiet", quiet), ("lines", lines)):
        for mode in ("auto", "no"):
            sites = describe_sites(image, atoms, params=EvidenceParams(scan_lines=mode))
            spread[name, mode] = sites.raw_stretch_x.std()
    assert spread["quiet", "auto"] == pytest.approx(spread["quiet", "no"])
    assert spread["lines", "auto"] < 0.5 * spread["lines", "no"]


@pytest.fixture(scope="module")
def monolayer() -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    image, truth = ws2(1000, shape=(300, 320), seed=4, vacancies=0.06, metals=0.05)
    return image, truth, found(truth, 300, 0.1)


def test_sublattices_and_vacant_sites_are_found(monolayer) -> None:
    _, truth, atoms = monolayer
    sites = complete_sites(atoms)
    real = truth.sublattice.to_numpy()[nearest_truth(sites, truth, ("y_px", "x_px"))]
    known = sites.sublattice.to_numpy() >= 0
    assert known.mean() > 0.95 and (sites.sublattice.to_numpy()[known] == real[known]).all()
    vacant = sites[sites.source == "lattice"]
    places = truth[["y_px", "x_px"]].to_numpy()
    gone = truth[(truth.amplitude == 0) & (places > 15).all(1) & (places < 285).all(1)]
    distance, _ = cKDTree(vacant[["y_px", "x_px"]]).query(gone[["y_px", "x_px"]])
    assert len(gone) and (distance < 2).all()
    assert len(sites.atom_id.unique()) == len(sites)


def test_a_measured_lattice_is_taken_as_it_is(monolayer) -> None:
    _, _, atoms = monolayer
    measured = atoms.assign(sublattice=1, site_y_px=atoms.y_px + 1, site_x_px=atoms.x_px)
    sites = complete_sites(measured)
    pd.testing.assert_frame_equal(sites.iloc[: len(atoms)][list(measured)], measured)
    assert set(kinds(sites)) == {"sublattice B"}
    # what is left is vacant: the same as where nothing is known, and as the lattice says
    vacant = sites.iloc[len(atoms) :]
    lattice = al.measure_lattice(atoms).atoms
    for other in (complete_sites(atoms), lattice):
        other = other[other.source == "lattice"]
        assert len(vacant) == len(other) == 4  # as many as the truth has away from the border
        np.testing.assert_array_equal(vacant[["y_px", "x_px"]], other[["y_px", "x_px"]])
    pd.testing.assert_frame_equal(complete_sites(lattice), lattice)


def test_point_defects_get_their_names(monolayer) -> None:
    image, truth, atoms = monolayer
    named = name_defects(find_anomalies(describe_sites(image, atoms)))
    said = named.defect.to_numpy()
    real = truth.defect.to_numpy()[nearest_truth(named, truth, ("y_px", "x_px"))]
    place = named[["y_px", "x_px"]].to_numpy()
    inner = ((place > 12) & (place < 287)).all(1)
    for name in ("V_S", "V_S2", "M_W", "M_W+V_S"):
        mine, there = inner & (said == name), inner & (real == name)
        assert there.sum() > 0
        assert (mine & there).sum() >= 0.9 * max(mine.sum(), there.sum()), name
    gone = inner & (said == "V_S2")
    assert named.anomaly_reason[gone].str.contains("nothing there").all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-100, 100))
def test_scores_do_not_depend_on_units(seed, scale, shift) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 3))
    names = ["a", "b", "c"]
    z, distance, p = judge_sites(values, names)
    z2, distance2, p2 = judge_sites(values * scale + shift, names)
    np.testing.assert_allclose(z, z2, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(distance, distance2, rtol=1e-5)
    np.testing.assert_allclose(p, p2, rtol=1e-3)


def test_p_values_of_ordinary_sites_are_fair_or_cautious() -> None:
    rng = np.random.default_rng(1)
    light = np.concatenate(
        [judge_sites(rng.normal(size=(500, 4)), list("abcd"))[2] for _ in range(20)]
    )
    assert 0.02 < (light < 0.05).mean() < 0.07
    heavy = rng.standard_t(6, size=(4000, 2))
    d2 = (heavy**2).sum(1)
    p = tail(d2 * stats.chi2.ppf(0.5, 2) / np.median(d2), 2)
    assert (p < 1e-4).mean() < 6e-4 < (stats.chi2.sf(d2, 2) < 1e-4).mean()
    assert least_of(np.full((3, 1), 1e-4))[0] == pytest.approx(3e-4, rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 0.3))
def test_benjamini_hochberg_is_its_step_up_rule(values, rate) -> None:
    p = np.array(values)
    q = benjamini_hochberg(p)
    order = np.sort(p)
    # the step-up rule, away from ties of rounding
    margin = np.abs(order - rate * np.arange(1, len(p) + 1) / len(p))
    passed = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / len(p))
    expected = p <= order[passed[-1]] if len(passed) else np.zeros(len(p), bool)
    if margin.min() > 1e-9:
        assert ((q <= rate) == expected).all()
    assert (q >= p - 1e-12).all()


def test_the_order_of_rows_and_missing_values_do_no_harm(surface) -> None:
    _, _, sites = surface
    shuffled = sites.sample(frac=1, random_state=1)
    a = find_anomalies(sites).set_index("atom_id")
    b = find_anomalies(shuffled).set_index("atom_id").loc[a.index]
    np.testing.assert_allclose(a.anomaly_score, b.anomaly_score, rtol=0.1, atol=0.1)
    assert (a.anomaly == b.anomaly).mean() > 0.995
    holed = sites.copy()
    holed.loc[:5, "raw_wider"] = np.nan
    assert find_anomalies(holed).anomaly_p[:6].isna().all()


def test_few_sites_are_not_judged_and_columns_can_be_chosen(surface) -> None:
    _, _, sites = surface
    assert find_anomalies(sites[:20]).anomaly_p.isna().all()
    table = find_anomalies(sites, AnomalyParams(columns="raw_strength, log raw_misfit"))
    assert table.anomaly_p.notna().sum() > 400
    with pytest.raises(ParameterError, match="no_such"):
        find_anomalies(sites, AnomalyParams(columns="no_such"))
    with pytest.raises(ParameterError, match=r"\.$"):
        find_anomalies(sites[["frame", "atom_id"]])
    with pytest.raises(ParameterError, match="rate"):
        find_anomalies(sites, AnomalyParams(rate=0))


def test_bad_images_are_refused(surface) -> None:
    image, truth, _ = surface
    atoms = found(truth, len(image))
    with pytest.raises(ImageError, match=r"\.$"):
        describe_sites(image[0], atoms)
    with pytest.raises(ImageError, match=r"\.$"):
        describe_sites(image, atoms.assign(frame=3))
    assert len(describe_sites(image, atoms.iloc[:0])) == 0
    alone = describe_sites(image, atoms.iloc[:1])
    assert np.isnan(alone.raw_strength).all()
    holes = image.copy()
    holes[10:14] = np.nan
    assert describe_sites(holes, atoms).raw_strength.notna().sum() > 400


def test_everything_in_one_table_frame_by_frame(surface) -> None:
    image, truth, _ = surface
    atoms = found(truth, len(image), 0.1)
    movie = np.stack([image, image])
    both = pd.concat([atoms, atoms.assign(frame=1, atom_id=atoms.atom_id + 10_000)])
    p = (image - image.min()) / np.ptp(image)
    steps = list(describe_all(movie, both, np.stack([p, p]), pixel_size_nm=(0.02, 0.02)))
    assert [s[:2] for s in steps] == [(1, 2), (2, 2)] and steps[0][2] is None
    table = steps[-1][2]
    assert table is not None and {"area_px2", "area_nm2", "raw_strength", "anomaly_q"} <= set(table)
    assert len(table) == len(table.atom_id.unique()) >= len(both)
    assert not list(describe_all(movie, both, progress=Progress(stop=lambda: True)))
