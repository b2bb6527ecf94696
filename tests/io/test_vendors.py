"""DigitalMicrograph 5, MATLAB of both kinds, TIFF that is packed or has units of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from small_files import FRAME, dm5, mat73
from test_readers import DATA, STACK, sentence

from napari_atomlens.io import read
from napari_atomlens.io.formats.annotations import annotation_of

# DigitalMicrograph ----------------------------------------------------------------------------


def test_dm5(tmp_path: Path) -> None:
    dm5(tmp_path / "a.dm5", FRAME, [(0.1, "nm"), (200.0, "pm")])
    (image,) = read(tmp_path / "a.dm5")  # the thumbnail is none
    np.testing.assert_array_equal(image.data, FRAME)
    assert image.pixel_size_nm == pytest.approx((0.1, 0.2)) and image.name == "a.dm5"
    known = image.metadata
    assert known["detector"] == "HAADF" and known["beam_energy_keV"] == 200
    assert known["scan_rotation_deg"] == 12.5 and known["recorded"] == "2018-03-21 19:36:14"
    assert known["unit"] == "e-"
    assert known["annotations"] == [{"kind": "box", "place_px": (1.0, 2.0, 9.0, 10.0)}]


def test_dm5_movie_spectra_and_diffraction(tmp_path: Path) -> None:
    dm5(tmp_path / "a.dm5", STACK, [(0.5, "s"), (0.1, "nm"), (0.1, "nm")])
    (movie,) = read(tmp_path / "a.dm5")
    np.testing.assert_array_equal(movie.data, STACK)
    assert movie.time_step_s == 0.5 and movie.pixel_size_nm == pytest.approx((0.1, 0.1))
    dm5(tmp_path / "a.dm5", FRAME, [(0.1, "1/nm"), (0.1, "1/nm")])
    assert "diffraction" in sentence(tmp_path / "a.dm5")
    dm5(tmp_path / "a.dm5", FRAME, [(0.1, "nm"), (0.1, "eV")])
    assert "spectra" in sentence(tmp_path / "a.dm5")
    dm5(tmp_path / "a.dm5", STACK, [(1, ""), (0.1, "nm"), (0.1, "nm")], kind="Spectrum image")
    assert "spectra (Spectrum image)" in sentence(tmp_path / "a.dm5")


def test_annotations_have_a_kind() -> None:
    assert annotation_of({"AnnotationType": 31, "Rectangle": (1, 2, 3)}) == {"kind": "scale bar"}
    assert annotation_of({"AnnotationType": 77})["kind"] == "annotation 77"


def test_what_digitalmicrograph_and_velox_say_has_the_same_names() -> None:
    pytest.importorskip("rsciio")
    dm3, velox = (DATA / p for p in ("dumbbells-stem/CdTe_110_tilt_HAADF149.dm3",
                                     "formats/velox-haadf.emd"))  # fmt: skip
    if not (dm3.exists() and velox.exists()):
        pytest.skip("the published files are not here")
    one, other = read(dm3)[0].metadata, read(velox)[0].metadata
    for known in (one, other):
        assert known["detector"] == "HAADF"
    assert one["beam_energy_keV"] == 200 and one["recorded"] == "2018-03-21 19:36:14"
    assert other["scan_rotation_deg"] == pytest.approx(18.2, abs=0.01)


# MATLAB ---------------------------------------------------------------------------------------


def test_mat_of_version_7_3_is_not_turned(tmp_path: Path) -> None:
    movie = np.moveaxis(STACK, 0, -1)
    mat73(tmp_path / "a.mat", {"im": FRAME, "movie": movie, "step": np.ones((1, 1))})
    images = read(tmp_path / "a.mat")
    assert [i.name for i in images] == ["a.mat: im", "a.mat: movie"]
    np.testing.assert_array_equal(images[0].data, FRAME)
    np.testing.assert_array_equal(images[1].data, STACK)


def test_mat_of_version_7_3_of_statstem(tmp_path: Path) -> None:
    mat73(tmp_path / "a.mat", {"input/obs": FRAME, "input/dx": np.array([[0.2]])})
    (image,) = read(tmp_path / "a.mat")
    np.testing.assert_array_equal(image.data, FRAME)
    assert image.pixel_size_nm == pytest.approx((0.02, 0.02))


def test_saved_objects_of_matlab_are_named(tmp_path: Path) -> None:
    mat73(tmp_path / "a.mat", {}, ["inputStatSTEM"])
    text = sentence(tmp_path / "a.mat")
    assert "inputStatSTEM" in text and "as an array" in text
    mat73(tmp_path / "a.mat", {"im": FRAME}, ["inputStatSTEM"])
    assert [i.name for i in read(tmp_path / "a.mat")] == ["a.mat: im"]


def test_saved_objects_of_older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "a.mat", {"x": 1.0})
    # what the library returns for an object of a class
    kinds = [("s0", "O"), ("s1", "O"), ("s2", "O"), ("arr", "O")]
    entry = np.array([(b"input", b"MCOS", b"inputStatSTEM", None)], dtype=kinds)
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: {"None": entry})
    assert "inputStatSTEM" in sentence(tmp_path / "a.mat")


# TIFF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("frames", [1, 3])
def test_lzw_without_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, frames: int
) -> None:
    stack = (STACK[:frames] // 300).astype(kind)
    pages = [Pillow.fromarray(frame) for frame in stack]
    path = tmp_path / "a.tif"
    pages[0].save(path, compression="tiff_lzw", save_all=True, append_images=pages[1:])
    for lazy in (1 << 30, 1000):
        monkeypatch.setattr("napari_atomlens.io.formats.pictures.LAZY_BYTES", lazy)
        (image,) = read(path)
        np.testing.assert_array_equal(np.asarray(image.data), stack if frames > 1 else stack[0])
        assert image.data.dtype == stack.dtype
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    sentence(path)


@pytest.mark.parametrize("unit", ["1/nm", "mrad", "eV"])
def test_units_in_tiff_that_are_of_no_image(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME, imagej=True, resolution=(20, 20), metadata={"unit": unit})
    assert unit in sentence(path)
    tags = [(65003, "s", 0, unit, True), (65004, "s", 0, unit, True),
            (65009, "d", 1, 0.05, True), (65010, "d", 1, 0.05, True)]  # fmt: skip
    tifffile.imwrite(path, FRAME, extratags=tags)
    assert unit in sentence(path)


def test_tiff_of_digitalmicrograph_has_its_pixel_size(tmp_path: Path) -> None:
    tags = [(65003, "s", 0, "nm", True), (65004, "s", 0, "pm", True),
            (65009, "d", 1, 0.02, True), (65010, "d", 1, 30.0, True)]  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", FRAME, extratags=tags)
    (image,) = read(tmp_path / "a.tif")
    assert image.pixel_size_nm == pytest.approx((0.03, 0.02))
