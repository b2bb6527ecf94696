"""Large TIA series, and damage that would send the libraries round for ever."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from napari_atomlens.errors import FormatError
from napari_atomlens.io import read
from napari_atomlens.io.formats.guards import check_dm, check_hdf5
from napari_atomlens.io.formats.tia import read_series

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "formats"


def series(path: Path, frames: np.ndarray, version: int = 544, nm: float = 0.02) -> None:
    """A TIA series as the microscope writes it: frames from the bottom up."""
    n, h, w = frames.shape
    wide = version > 528
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, version, 0x4122, 0x4152, n, n)
    unit = b"s"
    axis = struct.pack("<IddII", n, 0.0, 0.5, 0, 0) + struct.pack("<I", len(unit)) + unit
    places_at = len(head) + (12 if wide else 8) + len(axis)
    first = places_at + n * (8 if wide else 4)
    step = 50 + frames[0].nbytes
    head += struct.pack("<QI" if wide else "<II", places_at, 1) + axis
    places = [first + k * step for k in range(n)]
    body = struct.pack(f"<{n}{'Q' if wide else 'I'}", *places)
    for one in frames:
        body += struct.pack("<ddIddIHII", 0, nm * 1e-9, 0, 0, nm * 2e-9, 0, 5, w, h)
        body += one[::-1].astype("<i2").tobytes()
    path.write_bytes(head + body)


@pytest.mark.parametrize("version", [528, 544])
def test_large_series_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("napari_atomlens.io.formats.vendors.LAZY_BYTES", 100)
    frames = np.random.default_rng(0).integers(-999, 999, (4, 6, 9)).astype(np.int16)
    series(tmp_path / "a_1.ser", frames, version)
    (image,) = read(tmp_path / "a_1.ser")
    assert hasattr(image.data, "dask") and image.data.chunksize == (1, 6, 9)
    np.testing.assert_array_equal(np.asarray(image.data), frames)
    assert image.pixel_size_nm == pytest.approx((0.04, 0.02)) and image.time_step_s == 0.5


@pytest.mark.parametrize("cut", [10, 60, 100, -5])
def test_damaged_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr("napari_atomlens.io.formats.vendors.LAZY_BYTES", 1)
    path = tmp_path / "a.ser"
    series(path, np.zeros((3, 6, 9), np.int16))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match=r"a\.ser"):
        read(path)


def test_diffraction_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "a_1.ser", np.zeros((3, 6, 9), np.int16))
    (tmp_path / "a.emi").write_text("<ObjectInfo><Mode>TEM Diffraction</Mode></ObjectInfo>")
    with pytest.raises(FormatError, match="diffraction"):
        read_series(tmp_path / "a_1.ser", tmp_path / "a.emi")
    (tmp_path / "a.emi").write_text(
        "<Mode>TEM uP SA</Mode><Label>High tension</Label><Value>300</Value>"
    )
    assert read_series(tmp_path / "a_1.ser", tmp_path / "a.emi").metadata["beam_energy_keV"] == 300


@pytest.mark.parametrize("name", ["64x64x5_TEM_preview", "128x128_TEM_acquire-sum1"])
def test_published_series_as_the_library_reads_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not DATA.exists():
        pytest.skip("the published files are not here")
    for file in (f"{name}_1.ser", f"{name}.emi"):
        (known,) = read(DATA / file)
        with monkeypatch.context() as patch:
            patch.setattr("napari_atomlens.io.formats.vendors.LAZY_BYTES", 1)
            (ours,) = read(DATA / file)
        np.testing.assert_array_equal(np.asarray(ours.data), np.asarray(known.data))
        assert ours.pixel_size_nm == pytest.approx(known.pixel_size_nm)
        assert ours.time_step_s == known.time_step_s


def test_heaps_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["frame"] = np.random.default_rng(0).random((32, 40))
        file["frame"].attrs["units"] = "nanometres, more or less"
        file["frame"].attrs["names"] = ["eins", "zwei"]
    check_hdf5(path)
    raw = bytearray(path.read_bytes())
    heap = raw.find(b"GCOL")
    assert heap > 0
    for change in ((heap + 16, b"\0" * 16), (heap + 24, b"\xff" * 8), (heap + 9, b"\xff")):
        damaged = bytearray(raw)
        damaged[change[0] : change[0] + len(change[1])] = change[1]
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"^a\.h5 (is damaged|could not be read)"):
            read(path)


def test_structures_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.dm3"
    words = [6, 20, 15, 0, 0, 2**25]
    path.write_bytes(b"\0\0\0\x03" + b"%%%%" + struct.pack(">6I", *words) + bytes(50))
    with pytest.raises(FormatError, match="announces 33554432 entries"):
        check_dm(path)
    words[-1] = 3
    path.write_bytes(b"\0\0\0\x03" + b"%%%%" + struct.pack(">6I", *words) + bytes(50))
    check_dm(path)


def test_a_text_of_no_known_type_is_refused(tmp_path: Path) -> None:
    """The HDF5 library would end the process."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["frame"] = np.zeros((32, 40), np.float32)
        file["frame"].attrs["Signal Name"] = "HAADF"
    assert read(path)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x19\x01\x01\x00\x10\x00\x00\x00")
    raw[at + 1] = 5
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"a\.h5 is damaged: a text"):
        read(path)
