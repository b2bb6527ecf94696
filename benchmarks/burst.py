"""A burst of files at the instrument, and a watch that is killed again and again.

    python benchmarks/burst.py                  # 20 scans of 256 px of each kind; 10 kills
    python benchmarks/burst.py --files 4 --kills 1

Runs the command ``atomlens watch`` as a user does. The time of a burst is that from the arrival of
the first file to the result of the last, settling time included. A killed watch is started again; at
the end each file has its results once, and each event was told at least once, by its id.
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
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report import Report

SEED = 2**33 + 700
#: Seconds that the processes may take to start before files come.
START_S = 20.0
#: Seconds without an event after which a watch has nothing left to do, and is killed all the same.
SILENT_S = 15.0


def silicon(k: int) -> np.ndarray:
    from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon

    params = SiliconParams(size_px=256, pixel_size_nm=0.09, row_angle_rad=0.5, seed=SEED + k)
    return simulate_silicon(params).image.astype(np.float32)


def honeycomb(k: int) -> np.ndarray:
    from napari_atomlens.simulation import simulate

    return simulate("honeycomb", (256, 256), 10.0, seed=SEED + k)[0].astype(np.float32)


KINDS: dict[str, tuple[Callable[[int], np.ndarray], list[str]]] = {
    "H-Si(100)": (silicon, ["--pixel-size", "0.09"]),
    "honeycomb": (honeycomb, []),
    "honeycomb, model chosen": (honeycomb, ["--pixel-size", "0.0142"]),
}


def start(folder: Path, options: list[str], out: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "napari_atomlens.cli", "watch", str(folder), *options]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)


def burst(images: list[np.ndarray], options: list[str]) -> tuple[float, float]:
    """Seconds from the first file to the first and the last result."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        process = start(folder, options, subprocess.PIPE)
        assert process.stdout is not None
        time.sleep(START_S)
        begun, times = time.monotonic(), []
        for k, image in enumerate(images):
            np.save(folder / f"{k:02d}.npy", image)
        while len(times) < len(images):
            event = json.loads(process.stdout.readline())
            if event["event"] == "analysed":
                times.append(time.monotonic() - begun)
        process.send_signal(signal.SIGINT)
        process.wait()
        return times[0], times[-1]


def kills(images: list[np.ndarray], options: list[str], n: int) -> tuple[int, int, int, int]:
    """Files lost, files with more than one result, events lost, ids that name two events."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder, said = Path(temporary) / "in", Path(temporary) / "said.jsonl"
        folder.mkdir()
        for k, image in enumerate(images):
            np.save(folder / f"{k:02d}.npy", image)
        names = {p.name for p in folder.iterdir()}
        with said.open("ab") as file:
            for k in range(n):
                size = said.stat().st_size
                process = start(folder, options, file.fileno())
                end = time.monotonic() + SILENT_S
                while said.stat().st_size == size and time.monotonic() < end and k:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 1.5))
                process.send_signal(signal.SIGKILL)
                process.wait()
            start(folder, [*options, "--once"], file.fileno()).wait()
        out = folder / "atomlens_results"
        found = Counter(
            json.loads((p / "run.json").read_text())["provenance"]["file"]
            for p in out.iterdir()
            if (p / "run.json").exists()
        )
        events: dict[str, set[str]] = {}
        for line in (
            *said.read_bytes().splitlines(),
            *(out / "events.jsonl").read_bytes().splitlines(),
        ):
            if line.endswith(b"}"):
                event = json.loads(line)
                events.setdefault(event["id"], set()).add(event["name"])
        told = Counter(name for one in events.values() for name in one)
        return (
            len(names - set(found)), sum(v > 1 for v in found.values()), len(names - set(told)),
            sum(len(v) > 1 for v in events.values()) + sum(v > 1 for v in told.values()),
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    with Report("burst", parser) as report:
        n = report.args.files
        print(
            "## Burst\n\n| kind | files | first (s) | last (s) | load before |\n|---|---|---|---|---|"
        )
        for kind, (make, options) in KINDS.items():
            load = os.getloadavg()[0]
            first, last = burst([make(k) for k in range(n)], options)
            print(f"| {kind} | {n} | {first:.1f} | {last:.1f} | {load:.1f} |")
        wrong = 0
        if report.args.kills:
            options = KINDS["H-Si(100)"][1]
            four = kills([silicon(k) for k in range(n)], options, report.args.kills)
            wrong = sum(four)
            print("\n## Kills\n\n| kills | lost | doubled | events lost | events with two ids |")
            print(f"|---|---|---|---|---|\n| {report.args.kills} | {' | '.join(map(str, four))} |")
        return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
