"""Sites of a TMD told by sublattice and amplitude."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.graphs.occupancy import occupy_sites
from napari_atomlens.points import spacing
from napari_atomlens.simulation.crystals import fill
from napari_atomlens.simulation.crystals import tmd as crystal


def film(angle: float, seed: int = 0, n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """WSe2 with single Se, TeSe, 2Te and vacancies on known sites."""
    rng = np.random.default_rng(seed)
    places, basis = fill(crystal(), (n, n), 10.0, angle, (3.0, 5.0), None)
    places = places + rng.normal(0, 0.3, places.shape)
    kind = np.full(len(places), "metal", dtype=object)
    se = basis == 1
    kind[se] = rng.choice(["2Se", "Se", "TeSe", "2Te", "vacancy"], se.sum(),
                          p=[0.8, 0.06, 0.06, 0.06, 0.02])  # fmt: skip
    level = {"metal": 94, "2Se": 70, "Se": 35, "TeSe": 98, "2Te": 125, "vacancy": 0}
    amplitude = np.array([level[k] for k in kind]) + rng.normal(0, 4, len(kind))
    table = pd.DataFrame(
        {"atom_id": np.arange(len(kind)), "y_px": places[:, 0], "x_px": places[:, 1],
         "species": "column", "amplitude": amplitude, "probability": 0.99}
    )  # fmt: skip
    return table[kind != "vacancy"].reset_index(drop=True), np.c_[places, kind]


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.3, 2.9])
def test_occupations_are_the_true_ones(angle: float) -> None:
    table, truth = film(angle)
    sites = occupy_sites(table, names=("Se", "2Se", "TeSe", "2Te"))
    inner = (truth[:, :2].astype(float) > 15).all(1) & (truth[:, :2].astype(float) < 285).all(1)
    places = sites[["y_px", "x_px"]].to_numpy()
    right = 0
    for y, x, kind in truth[inner]:
        k = np.hypot(places[:, 0] - y, places[:, 1] - x).argmin()
        right += sites["occupation"][k] == kind
    assert right > 0.985 * inner.sum()
    empty = sites[sites["atom_id"] < 0]
    true_empty = truth[(truth[:, 2] == "vacancy") & inner]
    for y, x, _ in true_empty:
        assert np.hypot(empty["y_px"] - y, empty["x_px"] - x).min() < 3


def test_a_tmd_of_columns_gets_its_point_defects() -> None:
    table, truth = film(0.4)
    atoms = table.assign(y_nm=table["y_px"] * 0.019, x_nm=table["x_px"] * 0.019)
    found = al.find_defects(al.bond(atoms, "WSe2"))
    counts = found["formula"].value_counts()
    single = int((truth[:, 2] == "Se").sum())
    assert abs(counts["V_Se"] - single) <= 0.1 * single
    assert counts["V_Se2"] >= 1


def test_the_lattice_tells_single_chalcogens_also_after_a_model_of_tmds() -> None:
    table, truth = film(0.4)
    nm = {"y_nm": table["y_px"] * 0.019, "x_nm": table["x_px"] * 0.019}
    metal = dict(zip(map(tuple, truth[:, :2].astype(float)), truth[:, 2] == "metal", strict=True))
    places = zip(table["y_px"], table["x_px"], strict=True)
    said = np.where([metal[p] for p in places], "metal", "chalcogen pair").astype(object)
    one = al.find_defects(al.bond(table.assign(**nm), "WSe2"))["formula"].value_counts()
    two = al.find_defects(al.bond(table.assign(**nm, species=said), "WSe2"))["formula"]
    assert two.value_counts()["V_Se"] == one["V_Se"] > 10


def test_what_the_user_named_is_left_alone() -> None:
    table, _ = film(0.4)
    middle = int(np.hypot(table["y_px"] - 150, table["x_px"] - 150).to_numpy().argmin())
    atoms = table.assign(
        y_nm=table["y_px"] * 0.019, x_nm=table["x_px"] * 0.019, edited=False, frame=0
    )
    before = al.bond(atoms, "WSe2").atoms.set_index("atom_id")["species"]
    mine = int(atoms["atom_id"][middle])
    other = "Mo" if before[mine] != "Mo" else "W"
    atoms.loc[middle, ["species", "edited"]] = [other, True]
    after = al.bond(atoms, "WSe2").atoms.set_index("atom_id")["species"]
    assert after[mine] == other
    shared = before.index.intersection(after.index).drop(mine)
    assert (after[shared] == before[shared]).mean() > 0.999  # the others are told as before


def test_what_is_no_honeycomb_is_one_sentence() -> None:
    table, _ = film(0.0)
    with pytest.raises(ParameterError, match="amplitude"):
        occupy_sites(table.drop(columns="amplitude"))
    with pytest.raises(ParameterError, match="no fit"):
        occupy_sites(table.assign(fit_ok=False))
    with pytest.raises(CalibrationError, match="few atoms"):
        occupy_sites(table.head(5))


def test_without_a_fit_the_classes_of_the_model_decide() -> None:
    table, _ = film(0.4)
    atoms = table.assign(fit_ok=False, y_nm=table["y_px"] * 0.019, x_nm=table["x_px"] * 0.019)
    bright = np.where(table["amplitude"].between(84, 96), "bright column", "column")
    graph = al.bond(atoms.assign(species=bright.astype(object)), "WSe2")
    assert set(graph.atoms["species"]) == {"W", "Se2"}


def test_a_failed_fit_is_an_empty_site_only_where_others_succeed() -> None:
    table, _ = film(0.4)
    rng = np.random.default_rng(1)
    few = np.arange(len(table)) == len(table) // 2
    some = rng.random(len(table)) < 0.3
    for failed, empty in ((few, 1), (some, 0)):
        changed = table.assign(fit_ok=~failed)
        changed.loc[failed, "amplitude"] = 0.1
        sites = occupy_sites(changed)
        mine = sites["atom_id"].isin(table["atom_id"][failed])
        assert (sites["level"][mine] == 0).sum() == empty


def alloy(single: float, heavy: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """MX2 with shares of single chalcogens and of much brighter ones; the kind of each column."""
    rng = np.random.default_rng(seed)
    places, basis = fill(crystal(), (300, 300), 10.0, 0.4, (3.0, 5.0), None)
    kind = np.where(basis == 0, "metal", "pair").astype(object)
    pairs = basis == 1
    kind[pairs] = rng.choice(["pair", "single", "heavy"], pairs.sum(),
                             p=[1 - single - heavy, single, heavy])  # fmt: skip
    level = {"metal": 94, "pair": 70, "single": 35, "heavy": 125}
    amplitude = np.array([level[k] for k in kind]) + rng.normal(0, 3, len(kind))
    table = pd.DataFrame(
        {"atom_id": np.arange(len(kind)), "y_px": places[:, 0], "x_px": places[:, 1],
         "y_nm": places[:, 0] * 0.019, "x_nm": places[:, 1] * 0.019, "species": "column",
         "amplitude": amplitude, "probability": 0.99}
    )  # fmt: skip
    return table, kind


def test_bright_chalcogens_are_bonded_and_no_vacancies() -> None:
    """A rule that was missing left them without bonds, and named a double vacancy on each."""
    table, kind = alloy(0.03, 0.1)
    found = al.find_defects(al.bond(table, "WSe2"))
    assert not found["formula"].str.contains("V_Se2|3V|5V").any()
    heavy = al.bond(table, "WSe2").atoms["species"] == "bright Se2"
    assert heavy.sum() == (kind == "heavy").sum()
    graph = al.bond(table, "WSe2")
    inner = (table[["y_px", "x_px"]] > 15).all(axis=1) & (table[["y_px", "x_px"]] < 285).all(axis=1)
    assert (graph.degree[inner.to_numpy()] == 3).all()


def test_mixed_chalcogens_are_an_alloy_and_not_hundreds_of_vacancies() -> None:
    table, _ = alloy(0.4, 0.0)
    graph = al.bond(table, "WSe2")
    assert "mixed chalcogens" in graph.note
    assert len(al.find_defects(graph)) == 0
    few = al.bond(alloy(0.05, 0.0)[0], "WSe2")
    assert few.note == "" and (few.atoms["species"] == "Se").any()


def test_an_alloy_has_names_without_elements() -> None:
    """Of WS2 with much Se the ratio of volumes is that of MoS2: its metals were called Mo."""
    table, kind = alloy(0.4, 0.0)
    pixel = 0.163 / spacing(table[["y_px", "x_px"]].to_numpy())
    told = table.assign(
        y_nm=table["y_px"] * pixel, x_nm=table["x_px"] * pixel,
        species=np.where(kind == "metal", "bright column", "column"),
    )  # fmt: skip
    rules, why = al.choose_rules(told)
    assert rules.host == ("M", "X2") and "mixed chalcogens" in why and "choose other rules" in why
    assert rules.reference_nm == pytest.approx(0.163, rel=0.01)
    few, _ = alloy(0.05, 0.0)
    same = told.assign(amplitude=few["amplitude"])
    assert al.choose_rules(same)[0].host != ("M", "X2")


def test_one_single_chalcogen_among_hundreds_is_told() -> None:
    table, kind = alloy(0.0, 0.0)
    middle = np.hypot(table["y_px"] - 150, table["x_px"] - 150).to_numpy()
    one, other = np.argsort(np.where(kind == "pair", middle, np.inf))[[0, 40]]
    table.loc[one, "amplitude"] = 38.0
    found = al.find_defects(al.bond(table, "WSe2"))
    assert found["formula"].tolist() == ["V_Se"]
    # a metal on the site of a pair, where metals are much brighter
    metal = np.where(kind == "metal", 3.0, 1.0) * table["amplitude"]
    metal[other] = metal[kind == "metal"].median()
    found = al.find_defects(al.bond(table.assign(amplitude=metal), "MoS2"))
    assert sorted(found["formula"]) == ["Mo_S2", "V_S"]


def test_what_occupancy_says_the_defects_say() -> None:
    table, _ = film(0.4)
    sites = occupy_sites(table, names=("Se", "2Se", "TeSe", "2Te"))
    atoms = table.assign(y_nm=table["y_px"] * 0.019, x_nm=table["x_px"] * 0.019)
    found = al.find_defects(al.bond(atoms, "WSe2"))
    said = found["formula"].str.findall(r"(\d*)V_Se(2?)").explode().dropna()
    single = sum(int(n or 1) for n, two in said if not two)
    assert single == (sites["occupation"] == "Se").sum()
