"""Readers: every layout gives the right pixels, axes and pixel size; damage gives a sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from imageio.v3 import imwrite

from napari_atomlens import image as image_module
from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, to_nm, to_seconds
from napari_atomlens.io import read
from napari_atomlens.io.formats.kinds import SUFFIXES

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RNG = np.random.default_rng(1)
FRAME = RNG.random((32, 40)).astype(np.float32)
STACK = RNG.integers(0, 60000, (5, 32, 40)).astype(np.uint16)


def one(path: Path) -> Image:
    images = read(path)
    assert len(images) == 1
    assert images[0].data.dtype.isnative
    assert images[0].axes == ("yx" if images[0].data.ndim == 2 else "tyx")
    return images[0]


def same(image: Image, data: np.ndarray, pixel: tuple[float, float] | None) -> None:
    np.testing.assert_array_equal(np.asarray(image.data), data)
    if pixel is None:
        assert image.pixel_size_nm is None
    else:
        assert image.pixel_size_nm == pytest.approx(pixel)


@pytest.mark.parametrize(
    ("value", "unit", "nm"),
    [
        (12, "pm", 0.012), (2, "A", 0.2), (2, "Å", 0.2), (2, "\u212b", 0.2),
        (2, "Angstrom", 0.2), (3, "nm", 3), (3, "n_m", 3), (3, b"[n_m]", 3), (1, "um", 1e3),
        (1, "µm", 1e3), (1, "\u03bcm", 1e3), (1, "\\u00B5m", 1e3), (1e-9, "m", 1),
        (1, "micron", 1e3), ("2.5", "nm", 2.5), (1, "1/nm", None), (1, "", None),
        (1, None, None), ("NA", "nm", None), (np.nan, "nm", None), (1, "px", None),
        (np.float32(2), np.bytes_(b"nm"), 2), (1, "eV", None),
    ],
)  # fmt: skip
def test_units(value: Any, unit: Any, nm: float | None) -> None:
    assert to_nm(value, unit) == (None if nm is None else pytest.approx(nm))


def test_seconds() -> None:
    assert to_seconds(5, "ms") == pytest.approx(0.005)
    assert to_seconds(5, "nm") is None


# Pictures -----------------------------------------------------------------------------------


def test_tiff_with_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME, resolution=(5e8, 2.5e8), resolutionunit="CENTIMETER")
    same(one(path), FRAME, (0.04, 0.02))


def test_tiff_with_a_resolution_for_print(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME, resolution=(300, 300), resolutionunit="INCH")
    same(one(path), FRAME, None)


@pytest.mark.parametrize("order", ["<", ">"])
def test_imagej_stack(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, STACK, imagej=True, byteorder=order, resolution=(100, 50),
        metadata={"axes": "TYX", "unit": "nm", "finterval": 0.25},
    )  # fmt: skip
    image = one(path)
    same(image, STACK, (0.02, 0.01))
    assert image.time_step_s == 0.25 and image.axes == "tyx"


def test_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, STACK, ome=True,
        metadata={"axes": "TYX", "PhysicalSizeX": 12.0, "PhysicalSizeXUnit": "pm",
                  "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "Å",
                  "TimeIncrement": 40.0, "TimeIncrementUnit": "ms"},
    )  # fmt: skip
    image = one(path)
    same(image, STACK, (0.01, 0.012))
    assert image.time_step_s == pytest.approx(0.04)


def test_tiff_channels_are_images_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:2], imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    images = read(path)
    assert [i.axes for i in images] == ["yx", "yx"]
    np.testing.assert_array_equal(images[1].data, STACK[1])
    assert [i.name for i in images] == ["a.tif: channel 1", "a.tif: channel 2"]


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_what_a_script_wrote_for_other_programs_is_one_movie(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **options)  # the library calls the frames channels
    image = one(path)
    same(image, STACK, None)
    assert image.name == "a.tif"


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "CYX", "Labels": ["HAADF", "ABF", "DF4"]}},
        {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["HAADF", "ABF", "DF4"]}}},
    ],
)
def test_named_channels_are_detectors(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:3], **options)
    assert [i.name for i in read(path)] == ["a.tif: HAADF", "a.tif: ABF", "a.tif: DF4"]


def test_named_pages_are_detectors_and_numbered_ones_a_movie(tmp_path: Path) -> None:
    for file, names in (("d.tif", ["HAADF", "ABF"]), ("f.tif", ["frame 1", "frame 2"])):
        with tifffile.TiffWriter(tmp_path / file) as out:
            for k, name in enumerate(names):
                out.write(STACK[k], metadata=None, description=name)
    assert [i.name for i in read(tmp_path / "d.tif")] == ["d.tif: HAADF", "d.tif: ABF"]
    same(one(tmp_path / "f.tif"), STACK[:2], None)


def test_pages_that_were_appended_are_one_movie_also_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    for frame in STACK:
        tifffile.imwrite(path, frame, append=True)
    same(one(path), STACK, None)
    for module in ("image", "io.formats.pictures", "io.formats.numbered"):
        monkeypatch.setattr(f"napari_atomlens.{module}.LAZY_BYTES", 1000)
    assert hasattr(one(path).data, "dask")
    same(one(path), STACK, None)


def test_depths_that_were_taken_over_time_are_movies_of_their_own(tmp_path: Path) -> None:
    path, data = tmp_path / "a.tif", np.arange(4 * 2 * 3 * 20 * 24, dtype=np.uint16)
    data = data.reshape(4, 2, 3, 20, 24)
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZCYX", "finterval": 0.5})
    images = {i.name: i for i in read(path)}
    assert len(images) == 6 and all(i.time_step_s == 0.5 for i in images.values())
    np.testing.assert_array_equal(images["a.tif: channel 3, z 2"].data, data[:, 1, 2])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_large_tiff_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    for module in ("image", "io.formats.pictures"):
        monkeypatch.setattr(f"napari_atomlens.{module}.LAZY_BYTES", 1000)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    image = one(path)
    assert isinstance(image.data, np.memmap) or hasattr(image.data, "dask")
    same(image, STACK, None)
    np.testing.assert_array_equal(np.asarray(image.data[3]), STACK[3])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_colours(tmp_path: Path, extension: str) -> None:
    grey = (FRAME * 255).astype(np.uint8)
    path = tmp_path / f"grey.{extension}"
    imwrite(path, np.stack([grey] * 3, axis=-1))
    same(one(path), grey, None)
    assert one(path).data.dtype == np.uint8
    true = RNG.integers(0, 256, (32, 40, 3)).astype(np.uint8)
    path = tmp_path / f"true.{extension}"
    imwrite(path, true)
    image = one(path)
    assert image.data.shape == (32, 40)
    np.testing.assert_allclose(image.data, true @ [0.2126, 0.7152, 0.0722], rtol=1e-5)


def test_png_with_alpha_and_16_bit(tmp_path: Path) -> None:
    grey = (FRAME * 255).astype(np.uint8)
    path = tmp_path / "a.png"
    imwrite(path, np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1))
    same(one(path), grey, None)
    imwrite(path, STACK[0])
    same(one(path), STACK[0], None)


# Arrays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">i2", "?", "<f2", "<u4"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    data = (FRAME * 100).astype(dtype)
    np.save(tmp_path / "a.npy", data)
    same(one(tmp_path / "a.npy"), data, None)


def test_npy_with_json_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAME)
    view = {"field_of_view_x": 40, "field_of_view_y": 64, "field_of_view_units": "A"}
    (tmp_path / "a.json").write_text(json.dumps({"details": {"space": view}}))
    same(one(tmp_path / "a.npy"), FRAME, (0.2, 0.1))


def test_npy_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError):
        read(tmp_path / "a.npy")


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, frames=STACK, field_nm=8.0, names=np.array(["a", "b"]))
    same(one(path), STACK, (8 / 32, 8 / 40))
    np.savez(path, a=FRAME, b=STACK, pixel_size_nm=[0.1, 0.2], time_step_s=2.0)
    images = read(path)
    assert [i.name for i in images] == ["a.npz: a", "a.npz: b"]
    assert all(i.pixel_size_nm == (0.1, 0.2) for i in images)
    assert images[0].time_step_s is None and images[1].time_step_s == 2


def test_mrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(STACK.astype(np.int16))
        file.voxel_size = (0.2, 0.4, 1.0)  # x, y, z in angstrom
    same(one(path), STACK.astype(np.int16), (0.04, 0.02))
    monkeypatch.setattr("napari_atomlens.io.formats.arrays.LAZY_BYTES", 1000)
    image = one(path)
    assert isinstance(image.data, np.memmap)
    same(image, STACK.astype(np.int16), (0.04, 0.02))


def test_gwyddion_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    head = "# Channel: Z\n# Width: 4 nm\n# Height: 16 Å\n# Value units: m\n"
    path.write_text(head + "\n".join("\t".join(map(str, row)) for row in FRAME), encoding="utf-8")
    image = one(path)
    np.testing.assert_allclose(image.data, FRAME * 1e9, rtol=1e-6)
    assert image.pixel_size_nm == pytest.approx((1.6 / 32, 0.1))
    assert image.name == "a.txt: Z" and image.metadata["unit"] == "nm"


def test_mat(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"input": {"obs": FRAME, "dx": 0.25}, "note": "x"})
    same(one(tmp_path / "a.mat"), FRAME, (0.025, 0.025))


# HDF5 and zarr ------------------------------------------------------------------------------


def test_atomnet(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["image_data"] = FRAME
        file["metadata"] = json.dumps({"scan size": "2", "type of data": "HAADF"})
    image = one(path)
    same(image, FRAME, (2 / 40, 2 / 40))
    assert image.metadata["type of data"] == "HAADF"


def test_librarynet(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["nn_input"] = FRAME[None, ..., None]
        file["nn_input"].attrs["scan size"] = 2000.0
        file["nn_input"].attrs["metadata"] = "{not JSON"
        file["defect_coord_0"] = np.zeros((4, 3), "S32")
    same(one(path), FRAME, (2 / 40, 2 / 40))


def experiment(root: Any, data: np.ndarray, axes: list[tuple[bool, float, str]]) -> None:
    group = root.create_group("Experiments").create_group("signal")
    group["data"] = data
    for k, (navigate, scale, units) in enumerate(axes):
        axis = group.create_group(f"axis-{k}")
        axis.attrs.update({"navigate": navigate, "scale": scale, "units": units})
    group.create_group("metadata").create_group("General").attrs["title"] = "film"


def test_hyperspy(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    with h5py.File(path, "w") as file:
        experiment(file, STACK, [(True, 40, "ms"), (False, 12, "pm"), (False, 0.1, "Å")])
    image = one(path)
    same(image, STACK, (0.012, 0.01))
    assert image.time_step_s == pytest.approx(0.04)
    assert image.metadata["General.title"] == "film"


@pytest.mark.parametrize(
    "navigate", [(False,), (True, True, False), (True, True, False, False), (True, False)]
)
def test_spectra_and_diffraction_are_refused(tmp_path: Path, navigate: tuple[bool, ...]) -> None:
    path = tmp_path / "a.hspy"
    with h5py.File(path, "w") as file:
        experiment(file, np.zeros((9,) * len(navigate)), [(n, 1, "nm") for n in navigate])
    with pytest.raises(FormatError, match=r"a\.hspy holds"):
        read(path)


def test_berkeley_emd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_atomlens.io.formats.trees.LAZY_BYTES", 1000)
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/film")
        group.attrs["emd_group_type"] = 1
        group["data"] = STACK.astype(">u2")
        for k, (n, step, unit) in enumerate([(5, 0.5, "[s]"), (32, 0.1, "[n_m]"), (2, 200, "pm")]):
            group[f"dim{k + 1}"] = np.arange(n) * step
            group[f"dim{k + 1}"].attrs["units"] = unit
    image = one(path)
    assert hasattr(image.data, "dask") and image.data.chunks[0] == (1,) * 5
    same(image, STACK, (0.1, 0.2))
    assert image.time_step_s == 0.5


def test_nexus(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update({"NX_class": "NXdata", "signal": "z", "axes": ["y", "x"]})
        group["z"] = FRAME
        group["y"], group["x"] = np.arange(32) * 1e-10, np.arange(40) * 2e-10
        group["y"].attrs["units"] = group["x"].attrs["units"] = "m"
        file["entry/other"] = FRAME
    same(one(path), FRAME, (0.1, 0.2))


def test_nexus_without_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update({"NX_class": "NXdata", "signal": "z", "axes": [".", "."]})
        group["z"] = FRAME
    same(one(path), FRAME, None)


def test_any_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["group/frame"] = FRAME
        file["group/frame"].attrs["pixel_size_nm"] = [0.1, 0.2]
        file["table"] = np.zeros((100, 3))
    same(one(path), FRAME, (0.1, 0.2))
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros((100, 3))
    with pytest.raises(FormatError, match="no dataset"):
        read(path)


def test_zarr(tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "a.zarr"), STACK)
    same(one(tmp_path / "a.zarr"), STACK, None)
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="w")
    group.create_array("0", data=STACK)
    group.attrs["multiscales"] = [
        {
            "axes": [
                {"name": "t", "type": "time", "unit": "second"},
                {"name": "y", "type": "space", "unit": "nanometer"},
                {"name": "x", "type": "space", "unit": "angstrom"},
            ],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.1, 2]}],
                }
            ],
        }
    ]
    image = one(tmp_path / "b.zarr")
    same(image, STACK, (0.1, 0.2))
    assert image.time_step_s == 0.5


# Scanning probes ------------------------------------------------------------------------------


def test_gwy(tmp_path: Path) -> None:
    gwyfile = pytest.importorskip("gwyfile")
    from gwyfile.objects import GwyContainer, GwyDataField, GwySIUnit

    tree = GwyContainer()
    tree["/0/data"] = GwyDataField(
        FRAME.astype(float), xreal=8e-9, yreal=3.2e-9, si_unit_xy=GwySIUnit(unitstr="m")
    )
    tree["/0/data/title"] = "Z"
    tree.tofile(str(tmp_path / "a.gwy"))
    assert gwyfile
    same(one(tmp_path / "a.gwy"), FRAME.astype(float), (0.1, 0.2))
    whole = (tmp_path / "a.gwy").read_bytes()
    for part in (0.01, 0.5, 0.9, 0.999):  # the library would read on for ever
        (tmp_path / "a.gwy").write_bytes(whole[: int(part * len(whole))])
        sentence(tmp_path / "a.gwy")


def test_old_gwyddion(tmp_path: Path) -> None:
    (tmp_path / "a.gwy").write_bytes(b"GWYO" + bytes(100))
    with pytest.raises(FormatError, match="Gwyddion 1"):
        read(tmp_path / "a.gwy")


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("gwyfile", "rsciio.digitalmicrograph", "igor2.binarywave"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.gwy").write_bytes(b"GWYP" + bytes(100))
    (tmp_path / "a.dm3").write_bytes(b"\0\0\0\x03" + bytes(100))
    (tmp_path / "a.ibw").write_bytes(bytes(100))
    for path in tmp_path.iterdir():
        with pytest.raises(FormatError, match=r"pip install \"napari-atomlens\[formats\]\""):
            read(path)


def sm4(path: Path, kind: int = 0, y_scale: float = -1e-10) -> None:
    """One page, forward; what was scanned is FRAME."""
    strings = b"".join(
        struct.pack("<H", len(t)) + t.encode("utf-16-le")
        for t in ("Topography", "", "", "", "", "01/02/20", "03:04:05", "m", "m", "m")
    )
    raw = bytearray(4000)
    struct.pack_into("<H", raw, 0, 56)
    raw[2:38] = "STiMage 005.006 1".encode("utf-16-le").ljust(36, b"\0")
    struct.pack_into("<III", raw, 38, 1, 1, 12)
    struct.pack_into("<III", raw, 58, 1, 100, 16)  # the index header
    struct.pack_into("<IIII", raw, 100, 1, 1, 0, 0)
    struct.pack_into("<III", raw, 116, 2, 200, 32)  # the index
    struct.pack_into("<IIII", raw, 216, kind, 0, 2, 6)
    struct.pack_into("<III", raw, 232, 3, 300, 170)  # header of the page
    struct.pack_into("<III", raw, 244, 4, 4000, 4 * FRAME.size)
    struct.pack_into("<HH", raw, 300, 170, 10)
    struct.pack_into("<13I", raw, 304, 1, 0, 0, 0, 0, 40, 32, 0, 0, 0, 4 * FRAME.size, 0, 0)
    struct.pack_into("<11f", raw, 356, 2e-10, y_scale, 1e-9, 1, 0, 0, 5.0, 1, 0.5, 1e-10, 30)
    struct.pack_into("<4I", raw, 400, 0, 0, 0, 1)
    struct.pack_into("<III", raw, 480, 10, 600, len(strings))
    raw[600 : 600 + len(strings)] = strings
    rows = FRAME[::-1] if y_scale > 0 else FRAME
    path.write_bytes(bytes(raw) + (rows * 1e9).astype("<i4").tobytes())


@pytest.mark.parametrize("y_scale", [-1e-10, 1e-10])
def test_sm4(tmp_path: Path, y_scale: float) -> None:
    path = tmp_path / "a.sm4"
    sm4(path, y_scale=y_scale)
    image = one(path)
    np.testing.assert_allclose(image.data, (FRAME + 5.0) * 1e9, atol=2)
    assert image.pixel_size_nm == pytest.approx((0.1, 0.2)) and image.metadata["unit"] == "nm"
    assert image.name == "a.sm4: Topography forward"
    assert image.metadata["bias_V"] == 0.5 and image.metadata["scan_rotation_deg"] == 30
    assert image.metadata["setpoint_A"] == pytest.approx(1e-10)
    whole = path.read_bytes()
    for part in (0.01, 0.05, 0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        sentence(path)
    sm4(path, kind=1)
    assert "spectra" in sentence(path)


def test_mtrx_without_its_parameters(tmp_path: Path) -> None:
    pytest.importorskip("access2thematrix")
    path = tmp_path / "au--3_1.Z_mtrx"
    path.write_bytes(b"ONTMATRX0101" + bytes(1000))
    assert "needs au_0001.mtrx beside it" in sentence(path)
    (tmp_path / "au_0001.mtrx").write_bytes(b"ONTMATRX0101" + bytes(1000))
    sentence(path)
    assert "parameters of scans" in sentence(tmp_path / "au_0001.mtrx")


def test_mtrx_traces_are_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("access2thematrix")

    def opened(self: Any, path: str) -> tuple[dict[int, str], str]:
        self.object_type, self.traces = "image", ["forward/up", "backward/up"]
        self.scan = np.stack([FRAME[::-1], FRAME[::-1] + 1])
        self.axis = [[0, 8e-9], [0, 3.2e-9], [True, False, 32, 32], ["x", "m", "y", "m"]]
        self.channel_name_and_unit = ["Z", "m"]
        self.param["EEPA::XYScanner.Angle"] = [0.0]
        return dict(enumerate(self.traces)), "Successfully opened."

    monkeypatch.setattr(library.MtrxData, "open", opened)
    path = tmp_path / "au--3_1.Z_mtrx"
    path.write_bytes(b"ONTMATRX0101")
    (tmp_path / "au_0001.mtrx").write_bytes(b"ONTMATRX0101")
    images = read(path)
    assert [i.metadata["direction"] for i in images] == ["forward/up", "backward/up"]
    same(images[1], (FRAME + 1).astype(float) * 1e9, (0.1, 0.2))
    assert images[1].metadata["unit"] == "nm"


def test_nion(tmp_path: Path) -> None:
    import zipfile

    properties = {
        "dimensional_calibrations": [
            {"scale": 0.5, "units": "s"}, {"scale": 0.1, "units": "nm"},
            {"scale": 200.0, "units": "pm"},
        ],
        "metadata": {"instrument": {"high_tension": 60000.0}},
    }  # fmt: skip
    np.save(tmp_path / "data.npy", STACK)
    with zipfile.ZipFile(tmp_path / "a.ndata1", "w") as archive:
        archive.write(tmp_path / "data.npy", "data.npy")
        archive.writestr("metadata.json", json.dumps(properties))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = STACK
        file["data"].attrs["properties"] = json.dumps(properties)
    for name in ("a.ndata1", "b.h5"):
        image = one(tmp_path / name)
        same(image, STACK, (0.1, 0.2))
        assert image.time_step_s == 0.5 and image.metadata["beam_energy_keV"] == 60
    properties["dimensional_calibrations"][-1]["units"] = "eV"
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = STACK
        file["data"].attrs["properties"] = json.dumps(properties)
    assert "spectra" in sentence(tmp_path / "b.h5")


def test_nexus_links_are_not_offered_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update({"NX_class": "NXdata", "signal": "z", "axes": ["y", "x"]})
        group["z"] = FRAME
        file["alias"] = h5py.SoftLink("/entry/data")
        file["hard"] = group
    same(one(path), FRAME, None)


# Damage -------------------------------------------------------------------------------------


def sentence(path: Path) -> str:
    with pytest.raises(FormatError) as error:
        read(path)
    text = str(error.value)
    assert path.name in text and "\n" not in text and text.endswith(".")
    return text


def test_missing_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "a.tif")
    (tmp_path / "b.tif").mkdir()
    assert "folder" in sentence(tmp_path / "b.tif")
    (tmp_path / "c.zarr").mkdir()
    sentence(tmp_path / "c.zarr")


@pytest.mark.parametrize("extension", [*SUFFIXES, ".xyz", ""])
def test_zero_bytes_and_noise(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    path.write_bytes(b"")
    assert "zero bytes" in sentence(path)
    for content in (RNG.bytes(3000), b"Not an image.\n" * 200, bytes(3000), b"1"):
        path.write_bytes(content)
        sentence(path)


def write_tiff(path: Path) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack")


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["frame"] = STACK


def write_mrc(path: Path) -> None:
    with mrcfile.new(path) as file:
        file.set_data(STACK.astype(np.int16))


WRITERS: dict[str, Callable[[Path], Any]] = {
    ".tif": write_tiff, ".h5": write_hdf5, ".mrc": write_mrc,
    ".npy": lambda p: np.save(p, STACK), ".npz": lambda p: np.savez(p, a=STACK),
    ".png": lambda p: imwrite(p, STACK[0]), ".jpg": lambda p: imwrite(p, STACK[0].astype("u1")),
}  # fmt: skip


@pytest.mark.parametrize("extension", WRITERS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_truncated(tmp_path: Path, extension: str, part: float) -> None:
    path = tmp_path / f"a{extension}"
    WRITERS[extension](path)
    assert read(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    if extension == ".jpg" and part > 0.9:
        return  # the decoder fills in what is missing of the last lines
    sentence(path)


@pytest.mark.parametrize("extension", WRITERS)
def test_lying_extension(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    WRITERS[extension](path)
    lie = tmp_path / ("b.npy" if extension != ".npy" else "b.tif")
    path.rename(lie)
    assert "rename it" in sentence(lie)


@pytest.mark.parametrize("shape", [(100,), (2, 3, 4, 5), (0, 5), (1, 100)])
def test_shapes_that_are_no_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    sentence(tmp_path / "a.npy")


def test_complex_and_text_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 9), complex))
    assert "complex" in sentence(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((9, 9), "U3"))
    sentence(tmp_path / "a.npy")


def test_lazy_frames_read_one_frame_at_a_time() -> None:
    asked: list[int] = []

    def frame(i: int) -> np.ndarray:
        asked.append(i)
        return STACK[i]

    data = image_module.lazy_frames(frame, STACK.shape, STACK.dtype)
    np.testing.assert_array_equal(np.asarray(data[2]), STACK[2])
    assert asked == [2]
    for key in (np.s_[1:4, 3:9, ::2], np.s_[:, 5], np.s_[-1, ..., 3], np.s_[4:1:-1], np.s_[2:2]):
        np.testing.assert_array_equal(np.asarray(data[key]), STACK[key])
    asked.clear()
    np.asarray(data[1:3, 4:6])
    assert sorted(asked) == [1, 2]


def test_dm_header_alone(tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    (tmp_path / "a.dm3").write_bytes(struct.pack(">III", 3, 100, 1) + bytes(40))
    sentence(tmp_path / "a.dm3")


# The published files ----------------------------------------------------------------------------

#: file: (shape of the first image, pixel size in nm or None), as the README beside them has it.
PUBLISHED: dict[str, tuple[tuple[int, ...], float | tuple[float, float] | None]] = {
    "graphene-si/G-GrainBoundary-4nm.hdf5": ((512, 512), 4 / 512),
    "graphene-si/G-Si-2nm.hdf5": ((256, 256), 2 / 256),
    "graphene-si/G-dimSi.hdf5": ((512, 512), None),
    "graphene-si/raw-1.hdf5": ((256, 256), 2 / 256),
    "graphene-si/library/Si1C3/10.hdf5": ((256, 256), 2 / 256),
    "tmd-stem/Partially_converted_12.tif": ((512, 512), 1 / 128),
    "tmd-stem/Partially_converted_16.tif": ((512, 512), 1 / 64),
    "tmd-stem/Partially_converted_27.tif": ((1024, 1024), 1 / 128),
    "tmd-stem/MoS2_stem_Exp-000-2.npy": ((512, 512), 9 / 512),
    "perovskite-stem/Cropped_PTO-SRO_Aligned.hspy": ((224, 1312), 0.0149968),
    "perovskite-stem/10_dso_8nm_none_none.png": ((1024, 1024), None),
    "perovskite-stem/Acquisition_18.emd": ((1024, 1024), 0.0122465),
    "dumbbells-stem/CdTe_110_tilt_HAADF149.dm3": ((512, 512), 0.016388),
    "dumbbells-stem/Si_110_tilt_HAADF85.dm3": ((512, 512), 0.016388),
    "dumbbells-stem/03_afterimage_8nm_crp.png": ((730, 730), None),
    "stm-h-si/Brockley_Si001-H_23_2_0.npy": ((512, 512), None),
    "stm-h-si/tile_scan_082_fwd.jpg": ((1024, 1024), None),
    "stm-movie/building_stack_8nm.npz": ((5, 256, 256), 7.98 / 256),
    "stm-movie/Createc2_210809.152130.dat": ((256, 256), 7.98 / 256),
    "stm-other/si111-7x7.sxm": ((256, 256), 20 / 256),
    "stm-other/01581.sxm": ((80, 160), 4.6 / 160),
    "stm-other/cu2o111-gwyddion.txt": ((512, 512), 0.0293),
    "with-truth/sim0_input.tiff": ((1024, 1024), None),
    "with-truth/statstem-pb-nanoparticle.mat": ((291, 341), 0.022),
    "formats/nonsquare-pixels.dm4": ((64, 128), (0.2, 1.0)),
    "formats/stack-3d-int16.dm4": ((66, 65, 64), (3.0, 0.002)),
    "formats/64x64x5_TEM_preview_1.ser": ((5, 64, 64), 6.2818),
    "formats/64x64x5_TEM_preview.emi": ((5, 64, 64), 6.2818),
    "formats/velox-haadf.emd": ((128, 128), 87.3708),
    "formats/velox-stack.emd": ((2, 3, 3), 0.00817288),
    "formats/plain.mrc": ((3, 128, 128), 0.2),
    "formats/stm-current.ibw": ((58, 256), 0.01953125),
    "formats/test.gwy": ((128, 128), None),
    "formats/rhk.sm4": ((256, 256), 1 / 256),
}
NEEDS = {".dm3": "rsciio", ".dm4": "rsciio", ".ser": "rsciio", ".emi": "rsciio",
         ".gwy": "gwyfile", ".ibw": "igor2"}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name: str) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip("the published files are not here")
    needed = NEEDS.get(path.suffix, "rsciio" if "velox" in name else "numpy")
    pytest.importorskip(needed)
    image = read(path)[0]
    shape, size = PUBLISHED[name]
    assert image.data.shape == shape and image.data.dtype.isnative
    if size is None:
        assert image.pixel_size_nm is None
    else:
        expected = size if isinstance(size, tuple) else (size, size)
        assert image.pixel_size_nm == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    "name", ["old-magic.gwy", "signal1d_10x10-ZipStore.zspy", "nexus_dls_example.nxs"]
)
def test_published_that_cannot_be_read(name: str) -> None:
    if not (DATA / "formats" / name).exists():
        pytest.skip("the published files are not here")
    sentence(DATA / "formats" / name)


def test_forward_and_backward_scans_show_the_same() -> None:
    path = DATA / "stm-other" / "si111-7x7.sxm"
    if not path.exists():
        pytest.skip("the published files are not here")
    forward, backward = read(path)[:2]
    assert np.corrcoef(forward.data.ravel(), backward.data.ravel())[0, 1] > 0.8
