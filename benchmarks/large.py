"""Very large images: peak memory, time, and whether seams can be seen.

    python benchmarks/large.py [--side 8192] [--small]

One simulated image of about 300,000 columns is analysed twice, each time in a process of its
own: window by window (what ``analyze`` does with images of this size), and as one frame. The
table compares positions near the cuts of the windows of the network and elsewhere; the fit of
the columns is one for the whole image in both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from report import Report
from scipy.spatial import cKDTree

from napari_atomlens.segmentation.forward import network_size
from napari_atomlens.segmentation.tiles import PART_PX
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.simulation import seed_for, simulate

SPACING = 15.0
CHILD = r"""
import json, resource, sys, time
import numpy as np, torch
from napari_atomlens.runs.frame import analyze_frames
from napari_atomlens.segmentation import predict, tiles
image, out, whole, part = np.load(sys.argv[1], mmap_mode="r"), sys.argv[2], sys.argv[3], sys.argv[4]
predict.LARGE = float("inf") if whole == "whole" else min(predict.LARGE, image.size // 2)
tiles.predict_tiled.__defaults__ = (int(part), *tiles.predict_tiled.__defaults__[1:])
start, cpu = time.perf_counter(), time.process_time()
result = next(analyze_frames(image))
result.atoms.to_parquet(out)
print(json.dumps({"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu,
                  "atoms": len(result.atoms), "spacing": result.spacing_px,
                  "threads": torch.get_num_threads(),
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def run(image: Path, out: Path, how: str, part: int) -> tuple[dict, pd.DataFrame]:
    command = [sys.executable, "-c", CHILD, str(image), str(out), how, str(part)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), pd.read_parquet(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--counts", type=float, default=10_000)
    parser.add_argument("--small", action="store_true")
    with Report("large", parser) as report:
        options = report.args
        side, part = (600, 160) if options.small else (options.side, PART_PX)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            image, _ = simulate(
                "square", (side, side), SPACING, rotation_deg=17, counts=options.counts,
                vacancies=0.02, jitter=0.01, seed=seed_for("benchmark", 5_910_001),
            )  # fmt: skip
            np.save(folder / "image.npy", image.astype(np.float32))
            del image
            tiled, a = run(folder / "image.npy", folder / "a.parquet", "tiled", part)
            print("| run | atoms | wall (s) | CPU (s) | threads | peak memory (MB) |")
            print("|---|---|---|---|---|---|")
            print(line("window by window", tiled), flush=True)
            whole, b = run(folder / "image.npy", folder / "b.parquet", "whole", part)
            print(line("one frame", whole))
        p, q = (t[["y_px", "x_px"]].to_numpy() for t in (a, b))
        apart, which = cKDTree(q).query(p)
        zoom = network_size((side, side), tiled["spacing"], find_model("auto").preferred_spacing_px)
        cuts = np.arange(part, zoom[0], part) * side / zoom[0]
        seam = np.abs(p[:, :, None] - cuts).min((1, 2)) < 2 * SPACING
        rim = ((p < 3 * SPACING) | (p > side - 1 - 3 * SPACING)).any(1)
        error = float(np.hypot(a["y_err_px"], a["x_err_px"]).median())
        print(f"\nPixels between both positions (median standard error {error:.3f} px):\n")
        print("| atoms | number | median | 99 % | largest | within 0.001 px |")
        print("|---|---|---|---|---|---|")
        for title, here in (("near seams", seam & ~rim), ("elsewhere", ~seam & ~rim), ("rim", rim)):
            d = apart[here]
            print(f"| {title} | {len(d)} | {np.median(d):.5f} | {np.quantile(d, 0.99):.5f} "
                  f"| {d.max():.5f} | {np.mean(d < 1e-3):.2%} |")  # fmt: skip
        same = (a["species"].to_numpy() == b["species"].to_numpy()[which]).mean()
        report.figure("same species", 100 * same, "%")
        print(f"\nSame species: {same:.2%}; found by one run only: {(apart > 1).sum()} of windows, "
              f"{(cKDTree(p).query(q)[0] > 1).sum()} of the whole.")  # fmt: skip


def line(name: str, r: dict) -> str:
    return (
        f"| {name} | {r['atoms']} | {r['wall']:.0f} | {r['cpu']:.0f} | {r['threads']} "
        f"| {r['peak']:.0f} |"
    )


if __name__ == "__main__":
    main()
