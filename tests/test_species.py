"""Species told by the sublattice and the fitted volumes, for any crystal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.lattice.species import kinds_of, named_by_lattice
from napari_atomlens.simulation import crystals

UNIVERSAL = ("column", "bright column")
TMD = ("metal", "chalcogen pair", "single chalcogen", "light metal", "heavy metal")


def table_of(
    crystal: crystals.Crystal, volumes: list[float], noise: float, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Atoms of a crystal with a volume for each column of its basis, and which it is."""
    rng = np.random.default_rng(seed)
    places, basis = crystals.fill(crystal, (260, 260), 10.0, 0.3, (3.0, 5.0), None)
    volume = np.asarray(volumes)[basis] * np.exp(rng.normal(0, noise, len(basis)))
    # a wedge: twice as bright on the right
    volume = 100 * volume * (1 + places[:, 1] / 260)
    places = places + rng.normal(0, 0.2, places.shape)
    table = al.simulate("square", (64, 64), 10.0)[1].atoms().head(1)
    atoms = pd.concat([table] * len(places), ignore_index=True).assign(
        y_px=places[:, 0], x_px=places[:, 1], atom_id=np.arange(len(places)), volume=volume,
        amplitude=volume / 20, volume_err=noise * volume, fit_ok=True, species="column",
        species_probability=0.8, probability=0.99, unfamiliar=0.0,
    )  # fmt: skip
    return atoms, basis


@pytest.mark.parametrize(
    ("crystal", "volumes", "noise"),
    [
        (crystals.tmd(), [1.0, 0.75], 0.15),  # WSe2
        (crystals.tmd(), [0.55, 1.0], 0.20),  # h-BN
        (crystals.perovskite(), [1.0, 0.5], 0.20),  # SrTiO3
        (crystals.perovskite(), [0.75, 1.0], 0.20),  # SrRuO3: the cell itself is told by volumes
        (crystals.dumbbell(), [1.0, 1.12], 0.05),  # GaAs
    ],
)
def test_a_column_is_what_its_sublattice_is(crystal, volumes, noise) -> None:
    atoms, basis = table_of(crystal, volumes, noise)
    named, _ = named_by_lattice(atoms, UNIVERSAL)
    bright = (named["species"] == "bright column").to_numpy()
    assert (bright == (np.asarray(volumes)[basis] == 1.0 * max(volumes))).mean() > 0.98
    sure = named["species_probability"].to_numpy()
    assert ((sure > 0.5) & (sure <= 1)).mean() > 0.99 and sure.mean() > 0.9


def test_three_kinds_of_columns_have_three_names() -> None:
    lead_bromide = crystals._crystal(
        "halide", [[0, 2], [2, 0]], [[0, 0], [1, 1], [0, 1], [1, 0]], [1.0, 0.41, 0.19, 0.19]
    )
    atoms, basis = table_of(lead_bromide, [1.0, 0.41, 0.19, 0.19], 0.1)
    species = named_by_lattice(atoms, UNIVERSAL)[0]["species"].to_numpy()
    names = np.array(["bright column", "column", "faint column", "faint column"])
    assert (species == names[basis]).mean() > 0.98


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_equal_columns_stay_as_they_were(noise: float) -> None:
    # three-fold astigmatism: one sublattice of graphene seems a tenth brighter
    atoms, _ = table_of(crystals.honeycomb(), [1.0, 0.9], noise)
    named, sentence = named_by_lattice(atoms, UNIVERSAL)
    assert (named["species"] == "column").all() and not sentence
    assert named["species_probability"].equals(atoms["species_probability"])
    assert (kinds_of(atoms).level == -1).all()


def test_a_clear_exception_keeps_its_brightness_and_an_odd_one_its_place() -> None:
    atoms, basis = table_of(crystals.tmd(), [1.0, 0.35], 0.05)
    middle = np.hypot(atoms["y_px"] - 130, atoms["x_px"] - 130).to_numpy()
    one, other = np.flatnonzero((basis == 1) & (middle < 60))[[0, 5]]
    far = np.flatnonzero((basis == 0) & (middle < 60))[3]
    volume = atoms["volume"].to_numpy(copy=True)
    volume[one] /= 0.35  # an antisite: as bright as a metal
    volume[other] *= 0.5  # a single chalcogen
    volume[far] *= 0.6  # a lighter metal
    named = named_by_lattice(atoms.assign(volume=volume), UNIVERSAL)[0]["species"].to_numpy()
    assert named[one] == "bright column"
    assert named[other] == "column" and named[far] == "bright column"


