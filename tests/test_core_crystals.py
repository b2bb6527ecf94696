"""Crystals along a zone axis, recipes of materials, and models that are made of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_atomlens.errors import FormatError, ModelError, ParameterError
from napari_atomlens.graphs.projection import brightness, formula, project
from napari_atomlens.progress import Progress
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.known_materials import RECIPES, tmd
from napari_atomlens.simulation.material_scenes import Recipe, draw, material_scene, outcomes
from napari_atomlens.training.params import CrystalParams

STO = {
    "cell_nm": 0.3905 * np.eye(3),
    "positions_nm": 0.3905
    * np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    "symbols": ["Sr", "Ti", "O", "O", "O"],
}
DIAMOND = 0.5431 * np.array(
    [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
     [0.25, 0.25, 0.25], [0.25, 0.75, 0.75], [0.75, 0.25, 0.75], [0.75, 0.75, 0.25]]
)  # fmt: skip
SILICON = {"cell_nm": 0.5431 * np.eye(3), "positions_nm": DIAMOND, "symbols": ["Si"] * 8}

CIF = """data_wse2
_cell_length_a 3.28
_cell_length_b 3.28
_cell_length_c 20
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
W1 W 0 0 0.5
Se1 Se 0.3333333 0.6666667 0.4165
Se2 Se 0.3333333 0.6666667 0.5835
"""
TOML = """material = "WSe2 monolayer"
[classes]
W = "metal"
Se2 = "Se pair"
[[defects]]
vacancy = "Se"
atoms = 1
class = "single Se"
[[defects]]
replace = "W"
by = "Mo"
class = "Mo"
"""


def test_columns_of_known_crystals():
    sto = project(**STO)
    assert sorted(formula(a) for a in sto.atoms) == ["O", "O", "Sr", "TiO"]
    assert sto.spacing_nm() == pytest.approx(0.3905 / 2)
    named = np.array([a != ("O",) for a in sto.atoms])
    assert sto.spacing_nm(named) == pytest.approx(0.3905 / np.sqrt(2))
    # the dumbbell of silicon along <110>, a quarter of the cell apart
    assert project(**SILICON, zone_axis=(1, 1, 0)).spacing_nm() == pytest.approx(0.13578, abs=1e-4)
    assert project(**SILICON, zone_axis=(1, 1, 2)).spacing_nm() == pytest.approx(0.0784, abs=1e-4)
    wide = project(**SILICON, zone_axis=(2, 2, 0))  # the same direction
    assert wide.spacing_nm() == pytest.approx(0.13578, abs=1e-4)


def _area_per_column(columns):
    return abs(np.linalg.det(columns.cell_nm)) / len(columns.atoms)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, -1, 0), (3, 1, 0)]),
    st.permutations(range(8)),
    st.tuples(*[st.integers(-2, 2)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3),
)
@example((3, 1, 0), [0, 2, 1, 7, 4, 5, 6, 3], (0, 0, 0), (0.0, 0.0, 0.0))  # went wrong once
def test_projection_knows_no_order_cell_or_direction_in_space(axis, order, cells, angles):
    plain = project(**SILICON, zone_axis=axis)
    shift = np.array(cells) * 0.5431
    turn = np.linalg.qr(np.array([[1, *angles[:2]], [0.3, 1, angles[2]], [0, 0.2, 1]]))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = project(
        SILICON["cell_nm"] @ turn, (DIAMOND[list(order)] + shift) @ turn, ["Si"] * 8, axis
    )
    assert _area_per_column(moved) == pytest.approx(_area_per_column(plain))
    assert moved.spacing_nm() == pytest.approx(plain.spacing_nm())
    assert sorted(moved.atoms) == sorted(plain.atoms)


def test_crystals_that_cannot_be_projected():
    for axis in ((0, 0, 0), (0.5, 0, 1), (1, 0), (0, 0, 40)):
        with pytest.raises(ParameterError):
            project(**STO, zone_axis=axis)
    with pytest.raises(ParameterError, match="volume"):
        project(np.diag([1, 1, 0]), [[0, 0, 0]], ["C"])
    with pytest.raises(ParameterError, match="no atoms"):
        project(np.eye(3), np.zeros((0, 3)), [])
    with pytest.raises(ParameterError, match="'Xx'"):
        project(np.eye(3), [[0, 0, 0]], ["Xx"])


def test_brightness_of_defects():
    recipe = tmd()
    single, empty = recipe.defects[0], recipe.defects[1]
    assert outcomes(single, ("S", "S"), "chalcogen pair", 1.7) == [0.5]
    assert outcomes(empty, ("S", "S"), "chalcogen pair", 1.7) == [0.0]
    light = next(d for d in recipe.defects if d.becomes == "light metal")
    factors = outcomes(light, ("W",), "metal", 1.7)
    assert pytest.approx(brightness(["Mo"], 1.7) / brightness(["W"], 1.7)) in factors
    assert all(0.2 <= f <= 0.75 for f in factors)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_scenes_are_what_the_recipe_says(name):
    recipe = RECIPES[name]()
    assert Recipe.from_dict(recipe.as_dict()).as_dict() == recipe.as_dict()
    kinds: set[str] = set()
    for i in range(30):
        scene = material_scene((96, 96), recipe, np.random.default_rng(seed_for("test", 300 + i)))
        kinds |= set(scene.species)
        assert (scene.amplitude > 0).all() and len(scene.y) == len(scene.species)
    assert kinds - {""} == set(recipe.species)
    image, scene = draw((96, 96), seed_for("test", 300), recipe)
    again, _ = draw((96, 96), seed_for("test", 300), recipe)
    assert np.isfinite(image).all() and (image == again).all()
    assert "" not in set(scene.species)  # what is too faint is not asked for


def test_recipes_of_a_crystal_file(tmp_path):
    pytest.importorskip("ase")
    from napari_atomlens.training.recipes import make_recipe

    crystal, toml = tmp_path / "wse2.cif", tmp_path / "wse2.toml"
    crystal.write_text(CIF)
    toml.write_text(TOML)
    recipe = make_recipe("wse2", crystal, toml)
    assert recipe.species == ("metal", "Se pair", "single Se", "Mo")
    assert recipe.spacing_nm() == pytest.approx(0.328 / np.sqrt(3), abs=1e-4)
    plain = make_recipe("wse2", crystal)
    assert plain.species == ("W", "Se2", "Se2 less Se")
    for wrong, says in (
        ("[[defects]]\nvacancy = 'Te'", "holds 'Te'"),
        ("[[defects]]\nvacancy = 'Se'\nreplace = 'W'", "either"),
        ("[[defects]]\nreplace = 'W'", "takes the place"),
        ("[[defects]]\nvacancy = 'Se'\nshare = [0.5, 0.1]", "share"),
        ("[classes]\nMo = 'metal'", "along this axis are"),
        ("zone = [0, 0, 1]", "'zone'"),
        ("zone_axis = 'c'", "zone axis"),
        ("exponent = [3, 4]", "exponent"),
    ):
        toml.write_text(wrong)
        with pytest.raises(ParameterError, match=says):
            make_recipe("wse2", crystal, toml)
    toml.write_text("not [ toml")
    with pytest.raises(FormatError):
        make_recipe("wse2", crystal, toml)
    with pytest.raises(FormatError, match="no file"):
        make_recipe("wse2", tmp_path / "none.cif")
    crystal.write_text("no crystal")
    with pytest.raises(FormatError, match="no structure"):
        make_recipe("wse2", crystal)


def test_a_model_for_a_crystal(tmp_path, monkeypatch):
    pytest.importorskip("ase")
    from napari_atomlens.segmentation import find_model, list_models
    from napari_atomlens.training import crystal as made

    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path / "models"))
    # calibration and figures of fewer images than a user gets
    monkeypatch.setattr(made, "calibrate", lambda path, n: made_calibrate(path, 6))
    (tmp_path / "wse2.cif").write_text(CIF)
    (tmp_path / "wse2.toml").write_text(TOML)
    p = CrystalParams(
        name="my-wse2", out=str(tmp_path / "run"), steps=4, batch=2, size_px=64, threads=1, images=2
    )
    args = (tmp_path / "wse2.cif", tmp_path / "wse2.toml", p)
    asked: list[int] = []
    ask = Progress(stop=lambda: len(asked) > 1 or bool(asked.append(1)))
    assert made.train_crystal(*args, progress=ask) is None
    assert "my-wse2" not in {m.name for m in list_models()}
    info = made.train_crystal(*args)  # goes on
    assert info is not None and info.name in {m.name for m in list_models()}
    assert info.classes == (
        "background", "metal", "Se pair", "single Se", "Mo", "contamination"
    )  # fmt: skip
    assert info.lattice["neighbours"] == 3
    assert info.lattice["spacing_nm"] == [pytest.approx(0.1894, abs=1e-4)]
    assert "universal" in info.card and f"{info.figures['f1']:.4f}" in info.card
    # the head begins as that of the universal model: it finds columns before it learns names
    assert info.figures["f1"] > 0.5
    assert find_model("my-wse2").recipe["material"] == "WSe2 monolayer"
    (tmp_path / "wse2.toml").write_text(TOML.replace("Mo", "V"))
    with pytest.raises(ModelError, match="another recipe"):
        made.train_crystal(*args)
    with pytest.raises(ModelError, match="bundled"):
        made.train_crystal(*args[:2], CrystalParams(name="universal"))
    with pytest.raises(ModelError, match="a model my-wse2 already"):  # of another recipe
        made.train_crystal(*args[:2], replace(p, out=str(tmp_path / "another run")))


def made_calibrate(path, n):
    from napari_atomlens.training.calibrate import calibrate

    return calibrate(path, n)


def test_single_chalcogens_are_told_by_their_brightness():
    from napari_atomlens.atoms.species import single_or_pair

    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12), indexing="ij"), -1).reshape(-1, 2)
    species = np.full(len(grid), "chalcogen pair", dtype=object)
    true = rng.random(len(grid)) < 0.08
    amplitude = np.where(true, 0.5, 1.0) * rng.normal(1, 0.05, len(grid))
    fitted = np.ones(len(grid), bool)
    args = (10.0 * grid, amplitude, np.full(len(grid), 0.05), fitted, 10.0)
    told = single_or_pair(species, *args)
    assert ((told == "single chalcogen") == true).all()
    # in noise as large as the difference nothing is called a defect
    noisy = rng.normal(1, 0.5, len(grid))
    loud = single_or_pair(species, 10.0 * grid, noisy, np.full(len(grid), 0.5), fitted, 10.0)
    assert (loud == "single chalcogen").mean() < 0.02
    unknown = single_or_pair(species, *args[:3], ~fitted, 10.0)
    assert (unknown == "chalcogen pair").all()


def test_the_multislice_bank():
    from napari_atomlens.simulation.bank import column_profile, load_bank

    bank = load_bank()
    assert len(bank) >= 20 and bank["image"].is_unique
    assert bank["profile_residual"].lt(bank["residual"] + 0.01).all()
    # widths are those of probes: a few tens of pm
    assert bank["sigma_nm"].between(0.01, 0.08).all()
    for name in bank["image"]:
        radius, height = column_profile(name)
        assert height[0] == pytest.approx(1) and (height >= 0).all()
        half = radius[np.argmax(height < 0.5)]
        assert 0.01 < half < 0.1
    # the recipes draw the power of Z where multislice images of monolayers have it
    thin = bank[bank["image"].str.match("C-|WS2|MoS2")]["power_of_z"].dropna()
    assert thin.between(1.4, 2.3).all()
    assert 1.5 <= thin.median() <= 2.0
    with pytest.raises(ParameterError, match="no image"):
        column_profile("cheese")
