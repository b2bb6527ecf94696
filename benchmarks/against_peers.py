"""Positions and time against AtomAI, Atomap and trackpy on the same images, in one run.

    benchmarks/peers.sh FOLDER
    python benchmarks/against_peers.py --peers FOLDER --out docs/benchmarks_peers.md

Three simulated lattices with 10 pm of random displacement at two doses. Every tool runs in a
process of its own, with one thread, from the image alone to refined positions. Printed: F1 within
a quarter of the spacing, error over the Cramer-Rao bound, the slope of measured against true
displacement (1 is right; below, a tool pulls atoms to the lattice), CPU time and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fit import Case, Sample, bound, case, sample
from report import Report

from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.scoring import match

#: Lattice, side of the image, pixel size in pm.
SETUPS = {
    "graphene": (case("graphene", 8.0, 2.53), 300, 142 / 8.0),
    "perovskite": (case("perovskite", 14.0, 3.0), 440, 276 / 14.0),
    "Si<110>": (case("Si<110>", 8.0, 2.65), 420, 135.8 / 8.0),
}

OURS = r"""
import json, resource, sys, time
import numpy as np
import napari_atomlens as al
image = np.load(sys.argv[1])["image"]
al.analyze(image[:64, :64])
start, cpu = time.perf_counter(), time.process_time()
result = al.analyze(image)
wall, cpu = time.perf_counter() - start, time.process_time() - cpu
np.save(sys.argv[2], result.atoms[["y_px", "x_px"]].to_numpy())
print(json.dumps({"wall": wall, "cpu": cpu, "refine": result.seconds["atoms"],
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "version": al.__version__}))
"""

ATOMAP = r"""
import json, resource, sys, time, warnings
warnings.filterwarnings("ignore")
import logging; logging.disable(logging.CRITICAL)
import numpy as np
import hyperspy.api as hs
import atomap.api as am
from importlib.metadata import version
image, spacing, how = np.load(sys.argv[1])["image"], float(sys.argv[3]), sys.argv[4]
signal = hs.signals.Signal2D(image)
start, cpu = time.perf_counter(), time.process_time()
found = am.get_atom_positions(signal, separation=max(2, int(0.7 * spacing)))
lattice = am.Sublattice(found, image=image)
lattice.find_nearest_neighbors()
middle = time.process_time()
lattice.refine_atom_positions_using_center_of_mass(show_progressbar=False)
if how == "gaussian":
    lattice.refine_atom_positions_using_2d_gaussian(show_progressbar=False)
end = time.process_time()
np.save(sys.argv[2], np.array(lattice.atom_positions)[:, ::-1])
print(json.dumps({"wall": time.perf_counter() - start, "cpu": end - cpu, "refine": end - middle,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "version": version("atomap")}))
"""

TRACKPY = r"""
import json, resource, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
import trackpy
trackpy.quiet()
image, spacing = np.load(sys.argv[1])["image"], float(sys.argv[3])
start, cpu = time.perf_counter(), time.process_time()
found = trackpy.locate(image, diameter=2 * int(0.45 * spacing) + 1, separation=0.6 * spacing,
                       percentile=50)
cpu = time.process_time() - cpu
np.save(sys.argv[2], found[["y", "x"]].to_numpy())
print(json.dumps({"wall": time.perf_counter() - start, "cpu": cpu, "refine": float("nan"),
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "version": trackpy.__version__}))
"""

ATOMAI = r"""
import json, os, re, resource, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
import torch
library = torch.library.Library("torchvision", "DEF")
while True:
    try:
        import torchvision
        break
    except (RuntimeError, AttributeError) as error:
        name = re.search(r"torchvision::(\w+)", str(error))
        if name is None:
            raise
        library.define(name[1] + "(Tensor a, Tensor b, float c) -> Tensor")
        for module in [m for m in sys.modules if m.startswith("torchvision")]:
            del sys.modules[module]
import atomai as aoi
data, how = np.load(sys.argv[1]), sys.argv[4]
weights, patches = sys.argv[5], np.load(sys.argv[6])
norm = lambda x: (x - x.min()) / (x.max() - x.min())
model = aoi.models.Segmentor("Unet", nb_classes=1)
if not os.path.exists(weights):
    x = np.stack([norm(i) for i in patches["image"]]).astype(np.float32)
    y = patches["mask"].astype(np.float32)
    model.fit(x[:416], y[:416], x[416:], y[416:], training_cycles=150, batch_size=32, swa=False,
              print_loss=1000, plot_training_history=False, filename=weights + "-log")
    torch.save(model.net.state_dict(), weights)
model.net.load_state_dict(torch.load(weights, weights_only=True))
image = data["image"]
model.predict(image[:64, :64].astype(np.float32), verbose=False)
start, cpu = time.perf_counter(), time.process_time()
_, found = model.predict(image.astype(np.float32), verbose=False)
found = found[0]
middle = time.process_time()
if how != "network":
    d = None if how == "default" else int(how)
    found = aoi.utils.peak_refinement(image.astype(np.float32), found, d)
