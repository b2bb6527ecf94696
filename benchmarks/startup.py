"""What the plugin costs napari at start-up: with and without it, in turn, in fresh processes.

    python benchmarks/startup.py --rounds 10

Prints the median time from the interpreter's start to a viewer, the difference, and the
time that npe2 needs for our manifest alone. Needs a display (scripts/with_display.sh).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from report import Report

CHILD = """
import importlib.metadata as m, sys, time
start = time.perf_counter()
if sys.argv[1] == "without":
    every = m.distributions
    m.distributions = lambda **k: (d for d in every(**k) if d.name != "napari-atomlens")
import napari
viewer = napari.Viewer(show=False)
seconds = time.perf_counter() - start
import npe2
assert ("napari-atomlens" in npe2.PluginManager.instance()._manifests) == (sys.argv[1] == "with")
loaded = [k for k in ("torch", "napari_atomlens.runs") if k in sys.modules]
print(seconds, *loaded)
import os; sys.stdout.flush(); os._exit(0)
"""


def one(which: str) -> float:
    """Start napari once and return the seconds it took."""
    command = [sys.executable, "-c", CHILD, which]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if len(out) > 1:
        raise SystemExit(f"The plugin imported {', '.join(out[1:])} at start-up.")
    return float(out[0])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    with Report("startup", parser) as report:
        rounds = report.args.rounds
        one("with"), one("without")  # the caches of the file system
        pairs = [(one("with"), one("without")) for _ in range(rounds)]
        with_it, without = (statistics.median(v) for v in zip(*pairs, strict=True))
        difference = statistics.median(a - b for a, b in pairs)
        import time

        import npe2

        start = time.perf_counter()
        npe2.PluginManifest.from_distribution("napari-atomlens")
        manifest = time.perf_counter() - start
        report.figure("start with the plugin", with_it, "s")
        report.figure("start without it", without, "s")
        report.figure("median of paired differences", 1000 * difference, "ms")
        report.figure("reading our manifest", 1000 * manifest, "ms")
        print(f"with {with_it:.3f} s, without {without:.3f} s, median of paired differences "
              f"{1000 * difference:.0f} ms; reading our manifest {1000 * manifest:.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
