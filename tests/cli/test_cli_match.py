"""``atomlens match``: atoms and a crystal in; sites, regions and defects out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

import napari_atomlens as al
from napari_atomlens.cli.commands.match import parse_axis
from napari_atomlens.graphs.crystals import find_crystal
from napari_atomlens.graphs.views import views_of
from napari_atomlens.simulation.column_lists import Told, list_columns


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    """Columns of CdTe along [110], with two vacant sites or so."""
    view = views_of(find_crystal("CdTe"), (1, 1, 0))[0]
    drawn = list_columns(view, np.random.default_rng(1), Told(missing=0.01), n_columns=300,
                         pixel_size_nm=0.02, scale=1.02)  # fmt: skip
    return al.write_atoms(tmp_path / "cdte.csv", drawn.atoms)


def test_tables_of_a_match(columns: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("match", columns, "--crystal", "CdTe", "--pixel-size", 0.02, "--out", out)
    assert done.stdout.startswith("cdte.csv: CdTe along [110], [001] at ")
    assert f"-> {out}" in done.stdout.replace("\n", " ")
    assert {p.name for p in out.iterdir()} == {
        "matched.csv", "matches.csv", "defects.csv", "provenance.json",
    }  # fmt: skip
    matched = pd.read_csv(out / "matched.csv")
    assert set(matched["elements"]) == {"Cd", "Te"}
    match = pd.read_csv(out / "matches.csv").iloc[0]
    assert match["zone_axis"] == "[110]"
    assert match["scale"] == pytest.approx(1.02, abs=0.005)
    assert match["polarity_probability"] > 0.95
    record = json.loads((out / "provenance.json").read_text())["match"]
    assert record["crystal"] == "CdTe" and record["parameters"]["scale_tolerance"] == 0.15


@pytest.mark.parametrize("text", ["1-10", "[1-10]", "1,-1,0", "1 -1 0"])
def test_an_axis_as_the_matches_write_it(text: str) -> None:
    assert parse_axis(text) == [1, -1, 0]


def test_the_best_of_several_along_an_axis(columns: Path, tmp_path: Path) -> None:
    done = run("match", columns, "--crystal", "Au", "--crystal", "CdTe", "--axis", "[110]",
               "--pixel-size", 0.02, "--exponent", 1.6, "--out", tmp_path / "out")  # fmt: skip
    assert "CdTe along [110]" in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--crystal", "graphene"), "graphene does not fit these columns"),
        (("--crystal", "CdTee"), "did you mean CdTe"),
        (("--crystal", "CdTe", "--axis", "1,1"), "must be like 1,1,0"),
        (("--crystal", "none.cif"), "There is no file none.cif"),
        ((), "crystal"),
    ],
)
def test_mistakes_are_one_sentence(columns: Path, more: tuple[str, ...], said: str) -> None:
    done = run("match", columns, "--pixel-size", 0.02, *more, code=2)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
