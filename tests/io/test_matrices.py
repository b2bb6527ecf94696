"""Images as text: whatever stands between the numbers; tables of atoms are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_readers import DATA, sentence

from napari_atomlens.io import read
from napari_atomlens.io.formats.kinds import find_files
from napari_atomlens.io.formats.matrices import looks_like_matrix
from napari_atomlens.widgets.open_save.reader import get_atoms_reader, get_reader

PIXELS = np.round(np.random.default_rng(0).random((40, 50)) * 1000 - 100, 2)


def rows(between: str, *, comma: bool = False, end: str = "\n", last: str = "") -> str:
    lines = [between.join(f"{v:.2f}" for v in row) + last for row in PIXELS]
    text = end.join(lines) + end
    return text.replace(".", ",") if comma else text


TEXTS: dict[str, str] = {
    "tab.txt": rows("\t"), "last_tab.txt": rows("\t", end="\r\n", last="\t"),
    "blanks.txt": rows("  "), "comma.txt": rows(","), "comma_blank.txt": rows(", "),
    "semicolon.txt": rows(";"), "semicolon_comma.txt": rows(";", comma=True),
    "tab_comma.txt": rows("\t", comma=True), "blanks_comma.txt": rows(" ", comma=True),
    "matrix.csv": rows(","), "matrix.asc": rows("\t"), "matrix.tsv": rows("\t"),
    "bom.txt": "\ufeff" + rows("\t"), "comments.txt": "# saved\n# by hand\n" + rows(" "),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_whatever_stands_between_the_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name], encoding="utf-8", newline="")
    (image,) = read(tmp_path / name)
    np.testing.assert_allclose(image.data, PIXELS)
    assert image.axes == "yx" and image.pixel_size_nm is None
    assert get_reader(str(tmp_path / name)) is not None
    assert find_files(tmp_path) == [tmp_path / name]


def test_dropped_on_napari(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text(TEXTS["matrix.csv"])
    (tmp_path / "atoms.csv").write_text("y_px,x_px\n" + "1.0,2.0\n" * 9)
    for name, opens, other in (
        ("matrix.csv", get_reader, get_atoms_reader), ("atoms.csv", get_atoms_reader, get_reader),
    ):  # fmt: skip
        found = opens(str(tmp_path / name))
        assert found is not None and other(str(tmp_path / name)) is None
        ((_, _, kind),) = found(str(tmp_path / name))
        assert kind == ("image" if name == "matrix.csv" else "points")


def test_other_encodings(tmp_path: Path) -> None:
    head = "# Channel: Höhe\n# Width: 5 µm\n# Height: 4 µm\n"
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "a.txt").write_bytes((head + rows("\t")).encode(encoding))
        (image,) = read(tmp_path / "a.txt")
        np.testing.assert_allclose(image.data, PIXELS)
        assert image.name == "a.txt: Höhe" and image.pixel_size_nm == pytest.approx((100, 100))


def test_headers_of_other_programs(tmp_path: Path) -> None:
    spip = (
        "# File Format = ASCII\n# x-pixels = 50\n# x-length = 10\n# y-length = 4\n# z-unit = nm\n"
    )
    wsxm = ("WSxM file copyright\nX Amplitude: 100 Å\nY Amplitude: 4 nm\nZ Amplitude: 2 Å\n"
            "[Header end]\n\n")  # fmt: skip
    for head, size, factor in ((spip, (0.1, 0.2), 1.0), (wsxm, (0.1, 0.2), 0.1)):
        (tmp_path / "a.asc").write_text(head + rows("\t"), encoding="utf-8")
        (image,) = read(tmp_path / "a.asc")
        np.testing.assert_allclose(image.data, PIXELS * factor)
        assert image.pixel_size_nm == pytest.approx(size) and image.metadata["unit"] == "nm"


def test_gaps_are_unknown(tmp_path: Path) -> None:
    lines = rows(",").splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[2], "", 1)
    lines[4] = lines[4].replace(lines[4].split(",")[5], "nan", 1)
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = np.asarray(read(tmp_path / "a.csv")[0].data)
    assert np.isnan(data[3, 2]) and np.isnan(data[4, 5]) and np.isnan(data).sum() == 2


def test_counters_of_lines_and_columns_are_no_pixels(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame(PIXELS).to_csv(tmp_path / "both.csv")
    pd.DataFrame(PIXELS).to_csv(tmp_path / "columns.csv", index=False)
    for name in ("both.csv", "columns.csv"):
        np.testing.assert_allclose(read(tmp_path / name)[0].data, PIXELS)


NO_IMAGES: dict[str, tuple[str, str]] = {
    "atoms.csv": ("y_px,x_px,intensity\n" + "1.0,2.0,3.0\n" * 40, "names of columns"),
    "positions.txt": ("1.0\t2.0\n" * 40, "columns"),
    "wide_table.csv": ("a,b,c,d,e,f,g,h\n" + "0,1,2,3,4,5,6,7\n" * 40, "names of columns"),
    "words.txt": ("Not an image.\n" * 200, "no lines of numbers"),
    "ragged.txt": (rows(" ") + "1 2 3\n", "line 41"),
    "broken.csv": (rows(",").replace("\n", ",x\n", 20).replace(",x", ",y"), "text"),
    "few.txt": ("\t".join("12345678") + "\n" + "\t".join("12345678"), "lines"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_matrix_is_told(tmp_path: Path, name: str) -> None:
    text, said = NO_IMAGES[name]
    (tmp_path / name).write_text(text)
    assert said in sentence(tmp_path / name)


@pytest.mark.parametrize("name", ["atoms.csv", "positions.txt", "wide_table.csv", "words.txt"])
def test_lists_beside_images_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(NO_IMAGES[name][0])
    assert not looks_like_matrix(tmp_path / name)
    assert find_files(tmp_path) == []


def test_a_large_matrix_is_known_by_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_atomlens.io.formats.matrices._LOOK_BYTES", 1000)
    (tmp_path / "a.txt").write_text(rows("\t"))
    assert looks_like_matrix(tmp_path / "a.txt")


def test_published_text() -> None:
    path = DATA / "stm-other" / "cu2o111-gwyddion.txt"
    if not path.exists():
        pytest.skip("the published files are not here")
    (image,) = read(path)
    assert image.data.shape == (512, 512) and image.metadata["unit"] == "nm"