def test_a_model_of_one_material_is_overruled_only_with_a_probability() -> None:
    atoms, basis = table_of(crystals.tmd(), [1.0, 0.75], 0.12)
    said = np.where(basis == 0, "metal", "chalcogen pair").astype(object)
    wrong = np.flatnonzero(basis == 0)[100:106]
    said[wrong] = "chalcogen pair"
    light = np.flatnonzero(basis == 0)[40:44]
    said[light] = "light metal"
    volume = atoms["volume"].to_numpy(copy=True)
    volume[light] *= 0.5
    named, _ = named_by_lattice(atoms.assign(species=said, volume=volume), TMD)
    after = named["species"].to_numpy()
    assert (after[wrong] == "metal").all()
    assert (named["species_probability"].to_numpy()[wrong] >= 0.9).all()
    assert (after[light] == "light metal").all()
    rest = np.setdiff1d(np.arange(len(said)), wrong)
    assert (after[rest] == said[rest]).mean() > 0.995


def test_a_third_kind_is_told_where_a_model_has_words_for_two() -> None:
    lead_bromide = crystals._crystal(
        "halide", [[0, 2], [2, 0]], [[0, 0], [1, 1], [0, 1], [1, 0]], [1.0, 0.41, 0.19, 0.19]
    )
    atoms, basis = table_of(lead_bromide, [1.0, 0.41, 0.19, 0.19], 0.1)
    said = np.array(["A", "A", "B", "weak column"], object)[basis]
    species = named_by_lattice(atoms.assign(species=said), ("A", "B", "weak column"))[0]["species"]
    names = np.array(["bright column", "column", "faint column", "faint column"])
    assert (species == names[basis]).mean() > 0.98


def test_what_is_as_bright_as_its_kind_is_neither_heavy_nor_weak() -> None:
    atoms, basis = table_of(crystals.tmd(), [1.0, 0.4], 0.05)
    said = np.where(basis == 0, "metal", "chalcogen pair").astype(object)
    metals = np.flatnonzero(basis == 0)[[50, 80]]
    said[metals] = "heavy metal"
    volume = atoms["volume"].to_numpy(copy=True)
    volume[metals[1]] *= 2
    after = named_by_lattice(atoms.assign(species=said, volume=volume), TMD)[0]["species"]
    assert after[metals].tolist() == ["metal", "heavy metal"]


def test_a_site_of_nothing_holds_no_column() -> None:
    atoms, basis = table_of(crystals.tmd(), [1.0, 0.4], 0.1)
    middle = np.hypot(atoms["y_px"] - 130, atoms["x_px"] - 130).to_numpy()
    gone = np.flatnonzero((basis == 1) & (middle < 70))[[1, 9]]
    volume = atoms["volume"].to_numpy(copy=True)
    volume[gone] *= 0.02
    named = named_by_lattice(atoms.assign(volume=volume), UNIVERSAL)[0]
    assert np.flatnonzero(named["probability"] < 0.5).tolist() == sorted(gone)


def test_without_volumes_or_a_lattice_nothing_is_said() -> None:
    atoms, _ = table_of(crystals.tmd(), [1.0, 0.5], 0.1)
    for other in (
        atoms.assign(volume=np.nan), atoms.head(5), atoms.head(0), atoms.assign(fit_ok=False),
        atoms.assign(y_px=np.random.default_rng(0).uniform(0, 260, len(atoms))),
    ):  # fmt: skip
        named, sentence = named_by_lattice(other, UNIVERSAL)
        assert named["species"].equals(other["species"]) and not sentence
    assert named_by_lattice(atoms, ("dangling bond",))[0] is atoms


def test_analysis_tells_columns_that_look_alike_one_by_one() -> None:
    """Brightness 1 : 0.75 at low dose, the pixel size unknown: today's rule saw one kind."""
    image, scene = al.simulate(
        "tmd", (220, 220), 9.0, chalcogen=0.75, counts=150, seed=4, rotation_deg=11
    )
    result = al.analyze(image, params=al.AnalysisParams(contours=False))
    true = scene.atoms()
    inner = ((true[["y_px", "x_px"]] > 12) & (true[["y_px", "x_px"]] < 207)).all(axis=1)
    true, height = true[inner], scene.amplitude[inner.to_numpy()]
    far, row = cKDTree(result.atoms[["y_px", "x_px"]]).query(true[["y_px", "x_px"]])
    bright = result.atoms["species"].to_numpy()[row] == "bright column"
    assert ((far < 3) & (bright == (height > 0.9))).mean() >= 0.98
    assert "sublattice" in " ".join(result.messages)
