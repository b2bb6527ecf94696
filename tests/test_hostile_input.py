"""Every public function with what nobody should give it: a sentence of ours, or a sound result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.graphs.library import Entry
from napari_atomlens.image import as_stack, source_stack
from napari_atomlens.io.export import figures, graphs, report, structures
from napari_atomlens.runs.frame import check_frames

#: What numpy says of such numbers on the way to a result that says so, too.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")

IMAGE, TRUTH = al.simulate("honeycomb", (96, 96), 10.0, dopants=0.03, seed=1)
ATOMS = TRUTH.atoms().assign(site_y_px=TRUTH.y, site_x_px=TRUTH.x, sublattice=0,
                             y_err_px=0.1, x_err_px=0.1)  # fmt: skip
MOVIE = pd.concat([ATOMS.assign(frame=t, atom_id=ATOMS["atom_id"] + 10_000 * t) for t in range(3)],
                  ignore_index=True)  # fmt: skip
SITES = pd.DataFrame({"raw_strength": np.linspace(0.9, 1.1, 60), "raw_level": 0.0, "frame": 0})
DEFECTS = pd.DataFrame({"frame": range(3), "defect_id": range(3), "y_px": 48.0, "x_px": 48.0,
                        "formula": "Si1C3", "kind": "Si1C3"})  # fmt: skip
OUTLINE = [np.array([[5.0, 5.0], [5.0, 9.0], [9.0, 9.0], [9.0, 5.0]])]


def unknown() -> da.Array:
    image = da.from_array(IMAGE, chunks=(32, 96))
    return image[image[:, 0] > -1]


#: No image at all: each must be refused.
NO_IMAGES: dict[str, Any] = {
    "ragged": [[1, 2, 3], [4, 5]], "of unknown size": unknown(), "empty": np.zeros((0, 0)),
    "empty movie": np.zeros((0, 96, 96)), "objects": IMAGE.astype(object), "complex": IMAGE + 0j,
    "texts": np.full((96, 96), "a"), "dates": np.zeros((96, 96), "M8[s]"), "a number": 3.0,
    "a line": np.arange(96.0), "five axes": np.zeros((1,) * 5), "nothing": None, "a set": {1},
    "a dictionary": {}, "structures": np.zeros((96, 96), [("a", "f4")]), "a function": len,
    "bytes": b"abc", "not numbers": [[None, None], [None, None]],
    "a list of images": [al.Image("a", IMAGE, "yx")],
}  # fmt: skip
#: Images that are unlucky: a sentence or a result.
ODD_IMAGES: dict[str, Any] = {
    "not-a-number": np.full((96, 96), np.nan), "infinite": np.full((96, 96), np.inf),
    "constant": np.ones((96, 96)), "huge": IMAGE * 1e300, "tiny": IMAGE * 1e-305,
    "half": np.where(np.arange(96)[:, None] < 48, np.nan, IMAGE), "mask": IMAGE.mean() < IMAGE,
    "one pixel": np.eye(96) * 0 + (np.arange(96 * 96).reshape(96, 96) == 5000),
    "all masked": np.ma.masked_all((96, 96)), "stripes": np.tile(np.arange(96) % 2, (96, 1)),
    "float16": IMAGE.astype(np.float16), "big endian": IMAGE.astype(">f8"),
    "longdouble": IMAGE.astype(np.longdouble), "two rows": IMAGE[:2], "2 x 2": IMAGE[:2, :2],
    "table": pd.DataFrame(IMAGE), "read": al.Image("a", IMAGE, "yx"),
    "matrix": np.asmatrix(IMAGE),
}  # fmt: skip
TAKES_IMAGE: dict[str, Callable[[Any], object]] = {
    "analyze": lambda v: al.analyze(v, spacing_px=10.0), "assess": al.assess, "level": al.level,
    "analyze_silicon": lambda v: al.analyze_silicon(v, 0.08), "read_film": al.read_film,
    "find_on_surface": al.find_on_surface, "find_spacing": al.find_spacing,
    "segment": lambda v: al.segment(v, spacing_px=10.0),
    "describe_sites": lambda v: al.describe_sites(v, ATOMS, complete=False),
    "classify_sites": lambda v: al.classify_sites(v, ATOMS),
    "label_frame": lambda v: al.label_frame(v, ATOMS), "outline": lambda v: al.outline(v, ATOMS),
    "analyze_frames": lambda v: list(al.analyze_frames(v, al.AnalysisParams(spacing_px=10.0))),
    "refine_atoms": lambda v: al.refine_atoms(v, ATOMS, spacing_px=10.0),
}  # fmt: skip


def refused(call: Callable[[], object]) -> None:
    """A sentence of ours must come."""
    with pytest.raises(al.AtomLensError) as caught:
        call()
    one_sentence(caught.value)


def survived(call: Callable[[], object]) -> None:
    """A result or a sentence of ours must come."""
    try:
        call()
    except al.AtomLensError as error:
        one_sentence(error)


def one_sentence(error: Exception) -> None:
    text = str(error)
    assert text and "\n" not in text and len(text) < 500, text


@pytest.mark.parametrize("name", TAKES_IMAGE)
def test_what_is_no_image(name: str) -> None:
    for what, image in NO_IMAGES.items():
        if not (what in ("a dictionary", "a set") and name == "find_on_surface"):
            refused(lambda image=image: TAKES_IMAGE[name](image))


@pytest.mark.parametrize("name", [n for n in TAKES_IMAGE if n not in ("find_spacing", "analyze")])
def test_unlucky_images(name: str) -> None:
    for image in ODD_IMAGES.values():
        survived(lambda image=image: TAKES_IMAGE[name](image))


# ------------------------------------------------------------------------------------- masks


def masked(dtype: type) -> np.ma.MaskedArray:
    """An image with a hole in which there are numbers that must not count."""
    image = np.ma.masked_array((10 * IMAGE).astype(dtype), np.zeros(IMAGE.shape, bool))
    image.data[30:60, 30:60] = np.max(image.data) * 3
    image[30:60, 30:60] = np.ma.masked
    return image


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16, np.int64])
@pytest.mark.parametrize("lazy", [False, True])
def test_masks_are_honoured(dtype: type, lazy: bool) -> None:
    image = masked(dtype)
    hole = np.ma.filled(image.astype(float), np.nan)
    given = da.from_array(image, chunks=(32, 96)) if lazy else image
    for stack in (as_stack(given), source_stack(given)):
        np.testing.assert_allclose(stack[0], hole, rtol=1e-6)
    movie = np.ma.stack([image, image])
    for frames in (movie, [given, given], (given, given)):
        np.testing.assert_allclose(as_stack(frames)[1], hole, rtol=1e-6)
    expected = al.segment(hole, spacing_px=10.0).soft
    np.testing.assert_allclose(al.segment(given, spacing_px=10.0).soft, expected, atol=1e-3)
    np.testing.assert_allclose(al.level(given), al.level(hole), rtol=1e-4, equal_nan=True)
    sites = al.describe_sites(given, ATOMS, complete=False)
    inside = sites["y_px"].between(31, 58) & sites["x_px"].between(31, 58)
    assert inside.sum() > 3 and sites.loc[inside, "raw_strength"].isna().all()
    assert sites.loc[~inside, "raw_strength"].notna().any()


def test_a_mask_of_nothing_changes_nothing() -> None:
    image = np.ma.masked_array(IMAGE.astype(np.uint16))
    assert as_stack(image).dtype == np.uint16 and type(as_stack(image)[0]) is np.ndarray


# ------------------------------------------------------------------------------------ frames


def test_frames_are_read_once_and_in_their_order() -> None:
    assert check_frames([2, 0, 2, 0], 3) == [2, 0]
    assert check_frames(np.array([1.0, 2.0]), 3) == [1, 2]
    assert check_frames(range(3), 3) == check_frames(None, 3) == [0, 1, 2]
    result = al.analyze(np.stack([IMAGE, IMAGE]), frames=[0, 0], spacing_px=10.0)
    assert result.frames == [0] and not result.atoms["atom_id"].duplicated().any()


@pytest.mark.parametrize(
    "frames",
    [["a"], [0.5], "01", 0, [-1], [99], [None], [float("nan")], [True], [], [[0]], {0: 1},
     [10**30], np.zeros((1, 1)), [0, 1j]],
)  # fmt: skip
def test_frames_that_are_none(frames: Any, tmp_path: Path) -> None:
    movie = np.stack([IMAGE, IMAGE])
    refused(lambda: al.analyze(movie, frames=frames, spacing_px=10.0))
    refused(lambda: list(al.analyze_frames(movie, frames=frames)))
    refused(lambda: list(al.analyze_movie(movie, tmp_path / "a", frames=frames)))


# ------------------------------------------------------------------------------------ tables

NO_TABLES: list[Any] = [None, "a", [[1, 2]], {"y_px": [1.0]}, np.zeros((3, 2)), 3, ATOMS["y_px"],
                        pd.DataFrame()]  # fmt: skip
TAKES_ATOMS: dict[str, Callable[[Any], object]] = {
    "bond": lambda v: al.bond(v, "graphene-si"), "bond auto": al.bond,
    "match_crystal": lambda v: al.match_crystal(v, "graphene"),
    "choose_rules": al.choose_rules, "find_defects": al.find_defects,
    "label_frame": lambda v: al.label_frame(IMAGE, v), "measure_lattice": al.measure_lattice,
    "shrink_positions": al.shrink_positions, "outline": lambda v: al.outline(IMAGE / 99, v),
    "describe_sites": lambda v: al.describe_sites(IMAGE, v),
    "classify_sites": lambda v: al.classify_sites(IMAGE, v), "Corrections": al.Corrections,
    "link": al.link, "follow": al.follow, "measure_dumbbells": al.measure_dumbbells,
    "follow_defects": lambda v: al.follow_defects(DEFECTS, v),
    "to_graph": lambda v: graphs.to_graph(v, pd.DataFrame({"atom_a": [], "atom_b": []})),
    "to_atomai": structures.to_atomai,
    "svg_figure": lambda v: figures.svg_figure(IMAGE, v),
    "refine_atoms": lambda v: al.refine_atoms(IMAGE, v, spacing_px=10.0),
}  # fmt: skip
LENIENT = ("Corrections",)  # takes no table at all, or one that is empty
PLACES = ("refine_atoms",)  # takes an array of positions, too


def changed(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The table with one column of which something is wrong."""
    n = len(table)
    odd: dict[str, Any] = {
        "text": "a", "nan": np.nan, "inf": np.inf, "none": None, "complex": 1j, "bytes": b"a",
        "date": pd.Timestamp(0), "huge": 1e300,
    }  # fmt: skip
    for column in ("y_px", "x_px", "frame", "species", "atom_id", "site_y_px"):
        if column not in table:
            continue
        yield f"without {column}", table.drop(columns=column)
        for name, value in odd.items():
            for one in (False, True):
                values = table[column].astype(object).to_numpy(copy=True)
                values[1 : 2 if one else n] = value
                yield (
                    f"{column} {name} {one}",
                    table.assign(**{column: pd.Series(values, index=table.index, dtype=object)}),
                )
    yield "list", table.assign(y_px=pd.Series([[1, 2]] * n, index=table.index, dtype=object))
    yield "a column twice", pd.concat([table, table[["y_px", "frame"]]], axis=1)
    yield "index twice", table.set_index(pd.Index([0] * n))
    yield "index of frames", table.set_index("frame", drop=False)
    for few in range(4):
        yield f"{few} rows", table.iloc[:few]
    yield "all on one point", table.assign(y_px=5.0, x_px=5.0)


