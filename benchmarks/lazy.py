"""The first frame of a stack that is larger than memory: time and memory until it is there.

    python benchmarks/lazy.py [--gigabytes 20] [--files 1000]

The stacks are sparse files (zarr: chunks that are not written), so that they cost no disk; the
header is a true one; movies of one file per frame are true files. Every line is a process of its own that opens the stack in napari (with a
display: scripts/with_display.sh) and looks at its first and its last frame, and at every frame
of a movie of one file per frame; memory is above that of napari with nothing in it.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from report import Report

SIDE, SMALL = 2048, 512
CHILD = r"""
import json, os, sys, time
import napari, numpy as np, psutil
from napari_atomlens.widgets.open_save.reader import read_layers
import dask.array, zarr, tifffile, mrcfile, h5py
viewer = napari.Viewer(show=True)
viewer.add_image(np.zeros((2, 64, 64)))
napari.qt.get_qapp().processEvents()
rss = lambda: psutil.Process().memory_info().rss / 2**20
before, start, busy = rss(), time.perf_counter(), time.process_time()
data, keywords, _ = read_layers(sys.argv[1])[0]
np.asarray(data[0])
python = time.perf_counter() - start
layer = viewer.add_image(data, **keywords)
napari.qt.get_qapp().processEvents()
seconds, most, busy = time.perf_counter() - start, rss(), time.process_time() - busy
last = data.shape[0] - 1
for k in range(1, last + 1) if os.path.isdir(sys.argv[1]) and "files" in sys.argv[1] else [last]:
    viewer.dims.set_current_step(0, k)
    napari.qt.get_qapp().processEvents()
    most = max(most, rss())
assert layer._data_view.shape == data.shape[1:]
print(json.dumps({"seconds": seconds, "python": python, "busy": busy, "memory": max(most, rss()) - before,
                  "shape": list(data.shape)}))
sys.stdout.flush()
os._exit(0)
"""


def sparse(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def make(folder: Path, frames: int) -> dict[str, Path]:
    """Sparse stacks of `frames` frames, the first of which holds numbers."""
    import mrcfile
    import tifffile
    import zarr

    one = np.arange(SIDE * SIDE, dtype=np.int16).reshape(SIDE, SIDE)
    shape = (frames, SIDE, SIDE)
    out = {}
    out["zarr"] = folder / "a.zarr"
    array = zarr.create_array(str(out["zarr"]), shape=shape, chunks=(1, SIDE, SIDE), dtype="int16")
    array[0] = one
    out["tif (BigTIFF, ImageJ-like)"] = folder / "a.tif"
    with tifffile.TiffWriter(folder / "a.tif", bigtiff=True) as tif:
        tif.write(shape=shape, dtype="int16", photometric="minisblack", data=None)
    out["mrc"] = folder / "a.mrc"
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(one[None])
        file.set_image_stack()
    with (folder / "a.mrc").open("r+b") as raw:
        raw.seek(8)
        raw.write(np.int32(frames).tobytes())  # nz
        raw.seek(28)
        raw.write(np.array([SIDE, SIDE, 1], np.int32).tobytes())
    sparse(folder / "a.mrc", 1024 + 2 * frames * SIDE * SIDE)
    out["npy"] = folder / "a.npy"
    np.lib.format.open_memmap(folder / "a.npy", "w+", np.int16, shape)[0] = one
    out["hdf5"] = folder / "a.h5"
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("frames", shape, "int16", chunks=(1, SIDE, SIDE))[0] = one
    out["ser"] = folder / "a.ser"
    head = struct.pack("<HHHIIIIQI", 0x4949, 0x0197, 544, 0x4122, 0x4152, frames, frames, 34, 0)
    first, step = 34 + 8 * frames, 50 + 2 * SIDE * SIDE
    places = (first + step * np.arange(frames, dtype=np.uint64)).tobytes()
    about = struct.pack("<ddIddIHII", 0, 1e-11, 0, 0, 1e-11, 0, 5, SIDE, SIDE)
    out["ser"].write_bytes(head + places + about + one.tobytes())
    sparse(out["ser"], first + frames * step)
    return out


def series(folder: Path, frames: int) -> dict[str, Path]:
    """Movies of one file per frame; each frame holds other numbers."""
    import tifffile

    rng = np.random.default_rng(0)
    out = {f"{frames:,} {kind} files": folder / f"{kind}-files" for kind in ("tif", "npy")}
    for path in out.values():
        path.mkdir()
    for k in range(frames):
        one = rng.integers(0, 1000, (SMALL, SMALL), dtype=np.uint16)
        tifffile.imwrite(folder / "tif-files" / f"frame_{k}.tif", one)
        np.save(folder / "npy-files" / f"frame_{k}.npy", one)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--files", type=int, default=1000, help="frames of one file each")
    with Report("lazy", parser) as report:
        frames = int(report.args.gigabytes * 1e9 / (2 * SIDE * SIDE))
        with tempfile.TemporaryDirectory() as name:
            print(
                "| stack | shape | first frame in Python (s) | in napari (s) "
                "| of that, processor (s) | memory for it and the last (MB) |"
            )
            print("|---|---|---|---|---|---|")
            stacks = make(Path(name), frames) if frames else {}
            if report.args.files:
                stacks |= series(Path(name), report.args.files)
            for kind, path in stacks.items():
                done = subprocess.run(
                    [sys.executable, "-c", CHILD, str(path)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    print(f"| {kind} | failed | {done.stderr.splitlines()[-1]} | | |")
                    continue
                r = json.loads(done.stdout.splitlines()[-1])
                print(f"| {kind} | {' x '.join(map(str, r['shape']))} | {r['python']:.2f} "
                      f"| {r['seconds']:.2f} | {r['busy']:.2f} "
                      f"| {r['memory']:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
