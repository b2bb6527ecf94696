"""Batch: how it scales with workers, what kills cost, and whether memory stays flat.

    python benchmarks/batch.py scaling [--frames 200] [--side 512]
    python benchmarks/batch.py kills   [--frames 200] [--side 256] [--workers-killed 20]
    python benchmarks/batch.py memory  [--frames 10000] [--side 128]

Every part prints Markdown. Wall times are only worth something on a quiet machine; the CPU
seconds of all processes are printed beside them, and "by CPU" is the efficiency that remains
when other programs take none of the cores: work of one thread over work of all workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from report import Report

import napari_atomlens as al
from napari_atomlens.runs.movie import read_table
from napari_atomlens.simulation import seed_for, simulate

CHILD = r"""
import json, resource, sys, time
from napari_atomlens.runs.batch import BatchParams, run_batch
if __name__ == "__main__":
    source, out, workers, processes, chunk = sys.argv[1:6]
    done = run_batch([source], out, BatchParams(chunk_frames=int(chunk)), workers=int(workers),
                     processes=processes == "processes")
    cpu = sum(resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime
              for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"wall": done.seconds, "cpu": cpu, "new": done.n_new_frames,
                      "frames": done.n_frames, "atoms": done.n_atoms}))
"""


def movie(path: Path, frames: int, side: int) -> None:
    """A movie as a zarr store, one chunk per frame."""
    import zarr

    image, _ = simulate(
        "honeycomb", (side, side), 12.0, rotation_deg=11, counts=2000,
        seed=seed_for("benchmark", 5_920_000),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    store = zarr.create_array(
        str(path), shape=(frames, side, side), chunks=(1, side, side), dtype="float32"
    )
    for f in range(frames):
        store[f] = (image + rng.normal(0, 0.1 * image.std(), image.shape)).astype(np.float32)


def environment() -> dict[str, str]:
    one = {f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **one}


def start(source: Path, out: Path, workers: int, how: str, chunk: int = 8) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, source, out, str(workers), how, str(chunk)]
    return subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.PIPE, text=True, env=environment()
    )


def result(child: subprocess.Popen) -> dict:
    out, _ = child.communicate()
    if child.returncode:
        raise SystemExit("the batch failed")
    return json.loads(out.splitlines()[-1])


def scaling(folder: Path, frames: int, side: int) -> None:
    source = folder / "movie.zarr"
    movie(source, frames, side)
    print(f"{frames} frames of {side} x {side}\n")
    print("| workers | wall (s) | CPU (s) | efficiency, wall | by CPU | same as serial |")
    print("|---|---|---|---|---|---|")
    serial = al.analyze(str(source), keep_maps=False).atoms
    base: dict = {}
    for how, n in (*(("threads", n) for n in (1, 2, 4)), ("processes", 4)):
        out = folder / f"{how}{n}"
        r = result(start(source, out, n, how))
        base = base or r
        got = read_table(out).drop(columns="file")
        same = got.equals(serial)
        print(f"| {n} {how} | {r['wall']:.1f} | {r['cpu']:.1f} "
              f"| {base['wall'] / r['wall'] / n:.2f} | {base['cpu'] / r['cpu']:.2f} "
              f"| {'yes' if same else 'NO'} |", flush=True)  # fmt: skip


def kills(folder: Path, frames: int, side: int, n_workers: int, n_clients: int) -> None:
    source, out = folder / "movie.zarr", folder / "out"
    movie(source, frames, side)
    rng, killed, clients, runs = random.Random(0), 0, 0, []
    while True:
        before = len(list(out.glob("frames/file=*/part-*.parquet")))
        child = start(source, out, 3, "processes", chunk=2)
        last = clients >= n_clients
        share = n_workers if last else (clients + 1) * n_workers // (n_clients + 1)
        while child.poll() is None:
            time.sleep(0.7)
            parts = list(out.glob("frames/file=*/part-*.parquet"))
            if killed < share:
                workers = workers_of(child.pid)
                if workers and len(parts) > before:
                    os.kill(rng.choice(workers), signal.SIGKILL)
                    killed += 1
            elif not last and len(parts) > (clients + 1) * frames // 2 // (n_clients + 1):
                os.kill(child.pid, signal.SIGKILL)
                clients += 1
                break
        if last:
            runs.append(result(child))
            break
        if child.wait() == 0:
            print("the movie was done before every kill was dealt; take more frames")
            break
    got = read_table(out).drop(columns="file")
    whole = read_table(out, "frames")
    serial = al.analyze(str(source), keep_maps=False).atoms
    print("| killed workers | killed clients | frames | frames twice | failures | same as serial |")
    print("|---|---|---|---|---|---|")
    twice = int(whole["frame"].duplicated().sum())
    failures = len(read_table(out, "failures"))
    print(f"| {killed} | {clients} | {len(whole)} of {frames} | {twice} "
          f"| {failures} | {'yes' if got.equals(serial) else 'NO'} |")  # fmt: skip


def workers_of(pid: int) -> list[int]:
    """Processes of dask workers below a client."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def own_mb(pid: int) -> float:
    """Memory of a process's own: pages of libraries come and go as the system likes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # not Linux
        return psutil.Process(pid).memory_info().rss / 2**20
    kept = ("RssAnon", "VmSwap")
    return sum(int(one.split()[1]) for one in lines if one.startswith(kept)) / 1024


def memory(folder: Path, frames: int, side: int) -> None:
    source, out = folder / "movie.zarr", folder / "out"
    movie(source, frames, side)
    child = start(source, out, 2, "threads", chunk=16)
    rows: list[tuple[int, float]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(2.0):
            try:
                rss = own_mb(child.pid)
            except psutil.Error:
                return
            rows.append((16 * len(list(out.glob("frames/file=*/part-*.parquet"))), rss))

    thread = threading.Thread(target=watch)
    thread.start()
    r = result(child)
    stop.set()
    thread.join()
    table = pd.DataFrame(rows, columns=["frames", "rss"])
    # after the start, and while there is a process
    table = table[(table["frames"] > 0.1 * frames) & (table["rss"] > 0)]
    slope = np.polyfit(table["frames"], table["rss"], 1)[0]
    tenths = table.groupby((10 * table["frames"] / frames).astype(int))["rss"].median()
    print("MB in each tenth of the run:", ", ".join(f"{v:.0f}" for v in tenths), end="\n\n")
    print(
        "| frames | side (px) | wall (s) | own memory (MB), median | largest | MB per 1,000 frames |"
    )
    print("|---|---|---|---|---|---|")
    print(f"| {r['frames']} | {side} | {r['wall']:.0f} | {table['rss'].median():.0f} "
          f"| {table['rss'].max():.0f} | {1000 * slope:.2f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("scaling", "kills", "memory"))
    parser.add_argument("--frames", type=int)
    parser.add_argument("--side", type=int)
    parser.add_argument("--workers-killed", type=int, default=20)
    parser.add_argument("--clients-killed", type=int, default=3)
    with Report("batch", parser) as report:
        options = report.args
        default = {"scaling": (200, 512), "kills": (200, 256), "memory": (10_000, 128)}[
            options.part
        ]
        frames, side = options.frames or default[0], options.side or default[1]
        with tempfile.TemporaryDirectory() as name:
            if options.part == "scaling":
                scaling(Path(name), frames, side)
            elif options.part == "kills":
                kills(Path(name), frames, side, options.workers_killed, options.clients_killed)
            else:
                memory(Path(name), frames, side)


if __name__ == "__main__":
    main()
