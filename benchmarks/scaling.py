"""How time and memory grow with pixels, atoms and frames.

    python benchmarks/scaling.py [--small]

Each line is a run of ``analyze`` on a simulated honeycomb in a process of its own; the slope is
that of the logarithm of time against the logarithm of what grows (1: linear). --small is what
the tests run to keep this script alive.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
from report import Report, figure

CHILD = r"""
import json, resource, sys, time
import numpy as np
import napari_atomlens as al
from napari_atomlens.runs.frame import analyze_frames
from napari_atomlens.simulation import seed_for, simulate
side, spacing, frames = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
image, _ = simulate("honeycomb", (side, side), spacing, rotation_deg=17, counts=1000,
                    seed=seed_for("benchmark", 5_900_000))
image = image.astype(np.float32)
al.analyze(image[:128, :128])
stack = np.broadcast_to(image, (frames, side, side)) if frames > 1 else image
start, cpu, stages, atoms = time.perf_counter(), time.process_time(), {}, 0
for result in analyze_frames(stack):
    atoms += len(result.atoms)
    for k, v in result.seconds.items():
        stages[k] = stages.get(k, 0) + v
print(json.dumps({"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu,
                  "atoms": atoms, "stages": stages,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def run(side: int, spacing: float, frames: int) -> dict:
    """One run in a fresh process."""
    command = [sys.executable, "-c", CHILD, str(side), str(spacing), str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def curve(title: str, cases: list[tuple[int, float, int]], by: str) -> None:
    """Print one curve and its slope."""
    print(f"\n{title}\n\n| side (px) | spacing (px) | frames | atoms | wall (s) | CPU (s) "
          "| scale (s) | network (s) | atoms and fit (s) | contours (s) | peak (MB) |\n"
          "|---|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    grown, times = [], []
    for side, spacing, frames in cases:
        r = run(side, spacing, frames)
        s = r["stages"]
        grown.append({"pixels": side**2, "atoms": r["atoms"], "frames": frames}[by])
        times.append(s["atoms"] if by == "atoms" else r["wall"])
        print(f"| {side} | {spacing:g} | {frames} | {r['atoms']} | {r['wall']:.2f} "
              f"| {r['cpu']:.2f} | {s['scale']:.2f} | {s['network']:.2f} | {s['atoms']:.2f} "
              f"| {s['contours']:.2f} | {r['peak']:.0f} |", flush=True)  # fmt: skip
    slope = np.polyfit(np.log(grown), np.log(times), 1)[0]
    what = "of the stage 'atoms and fit' " if by == "atoms" else ""
    figure(f"exponent of time {what}over {by}", slope, section=title)
    print(f"\nTime {what}grows as {by} to the power {slope:.2f}.")


def main() -> None:
    """Measure the three curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    with Report("scaling", parser) as report:
        small = report.args.small
        if small:
            curve("Pixels", [(128, 10, 1), (192, 10, 1)], "pixels")
            return
        curve(
            "Pixels, same atoms per pixel", [(s, 10, 1) for s in (256, 512, 1024, 2048)], "pixels"
        )
        curve("Atoms, same pixels", [(1024, s, 1) for s in (32, 22, 16, 11, 8)], "atoms")
        curve("Frames", [(256, 10, n) for n in (10, 20, 40, 80, 160)], "frames")


if __name__ == "__main__":
    main()
