"""Time and memory against AtomAI's network and locator, side by side in one run.

    benchmarks/peers.sh FOLDER
    python benchmarks/against_atomai.py --peer-python FOLDER/bin/python

Both get the same simulated images (honeycomb, 10 px spacing, 1,000 counts), each in a fresh
process of its own, in turn: ours, theirs, ours ... The first call of a process is a warm-up.
AtomAI runs its default U-Net (0.59 M parameters, trained for a few dozen batches so that its
locator has real blobs to work on; kept next to the report); ours runs ``analyze`` with everything:
scale search, network, atoms, refinement and contours; and, in a column of its own, the same work
as theirs (no refinement, no contours; the scale search stays). See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import Report

CASES = {"512": (1, 512), "1024": (1, 1024), "2048": (1, 2048), "100 x 256": (100, 256)}
SPACING = 10.0


def write_images(folder: Path) -> None:
    """Simulate the images of all cases, with truth, and patches to train the peer on."""
    from napari_atomlens.simulation import seed_for, simulate

    for name, (n, side) in CASES.items():
        frames, truths = [], []
        for i in range(n):
            image, scene = simulate(
                "honeycomb", (side, side), SPACING, rotation_deg=7.0 * i + 17, counts=1000,
                seed=seed_for("benchmark", 5_000_000 + i + side),
            )  # fmt: skip
            frames.append(image.astype(np.float32))
            truths.append(np.c_[np.full(len(scene.y), i), scene.y, scene.x])
        np.savez(folder / f"{name}.npz", image=np.stack(frames), truth=np.concatenate(truths))
    patches, masks = [], []
    for i in range(256):
        image, scene = simulate(
            "honeycomb", (64, 64), SPACING, rotation_deg=11.0 * i, counts=1000,
            seed=seed_for("benchmark", 6_000_000 + i),
        )  # fmt: skip
        rows, cols = np.mgrid[:64, :64]
        near = np.min((rows[..., None] - scene.y) ** 2 + (cols[..., None] - scene.x) ** 2, axis=-1)
        patches.append(image)
        masks.append(near < 3.0**2)
    np.savez(folder / "train.npz", image=np.array(patches, np.float32), mask=np.array(masks))


OURS = r"""
import json, resource, sys, time
import numpy as np
start = time.perf_counter()
import napari_atomlens as al
import torch
from napari_atomlens.runs.params import AnalysisParams
loaded = time.perf_counter() - start
file, mode, repeats, model = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
image = np.load(file)["image"]
full = mode == "full"
params = AnalysisParams(model=model, refine="fit" if full else "off", contours=full, spacing_px=0.0)
def run():
    return al.analyze(image if len(image) > 1 else image[0], params=params)
times = []
for _ in range(repeats + 1):
    start = time.perf_counter(); result = run(); times.append(time.perf_counter() - start)
np.save(sys.argv[5], result.atoms[["frame", "y_px", "x_px"]].to_numpy())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
versions = {"napari-atomlens": al.__version__, "torch": torch.__version__,
            "numpy": np.__version__, "python": sys.version.split()[0]}
print(json.dumps({"times": times[1:], "first": times[0], "import": loaded, "peak_mb": peak,
                  "stages": result.seconds, "threads": torch.get_num_threads(),
                  "precision": result.provenance["precision"], "versions": versions}))
"""

THEIRS = r"""
import json, os, resource, sys, time, warnings
warnings.filterwarnings("ignore")
import re
import numpy as np
started = time.perf_counter()
import torch
# the index has no CPU build of torchvision: declare the operators that its import looks up
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
loaded = time.perf_counter() - started
file, train, repeats, weights = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def norm(x):
    return (x - x.min()) / (x.max() - x.min())
model = aoi.models.Segmentor("Unet", nb_classes=1)
if not os.path.exists(weights):
    d = np.load(train)
    x = np.stack([norm(i) for i in d["image"]]).astype(np.float32); y = d["mask"].astype(np.float32)
    model.fit(x[:224], y[:224], x[224:], y[224:], training_cycles=60, batch_size=32, swa=False,
              print_loss=1000, plot_training_history=False, filename=weights + "-log")
    torch.save(model.net.state_dict(), weights)
model.net.load_state_dict(torch.load(weights, weights_only=True))
image = np.load(file)["image"]
def run():
    out, coordinates = model.predict(image, verbose=False)
    return coordinates
times = []
for _ in range(repeats + 1):
    start = time.perf_counter(); c = run(); times.append(time.perf_counter() - start)
