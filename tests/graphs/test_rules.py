"""Rules as data: presets, TOML, and sentences for what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.graphs import bond, choose_rules, find_defects, learn_bounds
from napari_atomlens.graphs.rules import BondRule, Rules, SpeciesRule, preset, presets
from napari_atomlens.simulation.crystals import dumbbell, fill, tmd


@pytest.mark.parametrize("name", list(presets()))
def test_presets_survive_toml(name: str, tmp_path: Path) -> None:
    rules = preset(name)
    assert Rules.load(rules.save(tmp_path / "mine.toml")) == rules


def test_published_and_wide_presets_have_the_bounds_that_the_literature_and_we_name() -> None:
    published, wide = preset("graphene-si-published"), preset("graphene-si")
    for rules, si_c, si_si, most in ((published, 0.210, 0.250, 4), (wide, 0.240, 0.300, 6)):
        _, high = rules.bounds(("C", "Si"))
        assert high[0, 1] == si_c and high[1, 1] == si_si
        assert rules.species_rule("Si").max_coordination == most


def test_special_rules_win_over_wildcards() -> None:
    rules = Rules("r", ("A",), (BondRule("A", "B", 0.1, 0.2), BondRule("*", "*", 0.3, 0.4)))
    low, high = rules.bounds(("A", "B"))
    np.testing.assert_allclose(high, [[0.4, 0.2], [0.2, 0.4]])
    np.testing.assert_allclose(low, [[0.3, 0.1], [0.1, 0.3]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": ()}, "host"),
        ({"bonds": ()}, "no bond"),
        ({"bonds": (BondRule("C", "C", 0.2, 0.1),)}, "C-C"),
        ({"bonds": (BondRule("C", "C", 0.1, float("nan")),)}, "C-C"),
        ({"bonds": (BondRule("C", "Si", 0.1, 0.2), BondRule("Si", "C", 0.1, 0.3))}, "two bonds"),
        ({"species": (SpeciesRule("C", 4, 3),)}, "coordination of C"),
        ({"ring_size": 2}, "ring_size"),
    ],
)
def test_impossible_rules_are_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        dataclasses.replace(preset("graphene"), **change)


@pytest.mark.parametrize(
    "text",
    ["host = [", "name = 'x'", "host = ['C']\nbonds = [{a='C'}]", "nonsense = 1\nbonds = []"],
)
def test_damaged_files_are_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises((FormatError, ParameterError)) as caught:
        Rules.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="could not be read"):
        Rules.load(tmp_path / "missing.toml")
    with pytest.raises(ParameterError, match="There are no rules"):
        preset("granite")


def test_rules_are_chosen_by_lattice_and_scale(
    sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["Si1C3"])
    assert choose_rules(atoms)[0].name == "graphene-si"  # by the names of the species
    seen = atoms.assign(
        species=np.where(atoms["species"] == "Si", "bright column", "column").astype(object)
    )
    rules, why = choose_rules(seen)
    assert rules.name == "graphene-si" and "142 pm apart" in why
    wide = seen.assign(y_nm=seen["y_nm"] * 0.19 / 0.142, x_nm=seen["x_nm"] * 0.19 / 0.142)
    assert choose_rules(wide)[0].name == "generic"  # one kind of column is no TMD
    _, basis = fill(tmd(), (240, 240), 12.0, 0.3, (3.0, 5.0), None)
    unnamed = in_turn(0.19, 0.6).assign(
        species="column", amplitude=np.where(basis == 0, 50.0, 30.0)
    )
    assert choose_rules(unnamed)[0].name == "WSe2"  # two kinds are, whatever the model called them
    none = seen.assign(y_nm=np.nan, x_nm=np.nan)
    assert choose_rules(none)[0].name == "graphene-si"
    y, x = np.mgrid[:12, :12]
    square = pd.DataFrame({"y_px": 10.0 * y.ravel(), "x_px": 10.0 * x.ravel(), "species": "column"})
    assert choose_rules(square)[0].name == "perovskite"
    assert choose_rules(square.iloc[:1])[0].name == "generic"


def in_turn(nm: float, dim: float, known: bool = True) -> pd.DataFrame:
    """A honeycomb of two kinds of columns in turn, so many nm apart; volumes 1 : dim."""
    places, basis = fill(tmd(), (240, 240), 12.0, 0.3, (3.0, 5.0), None)
    pixel = nm / 12 if known else np.nan
    return pd.DataFrame(
        {"y_px": places[:, 0], "x_px": places[:, 1], "y_nm": pixel * places[:, 0],
         "x_nm": pixel * places[:, 1], "volume": np.where(basis == 0, 100.0, 100 * dim),
         "species": np.where(basis == 0, "bright column", "column").astype(object)}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nm", "dim", "name", "words"),
    [
        (0.1446, 0.56, "h-BN", "h-BN"),
        (0.1824, 0.45, "MoS2", "MoS2"),
        (0.1819, 0.18, "mx2", "mx2"),
        (0.1894, 0.70, "WSe2", "if the brighter columns are the metal"),
        (0.1824 * 1.06, 0.45, "WSe2", ""),
        (0.1824 * 1.4, 0.45, "generic", "the pixel size is wrong"),
        (0.1824 / 1.4, 0.45, "generic", "the pixel size is wrong"),
    ],
)
def test_names_of_a_crystal_need_its_distance(nm: float, dim: float, name: str, words: str) -> None:
    rules, why = choose_rules(in_turn(nm, dim))
    assert rules.name == name and words in why


def test_dumbbells_as_near_as_carbon_are_no_graphene() -> None:
    places, basis = fill(dumbbell(), (240, 240), 12.0, 0.3, (3.0, 5.0), None)
    nm = places * 0.1413 / 12  # GaAs <110>
    atoms = pd.DataFrame(
        {"y_px": places[:, 0], "x_px": places[:, 1], "y_nm": nm[:, 0], "x_nm": nm[:, 1],
         "species": np.where(basis == 0, "bright column", "column").astype(object)}
    )  # fmt: skip
    for table in (atoms, atoms.assign(species="column"), atoms.assign(y_nm=np.nan, x_nm=np.nan)):
        rules, why = choose_rules(table)
        assert rules.name == "generic" and "dumbbells" in why


def test_without_a_pixel_size_no_element_is_named() -> None:
    atoms = in_turn(0.18, 0.4, known=False)
    rules, why = choose_rules(atoms)
    assert rules.name == "MX2" and "no element" in why
    inner = (atoms[["y_px", "x_px"]] > 60).all(axis=1) & (atoms[["y_px", "x_px"]] < 180).all(axis=1)
    gone = atoms.index[inner & (atoms["species"] == "column")][[3, 12]]
    found = find_defects(bond(atoms.drop(gone).reset_index(drop=True), rules))
    assert set(found["formula"]) <= {"V_X2", "2V_X2"} and len(found) >= 1


@pytest.mark.parametrize("scale", [0.93, 1.0, 1.08])
def test_bounds_are_learned_from_the_distances(
    scale: float, sheets: dict[str, Any], table: Callable[..., pd.DataFrame]
) -> None:
    atoms = table(sheets["Si3C6"])
    rng = np.random.default_rng(0)
    jitter = rng.normal(0, 0.006, (len(atoms), 2))
    atoms[["y_nm", "x_nm"]] = scale * (atoms[["y_nm", "x_nm"]] + jitter)
    learned = learn_bounds(atoms, preset("graphene-si"))
    bounds = {frozenset((r.a, r.b)): r.max_nm / scale for r in learned.bonds}
    assert 0.165 < bounds[frozenset("C")] < 0.215
    assert learned.reference_nm == pytest.approx(0.142 * scale, rel=0.05)
    with pytest.raises(ParameterError, match="two host atoms"):
        learn_bounds(atoms.assign(species="Si"), preset("graphene-si"))
