"""Damaged headers: a sentence or an image, never a crash or a hang (see fuzz.py for more)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from fuzz import fuzz, mutate
from imageio.v3 import imwrite
from small_files import FRAME, createc, dm5, emd1, gsf, hspy, mat73, mul, sxm
from test_matrices import rows
from test_readers import DATA, STACK, sm4, write_hdf5, write_mrc

from napari_atomlens.errors import FormatError
from napari_atomlens.io import read

FORMATS = (
    "rhk.sm4", "plain.mrc", "test.gwy", "stm-current.ibw", "stack-3d-int16.dm4", "velox-haadf.emd",
    "128x128_TEM_acquire-sum1_1.ser", "test_STEM_image.dm3",
)  # fmt: skip


def own(folder: Path) -> list[Path]:
    """One small file of each format that we can write."""
    tifffile.imwrite(folder / "a.tif", STACK, photometric="minisblack")
    tifffile.imwrite(folder / "b.tif", STACK, photometric="minisblack", compression="zlib")
    imwrite(folder / "a.png", STACK[0])
    np.save(folder / "a.npy", STACK)
    np.savez(folder / "a.npz", a=STACK)
    write_hdf5(folder / "a.h5")
    write_mrc(folder / "a.mrc")
    createc(folder / "a.dat", np.stack([FRAME, FRAME]))
    sxm(folder / "a.sxm", True)
    createc(folder / "b.dat", np.stack([FRAME, FRAME]), at=700)
    createc(folder / "c.dat", np.stack([FRAME, FRAME]), magic="Parameter", kind="<i2")
    sm4(folder / "a.sm4")
    gsf(folder / "a.gsf")
    mul(folder / "a.mul", [(0, FRAME * 1000), (1, FRAME * 1000)])
    emd1(folder / "a.emd", STACK, (0.5, 0.03, 0.02), ("s", "nm", "nm"))
    hspy(folder / "a.hspy", FRAME, [(False, 0.1, "nm")] * 2)
    dm5(folder / "a.dm5", FRAME, [(0.1, "nm")] * 2)
    mat73(folder / "b.mat", {"im": FRAME})
    (folder / "a.txt").write_text(rows("\t"))
    (folder / "a.csv").write_text(rows(";", comma=True))
    return sorted(folder.iterdir())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
def test_mutated_files(tmp_path: Path) -> None:
    for path in own(tmp_path):
        found, bad = fuzz(path, 100, 10)
        assert not bad, bad
        assert sum(found.values()) == 100 and found["sentence"] > 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_published_files(name: str) -> None:
    if not (DATA / "formats" / name).exists():
        pytest.skip("the published files are not here")
    _, bad = fuzz(DATA / "formats" / name, 25, 10)
    assert not bad, bad


def test_mutations_differ() -> None:
    rng = np.random.default_rng(0)
    raw = bytes(range(256)) * 20
    assert len({mutate(raw, rng) for _ in range(50)}) > 45


def test_links_that_go_round(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("a/b")
        group["again"] = h5py.SoftLink("/a")
        group["hard"] = file["/"]
        file["frame"] = FRAME
    assert read(tmp_path / "a.h5")[0].data.shape == FRAME.shape


def test_a_damaged_igor_wave_harms_no_other(tmp_path: Path) -> None:
    path = DATA / "formats" / "stm-current.ibw"
    if not path.exists():
        pytest.skip("the published files are not here")
    raw = bytearray(path.read_bytes())
    for at in range(0, 400, 4):
        damaged = bytearray(raw)
        damaged[at : at + 4] = b"\xff\xff\xff\x0f"
        (tmp_path / "a.ibw").write_bytes(damaged)
        try:
            read(tmp_path / "a.ibw")
        except FormatError:
            assert read(path)[0].data.shape == (58, 256)
