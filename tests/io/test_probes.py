"""Scans of Createc, Nanonis, Gwyddion and Aarhus: pixels, directions, heights in nm, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_files import FRAME, createc, gsf, mul, sxm
from test_readers import DATA, sentence

from napari_atomlens.io import read
from napari_atomlens.io.formats.facts import FACTS, about, heights_in_nm, what_a_unit_says, when

COUNTS = np.round(FRAME * 1000)
GAINS = "GainX / GainX=10\r\nGainY / GainY=10\r\nGainZ / GainZ=3\r\n"
FACTORS = GAINS + "Dacto[A]xy=0.00083\r\nDacto[A]z=0.00018\r\nGainpreamp / GainPre 10^=9\r\n"


# Createc --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [None, 700, 6057, 16268, 16380])
def test_createc_begins_behind_its_marker(tmp_path: Path, at: int | None) -> None:
    createc(tmp_path / "a.dat", np.stack([COUNTS, COUNTS + 1]), at=at)
    images = read(tmp_path / "a.dat")
    np.testing.assert_array_equal(images[1].data, COUNTS + 1)
    assert images[0].pixel_size_nm == pytest.approx((0.1, 0.2))
    whole = (tmp_path / "a.dat").read_bytes()
    for cut in (100, 600, len(whole) // 2, len(whole) - 300):
        (tmp_path / "a.dat").write_bytes(whole[:cut])
        sentence(tmp_path / "a.dat")


def test_createc_says_channel_direction_and_unit(tmp_path: Path) -> None:
    more = FACTORS + (
        "Chan(1,2,4) / ScanChannels=2\r\nChannelselectval / Channelselectval=3\r\n"
        "BiasVoltage / BiasVolt.[mV]=-550.0\r\nFBLogIset=88.4\r\nRotation / Rotation=15.0\r\n"
        "Scanrotoffx / OffsetX=1000.0\r\nScanrotoffy / OffsetY=-2000.0\r\nSec/Image:=335.5\r\n"
    )
    createc(tmp_path / "a.dat", np.stack([COUNTS + k for k in range(4)]), at=16268, more=more)
    images = read(tmp_path / "a.dat")
    assert [i.name.partition(": ")[2] for i in images] == [
        "Topography forward", "Current forward", "Topography backward", "Current backward",
    ]  # fmt: skip
    # counts times ångström per count at gain 1, times the gain
    np.testing.assert_allclose(images[2].data, (COUNTS + 2) * 0.00018 * 3 / 10, rtol=1e-6)
    np.testing.assert_allclose(images[1].data, (COUNTS + 1) * 20 / 2**20 * 1e-9, rtol=1e-6)
    assert [i.metadata["unit"] for i in images] == ["nm", "A", "nm", "A"]
    known = images[0].metadata
    assert known["bias_V"] == pytest.approx(-0.55) and known["title"] == "LHe"
    assert known["setpoint_A"] == pytest.approx(88.4e-12) and known["scan_time_s"] == 335.5
    assert known["scan_rotation_deg"] == 15.0
    y, x = known["offset_nm"]  # type: ignore[misc]
    assert x == pytest.approx(-1000 * 0.00083) and y == pytest.approx(2000 * 0.00083 + 1.6)


def test_createc_without_factors_stays_in_counts(tmp_path: Path) -> None:
    createc(tmp_path / "a.dat", COUNTS[None], at=700)
    (image,) = read(tmp_path / "a.dat")
    np.testing.assert_array_equal(image.data, COUNTS)
    assert image.metadata["unit"] == "counts"
    createc(tmp_path / "a.dat", COUNTS[None], at=700, more=GAINS + "ZPiezoconst= 9.21\r\n")
    (image,) = read(tmp_path / "a.dat")
    np.testing.assert_allclose(image.data, COUNTS * 20 / 2**20 * 9.21 * 3 / 10, rtol=1e-6)


def test_createc_heights_take_the_precise_constant_and_not_its_rounded_product(
    tmp_path: Path,
) -> None:
    more = FACTORS + "ZPiezoconst= 9.21\r\n"
    createc(tmp_path / "a.dat", COUNTS[None], at=700, more=more)
    precise = 9.21 * 20 / 2**20 * 3 / 10  # the header has 0.00018, which is 2.4 % more
    np.testing.assert_allclose(read(tmp_path / "a.dat")[0].data, COUNTS * precise, rtol=1e-5)
    # a constant of another setting: what the program says of its converter counts
    createc(tmp_path / "b.dat", COUNTS[None], at=700, more=FACTORS + "ZPiezoconst= 19.2\r\n")
    said = 0.00018 * 3 / 10
    np.testing.assert_allclose(read(tmp_path / "b.dat")[0].data, COUNTS * said, rtol=1e-5)


@pytest.mark.parametrize(("magic", "kind"), [("Paramet32", "<f4"), ("Parameter", "<i2")])
def test_createc_of_older_programs(tmp_path: Path, magic: str, kind: str) -> None:
    createc(tmp_path / "a.dat", np.stack([COUNTS, COUNTS + 1]), magic=magic, kind=kind)
    images = read(tmp_path / "a.dat")
    np.testing.assert_array_equal(images[1].data, COUNTS + 1)


def test_createc_lines_that_were_not_recorded_are_unknown(tmp_path: Path) -> None:
    cut = np.stack([COUNTS + 1, COUNTS + 2])
    cut[:, 20:] = 0
    createc(tmp_path / "a.dat", cut, at=700)
    for image in read(tmp_path / "a.dat"):
        data = np.asarray(image.data)
        assert np.isnan(data[20:]).all() and np.isfinite(data[:20]).all()
    createc(tmp_path / "a.dat", np.zeros((2, 32, 40)), at=700)
    assert "no line" in sentence(tmp_path / "a.dat")


def test_steps_of_a_createc_scan_are_those_of_copper() -> None:
    path = DATA / "stm-other" / "createc_scan_terrace_109nm.dat"
    if not path.exists():
        pytest.skip("the published files are not here")
    from napari_atomlens import stm

    height = stm.find_terraces(read(path)[0].data).edges["height"].median()
    assert height == pytest.approx(0.208, rel=0.1)  # a/sqrt(3) of copper is 0.2087 nm


# Nanonis --------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [True, False])
def test_sxm(tmp_path: Path, up: bool) -> None:
    sxm(tmp_path / "a.sxm", up)
    images = read(tmp_path / "a.sxm")
    assert [i.name for i in images] == ["a.sxm: Z forward", "a.sxm: Z backward"]
    for image in images:
        np.testing.assert_allclose(image.data, FRAME, rtol=1e-6)
        assert image.pixel_size_nm == pytest.approx((0.1, 0.2))
        assert image.data.dtype.isnative and image.metadata["unit"] == "nm"


def test_sxm_says_how_it_was_scanned(tmp_path: Path) -> None:
    sxm(tmp_path / "a.sxm")
    known = read(tmp_path / "a.sxm")[0].metadata
    assert set(known) <= set(FACTS)
    assert known["bias_V"] == -0.5 and known["setpoint_A"] == pytest.approx(1e-11)
    assert known["recorded"] == "2021-09-24 15:28:08" and known["scan_time_s"] == 13.2
    # the instrument counts clockwise, and its y points upwards
    assert known["scan_rotation_deg"] == -30
    assert known["offset_nm"] == pytest.approx((20.0, 100.0))


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_sxm_of_one_direction(tmp_path: Path, direction: str) -> None:
    sxm(tmp_path / "a.sxm", channels=[("Current", "A", direction), ("Z", "m", direction)])
    images = read(tmp_path / "a.sxm")
    assert [i.name for i in images] == [f"a.sxm: Z {direction}", f"a.sxm: Current {direction}"]
    np.testing.assert_allclose(images[0].data, 2 * FRAME, rtol=1e-6)
    np.testing.assert_allclose(images[1].data, FRAME, rtol=1e-6)


def test_sxm_that_says_both_and_holds_one(tmp_path: Path) -> None:
    sxm(tmp_path / "a.sxm", channels=[("Z", "m", "forward")])
    path = tmp_path / "a.sxm"
    path.write_bytes(path.read_bytes().replace(b"\tforward\t", b"\tboth\t"))
    (image,) = read(path)
    np.testing.assert_allclose(image.data, FRAME, rtol=1e-6)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("tabs", [True, False])
@pytest.mark.parametrize("blank", ["", "\n"])
def test_sxm_of_converters(tmp_path: Path, end: str, tabs: bool, blank: str) -> None:
    more = ":STRAY LINES:\n\n\n"
    sxm(tmp_path / "a.sxm", blank=blank, end=end, tabs=tabs, more=more)
    images = read(tmp_path / "a.sxm")
    assert len(images) == 2
    np.testing.assert_allclose(images[1].data, FRAME, rtol=1e-6)


def test_sxm_without_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.sxm"
    sxm(path)
    whole = path.read_bytes()
    for part in (0.05, 0.1, 0.3, 0.8, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        sentence(path)
    path.write_bytes(whole.replace(b"DATA_INFO", b"DATA_NONE"))
    assert "which channels" in sentence(path)
    path.write_bytes(whole.replace(b"SCAN_PIXELS", b"SCAN_PIXELZ"))
    assert "how many pixels" in sentence(path)


# Gwyddion Simple Field, Aarhus -----------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "a = b\n", "xx = yy\n", "Comment = µ\n"])
def test_gsf(tmp_path: Path, more: str) -> None:
    gsf(tmp_path / "a.gsf", more=more)
    (image,) = read(tmp_path / "a.gsf")
    np.testing.assert_allclose(image.data, FRAME * 1e9, rtol=1e-6)
    assert image.pixel_size_nm == pytest.approx((0.1, 0.2)) and image.metadata["unit"] == "nm"
    whole = (tmp_path / "a.gsf").read_bytes()
    for part in (0.01, 0.02, 0.5, 0.99):
        (tmp_path / "a.gsf").write_bytes(whole[: int(part * len(whole))])
        sentence(tmp_path / "a.gsf")


def test_gsf_with_a_place(tmp_path: Path) -> None:
    gsf(tmp_path / "a.gsf", more="XOffset = 1e-07\nYOffset = -2e-08\n")
    known = read(tmp_path / "a.gsf")[0].metadata
    assert known["offset_nm"] == pytest.approx((-20 + 1.6, 100 + 4))
    gsf(tmp_path / "a.gsf", more="XOffset = 0\nYOffset = 0\n")
    assert "offset_nm" not in read(tmp_path / "a.gsf")[0].metadata


def test_gsf_of_a_current(tmp_path: Path) -> None:
    gsf(tmp_path / "a.gsf", unit="A")
    (image,) = read(tmp_path / "a.gsf")
    np.testing.assert_array_equal(image.data, FRAME)
    assert image.metadata["unit"] == "A"


def test_mul(tmp_path: Path) -> None:
    mul(tmp_path / "a.mul", [(0, COUNTS), (4, COUNTS), (1, COUNTS + 1)])
    height, current = read(tmp_path / "a.mul")  # spectra between them are left out
    np.testing.assert_allclose(height.data, COUNTS * -0.1 / 1.36 * 20 / 2000, rtol=1e-6)
    np.testing.assert_allclose(current.data, (COUNTS + 1) * 1e-8 / 32768, rtol=1e-6)
    assert height.pixel_size_nm == pytest.approx((0.1, 0.2))
    assert [i.name for i in (height, current)] == ["a.mul: image 1", "a.mul: image 3"]
    known = height.metadata
    assert known["unit"] == "nm" and current.metadata["unit"] == "A"
    assert known["bias_V"] == pytest.approx(0.2219, rel=1e-3)
    assert known["setpoint_A"] == pytest.approx(2.3e-10) and known["title"] == "tip"
    assert known["recorded"] == "2021-03-12 13:03:29"
    whole = (tmp_path / "a.mul").read_bytes()
    for cut in (5, 100, 400, 600, len(whole) - 200):
        (tmp_path / "a.mul").write_bytes(whole[:cut])
        sentence(tmp_path / "a.mul")
    mul(tmp_path / "a.mul", [(4, COUNTS)])
    assert "spectra" in sentence(tmp_path / "a.mul")


# What is said ---------------------------------------------------------------------------------


def test_facts_have_the_names_of_the_list() -> None:
    assert about(bias_V=1.0, channel="", recorded=None) == {"bias_V": 1.0}
    with pytest.raises(KeyError):
        about(bias=1.0)


@pytest.mark.parametrize(
    ("unit", "factor", "said"),
    [("m", 1e9, "nm"), ("nm", 1, "nm"), ("pm", 1e-3, "nm"), ("Å", 0.1, "nm"), ("A", 1, "A"),
     ("V", 1, "V"), ("", 1, "")],
)  # fmt: skip
def test_heights_in_nm(unit: str, factor: float, said: str) -> None:
    data, name = heights_in_nm(FRAME, unit)
    np.testing.assert_allclose(data, FRAME * factor, rtol=1e-6)
    assert name == said and data.dtype == FRAME.dtype


@pytest.mark.parametrize(
    ("unit", "what"),
    [
        ("1/nm", "diffraction"), ("nm$^{-1}$", "diffraction"), ("$A^{-1}$", "diffraction"),
        ("A^-1", "diffraction"), ("[nm^-1]", "diffraction"), ("1/Å", "diffraction"),
        ("Å⁻¹", "diffraction"), ("1 / nm", "diffraction"), ("1/m", "diffraction"),
        ("mrad", "diffraction"), ("rad", "diffraction"), ("deg", "diffraction"), ("eV", "spectra"),
        ("keV", "spectra"), ("Hz", "spectra"), ("e_V", "spectra"), ("k_e_V", "spectra"),
        ("1_/_n_m", "diffraction"), ("m_r_a_d", "diffraction"), ("n_m^-1", "diffraction"),
        ("nm", ""), ("A", ""), ("n_m", ""), ("px", ""),
        ("", ""), (None, ""), ("µm", ""), ("s", ""), ("pixels", ""), ("<undefined>", ""),
    ],
)  # fmt: skip
def test_units_that_are_of_no_image(unit: str | None, what: str) -> None:
    assert what_a_unit_says(unit) == what


def test_dates() -> None:
    assert when("24.09.2021", "15:28:08") == "2021-09-24 15:28:08"
    assert when("2021-09-24T15:28:08") == "2021-09-24 15:28:08"
    # the 9th of July or the 7th of September: left as it is
    assert when("07/09/20", "01:02:03") == "07/09/20 01:02:03"
    assert when(None, "") == ""


def test_the_card_of_an_image_has_the_unit_of_its_pixels(tmp_path: Path) -> None:
    sxm(tmp_path / "a.sxm")
    assert "pixels: float32, in nm" in repr(read(tmp_path / "a.sxm")[0])
