"""EMD of Berkeley and of emdfile, HyperSpy: pixel size and time; diffraction is refused by unit."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from small_files import FRAME, emd1, hspy
from test_readers import sentence

from napari_atomlens.io import read

STACK = np.arange(5 * 32 * 40, dtype=np.uint16).reshape(5, 32, 40)
RECIPROCAL = ("1/nm", "nm$^{-1}$", "$A^{-1}$", "A^-1", "mrad", "1/Å")


def test_emd_1_image_and_movie(tmp_path: Path) -> None:
    emd1(tmp_path / "a.emd", FRAME, (0.03, 0.2), ("nm", "A"))
    (image,) = read(tmp_path / "a.emd")
    np.testing.assert_array_equal(image.data, FRAME)
    assert image.pixel_size_nm == pytest.approx((0.03, 0.02)) and image.time_step_s is None
    emd1(tmp_path / "a.emd", STACK, (0.5, 0.03, 0.02), ("s", "nm", "nm"))
    (movie,) = read(tmp_path / "a.emd")
    np.testing.assert_array_equal(movie.data, STACK)
    assert movie.pixel_size_nm == pytest.approx((0.03, 0.02)) and movie.time_step_s == 0.5


def test_detectors_of_emdfile_are_images_of_their_own(tmp_path: Path) -> None:
    emd1(tmp_path / "a.emd", STACK[:2], (0.03, 0.02), ("nm", "nm"), labels=("HAADF", "ABF"))
    images = read(tmp_path / "a.emd")
    assert [i.name.rpartition("/")[2] for i in images] == ["HAADF", "ABF"]
    for k, image in enumerate(images):
        np.testing.assert_array_equal(image.data, STACK[k])
        assert image.pixel_size_nm == pytest.approx((0.03, 0.02)) and image.axes == "yx"


def test_heights_of_emd_are_in_nm(tmp_path: Path) -> None:
    emd1(tmp_path / "a.emd", FRAME * 1e-9, (0.03, 0.02), ("nm", "nm"), pixels="m")
    (image,) = read(tmp_path / "a.emd")
    np.testing.assert_allclose(image.data, FRAME, rtol=1e-6)
    assert image.metadata["unit"] == "nm"


def test_four_axes_of_emd_1(tmp_path: Path) -> None:
    four = np.ones((4, 5, 16, 18), np.uint16)
    emd1(tmp_path / "a.emd", four, (1, 1, 0.1, 0.1), ("nm", "nm", "A^-1", "A^-1"))
    assert "has 4 axes" in sentence(tmp_path / "a.emd")


@pytest.mark.parametrize("unit", RECIPROCAL)
def test_diffraction_is_refused_by_its_unit(tmp_path: Path, unit: str) -> None:
    emd1(tmp_path / "a.emd", FRAME, (0.05, 0.05), (unit, unit))
    hspy(tmp_path / "b.hspy", FRAME, [(False, 0.05, unit)] * 2)
    hspy(tmp_path / "c.hspy", STACK, [(True, 1.0, "nm"), *[(False, 0.05, unit)] * 2])
    with h5py.File(tmp_path / "d.emd", "w") as file:
        group = file.create_group("data/dp")
        group.attrs["emd_group_type"] = 1
        group["data"] = FRAME
        for k, n in enumerate(FRAME.shape):
            group[f"dim{k + 1}"] = np.arange(n) * 0.05
            group[f"dim{k + 1}"].attrs["units"] = f"[{unit}]"
    for path in sorted(tmp_path.iterdir()):
        text = sentence(path)
        assert "diffraction" in text and unit in text


def test_spectra_are_refused_by_their_unit(tmp_path: Path) -> None:
    hspy(tmp_path / "a.hspy", FRAME, [(False, 0.1, "nm"), (False, 0.05, "eV")])
    assert "spectra" in sentence(tmp_path / "a.hspy")


@pytest.mark.parametrize("kind", ["electron_diffraction", "diffraction", "EELS", "EDS_TEM"])
def test_kinds_of_signals_that_are_no_images(tmp_path: Path, kind: str) -> None:
    said = {"General": {"title": "x"}, "Signal": {"signal_type": kind}}
    hspy(tmp_path / "a.hspy", FRAME, [(False, 1.0, "px")] * 2, said)
    assert kind in sentence(tmp_path / "a.hspy")


@pytest.mark.parametrize("kind", ["DiffractionSlice", "VirtualDiffraction", "Probe"])
def test_diffraction_of_py4dstem_without_units(tmp_path: Path, kind: str) -> None:
    emd1(tmp_path / "a.emd", FRAME, (1, 1), ("pixels", "pixels"), python_class=kind)
    assert kind in sentence(tmp_path / "a.emd")


@pytest.mark.parametrize("place", ["datacubes/datacube_0", "realslices/image"])
def test_old_py4dstem_is_told_what_to_do(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("4DSTEM_experiment").attrs["emd_group_type"] = 2
        group = file.create_group(f"4DSTEM_experiment/data/{place}")
        group["data"] = FRAME
        group.attrs["emd_group_type"] = 1
    assert "0.12 or older" in sentence(path)


def test_what_hyperspy_says_of_a_measurement(tmp_path: Path) -> None:
    said = {
        "General": {"title": "terrace", "date": "2021-09-24", "time": "15:28:08"},
        "Signal": {"signal_type": "", "quantity": "Z (m)"},
        "Acquisition_instrument/TEM": {"beam_energy": 200.0},
    }
    hspy(tmp_path / "a.hspy", FRAME * 1e-9, [(False, 0.1, "nm")] * 2, said)
    (image,) = read(tmp_path / "a.hspy")
    np.testing.assert_allclose(image.data, FRAME, rtol=1e-6)
    known = image.metadata
    assert known["unit"] == "nm" and known["recorded"] == "2021-09-24 15:28:08"
    assert known["title"] == "terrace" and known["beam_energy_keV"] == 200


def saved_by_hyperspy(path: Path, data: np.ndarray, units: tuple[str, ...], navigate: int) -> None:
    emd = pytest.importorskip("rsciio.emd")
    path.unlink(missing_ok=True)
    axes = [
        {"name": f"a{k}", "size": n, "scale": 0.02 + 0.01 * k, "offset": 0.0, "units": u,
         "navigate": k < navigate, "index_in_array": k}
        for k, (n, u) in enumerate(zip(data.shape, units, strict=True))
    ]  # fmt: skip
    said = {"General": {"title": "s"}, "Signal": {"signal_type": ""}}
    signal = {"data": data, "axes": axes, "metadata": said, "original_metadata": {}}
    emd.file_writer(str(path), signal)


@pytest.mark.parametrize(
    ("shape", "units", "navigate"),
    [
        ((6, 16, 30), ("nm", "nm", "eV"), 2), ((16, 16, 30), ("nm", "nm", "keV"), 2),
        ((64, 60), ("1/nm", "1/nm"), 0), ((9, 64, 60), ("nm", "mrad", "mrad"), 1),
    ],
)  # fmt: skip
def test_spectra_and_diffraction_that_hyperspy_saves_as_emd(
    tmp_path: Path, shape: tuple[int, ...], units: tuple[str, ...], navigate: int
) -> None:
    """It spells its units with underscores: e_V, 1_/_n_m, m_r_a_d."""
    saved_by_hyperspy(tmp_path / "a.emd", np.zeros(shape, np.float32), units, navigate)
    sentence(tmp_path / "a.emd")


@pytest.mark.parametrize("lazy", [1 << 30, 1000])
def test_images_that_hyperspy_saves_as_emd_are_not_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: int
) -> None:
    for module in ("image", "io.formats.trees"):
        monkeypatch.setattr(f"napari_atomlens.{module}.LAZY_BYTES", lazy)
    saved_by_hyperspy(tmp_path / "a.emd", FRAME, ("nm", "pm"), 0)
    (image,) = read(tmp_path / "a.emd")
    np.testing.assert_array_equal(image.data, FRAME)
    assert image.pixel_size_nm == pytest.approx((0.02, 0.03e-3))
    saved_by_hyperspy(tmp_path / "a.emd", STACK, ("s", "nm", "pm"), 1)
    (movie,) = read(tmp_path / "a.emd")
    np.testing.assert_array_equal(np.asarray(movie.data), STACK)
    assert movie.time_step_s == pytest.approx(0.02)
    assert movie.pixel_size_nm == pytest.approx((0.03, 0.04e-3))