atoms = np.concatenate([np.c_[np.full(len(v), k), v[:, :2]] for k, v in c.items()])
np.save(sys.argv[5], atoms)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
versions = {"atomai": aoi.__version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": sys.version.split()[0]}
print(json.dumps({"times": times[1:], "first": times[0], "import": loaded, "peak_mb": peak,
                  "threads": torch.get_num_threads(), "versions": versions}))
"""

GROWTH = r"""
import json, resource, sys
import numpy as np
from napari_atomlens.runs.frame import analyze_frames
from napari_atomlens.runs.params import AnalysisParams
image = np.load(sys.argv[1])["image"]; n = int(sys.argv[2])
class Movie:
    shape = (n, *image.shape[1:]); ndim = 3; dtype = image.dtype
    def __getitem__(self, i): return image[i % len(image)]
for r in analyze_frames(Movie(), AnalysisParams(model=sys.argv[3])):
    pass
print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def call(python: str, code: str, *arguments: str) -> dict:
    """Run code in a fresh process and return the JSON of its last line."""
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, check=False
    )  # both get this process's cores and environment
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def f1(found: np.ndarray, truth: np.ndarray, side: int) -> float:
    """F1 pooled over frames; match radius a quarter of the spacing."""
    from napari_atomlens.simulation.scoring import Score, score

    total = Score(0, 0, 0)
    for i in np.unique(truth[:, 0]):
        total += score(
            found[found[:, 0] == i, 1:], truth[truth[:, 0] == i, 1:], SPACING / 4, (side, side),
            SPACING / 2,
        )  # fmt: skip
    return total.f1


def machine() -> dict:
    """Describe the processor that the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(x.split(":")[1].strip() for x in file if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": name, "cores": cores, "system": platform.platform(terse=True)}


def limit_threads(n: int) -> None:
    """Give this process and those it starts `n` threads, on `n` cores where that can be set."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(n)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def main() -> None:
    """Run everything in turn and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--threads", type=int, default=0, help="the same for both; 0 leaves each its own default"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_atomai.json"))
    with Report("against_atomai", parser) as report:
        args = report.args
        if args.threads:
            limit_threads(args.threads)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        weights = str(args.out.parent.resolve() / "atomai-unet.pt")
        record: dict = {
            "machine": machine(), "date": time.strftime("%Y-%m-%d"), "threads": args.threads,
            "rounds": args.rounds, "repeats": args.repeats, "load": os.getloadavg(), "cases": {},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_images(folder)
            train, npy = str(folder / "train.npz"), str(folder / "atoms.npy")
            rows = []
            if not Path(weights).exists():  # in a process of its own: training is not what is timed
                call(args.peer_python, THEIRS, str(folder / "512.npz"), train, "0", weights, npy)
            for name in args.cases:
                side = CASES[name][1]
                file = str(folder / f"{name}.npz")
                truth = np.load(file)["truth"]
                case: dict = {"full": [], "equal": [], "theirs": []}
                for _ in range(args.rounds):
                    for kind in case:
                        if kind == "theirs":
                            r = call(
                                args.peer_python,
                                THEIRS,
                                file,
                                train,
                                str(args.repeats),
                                weights,
                                npy,
                            )
                        else:
                            r = call(
                                sys.executable, OURS, file, kind, str(args.repeats), args.model, npy
                            )
                        r["f1"] = f1(np.load(npy), truth, side)
                        case[kind].append(r)
                record["cases"][name] = case
                t = {
                    k: statistics.median(x for r in v for x in r["times"]) for k, v in case.items()
                }
                m = {k: max(r["peak_mb"] for r in v) for k, v in case.items()}
                rows.append(
                    f"| {name} | {t['full']:.3f} | {t['equal']:.3f} | {t['theirs']:.3f} | "
                    f"{t['full'] / t['theirs']:.2f} | {t['equal'] / t['theirs']:.2f} | "
                    f"{m['full']:.0f} | {m['theirs']:.0f} | {case['full'][-1]['f1']:.4f} | "
                    f"{case['theirs'][-1]['f1']:.4f} |"
                )
                print(rows[-1], flush=True)
                stages = case["full"][-1]["stages"]
                print("   stages", {k: round(v, 3) for k, v in stages.items()}, flush=True)
            movie = str(folder / "100 x 256.npz")
            growth = {
                k: call(sys.executable, GROWTH, movie, str(k), args.model)["peak_mb"]
                for k in (50, 200)
            }
        record["growth_mb"] = growth
        for frames, peak in growth.items():
            report.figure(f"peak memory of a movie of {frames} frames", peak, "MB")
        args.out.write_text(json.dumps(record, indent=1))
        print(
            "| image (px) | ours, everything (s) | ours, equal work (s) | AtomAI (s) | ratio | "
            "ratio, equal work | ours peak (MB) | AtomAI peak (MB) | F1 ours | F1 AtomAI |\n"
            "|---|---|---|---|---|---|---|---|---|---|"
        )
        print("\n".join(rows))
        print(
            f"Peak memory of a movie run: {growth[50]:.0f} MB for 50 frames, {growth[200]:.0f} for 200."
        )


if __name__ == "__main__":
    main()