end = time.process_time()
np.save(sys.argv[2], found[:, :2])
print(json.dumps({"wall": time.perf_counter() - start, "cpu": end - cpu, "refine": end - middle,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "version": aoi.__version__}))
"""


@dataclass
class Tool:
    """A peer: name, interpreter, script and the argument that says how."""

    name: str
    python: str
    script: str
    how: str = ""


def tools(peers: Path | None) -> list[Tool]:
    """Ours, and the others where their environments are."""
    found = [Tool("napari-atomlens", sys.executable, OURS)]
    if peers is None:
        return found
    atomai, atomap = (str(p / "bin/python") for p in (peers, Path(f"{peers}-atomap")))
    return [
        *found,
        Tool("AtomAI, network", atomai, ATOMAI, "network"),
        Tool("AtomAI, refined (default)", atomai, ATOMAI, "default"),
        Tool("AtomAI, refined (d = 6)", atomai, ATOMAI, "6"),
        Tool("Atomap, centre of mass", atomap, ATOMAP, "com"),
        Tool("Atomap, 2-D Gaussian", atomap, ATOMAP, "gaussian"),
        Tool("trackpy.locate", atomap, TRACKPY),
    ]


def training_patches(c: Case, counts: float, path: Path) -> None:
    """Write 512 patches of the lattice and dose of a test for AtomAI to train on."""
    images, masks = [], []
    for i in range(512):
        s = sample(c, 64, counts, np.random.default_rng(seed_for("benchmark", 9_100_000 + i)))
        near = np.zeros((64, 64), bool)
        rows, cols = np.mgrid[:64, :64]
        for y, x in s.true[np.all((s.true > -4) & (s.true < 68), axis=1)]:
            near |= (rows - y) ** 2 + (cols - x) ** 2 < (0.3 * c.spacing) ** 2
        images.append(s.image)
        masks.append(near)
    np.savez(path, image=np.array(images, np.float32), mask=np.array(masks))


def judge(found: np.ndarray, s: Sample, c: Case, limit: np.ndarray) -> dict[str, float]:
    """F1, error over the bound and slope, columns nearer than a spacing to the rim left out."""
    side = s.shape[0]
    inner = np.all((s.true > c.spacing) & (s.true < side - 1 - c.spacing), axis=1)
    true, site, kind = s.true[inner], s.site[inner], s.kind[inner]
    a, b = match(found, s.true, 0.25 * c.spacing)
    inside = np.all((found > c.spacing) & (found < side - 1 - c.spacing), axis=1)
    wrong = int((inside & ~np.isin(np.arange(len(found)), a)).sum())
    index = np.flatnonzero(inner)
    place = {int(t): int(f) for f, t in zip(a, b, strict=True)}
    got = np.array([place.get(int(t), -1) for t in index])
    hit = got >= 0
    error = found[got[hit]] - true[hit]
    # each column against the bound of its kind
    ratio = float(np.sqrt(np.mean((error / limit[kind[hit]][:, None]) ** 2)))
    moved, seen = (true - site)[hit].ravel(), (found[got[hit]] - site[hit]).ravel()
    precision = hit.sum() / max(hit.sum() + wrong, 1)
    recall = hit.mean()
    return {
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "ratio": ratio,
        "rms": float(np.sqrt(np.mean(error**2))),
        "slope": float(moved @ seen / (moved @ moved)),
        "columns": int(hit.sum()),
    }


def main() -> None:
    """Run all tools on all images and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="the folder that peers.sh made; none: only ours")
    parser.add_argument("--counts", type=float, nargs="+", default=[1000, 10000])
    parser.add_argument("--lattices", nargs="+", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--enlarge", type=int, default=1, help="factor of the side of the images")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_peers.md"))
    with Report("against_peers", parser) as report:
        args = report.args
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        lines = [
            "| lattice | counts | tool | F1 | RMSE (pm) | RMSE / bound | slope | CPU (s) | of which "
            "refinement, per column (ms) | CPU / ours | refinement / ours | peak (MB) |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        print("\n".join(lines), flush=True)
        versions: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            for number, name in enumerate(args.lattices):
                c, side, pixel = SETUPS[name]
                side *= args.enlarge
                for counts in args.counts:
                    seed = seed_for("benchmark", 9_000_000 + 1000 * number + int(counts))
                    s = sample(c, side, counts, np.random.default_rng(seed), 10 / pixel)
                    limit, _ = bound(c, counts, np.random.default_rng(1))
                    image = Path(folder) / "image.npz"
                    np.savez(image, image=s.image)
                    tag = f"{number}-{counts:g}"
                    patches = Path(folder) / f"patches-{tag}.npz"
                    ours: dict[str, float] = {}
                    for tool in tools(args.peers):
                        if tool.script is ATOMAI and not patches.exists():
                            training_patches(c, counts, patches)
                        out = Path(folder) / "positions.npy"
                        command = [
                            tool.python, "-c", tool.script, str(image), str(out), str(c.spacing),
                            tool.how, str(Path(folder) / f"weights-{tag}"), str(patches),
                        ]  # fmt: skip
                        done = subprocess.run(
                            command, capture_output=True, text=True, env=environment
                        )
                        if done.returncode:
                            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                            lines.append(
                                f"| {name} | {counts:g} | {tool.name} | failed: {last[:80]} |"
                            )
                            print(lines[-1], flush=True)
                            continue
                        facts = json.loads(done.stdout.strip().splitlines()[-1])
                        versions[tool.name.split(",")[0]] = facts["version"]
                        q = judge(np.load(out), s, c, limit)
                        ours = ours or {"cpu": facts["cpu"], "refine": facts["refine"]}
                        lines.append(
                            f"| {name} | {counts:g} | {tool.name} | {q['f1']:.4f} "
                            f"| {q['rms'] * pixel:.2f} | {q['ratio']:.2f} | {q['slope']:.3f} "
                            f"| {facts['cpu']:.2f} | {1000 * facts['refine'] / q['columns']:.3f} "
                            f"| {facts['cpu'] / ours['cpu']:.1f} "
                            f"| {facts['refine'] / ours['refine']:.1f} | {facts['peak']:.0f} |"
                        )
                        print(lines[-1], flush=True)
        lines += ["", f"{platform.processor() or platform.machine()}, one thread; "
                  + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."]  # fmt: skip
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
