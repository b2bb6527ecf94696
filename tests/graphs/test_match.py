"""Crystals matched with columns whose truth is known."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_atomlens as al
from napari_atomlens.errors import (
    CalibrationError,
    FormatError,
    MatchError,
    ParameterError,
    TableError,
)
from napari_atomlens.graphs.crystals import UnitCell, build_crystal, find_crystal, list_crystals
from napari_atomlens.graphs.projection import contents, primitive, project
from napari_atomlens.graphs.views import axis_name, views_of
from napari_atomlens.progress import StoppedError
from napari_atomlens.simulation.column_lists import ColumnList, Told, list_columns

FAULTS = Told(strain=0.02, wave_px=0.5, missing=0.01, extra=0.004, replaced=0.004)
CIF = """data_sto
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_occupancy
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Sr1 Sr 0.6 0 0 0
Ba1 Ba 0.4 0 0 0
Ti1 Ti 1 0.5 0.5 0.5
O1 O 1 0.5 0.5 0
O2 O 1 0.5 0 0.5
O3 O 1 0 0.5 0.5
"""


def drawn(
    name: object, axis: tuple[int, int, int], told: Told = FAULTS, seed: int = 0, **more: float
) -> ColumnList:
    rng = np.random.default_rng(seed)
    more = {"n_columns": 500, "rotation_rad": 0.4, "scale": 0.94} | more
    return list_columns(views_of(find_crystal(name), axis)[0], rng, told, **more)


def matched(columns: ColumnList, crystal: object, *args: object, **more: object) -> al.CrystalMatch:
    return al.match_crystal(
        columns.atoms, crystal, *args, pixel_size_nm=columns.pixel_size_nm, **more
    )


# ------------------------------------------------------------------ crystals and their views


@pytest.mark.parametrize(
    ("name", "axis", "columns", "area"),
    [
        ("Au", (0, 0, 1), ["Au"], 0.4078**2 / 4),
        ("Au", (1, 1, 1), ["Au"], 0.4078**2 / 4 / np.sqrt(3)),
        ("GaAs", (1, 1, 0), ["As", "Ga"], 0.5653**2 / 2 / np.sqrt(2)),
        ("SrTiO3", (0, 0, 1), ["O", "O", "Sr", "TiO"], 0.3905**2),
        ("SrTiO3", (1, 1, 0), ["O2", "SrO", "Ti"], 0.3905**2 / np.sqrt(2)),
        ("NaCl", (1, 1, 1), ["ClNa"], 0.564**2 / 4 / np.sqrt(3)),
        ("MoS2", (0, 0, 1), ["Mo", "S2"], 0.316**2 * np.sqrt(3) / 2),
        ("1T-MoS2", (0, 0, 1), ["Mo", "S", "S"], 0.318**2 * np.sqrt(3) / 2),
        ("GaN", (0, 0, 1), ["GaN", "GaN"], 0.3189**2 * np.sqrt(3) / 2),
    ],
)
def test_a_view_has_the_columns_of_the_smallest_cell(
    name: str, axis: tuple[int, int, int], columns: list[str], area: float
) -> None:
    view = views_of(find_crystal(name), axis)[0]
    assert sorted(view.labels) == columns
    assert view.area_nm2 == pytest.approx(area, rel=1e-6)


def test_directions_that_show_the_same_are_one_view() -> None:
    cubic = [v for v in views_of(find_crystal("Au"), max_index=1) if v.merge_nm == 0.03]
    assert [v.axis for v in cubic] == [(0, 0, 1), (1, 1, 0), (1, 1, 1)]
    long = [v.axis for v in views_of(find_crystal("PbTiO3"), max_index=1) if v.merge_nm == 0.03]
    assert {(0, 0, 1), (1, 0, 0)} <= set(long) and (0, 1, 0) not in long


def test_a_primitive_projection_stays_as_it_is() -> None:
    cell = find_crystal("SrTiO3")
    columns = project(cell.cell_nm, cell.positions_nm, cell.symbols)
    assert primitive(columns) is columns
    twice = project(
        np.diag([2, 1, 1]) @ cell.cell_nm,
        np.r_[cell.positions_nm, cell.positions_nm + cell.cell_nm[0]], cell.symbols * 2,
    )  # fmt: skip
    small = primitive(twice)
    assert abs(np.linalg.det(small.cell_nm)) == pytest.approx(0.3905**2)
    assert sorted(contents(small.atoms)) == ["O", "O", "Sr", "TiO"]


def test_every_known_crystal_can_be_built_and_seen() -> None:
    for name in list_crystals():
        crystal = find_crystal(name)
        view = views_of(crystal, (0, 0, 1))[0]
        assert view.nearest_nm() > 0.05, name
        assert view.crystal.name == name


def test_crystals_are_found_by_name_file_and_structure(tmp_path: Path) -> None:
    assert find_crystal("srtio3").name == "SrTiO3"
    assert find_crystal("hBN").name == "h-BN"
    assert find_crystal("2H-MoS2").name == "MoS2"
    assert find_crystal("1T-TaS2").name == "1T-TaS2"
    path = tmp_path / "mine.cif"
    path.write_text(CIF, encoding="utf-8")
    shared = find_crystal(path)
    assert shared.name == "mine"
    assert shared.symbols[0] == "Sr0.6Ba0.4"  # both elements count in the brightness
    view = views_of(shared, (0, 0, 1))[0]
    assert "(Sr0.6Ba0.4)" in view.labels
    bright = view.weights(1.7)[view.labels.index("(Sr0.6Ba0.4)")]
    assert bright == pytest.approx(0.6 * 38**1.7 + 0.4 * 56**1.7)
    ase = pytest.importorskip("ase")
    layer = ase.Atoms("C2", [[0, 0, 5], [0, 1.42, 5]], cell=[2.46, 4.26, 10], pbc=(1, 1, 0))
    assert find_crystal(layer).layer and not shared.layer


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("SrTi03", ParameterError, "did you mean SrTiO3"),
        ("nothing.cif", FormatError, "There is no file"),
        (7, ParameterError, "not int"),
        ([], ParameterError, "no crystal"),
    ],
)
def test_what_is_no_crystal_is_refused(given: object, error: type, said: str) -> None:
    atoms = drawn("SrTiO3", (0, 0, 1)).atoms
    with pytest.raises(error, match=said):
        al.match_crystal(atoms, given, pixel_size_nm=0.02)


def test_a_structure_needs_its_elements_and_a_length() -> None:
    with pytest.raises(ParameterError, match="zincblende has 2 elements, not 1"):
        build_crystal("zincblende", ["Ga"], 0.56)
    with pytest.raises(ParameterError, match="no structure 'garnet'"):
        build_crystal("garnet", ["Ga"], 0.56)
    with pytest.raises(ParameterError, match="none of a crystal"):
        build_crystal("fcc", ["Au"], 40.78)


# ------------------------------------------------------------------------------ the match


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("MoS2", (0, 0, 1)), ("h-BN", (0, 0, 1)), ("1T-PtSe2", (0, 0, 1)), ("SrTiO3", (0, 0, 1)),
        ("SrTiO3", (1, 1, 0)), ("Au", (1, 1, 0)), ("Fe", (1, 1, 1)), ("NaCl", (0, 0, 1)),
        ("Si", (1, 1, 0)), ("CdTe", (1, 1, 0)), ("GaN", (1, 0, 0)), ("MgO", (1, 1, 0)),
    ],
)  # fmt: skip
def test_axis_sites_and_scale_are_the_true_ones(name: str, axis: tuple[int, int, int]) -> None:
    columns = drawn(name, axis, seed=3)
    found = matched(columns, name)
    assert found.crystal == name
    assert found.zone_axis in (axis_name(axis), axis_name([-i for i in axis]))
    assert found.scale == pytest.approx(0.94, abs=0.004)
    right = found.columns["elements"].to_numpy() == columns.elements
    assert right[columns.elements != ""].mean() >= 0.99
    c = found.columns[found.columns["site"] >= 0]
    assert np.allclose(c["y_px"], c["site_y_px"] + c["dy_px"])
    assert np.allclose(c["dx_nm"], c["dx_px"] * columns.pixel_size_nm)
    assert found.sentence in repr(found).replace("\n", " ") or found.sentence[:60] in repr(found)


def test_rotation_is_the_angle_of_a_direction_in_the_image() -> None:
    for turn in (0.1, 1.0, 2.5):
        columns = drawn("GaAs", (1, 1, 0), Told(), rotation_rad=turn)
        view = views_of(find_crystal("GaAs"), (1, 1, 0))[0]
        y, x = view.direction()[1] @ columns.matrix
        match = matched(columns, "GaAs").matches.iloc[0]
        assert match["along"] == "[001]"
        off = np.angle(np.exp(1j * (match["rotation_rad"] - np.arctan2(-y, x))))
        assert abs(np.rad2deg(off)) < 0.3  # polar: not even by 180 degrees


def test_defects_are_named_in_the_terms_of_the_crystal() -> None:
    columns = drawn("MoS2", (0, 0, 1), Told(missing=0.01, extra=0.01, replaced=0.01), seed=5,
                    n_columns=900)  # fmt: skip
    found = matched(columns, "MoS2")
    defects = found.defects
    assert set(defects["kind"]) == {"vacancy", "extra", "antisite"}
    assert set(defects.loc[defects["kind"] == "antisite", "formula"]) == {"Mo_S2", "S2_Mo"}
    wrong = columns.elements != columns.occupant
    said = found.columns["occupant"].to_numpy() != found.columns["elements"].to_numpy()
    assert (said == wrong)[columns.elements != ""].all()
    extra = found.columns["site"].to_numpy() < 0
    assert (extra == (columns.elements == "")).all()
    places = defects.loc[defects["kind"] == "vacancy", ["y_px", "x_px"]].to_numpy()
    side = columns.atoms["y_px"].max()
    inner = ((columns.vacant > 25) & (columns.vacant < side - 25)).all(1)
    gap = np.linalg.norm(columns.vacant[inner][:, None] - places, axis=-1).min(1)
    assert (gap < 8).all() and inner.sum() >= 3
    assert defects["formula"].str.contains("V_").sum() == len(places)


def test_a_perfect_crystal_has_no_defect() -> None:
    for k, (name, axis) in enumerate((("WSe2", (0, 0, 1)), ("SrTiO3", (0, 0, 1)),
                                      ("GaAs", (1, 1, 0)))):  # fmt: skip
        columns = drawn(name, axis, Told(strain=0.02), seed=k, n_columns=1500)
        assert len(matched(columns, name).defects) <= 1, name


def test_a_single_chalcogen_is_told_by_its_brightness() -> None:
    columns = drawn("WSe2", (0, 0, 1), Told(), seed=1)
    pairs = np.flatnonzero(columns.elements == "Se2")[5:9]
    columns.atoms.loc[pairs, ["volume", "amplitude"]] *= 0.5
    found = matched(columns, "WSe2")
    assert found.defects["formula"].tolist() == ["V_Se"] * 4
    assert (found.columns.loc[pairs, "occupant"] == "Se").all()


def test_the_order_of_the_rows_and_of_the_crystals_means_nothing() -> None:
    columns = drawn("SrTiO3", (1, 1, 0))
    found = matched(columns, ["MoS2", "SrTiO3"])
    assert found.crystal == "SrTiO3"
    order = np.random.default_rng(1).permutation(len(columns.atoms))
    again = al.match_crystal(
        columns.atoms.iloc[order], ["SrTiO3", "MoS2"], pixel_size_nm=columns.pixel_size_nm
    )
    one, two = (m.columns.sort_values("atom_id")["elements"].tolist() for m in (found, again))
    assert one == two
    assert again.zone_axis == found.zone_axis


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([("MoS2", (0, 0, 1)), ("SrTiO3", (0, 0, 1)), ("CdTe", (1, 1, 0))]),
    st.floats(0, 2 * np.pi), st.floats(0.88, 1.12), st.integers(0, 2**31), st.floats(0.3, 30),
)  # fmt: skip
def test_turning_scaling_and_brightening_change_no_name(
    what: tuple[str, tuple[int, int, int]], turn: float, scale: float, seed: int, gain: float
) -> None:
    columns = drawn(*what, Told(), seed=seed, rotation_rad=turn, scale=scale, n_columns=300)
    columns.atoms["volume"] *= gain
    found = matched(columns, what[0])
    assert (found.columns["elements"].to_numpy() == columns.elements).mean() >= 0.99
    assert found.scale == pytest.approx(scale, abs=0.01)


def test_without_a_pixel_size_the_crystal_gives_it() -> None:
    for name, axis in (("SrTiO3", (0, 0, 1)), ("CdTe", (1, 1, 0)), ("MoS2", (0, 0, 1))):
        columns = drawn(name, axis, Told(), scale=1.0)
        found = al.match_crystal(columns.atoms, name, axis)
        assert found.pixel_size_nm == pytest.approx(columns.pixel_size_nm, rel=0.01)
        assert np.isnan(found.scale)
        assert (found.columns["elements"].to_numpy() == columns.elements).mean() >= 0.99
        c = found.columns[found.columns["site"] >= 0]
        assert np.allclose(c["dx_nm"], c["dx_px"] * found.pixel_size_nm, rtol=0.01)


def test_a_pixel_size_in_the_table_is_used() -> None:
    columns = drawn("MoS2", (0, 0, 1), Told(), scale=1.0)
    table = columns.atoms.assign(
        y_nm=columns.atoms["y_px"] * columns.pixel_size_nm,
        x_nm=columns.atoms["x_px"] * columns.pixel_size_nm,
    )
    assert al.match_crystal(table, "MoS2").scale == pytest.approx(1.0, abs=0.005)


def test_pixels_that_are_not_square_are_taken_as_such() -> None:
    columns = drawn("SrTiO3", (0, 0, 1), Told(), scale=1.0)
    table = columns.atoms.assign(y_px=columns.atoms["y_px"] / 2)
    size = (2 * columns.pixel_size_nm, columns.pixel_size_nm)
    found = al.match_crystal(table, "SrTiO3", pixel_size_nm=size)
    assert (found.columns["elements"].to_numpy() == columns.elements).mean() >= 0.99
    assert found.scale == pytest.approx(1.0, abs=0.005)


def test_each_grain_is_matched_by_itself() -> None:
    left = drawn("CdTe", (1, 1, 0), Told(), seed=1, rotation_rad=0.2, scale=1.0)
    right = drawn("CdTe", (1, 1, 0), Told(), seed=2, rotation_rad=1.3, scale=1.0, n_columns=350)
    shift = left.atoms["x_px"].max() + 4
    atoms = pd.concat(
        [left.atoms, right.atoms.assign(x_px=right.atoms["x_px"] + shift,
                                        atom_id=right.atoms["atom_id"] + 100_000)],
        ignore_index=True,
    )  # fmt: skip
    found = al.match_crystal(atoms, "CdTe", pixel_size_nm=left.pixel_size_nm)
    assert len(found.matches) == 2
    assert found.matches["n_atoms"].is_monotonic_decreasing
    truth = np.r_[left.elements, right.elements]
    assert (found.columns["elements"].to_numpy() == truth).mean() >= 0.97
    assert (found.matches["polarity_probability"] > 0.9).all()


def test_frames_of_a_movie_keep_apart() -> None:
    one, two = drawn("MoS2", (0, 0, 1), seed=1), drawn("MoS2", (0, 0, 1), seed=2)
    two = two.atoms.assign(frame=3, atom_id=two.atoms["atom_id"] + 50_000)
    found = al.match_crystal(pd.concat([one.atoms, two]), "MoS2", pixel_size_nm=one.pixel_size_nm)
    assert sorted(found.matches["frame"]) == [0, 3]
    assert (found.columns["frame"] == 3).sum() == len(two)
    assert found.defects["defect_id"].is_unique


# ------------------------------------------------------------------------- ties and refusals


@pytest.mark.parametrize(
    ("name", "axis", "asked", "as_axis"),
    [
        ("SrTiO3", (0, 0, 1), "graphene", None),
        ("Au", (1, 1, 0), "MoS2", None),
        ("GaAs", (1, 1, 0), "GaAs", (0, 0, 1)),
        ("Si", (1, 1, 0), build_crystal("fcc", ["Si"], 0.5431), (1, 1, 0)),
        ("GaAs", (1, 1, 0), build_crystal("rock salt", ["Ga", "As"], 0.5653), (1, 1, 0)),
        ("MoS2", (0, 0, 1), "1T-MoS2", None),
        ("h-BN", (0, 0, 1), "graphene", None),  # the same pattern, but two kinds of column
        ("graphene", (0, 0, 1), "MoS2", None),  # the same pattern, 28 % larger
    ],
)
def test_another_cell_or_basis_is_refused(
    name: str, axis: tuple[int, int, int], asked: object, as_axis: tuple[int, int, int] | None
) -> None:
    columns = drawn(name, axis, Told(strain=0.02), seed=4, scale=1.0)
    with pytest.raises(MatchError, match=r"does not fit these columns: .*[.]$"):
        matched(columns, asked, as_axis)


def test_a_crystal_of_which_no_column_is_met_is_refused() -> None:
    view = views_of(find_crystal("MoS2"), (0, 0, 1))[0]
    columns = list_columns(view, np.random.default_rng(2), Told(missing=0.01, replaced=0.008),
                           n_columns=400, pixel_size_nm=0.02, rotation_rad=0.3)  # fmt: skip
    bare = columns.atoms.drop(columns=["volume", "amplitude"])
    for name in ("SrTiO3", "PbTiO3", "MgO"):  # MgO [112] is nearly a honeycomb
        with pytest.raises(MatchError):
            al.match_crystal(bare, name, pixel_size_nm=0.02)


def test_a_scale_beyond_the_tolerance_is_refused() -> None:
    columns = drawn("MoS2", (0, 0, 1), Told(), scale=1.25)
    with pytest.raises(MatchError):
        matched(columns, "MoS2")
    assert matched(columns, "MoS2", params=al.MatchParams(scale_tolerance=0.3)).scale > 1.2


def test_an_image_that_repeats_sooner_than_the_crystal_is_refused() -> None:
    # turned by 45 degrees and 9 % larger all places fit, with Sr and Ti-O equally bright
    for seed in range(3):
        columns = drawn("SrTiO3", (0, 0, 1), seed=seed, scale=0.77)
        with pytest.raises(MatchError, match="repeats after less"):
            matched(columns, "SrTiO3", (0, 0, 1))


def test_a_distorted_scan_is_matched_and_told_of() -> None:
    columns = drawn("MoS2", (0, 0, 1), Told(strain=0.17), scale=1.0)
    found = matched(columns, "MoS2")
    assert (found.columns["elements"].to_numpy() == columns.elements).mean() > 0.98
    assert any("only if the image is distorted by" in m for m in found.messages)
    straight = matched(drawn("MoS2", (0, 0, 1)), "MoS2")
    assert not any("distorted" in m for m in straight.messages)


def test_a_crystal_with_many_columns_in_its_cell_is_matched() -> None:
    # a superstructure of thirteen columns: no translation leads to a near neighbour
    rng = np.random.default_rng(7)
    places = np.array([p for p in product(range(4), range(4))], float) / 4
    keep = [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15]
    places = places[keep] + rng.uniform(-0.05, 0.05, (len(keep), 2))
    flat = np.c_[places, np.zeros(len(keep))] * 1.2
    box = UnitCell("superstructure", np.diag([1.2, 1.2, 0.4]), flat, ("Ta",) * len(keep))
    columns = drawn(box, (0, 0, 1), Told(strain=0.01, missing=0.005), n_columns=700, scale=1.0)
    found = matched(columns, box, (0, 0, 1))
    assert found.matches["n_on_sites"].iloc[0] > 0.97 * len(columns.atoms)


def test_the_zigzag_of_a_tilted_perovskite_is_met() -> None:
    columns = drawn("DyScO3", (1, 1, 0), scale=1.0)
    found = matched(columns, "DyScO3")
    assert found.zone_axis in ("[110]", "[1-10]", "[-1-10]")
    assert (found.columns["elements"].to_numpy() == columns.elements).mean() > 0.97


def test_a_match_that_is_stopped_before_it_began_says_so() -> None:
    columns = drawn("MoS2", (0, 0, 1))
    with pytest.raises(StoppedError, match=r"^Stopped[.]$"):
        matched(columns, "MoS2", progress=al.Progress(stop=lambda: True))


def test_points_without_order_are_refused() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 300, (300, 2)), columns=["y_px", "x_px"])
    with pytest.raises(MatchError, match=r"form no lattice|does not fit"):
        al.match_crystal(table, "SrTiO3", pixel_size_nm=0.02)


def test_what_projects_alike_is_a_tie_that_only_brightness_decides() -> None:
    columns = drawn("MoS2", (0, 0, 1), Told(), scale=1.0)
    sure = matched(columns, ["MoS2", "MoSe2"])
    assert sure.crystal == "MoS2" and sure.probability > 0.7
    bare = columns.atoms.drop(columns=["volume", "amplitude"])
    unsure = al.match_crystal(bare, ["MoS2", "WS2"], pixel_size_nm=columns.pixel_size_nm)
    assert unsure.probability < 0.6
    assert any("project alike" in m for m in unsure.messages)
    # nor can it be said which of two sublattices is the metal
    alone = al.match_crystal(bare, "MoS2", pixel_size_nm=columns.pixel_size_nm)
    assert alone.probability == pytest.approx(0.5, abs=0.02)
    assert alone.lead == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("name", ["GaAs", "CdTe"])
def test_polarity_is_that_of_the_brighter_ends(name: str) -> None:
    right, view = 0, views_of(find_crystal(name), (1, 1, 0))[0]
    light, heavy = (view.labels.index(x) for x in (name[:2], name[2:]))
    for seed in range(10):
        turn = 0.6 * seed
        columns = drawn(name, (1, 1, 0), Told(), seed=seed, rotation_rad=turn, n_columns=150)
        match = matched(columns, name).matches.iloc[0]
        step = view.columns.places_nm[heavy] - view.columns.places_nm[light]
        grid = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ view.columns.cell_nm
        step = min(step + grid, key=lambda v: float(v @ v)) @ columns.matrix
        off = match["polarity_rad"] - np.arctan2(-step[0], step[1])
        right += abs(np.angle(np.exp(1j * off))) < 0.1
        assert match["polarity_ratio"] > 1 and match["n_dumbbells"] > 40
    assert right == 10


def test_crystals_without_two_ends_have_no_polarity() -> None:
    match = matched(drawn("Si", (1, 1, 0)), "Si").matches.iloc[0]
    assert np.isnan(match["polarity_probability"]) and match["n_dumbbells"] <= 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: t.iloc[:0], TableError),
        (lambda t: t.drop(columns="y_px"), TableError),
        (lambda t: t.assign(y_px=np.nan), TableError),
    ],
)
def test_tables_without_columns_are_refused(change: object, error: type) -> None:
    with pytest.raises(error):
        al.match_crystal(change(drawn("Au", (0, 0, 1)).atoms), "Au", pixel_size_nm=0.02)  # type: ignore[operator]


def test_absurd_arguments_are_refused() -> None:
    atoms = drawn("Au", (0, 0, 1)).atoms
    with pytest.raises(ParameterError, match="three whole numbers"):
        al.match_crystal(atoms, "Au", (1, 1), pixel_size_nm=0.02)
    with pytest.raises(ParameterError, match="index above 9"):
        al.match_crystal(atoms, "Au", (1, 1, 40), pixel_size_nm=0.02)
    with pytest.raises(CalibrationError):
        al.match_crystal(atoms, "Au", pixel_size_nm=-1)
    with pytest.raises(ParameterError):
        al.match_crystal(atoms, "Au", params=al.DefectParams(), pixel_size_nm=0.02)  # type: ignore[arg-type]


def test_the_model_lies_on_the_columns() -> None:
    columns = drawn("SrTiO3", (0, 0, 1), Told(), scale=1.0)
    found = matched(columns, "SrTiO3")
    seen = found.model[found.model["seen"]]
    places = seen[["y_px", "x_px"]].to_numpy()
    own = columns.atoms[["y_px", "x_px"]].to_numpy()
    gap = np.linalg.norm(own[:, None] - places, axis=-1)
    assert np.median(gap.min(1)) < 0.5
    assert (seen["elements"].to_numpy()[gap.argmin(1)] == columns.elements).mean() > 0.99
    assert set(found.model.loc[~found.model["seen"], "elements"]) == {"O"}
