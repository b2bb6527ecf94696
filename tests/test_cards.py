"""What a console and a notebook show of a result."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.cards import LINES, WIDE, html_card, text_card, thumbnail_png
from napari_atomlens.errors import ImageError
from napari_atomlens.graphs.library import Entry
from napari_atomlens.image import Image
from napari_atomlens.simulation.molecules import simulate_film


def read_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG file, by a reader that is not ours."""
    imageio = pytest.importorskip("imageio.v3")
    return np.asarray(imageio.imread(io.BytesIO(data), extension=".png"))


@pytest.mark.parametrize(
    ("shape", "small"),
    [((64, 64), (64, 64)), ((256, 512), (64, 128)), ((3, 200, 130), (100, 65)),
     ((1000, 3), (125, 1)), ((1, 1), (1, 1)), ((300, 200, 3), (100, 66))],
)  # fmt: skip
def test_a_thumbnail_is_a_picture_of_the_size_asked_for(
    shape: tuple[int, ...], small: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    pixels = read_png(thumbnail_png(image, side=128))
    assert pixels.shape == small and pixels.dtype == np.uint8


def test_a_thumbnail_shows_bright_and_dark_and_does_without_what_is_no_number() -> None:
    image = np.zeros((256, 256), np.float32)
    image[:, 128:] = 5
    image[:64] = np.nan
    image[200, 200] = np.inf
    pixels = read_png(thumbnail_png(image, side=64))
    assert (pixels[16:, 32:] == 255).all() and (pixels[16:, :32] == 0).all()
    assert (pixels[:16] == 0).all()
    assert (read_png(thumbnail_png(np.full((32, 32), np.nan))) == 0).all()
    with pytest.raises(ImageError):
        thumbnail_png(np.zeros(5))


def test_a_card_is_short_and_leaves_out_what_is_not_known() -> None:
    facts = {
        "a": 1,
        "none": None,
        "empty": "",
        "zero": 0,
        "long": "x" * 500,
        "d": 4,
        "e": 5,
        "f": 6,
    }
    lines = text_card("Title", facts).splitlines()
    assert len(lines) == LINES and max(map(len, lines)) <= WIDE
    assert lines[:3] == ["Title", "  a: 1", "  zero: 0"]


def test_a_card_in_a_notebook_has_a_picture_and_no_raw_text() -> None:
    made = html_card("<b>", {"x & y": "<script>"}, np.eye(16))
    assert "<script>" not in made and "&lt;b&gt;" in made and "x &amp; y" in made
    data = re.search(r'src="data:image/png;base64,([^"]+)"', made)
    assert data and read_png(base64.b64decode(data[1])).shape == (16, 16)
    assert "<img" not in html_card("a", {})


def everything(tmp_path: Path) -> Iterator[object]:
    """One of each that shows itself, large enough to fill a screen where it did not."""
    image, scene = al.simulate("honeycomb", (96, 96), 10.0)
    yield scene
    yield Image("a", image, "yx", (0.01, 0.01))
    yield Image("movie", np.stack([image] * 3), "tyx", time_step_s=0.5)
    yield al.assess(image)
    y, x = np.mgrid[5:90:10, 5:90:10].reshape(2, -1)
    atoms = tables.make("atoms", {"atom_id": np.arange(len(y)), "y_px": y, "x_px": x}, len(y))
    atoms["species"], atoms["source"] = "C", "fit"
    yield al.bond(atoms, al.preset("graphene-si"))
    yield al.measure_lattice(atoms)
    with al.DefectLibrary(tmp_path / "a.defects") as library:
        yield library
    film, _ = simulate_film(60, seed=1)
    yield al.read_film(film)
    yield al.analyze_silicon(al.simulate_silicon(al.SiliconParams(size_px=128)).image, 0.08)
    yield al.segment(image, spacing_px=10.0)


@pytest.mark.needs_model
def test_results_show_themselves_in_six_lines_and_compare_without_an_error(tmp_path: Path) -> None:
    shown = []
    for made, again in zip(everything(tmp_path), everything(tmp_path), strict=True):
        lines = repr(made).splitlines()
        assert 1 <= len(lines) <= LINES and all(len(x) <= WIDE for x in lines)
        assert made == made and made != again and len({made, again}) == 2
        page = made._repr_html_()
        assert page.startswith("<div") and len(page) < 40_000
        shown.append((type(made).__name__, "<img" in page))
    with_picture = {name for name, picture in shown if picture}
    assert with_picture == {
        "Scene", "Image", "Verdict", "Film", "SiliconResult", "Probabilities"
    }  # fmt: skip


def test_a_library_shows_its_newest_image_and_that_it_is_closed(tmp_path: Path) -> None:
    entry = Entry("Si1", "", "hash", ["Si", "C"], np.zeros((2, 2)), np.array([[0, 1]]),
                  patch=np.eye(32, dtype=np.float32))  # fmt: skip
    library = al.DefectLibrary(tmp_path / "a.defects")
    library.add([entry, entry])
    assert repr(library).splitlines() == [
        "Defect library 'a.defects'", "  entries: 2 of 1 formulas", "  most frequent: 2 Si1"
    ]  # fmt: skip
    assert "<img" in library._repr_html_()
    library.close()
    assert "closed" in repr(library) and "closed" in library._repr_html_()