@pytest.mark.parametrize("name", TAKES_ATOMS)
def test_tables_of_atoms(name: str) -> None:
    for table in NO_TABLES[1:] if name in (*LENIENT, "svg_figure") else NO_TABLES:
        takes = survived if name in PLACES and np.ndim(table) == 2 else refused
        takes(lambda table=table: TAKES_ATOMS[name](table))
    base = MOVIE if name in ("link", "follow", "measure_dumbbells") else ATOMS
    for table in dict(changed(base.iloc[:60])).values():
        survived(lambda table=table: TAKES_ATOMS[name](table))


@pytest.mark.parametrize("name", TAKES_ATOMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_no_atom_without_a_place_is_taken(name: str, value: float) -> None:
    table = MOVIE.copy()
    table.loc[3, "y_px"] = value
    with pytest.raises(al.TableError, match=r"position|far out"):
        TAKES_ATOMS[name](table)


def test_no_species_is_a_species() -> None:
    for nothing in (None, np.nan):
        species = ATOMS["species"].astype(object).to_numpy(copy=True)
        species[4] = nothing
        table = ATOMS.assign(species=pd.Series(species, dtype=object))
        graph = al.bond(table, "graphene-si")
        assert graph.atoms["species"][4] == "" and len(graph.bonds)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(al.TableError, match="no column x_px"):
        al.describe_sites(IMAGE, ATOMS.drop(columns="x_px"))
    assert len(al.describe_sites(IMAGE, ATOMS.drop(columns="frame"))) >= len(ATOMS)


def test_other_tables() -> None:
    drift = pd.DataFrame({"frame": range(3), "drift_y_px": 0.0, "drift_x_px": 0.0})
    dumbbells = DEFECTS.assign(dumbbell_id=0, length_px=5.0, angle_rad=0.0)
    for call, base in (
        (lambda v: al.link(MOVIE, drift=v), drift), (al.find_anomalies, SITES),
        (al.find_changes, dumbbells), (lambda v: al.follow_defects(v, MOVIE), DEFECTS),
    ):  # fmt: skip
        for table in NO_TABLES[1:-1]:
            refused(lambda call=call, table=table: call(table))
        for column in base:
            for value in ("a", None, 1j, [1, 2], np.nan, b"a", 1e300):
                table = base.assign(**{column: pd.Series([value] * len(base), dtype=object)})
                survived(lambda call=call, table=table: call(table))
            survived(lambda call=call, t=base.drop(columns=column): call(t))


def test_masks_that_are_none() -> None:
    for mask in ([[True], [True, False]], "a", IMAGE.astype(str), IMAGE + 1j):
        refused(lambda mask=mask: al.measure_lattice(ATOMS, excluded=mask))
        refused(lambda mask=mask: al.label_frame(IMAGE, ATOMS, usable=mask))


def test_a_movie_is_a_stream_of_its_frames() -> None:
    params = al.WatchParams(analysis="none")
    for movie, n in ((np.stack([IMAGE] * 2), 2), (IMAGE, 1)):
        events = list(al.stream(movie, params))
        assert [e.event for e in events] == ["analysed"] * n
    refused(lambda: list(al.stream(unknown(), params)))


# ------------------------------------------------------------------------ all other arguments

ODD: list[Any] = ["a", -3, float("nan"), float("inf"), [1], {}, 10**400, 0.5, b"a", object(), 1j]
SIZES: list[Any] = [0, -1, float("nan"), float("inf"), "a", [1, 2, 3], 1j, (None, None), {},
                    (0.0, 0.02), pd.Timestamp(0), [[1], [2, 3]], 10**400]  # fmt: skip
PARAMS: dict[str, Callable[[Any], object]] = {
    "level": lambda v: al.level(IMAGE, v), "link": lambda v: al.link(MOVIE, v),
    "analyze": lambda v: al.analyze(IMAGE, params=v),
    "analyze_frames": lambda v: list(al.analyze_frames(IMAGE, v)),
    "plan": lambda v: list(al.analyze_frames(IMAGE, plan=v)),
    "silicon": lambda v: al.analyze_silicon(IMAGE, 0.08, v),
    "film": lambda v: al.read_film(IMAGE, v),
    "verdict": lambda v: al.analyze_silicon(IMAGE, 0.08, verdict=v),
    "sites": lambda v: al.describe_sites(IMAGE, ATOMS, params=v),
    "classes": lambda v: al.classify_sites(IMAGE, ATOMS, v),
    "anomalies": lambda v: al.find_anomalies(SITES, v),
    "defects": lambda v: al.find_defects(ATOMS, v),
    "lattice": lambda v: al.measure_lattice(ATOMS, v),
    "dumbbells": lambda v: al.measure_dumbbells(MOVIE, None, v), "preset": al.preset,
    "rules": lambda v: al.bond(ATOMS, v), "train": al.train, "adapt": al.adapt,
    "simulate_silicon": al.simulate_silicon, "find_atoms": al.find_atoms,
    "session_of": al.session_of, "sessions": al.sessions,
    "progress": lambda v: al.analyze(IMAGE, progress=v, spacing_px=10.0),
    "model": lambda v: al.segment(IMAGE, v, 10.0), "lattice name": lambda v: al.simulate(v),
    "shape": lambda v: al.simulate("honeycomb", v),
    "places": lambda v: al.read_film(IMAGE, places=v),
    "reference": lambda v: al.measure_lattice(ATOMS, reference=v),
    "outlines": al.describe_contours, "contours": lambda v: al.describe_contours({0: v}),
    "read": al.read, "read_atoms": al.read_atoms, "load": al.load, "read_table": al.read_table,
    "follow_folder": al.follow_folder, "rules file": al.Rules.load,
    "batch": lambda v: al.run_batch(v, "out"),
    "watch": lambda v: list(al.watch_folder(v, once=True)),
    "changes": lambda v: al.follow(MOVIE, changes=v),
    "entries": lambda v: graphs.save(v, "a.csv"),
    "export": lambda v: graphs.save([], v),
    "started": lambda v: al.run_batch(["."], "out", started=v),
    "usable": lambda v: al.label_frame(IMAGE, ATOMS, usable=v),
    "positions": lambda v: al.refine_atoms(IMAGE, v),
    "fit": lambda v: al.refine_atoms(IMAGE, ATOMS, fit=v),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMS)
def test_arguments_of_the_wrong_kind(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ODD:
        if not (name in ("outlines", "contours", "verdict") and value in ([1], {}, "a")):
            refused(lambda value=value: PARAMS[name](value))


def test_methods_of_what_is_public(tmp_path: Path) -> None:
    result = al.analyze(IMAGE, spacing_px=10.0, pixel_size_nm=0.0142, keep_maps=False)
    saved = result.save(tmp_path / "a")
    np.save(tmp_path / "a.npy", IMAGE)
    entry = Entry("V1", "vacancy", "", ["C"], np.zeros((1, 2)), np.zeros((0, 2), int))
    rules = al.preset("graphene-si")
    with al.DefectLibrary(tmp_path / "a.defects") as library:
        library.add([entry])
        for value in (*ODD, "a\nb", "x" * 5000, None, pd.Timestamp(0), np.zeros(3)):
            for call in (
                lambda v: dataclasses.replace(rules, bonds=v), lambda v: al.Rules.from_dict(v),
                lambda v: dataclasses.replace(rules, species=v), lambda v: rules.scaled([v]),
                lambda v: library.add(v), lambda v: library.get(v), lambda v: library.remove([v]),
                lambda v: library.annotate(v), lambda v: library.set_property(1, "a", v),
                lambda v: library.add([dataclasses.replace(entry, species=v, score=v)]),
                lambda v: library.import_published(v), lambda v: result.table(v),
                lambda v: al.read_table(saved, v),
            ):  # fmt: skip
                survived(lambda call=call, value=value: call(value))
            for call in (
                lambda v: result.save(v), lambda v: rules.save(v),
                lambda v: al.read_table(saved, "atoms", v),
                lambda v: al.analyze(tmp_path / "a.npy", image=v, spacing_px=10.0),
                lambda v: report.save_report(tmp_path / "a.html", IMAGE, result, frame=v),
                lambda v: report.save_report(tmp_path / "a.pdf", v, result),
                lambda v: al.Corrections(spacing_px=v),
                lambda v: repr(al.Image("a", IMAGE, "yx", v, v)),
                lambda v: repr(al.Image("a", IMAGE, "yx", metadata=v)),
                lambda v: repr(al.Image(v, IMAGE, v)),
            ):  # fmt: skip
                if not isinstance(value, str):
                    survived(lambda call=call, value=value: call(value))
        assert len(library) >= 1 and library.get(1).kind == "vacancy"
    assert al.Image("a", IMAGE, "yx", 0.02).pixel_size_nm == (0.02, 0.02)


@pytest.mark.parametrize("value", SIZES, ids=str)
def test_sizes_of_pixels(value: Any, tmp_path: Path) -> None:
    refused(lambda: al.segment(IMAGE, "auto", 10.0, pixel_size_nm=value))
    refused(lambda: al.measure_lattice(ATOMS, pixel_size_nm=value))
    refused(lambda: al.match_crystal(ATOMS, "graphene", pixel_size_nm=value))
    refused(lambda: al.describe_contours({0: OUTLINE}, pixel_size_nm=value))
    refused(lambda: al.level(IMAGE, al.LevelParams(surface="terraces"), pixel_size_nm=value))
    for kind in (".svg", ".png"):
        path = tmp_path / f"a{kind}"
        refused(lambda path=path: figures.save_figure(path, IMAGE, ATOMS, value))
        assert not path.exists()
    refused(lambda: figures.save_movie(tmp_path / "a.gif", [IMAGE], ATOMS, value))


def test_a_figure_takes_one_number_for_the_size_of_a_pixel(tmp_path: Path) -> None:
    for kind in (".svg", ".png"):
        one = figures.save_figure(tmp_path / f"a{kind}", IMAGE, ATOMS, 0.02).read_bytes()
        two = figures.save_figure(tmp_path / f"b{kind}", IMAGE, ATOMS, (0.02, 0.02)).read_bytes()
        assert one == two
    none = figures.save_figure(tmp_path / "c.svg", IMAGE, ATOMS).read_text()
    assert " nm</text>" not in none


@pytest.mark.parametrize(
    "keyword",
    ["spacing_px", "rotation_deg", "counts", "background", "sigma", "jitter", "vacancies",
     "dopants", "dopant_factor", "seed", "nonsense"],
)  # fmt: skip
def test_simulations(keyword: str) -> None:
    for value in ["a", float("nan"), [1], {}, 10**400, b"a", object(), 1j]:
        refused(lambda value=value: al.simulate("honeycomb", (64, 64), **{keyword: value}))


CIF = """data_a
_cell_length_a {0}
_cell_length_b {0}
_cell_length_c {0}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
A1 {1} 0 0 0
"""


@pytest.mark.parametrize(
    "crystal",
    [None, float("nan"), 3, "", " ", "/", "nonsense", [], {}, [None], np.zeros(3), object(),
     Path("none.cif")],
)  # fmt: skip
def test_what_is_no_crystal(crystal: Any) -> None:
    with pytest.raises(al.AtomLensError) as caught:
        al.match_crystal(ATOMS, crystal, pixel_size_nm=0.0142)
    one_sentence(caught.value)
    assert not str(caught.value).endswith(("file .", "()."))


@pytest.mark.parametrize(
    "text",
    ["", "hello world", CIF[:40], CIF.format("nan", "Au"), CIF.format("0", "Au"),
     CIF.format("4", "Qx"), CIF.format("400", "Au"), CIF.rsplit("A1", 1)[0].format("4")],
)  # fmt: skip
def test_files_that_hold_no_crystal(text: str, tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.cif"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(al.AtomLensError) as caught:
        al.match_crystal(ATOMS, path, pixel_size_nm=0.0142)
    one_sentence(caught.value)
    assert "()" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_folder_is_no_crystal(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    with pytest.raises(al.FormatError, match="is a folder"):
        al.match_crystal(ATOMS, tmp_path)


def test_structures_that_are_no_crystal() -> None:
    ase = pytest.importorskip("ase")
    none = [ase.Atoms(), ase.Atoms("C", positions=[[0, 0, 0]]),
            ase.Atoms("C", positions=[[np.nan, 0, 0]], cell=[3, 3, 3], pbc=True),
            ase.Atoms("C", positions=[[0, 0, 0]], cell=[3, np.nan, 3], pbc=True)]  # fmt: skip
    for structure in none:
        with pytest.raises(al.ParameterError, match="needs a cell with a volume"):
            al.match_crystal(ATOMS, structure)
    box = ase.Atoms("Au", cell=[4, 4, 4], pbc=True) * (14, 14, 14)
    with pytest.raises(al.ParameterError, match="2,744 atoms"):  # not minutes of work
        al.match_crystal(ATOMS, box)


@pytest.mark.parametrize(
    "axis", [(0, 0, 0), (1,), (1, 2, 3, 4), "abc", 5, (np.nan, 0, 1), (0.5, 0, 1), (100, 1, 1)],
    ids=str,
)  # fmt: skip
def test_what_is_no_zone_axis(axis: Any) -> None:
    refused(lambda: al.match_crystal(ATOMS, "graphene", axis, pixel_size_nm=0.0142))


def test_a_zone_axis_of_numpy_is_written_as_numbers() -> None:
    found = al.match_crystal(ATOMS, "graphene", np.array([0, 0, 2]), pixel_size_nm=0.0142)
    assert json.loads(json.dumps(found.params))["zone_axis"] == [0, 0, 1]
