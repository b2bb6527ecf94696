"""Figures, movies and reports: what they show is where it belongs."""

from __future__ import annotations

import errno
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imageio.v3 import imread

from napari_atomlens import tables
from napari_atomlens.errors import FormatError, ImageError, ParameterError
from napari_atomlens.io.export import figures, report

SVG = "{http://www.w3.org/2000/svg}"
IMAGE = np.random.default_rng(0).random((60, 80))
ATOMS = tables.make(
    "atoms",
    {"frame": [0, 0, 1], "atom_id": [0, 1, 2],
     "y_px": [10.0, 30.25, 5.0], "x_px": [20.0, 70.5, 6.0],
     "species": ["Si", "C<1>", "Si"], "amplitude": [1.0, 2.0, 3.0], "probability": 0.9,
     "y_err_px": 0.1, "x_err_px": 0.1, "sigma_px": [1.0, 2.0, 3.0]},
    3,
)  # fmt: skip


@given(st.integers(16, 10_000), st.floats(1e-3, 100))
def test_scale_bars_are_round_numbers(width: int, pixel: float) -> None:
    length, label = figures.scale_bar(width, pixel)
    assert 0.09 * width < length <= 0.2501 * width
    value, unit = label.split()
    nm = float(value) * (1e-3 if unit == "pm" else 1)
    assert nm / pixel == pytest.approx(length)
    assert re.fullmatch(r"[125](e[+-]?\d+)?|[125]0*|0\.0*[125]", value)


def test_svg() -> None:
    text = figures.svg_figure(IMAGE, ATOMS[ATOMS["frame"] == 0], (0.2, 0.1))
    root = ET.fromstring(text)
    circles = {(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")}
    assert circles == {(20.5, 21.0), (71.0, 61.5)}  # pixels are twice as high as wide
    assert root.get("viewBox") == "0 0 80 120"
    assert {t.text for t in root.iter(f"{SVG}title")} == {"Si", "C<1>"}
    assert next(root.iter(f"{SVG}text")).text == "2 nm"
    assert float(next(root.iter(f"{SVG}rect")).get("width")) == pytest.approx(20)
    assert "<rect" not in figures.svg_figure(IMAGE)


def test_png(tmp_path: Path) -> None:
    path = figures.save_figure(tmp_path / "a.png", IMAGE, ATOMS.iloc[:1], (0.1, 0.1), zoom=4)
    picture = imread(path)
    assert picture.shape == (240, 320, 3)
    coloured = np.ptp(picture.astype(int), axis=-1) > 20
    rows, columns = np.nonzero(coloured)
    assert rows.mean() == pytest.approx(4 * 10.5, abs=1) and columns.mean() == pytest.approx(
        4 * 20.5, abs=1
    )
    assert (picture[228:231, 12:20] == 255).all()  # the bar
    assert figures.save_figure(tmp_path / "a.svg", IMAGE).read_text().startswith("<svg")


def test_movie(tmp_path: Path) -> None:
    path = figures.save_movie(tmp_path / "a.gif", [IMAGE, IMAGE[::-1]], ATOMS, per_second=5)
    assert imread(path).shape[:3] == (2, 60, 80)


def test_a_movie_that_breaks_off_leaves_the_one_of_before(tmp_path: Path) -> None:
    path = figures.save_movie(tmp_path / "a.gif", [IMAGE])
    before = path.read_bytes()

    def frames() -> Iterator[np.ndarray]:
        yield IMAGE
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FormatError, match="No space left"):
        figures.save_movie(path, frames())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_report(tmp_path: Path) -> None:
    result = SimpleNamespace(
        atoms=ATOMS, frames=[0, 1], spacing_px=11.5, messages=["Look <here>."],
        provenance={"pixel_size_nm": [0.1, 0.1], "model": "universal"},
    )  # fmt: skip
    text = report.save_report(tmp_path / "a.html", IMAGE, result, title="a & b").read_text()
    assert "a &amp; b" in text and "Look &lt;here&gt;." in text and "universal" in text
    assert text.count("<circle") == 2  # those of the frame that is shown
    assert re.search(r"<td>Si</td><td>2</td><td>2</td>", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # needs nothing else


def test_report_as_pdf(tmp_path: Path) -> None:
    result = SimpleNamespace(
        atoms=ATOMS, frames=[0, 1], spacing_px=11.5, messages=["A long sentence. " * 30],
        provenance={"pixel_size_nm": [0.1, 0.1], "model": "universal", "more": "x " * 9000},
    )  # fmt: skip
    page = np.asarray(report.draw_report(IMAGE, result, title="a & b"))
    assert page.shape == (1754, 1240, 3)
    paper = (page == 255).all(-1)
    assert paper[:60].all() and paper[:, :60].all() and paper[-50:].all() and paper[:, -50:].all()
    colours = {tuple(c) for c in page[~paper]}
    assert len(colours) > 50  # the image, its circles, text and bars
    raw = report.save_report(tmp_path / "a.pdf", IMAGE, result).read_bytes()
    assert raw.startswith(b"%PDF") and raw.count(b"/Type /Page\n") + raw.count(b"/Type /Page ") <= 1
    nothing = SimpleNamespace(
        atoms=ATOMS[:0], frames=[0], spacing_px=float("nan"), messages=[], provenance={}
    )
    assert report.save_report(tmp_path / "b.pdf", IMAGE, nothing).exists()
    with pytest.raises(FormatError, match=r"\.html or \.pdf"):
        report.save_report(tmp_path / "a.doc", IMAGE, result)


def test_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError):
        figures.as_grey(np.zeros((2, 3, 4)))
    with pytest.raises(FormatError, match=r"\.svg or \.png"):
        figures.save_figure(tmp_path / "a.doc", IMAGE)
    with pytest.raises(FormatError, match=r"\.gif or \.mp4"):
        figures.save_movie(tmp_path / "a.avi", [IMAGE])
    with pytest.raises(ParameterError):
        figures.save_movie(tmp_path / "a.gif", [IMAGE], per_second=0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FormatError, match="imageio-ffmpeg"):
        figures.save_movie(tmp_path / "a.mp4", [IMAGE])
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="could not be written"):
        figures.save_figure(tmp_path / "file" / "a.svg", IMAGE)
    assert figures.as_grey(np.full((4, 4), np.nan)).shape == (4, 4)
