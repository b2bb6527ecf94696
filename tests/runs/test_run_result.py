"""Results: one door for settings, later tables, and one layout that every run writes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import FormatError, ImageError, ModelError, ParameterError
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.progress import Progress
from napari_atomlens.runs import derived
from napari_atomlens.runs.result import LATER
from napari_atomlens.simulation import seed_for, simulate
from napari_atomlens.simulation.samples import ws2_vacancies

pytestmark = pytest.mark.needs_model


def movie(n: int = 3, side: int = 96) -> np.ndarray:
    image, _ = simulate(
        "honeycomb", (side, side), 12.0, rotation_deg=11, counts=2000, seed=seed_for("test", 9_010)
    )
    rng = np.random.default_rng(0)
    noise = 0.02 * np.std(image)
    return np.stack([image + rng.normal(0, noise, image.shape) for _ in range(n)]).astype("f4")


@pytest.fixture(scope="module")
def analysed() -> al.Result:
    return al.analyze(movie(), pixel_size_nm=0.02)


def same(one: al.Result, two: al.Result) -> None:
    """Two results of the same pixels are the same to the bit, whoever made them."""
    pd.testing.assert_frame_equal(one.atoms, two.atoms, check_exact=True)
    pd.testing.assert_frame_equal(one.contours, two.contours, check_exact=True)
    assert one.frames == two.frames and one.classes == two.classes
    assert one.outlines.keys() == two.outlines.keys()
    for f, outlines in one.outlines.items():
        for a, b in zip(outlines, two.outlines[f], strict=True):
            np.testing.assert_array_equal(a, b)
    kept = {k: v for k, v in one.provenance.items() if k != "image"}
    assert kept == {k: v for k, v in two.provenance.items() if k != "image"}
    assert one.messages == two.messages


def test_movie_and_batch_are_analyze_to_the_bit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", movie())
    whole = al.analyze(tmp_path / "a.npy", pixel_size_nm=0.02)
    for _ in al.analyze_movie(tmp_path / "a.npy", tmp_path / "m", pixel_size_nm=0.02, maps=True):
        pass
    al.run_batch([tmp_path / "a.npy"], tmp_path / "b", pixel_size_nm=0.02, maps=True)
    whole.save(tmp_path / "c.atomlens")
    for folder in ("m", "b", "c.atomlens"):
        again = al.load(tmp_path / folder)
        same(again, whole)
        np.testing.assert_array_equal(again.probabilities, whole.probabilities)
        np.testing.assert_array_equal(again.unfamiliar, whole.unfamiliar)
        assert again.pixel_size_nm == (0.02, 0.02)
        assert again.spacing_px == whole.spacing_px


def test_a_batch_of_many_files_is_opened_file_by_file(tmp_path: Path) -> None:
    for k, name in enumerate(("a.npy", "b.npy")):
        np.save(tmp_path / name, movie(2)[k])
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    al.run_batch([tmp_path / n for n in ("a.npy", "b.npy", "bad.npy")], tmp_path / "out")
    with pytest.raises(FormatError, match=r"holds 3 files; say which: a\.npy, b\.npy, bad\.npy"):
        al.load(tmp_path / "out")
    same(al.load(tmp_path / "out", "b.npy"), al.analyze(tmp_path / "b.npy"))
    with pytest.raises(FormatError, match=r"bad\.npy could not be analysed: bad\.npy"):
        al.load(tmp_path / "out", "bad.npy")


def test_a_movie_is_opened_as_far_as_it_is(tmp_path: Path) -> None:
    run = al.analyze_movie(movie(4), tmp_path / "m")
    next(run), next(run)
    run.close()
    part = al.load(tmp_path / "m")
    assert part.frames == [0, 1] and set(part.atoms["frame"]) == {0, 1}
    assert len(part.probabilities) == 0  # maps were not asked for
    stopped = al.analyze_movie(movie(4), tmp_path / "m", progress=Progress(stop=lambda: True))
    assert list(stopped) == [] and al.load(tmp_path / "m").frames == [0, 1]
    done: list[tuple[int, int]] = []
    list(al.analyze_movie(movie(4), tmp_path / "m", progress=lambda *n: done.append(n)))
    assert done == [(2, 4), (3, 4), (4, 4)] and al.load(tmp_path / "m").frames == [0, 1, 2, 3]


def test_what_followed_a_movie_is_opened_with_it(tmp_path: Path) -> None:
    list(al.analyze_movie(movie(3), tmp_path / "m", pixel_size_nm=0.02))
    found = al.follow_folder(tmp_path / "m")
    again = al.load(tmp_path / "m")
    assert set(again.made()) == set(derived.FOLLOWED)
    pd.testing.assert_frame_equal(again.tracks, found.tracks)
    pd.testing.assert_frame_equal(al.read_table(tmp_path / "m", "tracks"), found.tracks)
    few = al.read_table(tmp_path / "m", "tracks", ["track_id"])
    assert list(few) == ["track_id"] and len(few) == len(found.tracks)


def test_later_tables_come_back_with_a_project(tmp_path: Path) -> None:
    ws2 = ws2_vacancies()
    first = al.analyze(ws2.data, pixel_size_nm=ws2.pixel_size_nm)
    made = {name: first.table(name) for name in ("bonds", "defects", "vacancies", "lattices")}
    again = al.load(first.save(tmp_path / "a"))
    assert set(made) <= set(again.made())
    for name, table in made.items():
        pd.testing.assert_frame_equal(again.table(name), table)
    assert all(isinstance(ids, tuple) for ids in again.defects["atom_ids"])
    assert again.provenance["rules"] == first.bond_graph.rules.as_dict()
    assert "rules" not in first.provenance and "lattice" in first.record()
    assert (again.vacancies["source"] == "lattice").all() and len(again.vacancies)


def test_what_follows_from_what() -> None:
    assert derived.stale_after("atoms") == set(derived.NEEDS)
    assert derived.stale_after("contours") == {"dumbbells", "changes"}
    assert derived.stale_after("bonds") == {"defects"}
    assert derived.stale_after("defects") == set()
    assert set(LATER) | {"contours"} == set(derived.NEEDS)


def test_other_contours_let_go_of_the_dumbbells_only(analysed: al.Result) -> None:
    result = copy.copy(analysed)
    result._later = {}
    bonds, tracks = result.bonds, result.tracks
    result.contours = result.contours.iloc[:5]
    assert "dumbbells" not in result.made() and result.bonds is bonds
    pd.testing.assert_frame_equal(result.tracks, tracks)
    assert len(result.table("contours")) == 5 and result.table("atoms") is result.atoms
    with pytest.raises(ParameterError, match="no table atom; there are bonds"):
        result.table("atom")


def test_a_result_shows_itself_in_a_few_lines(analysed: al.Result) -> None:
    text = repr(analysed)
    assert text.startswith("Result of array (96 x 96 px, 3 of 3 frames, 0.02 nm per pixel)")
    assert len(text.splitlines()) <= 6
    page = analysed._repr_html_()
    assert "data:image/png;base64," in page and len(page) < 40_000
    empty = al.analyze(np.ones((64, 64)), keep_maps=False)
    assert "atoms: none" in repr(empty) and "messages: 1: The image is constant" in repr(empty)
    assert "data:image/png" not in empty._repr_html_()


def test_one_door_for_settings() -> None:
    image = movie(1)[0]
    for wrong, error in [
        ({"spacing": 12}, "did you mean 'spacing_px'"),
        ({"min_probability": 2}, "min_probability is 2"),
        ({"params": al.BatchParams(), "refine": "round"}, "refine is 'round'"),
    ]:
        with pytest.raises(ParameterError, match=error):
            al.analyze(image, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no model named"):
        al.analyze(image, "nothing")
    with pytest.raises(ImageError, match="Frame 7 does not exist"):
        list(al.analyze_movie(movie(2), "nowhere", frames=[7]))
    given = al.analyze(image, params=al.AnalysisParams(window=3), contours=False)
    assert given.provenance["parameters"]["window"] == 3 and not len(given.contours)


def test_a_run_that_is_stopped_at_once_is_empty() -> None:
    result = al.analyze(movie(2), progress=Progress(stop=lambda: True))
    assert result.frames == [] and not len(result.atoms) and result.provenance["spacing_px"] == {}


def test_an_image_that_was_read_is_a_source(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", movie(2))
    (image,) = al.read(tmp_path / "a.npy")
    one, two = al.analyze(image), al.analyze(tmp_path / "a.npy")
    same(one, two)
    assert one.provenance["image"] == image.name and two.provenance["image"] == "a.npy"


def test_a_dose_so_low_that_frames_are_summed(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    clean = movie(1)[0]
    low = rng.poisson(np.clip(clean / clean.mean() * 3, 0, None), (5, *clean.shape)).astype("f4")
    whole = al.analyze(low, window=0)
    assert whole.provenance["window"] >= 1
    list(al.analyze_movie(low, tmp_path / "m", window=0))
    same(al.load(tmp_path / "m"), whole)


def test_tables_that_are_not_there(tmp_path: Path, analysed: al.Result) -> None:
    path = analysed.save(tmp_path / "a")
    assert len(al.read_table(path)) == len(analysed.atoms)
    for name in ("bonds", "thesis"):
        with pytest.raises(FormatError, match=f"holds no {name}"):
            al.read_table(path, name)
    (path / "maps.zarr" / "probabilities" / "zarr.json").unlink()
    with pytest.raises(FormatError, match="damaged"):
        al.load(path)


def test_maps_too_large_for_the_memory_stay_on_the_disk(
    tmp_path: Path, analysed: al.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = analysed.save(tmp_path / "a")
    monkeypatch.setattr(layout, "IN_MEMORY_BYTES", 1000)
    again = al.load(path)
    assert hasattr(again.probabilities, "dask")
    np.testing.assert_array_equal(np.asarray(again.probabilities), analysed.probabilities)
    few = al.analyze(movie(), frames=[0, 2]).save(tmp_path / "b")
    lazy = al.load(few)
    assert lazy.frames == [0, 2] and lazy.probabilities.shape[0] == 2


def test_a_folder_without_a_plan_is_damaged(tmp_path: Path) -> None:
    run = al.analyze_movie(movie(3), tmp_path / "m")
    next(run)
    run.close()
    note = json.loads((tmp_path / "m" / "run.json").read_text())
    del note["plan"]
    (tmp_path / "m" / "run.json").write_text(json.dumps(note))
    with pytest.raises(FormatError, match="has no plan"):
        list(al.analyze_movie(movie(3), tmp_path / "m"))
