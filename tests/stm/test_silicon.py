"""H-Si(100): rows, dimers, defects, classes on simulated scans."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.simulation.scoring import match
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.stm.assessment import WEIGHTS
from napari_atomlens.stm.params import SiliconAnalysisParams
from napari_atomlens.stm.rows import find_rows
from napari_atomlens.stm.silicon import analyze_silicon
from napari_atomlens.stm.site_kinds import KINDS, ROW_NM

#: The pipeline begins with the assessment, whose network is not trained yet.
pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="no network of the assessment")

SCAN = SiliconParams(
    size_px=320, pixel_size_nm=0.09, steps=1, contaminants=2, tilt=0.01, row_angle_rad=0.6,
    noise_nm=0.005, pink_nm=0.005, defects_per_nm2=0.05, seed=2**33 + 11,
)  # fmt: skip


@pytest.fixture(scope="module")
def analysed():
    scan = simulate_silicon(SCAN)
    return scan, analyze_silicon(scan.image, 0.09)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.6])
def test_rows_have_the_spacing_and_direction_of_the_simulation(angle: float) -> None:
    scan = simulate_silicon(
        SiliconParams(size_px=256, pixel_size_nm=0.09, row_angle_rad=angle, seed=2**33 + 1)
    )
    for known in (0.09, None):
        found = find_rows(scan.image, pixel_size_nm=known)
        assert abs(found.row_px * 0.09 / ROW_NM - 1) < 0.02
        off = (found.angle_rad - angle + np.pi / 2) % np.pi - np.pi / 2
        assert abs(off) < 0.03
        assert found.resolved


def test_noise_has_no_rows() -> None:
    with pytest.raises(CalibrationError, match="rows"):
        find_rows(np.random.default_rng(0).standard_normal((200, 200)))


def test_dimers_are_found_where_they_are(analysed) -> None:
    scan, result = analysed
    found = result.atoms[["y_px", "x_px"]].to_numpy()
    true = scan.dimers[["y_px", "x_px"]].to_numpy()
    seen = scan.dimers["visible"].to_numpy()
    a, b = match(found, true[seen], 0.15 / 0.09)
    assert 2 * len(a) / (len(found) + seen.sum()) > 0.96
    assert np.hypot(*(found[a] - true[seen][b]).T).mean() * 0.09 < 0.03
    at = np.rint(found).astype(int)
    assert scan.contaminated[at[:, 0], at[:, 1]].mean() < 0.03
    assert set(result.atoms["sublattice"]) == {0, 1}
    assert np.allclose(result.atoms["x_nm"], 0.09 * result.atoms["x_px"])


def test_defects_contaminants_and_steps_are_in_one_table(analysed) -> None:
    scan, result = analysed
    table = result.defects
    assert (table["kind"] == "step edge").sum() >= 1
    assert (table["kind"] == "contaminant").sum() >= 1
    assert (table["defect_id"] == np.arange(len(table))).all()
    names = {"frame", "defect_id", "y_px", "x_px", "formula", "kind", "n_atoms", "atom_ids"}
    assert names | {"score"} <= set(table)
    chance = table[[c for c in table if str(c).startswith("p_")]].to_numpy()
    assert chance.shape[1] == len(KINDS)
    small = table[~table["kind"].isin(["step edge", "contaminant"])]
    true = scan.defects[["y_px", "x_px"]].to_numpy()
    clear = true[~scan.contaminated[tuple(np.rint(true).astype(int).T)]]
    a, _ = match(small[["y_px", "x_px"]].to_numpy(), clear, 8)
    assert 2 * len(a) / (len(small) + len(clear)) > 0.75


def test_a_mirrored_scan_gives_the_same_surface(analysed) -> None:
    scan, result = analysed
    turned = analyze_silicon(scan.image[::-1, ::-1], 0.09)
    assert abs(len(turned.atoms) / len(result.atoms) - 1) < 0.05
    assert abs(len(turned.defects) - len(result.defects)) <= 0.2 * len(result.defects) + 3


def test_a_scan_without_rows_needs_a_pixel_size() -> None:
    rng = np.random.default_rng(0)
    flat = 0.01 * rng.standard_normal((128, 128))
    with pytest.raises(CalibrationError, match="pixel size"):
        analyze_silicon(flat)
    result = analyze_silicon(flat, 0.09)
    assert result.atoms.empty and any("not resolved" in m for m in result.messages)
    with pytest.raises(CalibrationError, match="square"):
        analyze_silicon(flat, (0.09, 0.2))
    with pytest.raises(ParameterError):
        analyze_silicon(flat, 0.09, SiliconAnalysisParams(min_probability=0))


def test_mean_shift_recovers_planted_groups() -> None:
    from napari_atomlens.stm.groups import GroupParams, mean_shift

    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (5, 8))
    truth = rng.integers(0, 5, 300)
    x = centres[truth] + 0.3 * rng.standard_normal((300, 8))
    label, width = mean_shift(x)
    assert width > 0 and label.max() == 4
    assert all(len(np.unique(truth[label == k])) == 1 for k in range(5))
    order = rng.permutation(300)
    again, _ = mean_shift(x[order])
    assert (np.bincount(again + 1) == np.bincount(label + 1)).all()
    with pytest.raises(ParameterError):
        mean_shift(x[:2], GroupParams())


def test_groups_of_defects_have_galleries(analysed) -> None:
    from napari_atomlens.stm.groups import group_defects

    _, result = analysed
    groups = group_defects(result.terraces.flat, result.probabilities, result.defects)
    assert len(groups.label) == len(result.defects)
    assert (groups.label[result.defects["kind"] == "step edge"] == -1).all()
    assert len(groups.gallery) == len(groups.table) == groups.label.max() + 1
    assert groups.table["count"].sum() == (groups.label >= 0).sum()


def test_bright_spots_without_the_halo_of_the_others_lose_their_name() -> None:
    from napari_atomlens.stm.silicon import name_by_halo

    rng = np.random.default_rng(0)
    row = 9.0
    y, x = np.mgrid[:300, :300]
    flat = 0.2 * rng.normal(size=(300, 300))
    places = np.stack(np.meshgrid(np.arange(30, 290, 48), np.arange(30, 290, 48)), -1).reshape(
        -1, 2
    )
    charged = rng.random(len(places)) < 0.5
    for (r, c), dark in zip(places, charged, strict=True):
        d2 = (y - r) ** 2 + (x - c) ** 2
        flat += 6 * np.exp(-0.5 * d2 / 2.0**2) - dark * 4 * np.exp(-0.5 * d2 / 11.0**2)
    table = pd.DataFrame(
        {"y_px": places[:, 0].astype(float), "x_px": places[:, 1].astype(float),
         "kind": "dangling bond", "p_dangling_bond": 0.9, "p_adatom": 0.1, "kind_probability": 0.9}
    )  # fmt: skip
    named = name_by_halo(table, flat, row)
    assert ((named["kind"] == "dangling bond").to_numpy() == charged).all()
    assert (table["kind"] == "dangling bond").all()  # what was given is not changed
    moved = named[~charged]
    np.testing.assert_allclose(moved["p_adatom"], 1.0)
    # without halos nobody can tell: the name of the network stands
    alone = name_by_halo(table[~charged].reset_index(drop=True), flat, row)
    assert (alone["kind"] == "dangling bond").all()
