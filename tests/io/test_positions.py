"""Positions of other programs: read as they are written, and refined by the fit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import FormatError, ParameterError, TableError
from napari_atomlens.io.formats.positions import looks_like_positions
from napari_atomlens.widgets.open_save.reader import get_atoms_reader, get_reader

TRUTH = np.array(list(itertools.product(np.arange(8, 120, 13.0), np.arange(7, 120, 13.0))))
TRUTH = TRUTH + np.random.default_rng(1).uniform(-0.4, 0.4, TRUTH.shape)
GUESS = np.round(TRUTH)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    y, x = np.mgrid[:128, :128]
    clean = 0.1 + sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 2.6**2)) for a, b in TRUTH)
    return np.random.default_rng(0).poisson(200 * clean).astype(np.float32)


def lines(pattern: str, head: str = "") -> str:
    """Write the guesses line by line."""
    return head + "".join(pattern.format(k=k, x=x, y=y) for k, (y, x) in enumerate(GUESS))


WRITTEN = {
    "no_header.csv": lines("{x},{y}\n"),
    "blanks.txt": lines("{x:.6e} {y:.6e}\n"),
    "header.csv": lines("{x},{y}\n", "x,y\n"),
    "imagej.csv": lines("{k},0,0,{x},{y}\n", " ,Area,Mean,X,Y\n"),
    "imagej.txt": lines("{k}\t0\t{x}\t{y}\n", " \tArea\tX\tY\n"),
    "decimal_comma.csv": "X;Y\n" + lines("{x:.1f};{y:.1f}\n").replace(".", ","),
    "commented.txt": lines("{x} {y} 1\n", "# position_x position_y type\n"),
    "napari.csv": lines("{k},{y},{x}\n", "index,axis-0,axis-1\n"),
    "rows.tsv": lines("{y}\t{x}\n", "row\tcolumn\n"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_other_programs_write_is_read_and_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WRITTEN[name])
    table = al.read_atoms(tmp_path / name)
    np.testing.assert_allclose(table[["y_px", "x_px"]], GUESS)
    assert get_reader(str(tmp_path / name)) is None
    reader = get_atoms_reader(str(tmp_path / name))
    assert reader is not None
    ((points, keywords, kind),) = reader(str(tmp_path / name))
    np.testing.assert_allclose(points, GUESS)
    assert kind == "points" and keywords["name"] == name


@pytest.mark.parametrize(
    ("text", "options", "right"),
    [
        ("1,2\n3,4\n", {"first_pixel": 1}, [[1, 0], [3, 2]]),
        ("1,2\n3,4\n", {"order": "yx"}, [[1, 2], [3, 4]]),
        ("x (nm),y (nm)\n0.2,0.4\n", {"pixel_size_nm": 0.1}, [[4, 2]]),
        ("0.2 0.4\n", {"unit": "nm", "pixel_size_nm": (0.2, 0.1)}, [[2, 2]]),
        # as StatSTEM counts: in angstrom, from pixel 1
        ("2.2,4.4\n", {"unit": "angstrom", "first_pixel": 1, "pixel_size_nm": 0.022}, [[19, 9]]),
    ],
)
def test_units_and_the_first_pixel_are_told(
    tmp_path: Path, text: str, options: dict[str, Any], right: list[list[float]]
) -> None:
    (tmp_path / "a.csv").write_text(text)
    table = al.read_atoms(tmp_path / "a.csv", **options)
    np.testing.assert_allclose(table[["y_px", "x_px"]], right)


def test_a_unit_in_the_header_without_a_pixel_size_gives_nm(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("X (Å),Y (Å),kind\n2,4,Pb\n", encoding="utf-8")
    table = al.read_atoms(tmp_path / "a.csv")
    np.testing.assert_allclose(table[["y_nm", "x_nm"]], [[0.4, 0.2]])
    assert table["kind"].tolist() == ["Pb"] and "y_px" not in table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "it needs columns x and y"),
        ("x,y\n1,here\n", "lines without numbers"),
        ("1,2\n3\n", "not equally long"),
        ("x,y\n1,nan\n", "no numbers"),
        ("x,y\n", "it needs columns x and y"),
    ],
)
def test_what_holds_no_positions_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=words):
        al.read_atoms(tmp_path / "a.csv")


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    wrong: dict[str, Any]
    for wrong in ({"unit": "inch"}, {"first_pixel": 2}, {"order": "zz"}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            al.read_atoms(tmp_path / "a.csv", **wrong)
    with pytest.raises(FormatError, match="the pixel size is needed"):
        al.read_atoms(tmp_path / "a.csv", unit="nm", first_pixel=1)


def test_notes_and_matrices_are_no_positions(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy milk.\n")
    np.savetxt(tmp_path / "matrix.txt", np.zeros((20, 30)))
    assert not looks_like_positions(tmp_path / "notes.txt")
    assert not looks_like_positions(tmp_path / "matrix.txt")


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_given_positions_are_refined_on_the_pixels(
    image: np.ndarray, tmp_path: Path, sign: float
) -> None:
    (tmp_path / "guess.csv").write_text(WRITTEN["no_header.csv"])
    found = al.refine_atoms(sign * image, tmp_path / "guess.csv", pixel_size_nm=0.02)
    off = np.hypot(*(found[["y_px", "x_px"]].to_numpy() - TRUTH).T)
    stated = np.hypot(found["y_err_px"], found["x_err_px"])
    assert found["fit_ok"].all() and np.sqrt(np.mean(off**2)) < 0.08
    assert 0.7 < np.sqrt(np.mean(off**2)) / np.sqrt(np.mean(stated**2)) < 1.4
    np.testing.assert_allclose(found["x_nm"], found["x_px"] * 0.02)
    np.testing.assert_allclose(found[["seen_y_px", "seen_x_px"]], GUESS)
    assert (np.sign(found["amplitude"]) == sign).all()


def test_positions_outside_of_the_image_stay_and_none_at_all_are_told(image: np.ndarray) -> None:
    found = al.refine_atoms(image, np.r_[[[-90.0, 5.0]], GUESS], spacing_px=13.0)
    assert not found["fit_ok"][0] and found["fit_ok"][1:].all()
    assert found.loc[0, ["y_px", "x_px"]].tolist() == [-90.0, 5.0]
    with pytest.raises(TableError, match="No position lies in the image"):
        al.refine_atoms(image, GUESS + 1000)
    with pytest.raises(TableError, match="Frame 3 does not exist"):
        table = pd.DataFrame({"frame": 3, "y_px": GUESS[:, 0], "x_px": GUESS[:, 1]})
        al.refine_atoms(image, table)


def test_a_place_that_the_fit_holds_is_refined_where_it_does_not_explain_the_image() -> None:
    # without noise every column beside a brighter one is something else to the fit
    y, x = np.mgrid[:72, :72]
    truth = 12.0 * np.mgrid[:6, :6].reshape(2, -1).T + 6
    clean = np.zeros((72, 72))
    for k, (a, b) in enumerate(truth):
        clean += (2.0 if k == 0 else 1.0) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8)
    guess = truth + np.random.default_rng(3).uniform(-1.5, 1.5, truth.shape)
    found = al.refine_atoms(clean, guess, spacing_px=12.0)
    assert not found["fit_ok"].all()
    np.testing.assert_allclose(found[["y_px", "x_px"]], truth, atol=0.05)
    assert (found["source"] == "fit").all()
