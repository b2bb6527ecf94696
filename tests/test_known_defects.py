"""Known defects of issue 14, one test each; the fix of a defect removes its mark.

``raises`` says how each fails today: a test that fails in another way (a module that moved)
is an error, not an expected failure.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree
from typer.testing import CliRunner

import napari_atomlens as al
from napari_atomlens.simulation import crystals, movies, samples
from napari_atomlens.simulation.scenes import add_dose, remove, scene_from_crystal, seed_for

#: What is imported under another name than it is installed by.
INSTALLED_AS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def defect(what: str, raises: type[Exception] = AssertionError) -> pytest.MarkDecorator:
    """Mark a test that fails until a defect is fixed."""
    return pytest.mark.xfail(strict=True, raises=raises, reason=what)


@pytest.fixture(scope="module")
def ws2() -> samples.Sample:
    return samples.ws2_vacancies(192)


@pytest.fixture(scope="module")
def honeycomb() -> np.ndarray:
    return al.simulate("honeycomb", (96, 96), 12, seed=seed_for("test", 900))[0]


@pytest.fixture(scope="module")
def analysed(ws2: samples.Sample) -> al.Result:
    """Of WS2; a test that changes it takes a copy."""
    return al.analyze(ws2.data, pixel_size_nm=ws2.pixel_size_nm)


# ------------------------------------------------------------------------- 1: save, load


def test_a_result_without_maps_is_saved_and_loaded(ws2: samples.Sample, tmp_path: Path) -> None:
    result = al.analyze(ws2.data, pixel_size_nm=ws2.pixel_size_nm, keep_maps=False)
    again = al.load(result.save(tmp_path / "no maps"))
    assert len(again.atoms) > 100
    pd.testing.assert_frame_equal(again.atoms, result.atoms)
    pd.testing.assert_frame_equal(again.contours, result.contours)


# ------------------------------------------------------------------- 2: files that are seen


def omicron(folder: Path) -> str:
    """Write what looks like an Omicron scan, and return its name."""
    name = "default--1_1.Z_mtrx"
    (folder / name).write_bytes(b"ONTMATRX of nothing")
    return name


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], dict[str, str]]:
    """Names in a folder with a file of each suffix that is read, and events by name."""
    import zarr

    from napari_atomlens import cli
    from napari_atomlens.io.formats.kinds import SUFFIXES

    folder = tmp_path_factory.mktemp("watched")
    image = np.random.default_rng(0).normal(size=(128, 128))
    for k, suffix in enumerate(SUFFIXES):
        if suffix in (".zarr", ".zspy"):
            zarr.create_array(folder / f"a{suffix}", data=image + k)
        elif suffix in (".txt", ".asc", ".csv", ".tsv"):  # a text is seen where it is an image
            np.savetxt(folder / f"a{suffix}", image + k)
        else:
            (folder / f"a{suffix}").write_bytes(b"no image " + suffix.encode())
    omicron(folder)
    names = {p.name for p in folder.iterdir()}
    options = ["--once", "--analysis", "none", "--settle", "0"]
    done = CliRunner().invoke(cli.app, ["watch", str(folder), *options])
    assert done.exit_code == 0, done.output
    return names, {e["name"]: e["event"] for e in map(json.loads, done.stdout.splitlines())}


def test_watch_sees_every_suffix_that_is_read(watched: tuple[set[str], dict[str, str]]) -> None:
    names, events = watched
    assert {n for n in names if not n.endswith("_mtrx")} <= set(events)
    assert events["a.zarr"] == events["a.zspy"] == "analysed"


def test_watch_sees_omicron_scans(watched: tuple[set[str], dict[str, str]]) -> None:
    names, events = watched
    assert {n for n in names if n.endswith("_mtrx")} <= set(events)


def test_batch_on_a_folder_sees_omicron_scans(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    name = omicron(tmp_path / "scans")
    # it holds no image: it was seen where its failure is told
    assert list(al.run_batch([tmp_path / "scans"], tmp_path / "out").failures["file"]) == [name]


# ------------------------------------------------------------------- 3: one way to follow


@pytest.fixture(scope="module")
def movie() -> al.Result:
    made = movies.silicon_110(128, 6, seed=1)
    return al.analyze(made.data, pixel_size_nm=made.pixel_size_nm)


@pytest.mark.parametrize("name", ["tracks", "dumbbells"])
def test_a_result_follows_as_the_command_movie_does(movie: al.Result, name: str) -> None:
    from napari_atomlens.tracking import follow

    size = movie.provenance["pixel_size_nm"]
    wanted = getattr(follow(movie.atoms, movie.contours, pixel_size_nm=size), name)
    assert len(wanted) > 100
    pd.testing.assert_frame_equal(getattr(movie, name), wanted)


# ------------------------------------------------------------------------- 4: one result


@pytest.mark.parametrize(("name", "column"), [("bonds", "atom_a"), ("tracks", "atom_id")])
def test_corrected_atoms_make_the_later_tables_anew(
    analysed: al.Result, name: str, column: str
) -> None:
    result = copy.deepcopy(analysed)
    assert set(getattr(result, name)[column]) <= set(result.atoms["atom_id"])
    result.atoms = result.atoms.iloc[: len(result.atoms) // 2].reset_index(drop=True)
    left = set(getattr(result, name)[column])
    assert left and left <= set(result.atoms["atom_id"])


def test_reading_a_table_leaves_the_provenance(analysed: al.Result) -> None:
    result = copy.deepcopy(analysed)
    before = copy.deepcopy(result.provenance)
    assert len(result.bonds)
    assert result.provenance == before


def test_model_and_params_both_count(honeycomb: np.ndarray) -> None:
    params = al.AnalysisParams(min_probability=0.6)
    made = al.analyze(honeycomb, model="graphene", params=params).provenance
    assert made["parameters"]["min_probability"] == 0.6
    assert made["model"] == made["parameters"]["model"] == "graphene"


def test_parameters_are_given_by_their_names(honeycomb: np.ndarray) -> None:
    one = al.analyze(honeycomb, params=al.AnalysisParams(spacing_px=12))
    two = al.analyze(honeycomb, spacing_px=12)
    pd.testing.assert_frame_equal(two.atoms, one.atoms)
    assert two.provenance["parameters"] == one.provenance["parameters"]


def test_auto_is_the_same_model_in_segment_and_analyze(
    ws2: samples.Sample, analysed: al.Result
) -> None:
    assert analysed.provenance["model"] == "tmd"
    seen = al.segment(ws2.data, "auto", pixel_size_nm=ws2.pixel_size_nm)
    assert seen.classes == analysed.classes


# ------------------------------------------------------- 5: the probability of a column


@pytest.mark.parametrize("model", ["universal", "graphene"])
def test_a_column_is_any_class_of_columns(model: str) -> None:
    seen = al.segment(samples.graphene_si(192).data, model)
    maps = dict(zip(seen.classes, seen.maps.astype(np.float32), strict=True))
    dirt = maps.pop("contamination")
    assert (dirt > 0.5).any()
    columns = np.asarray(seen.columns, np.float32)
    np.testing.assert_allclose(columns, sum(maps.values()) - maps["background"], atol=2e-3)


def test_clouds_of_a_surface_are_the_outlines_of_its_columns() -> None:
    from napari_atomlens.contours import AnomalyParams
    from napari_atomlens.runs.surface import find_on_surface

    sample = samples.graphene_si(192)
    surface = find_on_surface(sample.data, sample.pixel_size_nm, AnomalyParams())
    plain = al.analyze(surface.flat, pixel_size_nm=sample.pixel_size_nm).contours
    drawn = surface.sites.set_index("atom_id")["area_px2"].reindex(plain["atom_id"])
    assert len(plain) > 100
    np.testing.assert_allclose(drawn.to_numpy(), plain["area_px2"], rtol=0.02)


# --------------------------------------------------------------------- 6: vacancies, spacing


@pytest.fixture(scope="module")
def vacant() -> tuple[np.ndarray, al.Result, np.ndarray]:
    """WS2 without some S2 columns: image, result, places of those; two of them share a W."""
    rng = np.random.default_rng(seed_for("test", 9001))
    pixel = 0.0165
    scene, index = scene_from_crystal(
        crystals.tmd(0.30), (256, 256), 0.315 / np.sqrt(3) / pixel, rng, rotation_rad=0.35,
        sigma=0.25, jitter=0.01,
    )  # fmt: skip
    place, chalcogen = np.c_[scene.y, scene.x], np.flatnonzero(index == 1)
    tree = cKDTree(place[chalcogen])
    # the last lies on the rim of the image, where no gap is closed
    single = [(60, 60), (60, 190), (190, 60), (185, 190), (128, 14), (242, 130), (100, 6)]
    gone = chalcogen[np.r_[tree.query((120, 128), k=2)[1], tree.query(single)[1]]]
    remove(scene, np.isin(np.arange(len(place)), gone))
    scene.background = scene.background + 0.03
    image = add_dose(scene, 700, rng, 0.3)
    return image, al.analyze(image, pixel_size_nm=pixel), place[gone[:-1]]


def vacancies_of(door: str, image: np.ndarray, result: al.Result) -> pd.DataFrame:
    """Return the vacant sites as one part of the package tells them."""
    from napari_atomlens.graphs import occupy_sites

    size = result.provenance["pixel_size_nm"]
    if door == "occupancy":
        sites = occupy_sites(result.atoms)
        return sites[sites["atom_id"] < 0]
    table = result.atoms
    if door != "explore":
        table = al.measure_lattice(table, pixel_size_nm=size).atoms
    if door == "explore after measure":  # the dock writes columns into the layer, and no rows
        table = table[table["source"] != "lattice"].reset_index(drop=True)
    if door != "measure":
        table = al.describe_sites(image, table)
    return table[table["source"] == "lattice"]


@pytest.mark.parametrize(
    "door",
    ["measure", "explore", "explore after measure", "occupancy"],
)
def test_vacancies_are_the_same_everywhere(
    vacant: tuple[np.ndarray, al.Result, np.ndarray], door: str
) -> None:
    image, result, truth = vacant
    found = vacancies_of(door, image, result)[["y_px", "x_px"]].to_numpy(float)
    assert len(found) == len(truth) == 8
    assert cKDTree(found).query(truth)[0].max() < 1


def test_each_vacancy_has_its_row(vacant: tuple[np.ndarray, al.Result, np.ndarray]) -> None:
    """Also the two that share a W: they stand on sites that do not touch."""
    _, result, truth = vacant
    rows = result.defects[result.defects["formula"].str.contains("V")]
    assert len(rows) == len(truth)
    far, row = cKDTree(rows[["y_px", "x_px"]].to_numpy(float)).query(truth)
    assert far.max() < 0.2 * result.spacing_px
    assert sorted(row) == list(range(len(rows)))
    assert set(rows["formula"]) == {"V_S2"} and (rows["n_atoms"] > 2).all()


def test_the_spacing_of_places_has_one_answer() -> None:
    from napari_atomlens import points

    rng = np.random.default_rng(seed_for("test", 901))
    scene, _ = scene_from_crystal(crystals.honeycomb(), (300, 300), 10.0, rng, jitter=0.03)
    places = np.c_[scene.y, scene.x]
    spacing = points.spacing(places)
    assert spacing == pytest.approx(10, rel=0.005)
    other = points.spacing(places, np.zeros(len(places), int))
    assert other == pytest.approx(spacing, rel=0.005)


# ------------------------------------------------------------------ 7: what is said of it


def test_results_can_be_compared(analysed: al.Result) -> None:
    assert (analysed == copy.deepcopy(analysed)) in (True, False)


def test_a_result_says_in_a_few_lines_what_it_is(analysed: al.Result) -> None:
    text = repr(analysed)
    assert len(text) < 1500 and len(text.splitlines()) <= 8
    assert "tmd" in text and str(len(analysed.atoms)) in text


def test_help_of_watch_names_no_model_that_is_not_used() -> None:
    from napari_atomlens import cli

    done = CliRunner().invoke(cli.app, ["watch", "--help"], env={"COLUMNS": "200"})
    words = " ".join(re.findall(r"\w+", done.output))
    assert done.exit_code == 0 and "analysis" in words
    assert "universal model" not in words


def words_of_docs(root: Path) -> str:
    texts = [p.read_text(encoding="utf-8") for p in sorted((root / "docs").glob("*.md"))]
    return " ".join(" ".join(texts).split())


def test_docs_say_how_columns_are_fitted(root: Path) -> None:
    words = words_of_docs(root)
    assert "fitted" in words and "fitted by least squares" not in words


def test_docs_say_what_chi2_is(analysed: al.Result, root: Path) -> None:
    assert "chi2" in analysed.atoms
    assert re.search(r"\bchi2\b", words_of_docs(root))


def imported(path: Path) -> set[str]:
    """Top-level names of all that a file imports when it runs, wherever in it."""
    found: list[Any] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # what only a type checker reads need not be there
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            found += [node.args[0].value] if name in ("import_module", "optional") else []
    return {str(name).split(".")[0] for name in found}


def test_what_is_imported_is_declared(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for e in extras if e != "dev" for r in extras[e])]
    declared = {re.split(r"[^\w.-]", w)[0].lower().replace("_", "-") for w in wanted}
    assert "numpy" in declared
    files = (root / "src").rglob("*.py")
    names = set().union(*map(imported, files)) - set(sys.stdlib_module_names)
    used = {INSTALLED_AS.get(n, n).lower().replace("_", "-") for n in names}
    assert sorted(used - declared - {"napari-atomlens"}) == []
