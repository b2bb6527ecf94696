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
from napari_atomlens.graphs import choose_rules, learn_bounds
from napari_atomlens.graphs.rules import BondRule, Rules, SpeciesRule, preset, presets


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
    assert not choose_rules(wide)[0].share_neighbours  # a TMD
    half = np.where(np.arange(len(seen)) % 2, "bright column", "column").astype(object)
    other, why = choose_rules(seen.assign(species=half))  # a TMD whose scale is off
    assert not other.share_neighbours and "scaled" in why
    none = seen.assign(y_nm=np.nan, x_nm=np.nan)
    assert choose_rules(none)[0].name == "graphene-si"
    y, x = np.mgrid[:12, :12]
    square = pd.DataFrame({"y_px": 10.0 * y.ravel(), "x_px": 10.0 * x.ravel(), "species": "column"})
    assert choose_rules(square)[0].name == "perovskite"
    assert choose_rules(square.iloc[:1])[0].name == "generic"


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
