"""What adapting a model to corrected frames gives, costs and forgets.

    python benchmarks/adapt.py --case abf --minutes 8 --threads 1

Prints Markdown. The material and contrast are simulated: annular bright field, in which
columns are dark on a bright background, which no bundled model has ever seen. Two frames of
256 x 256 px are "corrected" (their truth is the label); every figure is measured on further
frames, in other directions and with other noise.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from report import Report

from napari_atomlens import tables
from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import CalibrationError
from napari_atomlens.progress import Progress
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import crystals, seed_for
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.scenes import remove, scene_from_crystal
from napari_atomlens.simulation.scoring import Score, score
from napari_atomlens.training.adaptation import adapt, on_known_materials
from napari_atomlens.training.labelled import label_frame
from napari_atomlens.training.params import AdaptParams

SPACING = 13.0


def bright_field(lattice: str, index: int, shape=(256, 256), counts: float = 30.0):
    """Dark columns on a bright background, with vacancies; returns image and positions."""
    rng = np.random.default_rng(seed_for("benchmark", 7_000_000 + index))
    scene, _ = scene_from_crystal(
        crystals.CRYSTALS[lattice](), shape, SPACING, rng, sigma=0.24, jitter=0.02
    )
    remove(scene, rng.random(len(scene.y)) < 0.03)
    dark = render_columns(
        shape, scene.y, scene.x, scene.amplitude, scene.sigma, scene.aspect, scene.angle
    )
    light = np.clip(1 - 0.6 * dark, 0.05, None) * counts
    return rng.poisson(light).astype(np.float32), np.c_[scene.y, scene.x]


def atoms_of(positions: np.ndarray):
    """Atoms table of corrected positions."""
    return tables.make(
        "atoms", {"y_px": positions[:, 0], "x_px": positions[:, 1], "species": "column"},
        len(positions),
    )  # fmt: skip


def f1_on(model, lattice: str, indices, spacing_px: float) -> float:
    """F1 on frames that nobody corrected; no lattice found counts as no atom found."""
    total = Score(0, 0, 0)
    for i in indices:
        image, true = bright_field(lattice, i)
        try:
            p = segment(image, model, spacing_px)
            atoms = find_atoms(p, calibration=model.calibration.get("atoms"))
            found = atoms[["y_px", "x_px"]].to_numpy()
        except CalibrationError:
            found = np.zeros((0, 2))
        total = total + score(found, true, SPACING / 3, image.shape, SPACING / 2)
    return total.f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lattice", default="perovskite")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--replay", type=int, default=8)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--known", type=int, default=6, help="images per known lattice")
    with Report("adapt", parser) as report:
        args = report.args
        start, old = time.monotonic(), find_model("auto")
        test = range(100, 108)
        labelled = []
        for i in range(args.frames):
            image, true = bright_field(args.lattice, i)
            inside = np.all((true >= 0) & (true <= 255), axis=1)
            labelled.append(label_frame(image, atoms_of(true[inside])))
        before = [f1_on(old, args.lattice, test, s) for s in (SPACING, 0.0)]
        known = on_known_materials(old, args.known)
        params = AdaptParams(
            name="bright-field", minutes=args.minutes, steps=args.steps, learning_rate=args.rate,
            replay=args.replay, threads=args.threads,
        )  # fmt: skip

        def tell(step: int, steps: int, said: str) -> None:
            if step % 50 == 0:
                print(
                    f"  step {step} {said} after {time.monotonic() - start:.0f} s",
                    flush=True,
                )

        result = adapt(labelled, params, progress=Progress(tell))
        new = find_model(str(result.path))
        after = [f1_on(new, args.lattice, test, s) for s in (SPACING, 0.0)]
        known_after = on_known_materials(new, args.known)
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        print(
            f"\n| {args.lattice}, bright field, {args.frames} frames of 256 x 256 | before | after |"
        )
        print("|---|---|---|")
        print(f"| F1 on 8 other frames, spacing given | {before[0]:.4f} | {after[0]:.4f} |")
        print(f"| F1 on 8 other frames, spacing found | {before[1]:.4f} | {after[1]:.4f} |")
        print(
            f"| F1 on {5 * args.known} images of known materials | {known:.4f} | {known_after:.4f} |"
        )
        report.figure("training", result.seconds, "s")
        print(
            f"\n{len(result.losses)} steps, {result.seconds:.0f} s on {args.threads or 'all'} threads "
            f"({cpu.ru_utime:.0f} CPU seconds in all). {result.sentence}"
        )


if __name__ == "__main__":
    main()
